"""The classes of evidence, in order of weight: each a function from a culprit and a module's clues to sentences, empty for none.

``TIES`` bind the culprit to the initial-exec access itself. ``PRESENCE`` says that its code is in the module or its wheel; other code
may still have brought the access. Nothing here looks at a wheel's or a project's name.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Set

from tls_wheel_guard.culprits.clues import Clues, ReachedVariable
from tls_wheel_guard.culprits.model import Culprit, Layout

__all__ = ["PRESENCE", "TIES", "matching_layout", "named_variables"]

_SUFFIX = r"(?:\.(?:lto_priv|llvm|part|constprop|isra|cold|[0-9]+))+(?:\.[0-9]+)*$"
"""What compilers append to a local name: ``x.lto_priv.0``, ``x.llvm.123``."""
SLACK = 512
"""Bytes that other variables may add behind one of a known size in the same part of the segment."""


def _bare(name: str) -> str:
    return re.sub(_SUFFIX, "", name) if "." in name else name


def named_variables(culprit: Culprit, clues: Clues) -> tuple[ReachedVariable, ...]:
    """The variables reached whose names are the culprit's own."""
    named = [(r, _bare(r.name)) for r in clues.reached if r.name]
    if not any(pattern.is_whole(name) for _, name in named for pattern in culprit.words.variables):
        return ()
    patterns = (*culprit.words.variables, *culprit.words.beside)
    return tuple(r for r, name in named if any(pattern.is_whole(name) for pattern in patterns))


def variable(culprit: Culprit, clues: Clues) -> tuple[str, ...]:
    """A variable that is reached has the culprit's name, in a symbol table or in the relocation itself."""
    return tuple(_describe(r) for r in named_variables(culprit, clues))


def common_variable(culprit: Culprit, clues: Clues) -> tuple[str, ...]:
    """A variable that is reached has a name that the culprit's has, and others have too."""
    return tuple(_describe(r) for r in clues.reached if r.name and any(p.is_whole(_bare(r.name)) for p in culprit.words.common))


def _describe(r: ReachedVariable) -> str:
    if r.offset is None:
        return f"it reaches `{r.name}` of another module"
    size = f" ({r.size} byte{'' if r.size == 1 else 's'})" if r.size else ""
    return f"the relocations reach `{r.name}`{size}"


def readers(culprit: Culprit, clues: Clues) -> tuple[str, ...]:
    """Functions with the culprit's own names read the slot."""
    found = sorted(_own_of(culprit, {name for r in clues.own for name in r.readers}))
    return (f"the slot is read in {_listed(found)}",) if found else ()


def _own_of(culprit: Culprit, names: Set[str]) -> set[str]:
    """Those names that are the culprit's own; a word that ends in ``*`` is a beginning, such as a C++ namespace's."""
    whole, beginnings = _own_words(culprit.words.functions)
    own = set(whole & names)
    if beginnings:
        own.update(name for name in names if name.startswith(beginnings))
    return own


@functools.lru_cache(maxsize=64)
def _own_words(words: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Whole names, and beginnings: a file may define thousands of functions."""
    return frozenset(word for word in words if not word.endswith("*")), tuple(word[:-1] for word in words if word.endswith("*"))


def layout(culprit: Culprit, clues: Clues) -> tuple[str, ...]:
    """Number, sizes, order and initial values of the variables reached are the culprit's."""
    found = matching_layout(culprit, clues)
    if found is None or found.weak:
        return ()
    return (f"the {_count(clues)} reached have the sizes and initial values of {culprit.name} {found.versions}",)


def _count(clues: Clues) -> str:
    count = len(clues.own)
    return f"{count} variable{'' if count == 1 else 's'}"


def provenance(culprit: Culprit, clues: Clues) -> tuple[str, ...]:
    """A bill of materials names its package: in the module (cargo-auditable), or in the wheel."""
    wanted = set(culprit.words.crates)
    inside = [f"cargo-auditable's section names {c.name} {c.version}" for c in clues.embedded if c.name in wanted]
    listed = [f"the wheel's SBOM names {c.name} {c.version}" for c in clues.listed if c.name in wanted]
    return tuple(dict.fromkeys([*inside, *listed]))


def structure(culprit: Culprit, clues: Clues) -> tuple[str, ...]:
    """Sections that only its own toolchain writes, or its build information."""
    found = [name for name in culprit.words.structure if name in clues.sections]
    said = (f"it has the section{'s' if len(found) > 1 else ''} {_listed(found)}",) if found else ()
    # The magic alone may also be in a tool that searches for it.
    if found and clues.go_version and ".go.buildinfo" in found:
        said = (*said, f"Go's build information says {clues.go_version}")
    return said


def file(culprit: Culprit, clues: Clues) -> tuple[str, ...]:
    """Its SONAME, or its file's name, also as auditwheel mangles it: ``libgomp-a34b3233.so.1.0.0``."""
    for kind, name in (("SONAME", clues.soname), ("file", clues.file_name)):
        if name and any(pattern.is_whole(_unmangled(name)) for pattern in culprit.words.files):
            return (f"its {kind} is {name}",)
    return ()


def _unmangled(name: str) -> str:
    """A library's name without the hash that auditwheel puts in (auditwheel repair.py: copylib)."""
    return re.sub(r"^([^.]+)-[0-9a-f]{8}(\.[^/]*)$", r"\1\2", name)


def functions(culprit: Culprit, clues: Clues) -> tuple[str, ...]:
    """It defines functions with the culprit's names."""
    exact = [name for name in culprit.words.functions if name in clues.functions]
    found = exact or sorted(_own_of(culprit, clues.functions))
    return (f"it defines {_listed(found)}",) if found else ()


def comment(culprit: Culprit, clues: Clues) -> tuple[str, ...]:
    """.comment names its compiler or linker."""
    return tuple(f".comment says {text!r}" for text in clues.comments if any(p.is_in(text) for p in culprit.words.comments))[:1]


def strings(culprit: Culprit, clues: Clues) -> tuple[str, ...]:
    """Its texts are in the file."""
    found = [text for text in culprit.words.strings if text in clues.strings]
    return (f"the text {found[0].strip()!r} is in it",) if found else ()


Evidence = Callable[[Culprit, Clues], tuple[str, ...]]

TIES: dict[str, Evidence] = {"variable": variable, "common": common_variable, "readers": readers, "layout": layout}
PRESENCE: dict[str, Evidence] = {
    "provenance": provenance, "structure": structure, "file": file, "functions": functions, "comment": comment, "strings": strings,
}  # fmt: skip


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def matching_layout(culprit: Culprit, clues: Clues) -> Layout | None:
    """The first pattern of the culprit that all own variables reached fit together."""
    return next((found for found in culprit.layouts if found.bits in (0, 8 * clues.word) and _fits(found, clues)), None)


def _fits(pattern: Layout, clues: Clues) -> bool:
    data = [r for r in clues.own if r.initialised]
    zero = [r for r in clues.own if not r.initialised]
    if len(data) != len(pattern.data) or len(zero) != len(pattern.zero):
        return False
    if all(r.reads is not None for r in clues.own) and sum(r.reads or 0 for r in clues.own) < pattern.reads:
        return False
    return _part_fits(pattern.data, data, pattern.packed, clues.word) and _part_fits(pattern.zero, zero, pattern.packed, clues.word)


def _part_fits(entries: tuple[str | int, ...], found: list[ReachedVariable], packed: bool, word: int) -> bool:
    """Whether the variables of one part fit: in this order without gaps where they are packed, else in any order."""
    if packed:
        return all(_entry_fits(e, r, word, exact=n + 1 < len(found)) for n, (e, r) in enumerate(zip(entries, found, strict=True)))
    left = list(found)
    for entry in sorted(entries, key=lambda e: (e != "constant", -_size(e, word))):
        fitting = next((r for r in left if _entry_fits(entry, r, word, exact=False)), None)
        if fitting is None:
            return False
        left.remove(fitting)
    return True


def _bounds(entry: str | int, word: int) -> tuple[int, int]:
    """The least and the greatest size of an entry, in bytes."""
    if isinstance(entry, int):
        return entry, entry
    least, dash, greatest = entry.partition("-")
    return (int(least), int(greatest)) if dash else (word, word)


def _size(entry: str | int, word: int) -> int:
    return _bounds(entry, word)[0]


def _entry_fits(entry: str | int, r: ReachedVariable, word: int, exact: bool) -> bool:
    least, greatest = _bounds(entry, word)
    if (entry in ("constant", "pointer")) != r.pointer or (entry == "constant" and not r.constant) or (r.offset or 0) % min(least, word):
        return False
    if r.size is not None:
        return least <= r.size <= greatest
    return least <= r.room <= (greatest if exact else greatest + SLACK)
