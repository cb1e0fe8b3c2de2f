"""Flags in setup.py, setup.cfg and any other Python that builds: hooks of hatchling and pdm, poetry's scripts, cffi's builders."""

from __future__ import annotations

import ast
import configparser
import re
import warnings
from collections.abc import Sequence

from tls_wheel_guard.fix.edit import Unparsable, line_starts
from tls_wheel_guard.fix.literals import Literal

__all__ = ["cfg_literals", "python_literals"]

_GROWING = frozenset({"append", "extend", "insert", "add", "update", "setdefault"})
_TESTING = re.compile(r"has_|check|support|test|try|probe|accept", re.IGNORECASE)
_LISTS = (ast.List, ast.Tuple, ast.Set)
_ELSEWHERE = re.compile(
    r"(sys\.platform|platform\.system\(\)|os\.name) == '(darwin|win32|cygwin|Darwin|Windows|nt)'|sys\.platform\.startswith\('(darwin|win)'\)"
)
"""Conditions that no system with a static TLS block meets."""
_UNKNOWN_CALL = "what the function {} does with it is not known"
_TESTED = "the function {} tests the flag, and the result may mean something else then"


def python_literals(text: str) -> Sequence[Literal]:
    """Every string constant of a Python source, in order; raises Unparsable with Python's words."""
    try:
        with warnings.catch_warnings():
            # Such as an invalid escape sequence in the author's file: it is not ours to judge.
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
            return _Reader(text, tree).literals()
    except SyntaxError as error:
        raise Unparsable(f"line {error.lineno}: it is not Python: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unparsable(f"it is not Python: {' '.join(str(error).split()) or 'nested too deeply'}") from error


class _Reader:
    def __init__(self, text: str, tree: ast.Module) -> None:
        self._text, self._starts = text, line_starts(text)
        self._nodes = list(ast.walk(tree))
        self._parents: dict[ast.AST, ast.AST] = {child: node for node in self._nodes for child in ast.iter_child_nodes(node)}
        self._places: dict[ast.AST, int] = {child: n for node in self._nodes if isinstance(node, _LISTS) for n, child in enumerate(node.elts)}
        branches = [(node, node.body) for node in self._nodes if isinstance(node, ast.If)]
        branches += [(node, [node.body]) for node in self._nodes if isinstance(node, ast.IfExp)]  # type: ignore[misc, list-item]
        self._elsewhere_roots = {child for node, body in branches if _ELSEWHERE.fullmatch(ast.unparse(node.test)) for child in body}

    def literals(self) -> list[Literal]:
        found = [self._literal(node, node.value) for node in self._nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        return sorted(found, key=lambda literal: (literal.start, literal.end))

    def _literal(self, node: ast.Constant, value: str) -> Literal:
        doubt = self._doubt(node)
        return Literal(self._begin(node), self._end(node), value, doubt or "", self._item(node), doubt is None, self._elsewhere(node))

    def _elsewhere(self, node: ast.AST) -> bool:
        """Whether it stands below ``if sys.platform == "darwin":`` or the like."""
        at: ast.AST | None = node
        while at is not None and self._elsewhere_roots:
            if at in self._elsewhere_roots:
                return True
            at = self._parents.get(at)
        return False

    def _doubt(self, node: ast.AST) -> str | None:
        """Why a change may not do what is meant; "" where it does, None where the constant is no flag that is passed on."""
        child: ast.AST = node
        while (parent := self._parents.get(child)) is not None:
            if isinstance(parent, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.NamedExpr, ast.keyword, ast.arguments, ast.Yield)):
                return self._in_call(self._parents.get(parent), listed=True) if isinstance(parent, ast.keyword) else ""
            if isinstance(parent, ast.Call):
                listed = child is not node or isinstance(child, ast.Starred)
                return self._in_call(parent, listed) if child in parent.args else None
            if isinstance(parent, ast.Dict) and child in parent.keys:
                return None
            if not isinstance(parent, (ast.List, ast.Tuple, ast.Set, ast.Dict, ast.BinOp, ast.IfExp, ast.Starred, ast.BoolOp)):
                return None
            child = parent
        return None

    def _in_call(self, call: ast.AST | None, listed: bool) -> str:
        """``listed``: it is an item of a list, or named: an argument that is handed on, as compilers' command lines are."""
        if not isinstance(call, ast.Call):
            return ""
        name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else "called there"
        if _TESTING.search(name):
            return _TESTED.format(name)
        return "" if listed or name in _GROWING else _UNKNOWN_CALL.format(name)

    def _item(self, node: ast.AST) -> tuple[int, int] | None:
        parent = self._parents.get(node)
        if not isinstance(parent, _LISTS):
            return None
        place = self._places[node]
        if place:
            return self._end(parent.elts[place - 1]), self._end(node)
        return self._begin(node), self._begin(parent.elts[1]) if len(parent.elts) > 1 else self._end(node)

    def _begin(self, node: ast.AST) -> int:
        return self._offset(node.lineno, node.col_offset)  # type: ignore[attr-defined]

    def _end(self, node: ast.AST) -> int:
        return self._offset(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def _offset(self, line: int, column: int) -> int:
        """Python counts columns in bytes of UTF-8."""
        start = self._starts[line - 1]
        end = self._starts[line] if line < len(self._starts) else len(self._text)
        row = self._text[start:end]
        return start + (column if row.isascii() else len(row.encode("utf-8")[:column].decode("utf-8", "replace")))


def cfg_literals(text: str) -> Sequence[Literal]:
    """The lines of an INI file's values, in order; raises Unparsable with configparser's words."""
    parser = configparser.RawConfigParser(strict=True)
    try:
        parser.read_string(text)
    except (configparser.Error, ValueError) as error:
        raise Unparsable(f"it is no INI file: {' '.join(str(error).split())}") from error
    doubt = "which tool reads it, and what it does with it, is not known: setuptools has no key for compiler flags there"
    lines = re.finditer(r"[^\r\n]+", text)
    return [Literal(line.start(), line.end(), line[0], doubt) for line in lines if not line[0].lstrip().startswith(("#", ";", "["))]
