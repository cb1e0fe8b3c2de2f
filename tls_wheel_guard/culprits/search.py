"""What a module's data say, found in one pass over windows of them: texts, versions, Go's build information, compilers' command lines.

What is found is what is found in all bytes at once: a match lies whole in the window in which it begins, and no pattern looks at what
stands before a match or is longer than its window allows.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from tls_wheel_guard.elf.source import Source, windows
from tls_wheel_guard.records import dataclass

__all__ = ["MAX_VERSION", "Said", "Vocabulary", "command_lines", "said_in"]

MAX_VERSION = 256
"""Bytes of a version with all that its pattern asks for around it."""
MAX_PRODUCERS, MAX_GO_MAGICS = 256, 64
GO_MAGIC = b"\xff Go buildinf:"
MAX_GO = 64
"""Bytes of Go's build information up to the version's end."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What to look for in a module's data: texts, and patterns for the version of each culprit that writes it there.

    ``versions``: (id, pattern with the version as its first group, pattern of how each of its matches ends). The second is there because it
    is found faster.
    """

    texts: frozenset[str]
    versions: tuple[tuple[str, re.Pattern[bytes], re.Pattern[bytes]], ...]


@dataclass(frozen=True, slots=True)
class Said:
    """What was found. ``versions``: a culprit's id and the first version that its pattern found."""

    strings: frozenset[str]
    versions: tuple[tuple[str, str], ...]
    go_version: str | None


def said_in(source: Source, vocabulary: Vocabulary) -> Said:
    """What a file's bytes say of a vocabulary."""
    texts, go = _Texts(vocabulary.texts), _GoVersion()
    versions = {name: _First(pattern, end) for name, pattern, end in vocabulary.versions}
    for at, own, data in windows(source, 0, source.size, max(MAX_VERSION, MAX_GO, texts.longest)):
        texts.look(data)
        go.look(at, own, data)
        for version in versions.values():
            version.look(own, data)
    return Said(
        frozenset(texts.found),
        tuple((name, version.found.decode("ascii", "replace")) for name, version in versions.items() if version.found is not None),
        go.found,
    )


RARE = b"_BCFGIJKMNOPQRSTUVWXYZabcdeghijklmnopqrsvwxyz"
"""Letters of texts, without those that machine code is full of: REX prefixes (A, D, E, H, L), operand size (f) and short jumps (t, u)."""
_OTHERS = bytes(byte for byte in range(256) if byte not in RARE)
SHORTEST = 4
"""Letters of a text that must be left for it to be looked for among them."""


@functools.lru_cache(maxsize=4)
def _by_letters(texts: frozenset[str]) -> tuple[tuple[bytes, tuple[str, ...]], ...]:
    """Letters that are left of a text -> the texts of which they, or more, are left. Nothing at all is left of short ones."""
    short, found = [], dict[bytes, list[str]]()
    for letters, text in sorted(((text.encode().translate(None, _OTHERS), text) for text in texts), key=lambda pair: (len(pair[0]), pair)):
        if len(letters) < SHORTEST:
            short.append(text)
        else:
            found.setdefault(next((word for word in found if word in letters), letters), []).append(text)
    return (*((word, tuple(group)) for word, group in found.items()), (b"", tuple(short)))


class _Texts:
    """Which texts occur.

    Where a text stands, its letters stand in a row once everything else is taken away. That leaves a fifth of most files, and in it are
    few of the letters that are looked for.
    """

    def __init__(self, texts: frozenset[str]) -> None:
        self.found: set[str] = set()
        self.longest = max((len(text.encode()) for text in texts), default=0)
        self._left = _by_letters(texts)

    def look(self, data: bytes) -> None:
        """Look through one window."""
        letters = data.translate(None, _OTHERS)
        hit = [group for word, group in self._left if word in letters]
        new = {text for group in hit for text in group if text not in self.found and text.encode() in data}
        if new:
            self.found |= new
            self._left = tuple((word, group) for word, group in self._left if not self.found.issuperset(group))


class _First:
    """The first group of a pattern's first match."""

    def __init__(self, pattern: re.Pattern[bytes], end: re.Pattern[bytes]) -> None:
        self.found: bytes | None = None
        self._pattern, self._end = pattern, end

    def look(self, own: int, data: bytes) -> None:
        """Look through one window, unless it was found before."""
        if self.found is None and self._end.search(data):
            hit = self._pattern.search(data)
            if hit is not None and hit.start() < own:
                self.found = hit[1]


_GO_VERSION = rb"go1\.[0-9]{1,3}[0-9A-Za-z.]{0,16}"


class _GoVersion:
    """The Go version from its build information (debug/buildinfo): magic, pointer size and flags; the version stands 32 bytes on.

    Before Go 1.18 pointers lead to the version; then only the fact that it is Go is known.
    """

    def __init__(self) -> None:
        self.found: str | None = None
        self._magics = 0

    def look(self, start: int, own: int, data: bytes) -> None:
        """Look through the window at a place in the file."""
        at = data.find(GO_MAGIC) if self._magics < MAX_GO_MAGICS else -1
        while 0 <= at < own and self._magics < MAX_GO_MAGICS:
            self._magics += 1
            if (start + at) % 4 == 0 and at + 32 <= len(data):
                if not data[at + 15] & 2:
                    self.found = "go" if data[at + 14] in (4, 8) and data[at + 15] in (0, 1) else None
                    self._magics = MAX_GO_MAGICS
                elif found := re.match(_GO_VERSION, data[at + 33 : at + MAX_GO]):
                    self.found = found[0].decode()
                    self._magics = MAX_GO_MAGICS
            at = data.find(GO_MAGIC, at + 1)


_PRODUCER = rb"GNU (?:C|C\+\+|Fortran|AS)\w{0,64} [0-9][^\0]{0,2000}"
MAX_PRODUCER = 2100


def command_lines(source: Source, offset: int, size: int) -> Iterator[str]:
    """What debug information keeps of DW_AT_producer in ``size`` bytes at ``offset``: the first compilers' command lines."""
    pattern, found, behind = re.compile(_PRODUCER), 0, 0
    for at, own, data in windows(source, offset, size, MAX_PRODUCER):
        for line in pattern.finditer(data, max(behind - at, 0)):
            if line.start() >= own:
                break
            behind, found = at + line.end(), found + 1
            yield line[0].decode("utf-8", "replace")
            if found == MAX_PRODUCERS:
                return
