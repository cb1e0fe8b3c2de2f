"""What a repair says when it does not touch a module: the rule, the place, the bytes, the reason, and what else helps."""

from __future__ import annotations

from tls_wheel_guard.errors import Refused

__all__ = ["HINTS", "CannotRepair"]

REBUILD = 'build it again with action = "rewrite", or see `tls-wheel-guard explain initial-exec-tls` for its cures'
HINTS = {
    "machine": "build for this machine with action = \"rewrite\"",
    "program": "a program gets its static TLS at the start and needs no repair",
    "target": "build for this system with -ftls-model=global-dynamic (action = \"rewrite\")",
    "no-section-headers": "repair the file before it is stripped of its section headers",
    "interposer": "it is made for LD_PRELOAD, which loads it everywhere; else build it without malloc and free as global names",
    "go": "see `tls-wheel-guard explain go`",
    "stack-switcher": REBUILD,
    "signed": "repair the wheel before it is signed",
}  # fmt: skip
"""Rule -> what else helps, where it differs from building again."""


class CannotRepair(Refused):
    """A module that a repair leaves alone. ``rule``: one word of the refuse list; ``address``: virtual, None where there is no place.

    ``found``: the bytes at that address, as they are in the file.
    """

    def __init__(self, rule: str, reason: str, *, address: int | None = None, found: bytes = b"", hint: str | None = None) -> None:
        place = "" if address is None else f" at {address:#x}" + (f" ({found.hex(' ')})" if found else "")
        # A section's name may hold anything.
        words = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in reason)
        super().__init__(f"{words}{place} [{rule}]", hint=hint or HINTS.get(rule, REBUILD))
        self.rule, self.reason, self.address, self.found = rule, reason, address, found

    def __reduce__(self) -> tuple[object, ...]:
        return (_again, (self.rule, self.reason, self.address, self.found, self.hint))


def _again(rule: str, reason: str, address: int | None, found: bytes, hint: str | None) -> CannotRepair:
    return CannotRepair(rule, reason, address=address, found=found, hint=hint)
