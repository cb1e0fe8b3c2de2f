"""``[target.X.dependencies]``: whether X can be a system whose loader has a static TLS block."""

from __future__ import annotations

import re

__all__ = ["may_be_elf"]

_TOKEN = re.compile(r'\s*(?:([A-Za-z_]\w*)\s*(?:(=)\s*"([^"]*)")?|([(),]))')
_SYSTEMS = ("linux", "android", "freebsd", "netbsd", "openbsd", "dragonfly", "illumos", "solaris")
_COMBINED = frozenset({"all", "any", "not"})


def may_be_elf(target: str) -> bool:
    """Whether a triple or a ``cfg(...)`` is true of some Linux, Android, BSD or illumos; what is not understood may be."""
    expression = re.fullmatch(r"\s*cfg\s*\((.*)\)\s*", target, re.DOTALL)
    if expression is None:
        return any(system in target for system in _SYSTEMS) or "-" not in target
    tokens = list(_TOKEN.finditer(expression[1]))
    if "".join(token[0] for token in tokens).strip() != expression[1].strip():
        return True
    return any(_Reader(tokens, system).value() is not False for system in _SYSTEMS)


class _Reader:
    """Three values: true, false, and None for what depends on more than the system."""

    def __init__(self, tokens: list[re.Match[str]], system: str) -> None:
        self._tokens, self._at, self._system = tokens, 0, system

    def value(self) -> bool | None:
        if self._at >= len(self._tokens):
            return None
        token = self._tokens[self._at]
        self._at += 1
        name = token[1]
        if name in _COMBINED and self._next("("):
            return self._combined(name)
        return self._single(name, token[3])

    def _next(self, mark: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at][4] == mark:
            self._at += 1
            return True
        return False

    def _combined(self, name: str) -> bool | None:
        values: list[bool | None] = []
        while self._at < len(self._tokens) and not self._next(")"):
            if not self._next(","):
                values.append(self.value())
        if name == "not":
            return None if not values or values[0] is None else not values[0]
        wanted = name == "any"
        if wanted in values:
            return wanted
        return None if None in values else not wanted

    def _single(self, name: str | None, text: str | None) -> bool | None:
        if name in ("unix", "windows"):
            return name == "unix"
        if name == "target_family":
            return text == "unix"
        if name == "target_os":
            return text == self._system
        if name == "target_env" and text in ("msvc", "sgx"):
            return False
        return None
