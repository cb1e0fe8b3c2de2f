"""What each loader says when it refuses a module for thread-local storage: the one place that has the words.

The models make their messages from a row, and what reads messages (``doctor``, the probes in a child) finds files in them by the same
row. glibc elf/dl-reloc.c:_dl_allocate_static_tls; musl ldso/dynlink.c:do_relocs; FreeBSD and DragonFly libexec/rtld-elf/rtld.c; NetBSD
libexec/ld.elf_so/tls.c; Android linker/linker_relocate.cpp; OpenBSD libexec/ld.so/library.c; illumos cmd/sgs/rtld.
"""

from __future__ import annotations

import re
from typing import Literal

from tls_wheel_guard.platforms import Libc
from tls_wheel_guard.records import dataclass

__all__ = [
    "INITIALISED",
    "LATE",
    "LATE_ANDROID",
    "MARKS",
    "NO_MORE_STATIC",
    "NO_ROOM",
    "NO_SPACE",
    "REFUSALS",
    "SEGMENT",
    "SEGMENT_ANDROID",
    "STATIC_FAILURE",
    "Reason",
    "Refusal",
    "Refused",
    "is_static_tls",
    "named_in",
]

Reason = Literal[
    "room", "slots", "alignment", "dynamic", "initialised", "late", "segment", "descriptors", "version", "registers", "undefined", "other"
]
"""Why a loader refuses.

``room``: the block has no room left. ``slots``: too many modules with TLS are there. ``alignment``: more than the block has, whatever the
room. ``dynamic``: the module was reached by dynamic access before, and can't get a place any more. ``initialised``: its block has initial
values. ``late``: a late module never gets a place. ``segment``: any late TLS segment is refused. ``descriptors``: it knows no TLS
descriptors on this machine. ``version``: the C library lacks a version that the module needs. ``undefined``: a symbol that nobody defines.
``registers`` is no refusal: the module loads, and its descriptor calls may lose vector registers.
"""
_FILE = r"(?:/[^:'\"]+|[^\s:'\"]+)"
_GROUPS = {"definer": _FILE, "asking": _FILE, "symbol": r"[^:'\"]*"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One message of some loaders.

    ``words``: its text, with ``{definer}`` (the file that has the variable), ``{asking}`` (the one that refers to it) and ``{symbol}``, as
    far as the loader names them. ``mark``: the part that is always the same.
    """

    loaders: tuple[Libc, ...]
    words: str
    mark: str

    def says(self, *, definer: str = "", asking: str = "", symbol: str = "") -> str:
        """The message about these files, by their names as the loader prints them."""
        return self.words.format(definer=definer, asking=asking, symbol=symbol)

    @property
    def pattern(self) -> re.Pattern[str]:
        """What finds it in a longer text, such as a Python exception's; a group for each file."""
        parts = re.split(r"\{(\w+)\}", self.words)
        found = "".join(f"(?P<{part}>{_GROUPS[part]})" if place % 2 else re.escape(part) for place, part in enumerate(parts[:-2]))
        if len(parts) == 1:
            return re.compile(re.escape(self.words))
        last, text = parts[-2:]
        # A file's name at the end stops where a sentence or a quotation does.
        group = _GROUPS[last] if text else r"[^'\"]+?(?=\.?$|['\"])"
        return re.compile(f"{found}(?P<{last}>{group}){re.escape(text)}")


NO_ROOM = Refusal(("glibc",), "{definer}: cannot allocate memory in static TLS block", "cannot allocate memory in static TLS block")
NO_MORE_STATIC = Refusal(("glibc",), "dlopen: cannot load any more object with static TLS", "cannot load any more object with static TLS")
"""elf/dl-open.c:dl_open_worker up to 2.21. It names no file."""
NO_SPACE = Refusal(
    ("freebsd", "dragonfly", "netbsd"),
    "{asking}: No space available for static Thread Local Storage",
    "No space available for static Thread Local Storage",
)
INITIALISED = Refusal(
    ("netbsd",),
    "{asking}: Use of initialized Thread Local Storage with model initial-exec and dlopen is not supported",
    "Use of initialized Thread Local Storage with model initial-exec and dlopen is not supported",
)
LATE = Refusal(
    ("musl",),
    "Error relocating {asking}: {symbol}: initial-exec TLS resolves to dynamic definition in {definer}",
    "initial-exec TLS resolves to dynamic definition in",
)
LATE_ANDROID = Refusal(
    ("bionic",),
    'dlopen failed: TLS symbol "{symbol}" in dlopened "{definer}" referenced from "{asking}" using IE access model',
    "using IE access model",
)
SEGMENT_ANDROID = Refusal(("bionic",), "{asking}: no ELF TLS before API level 29", "no ELF TLS before API level 29")
SEGMENT = Refusal(("openbsd",), "unsupported TLS program header in {asking}", "unsupported TLS program header in")
STATIC_FAILURE = Refusal(("illumos",), "{asking}: static TLS failure", "static TLS failure")
REFUSALS = (LATE, NO_ROOM, NO_MORE_STATIC, NO_SPACE, INITIALISED, LATE_ANDROID, SEGMENT_ANDROID, SEGMENT, STATIC_FAILURE)
"""All of them, in the order in which they are looked for."""
MARKS = tuple(refusal.mark for refusal in REFUSALS)
"""What is always the same in each."""


class Refused(Exception):  # noqa: N818  (the loaders' own word)
    """A dlopen is refused: the loader's words, and why. Raised and caught inside a model's step."""

    def __init__(self, words: str, reason: Reason) -> None:
        super().__init__(words)
        self.reason = reason


def is_static_tls(words: str | None) -> bool:
    """Whether a loader's words are about static TLS."""
    return words is not None and any(mark in words for mark in MARKS)


def named_in(words: str) -> tuple[str, str]:
    """The files that a loader names as the definer and as the one that asks; the same where it names just one, "" where none."""
    match = next((found for refusal in REFUSALS if (found := refusal.pattern.search(words))), None)
    named = match.groupdict() if match else {}
    definer, asking = named.get("definer"), named.get("asking")
    return definer or asking or "", asking or definer or ""
