"""The state of a thunk that is run over symbols: what a machine's proof starts from, and what it must come back to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["SymbolicRun", "WrongThunkError"]


class WrongThunkError(Exception):
    """What is wrong with a thunk, in words; a proof catches it."""


@dataclass
class SymbolicRun:
    """What is known at one point. Values are texts; ``stack``: distance from the first stack pointer, in bytes -> value.

    ``descriptor``: the address of the one that was called last, ``calls``: how many were.
    """

    registers: dict[str, str]
    pointer: int = 0
    flags: str = "old flags"
    stack: dict[int, str] = field(default_factory=dict)
    descriptor: int = 0
    calls: int = 0

    @classmethod
    def of(cls, names: Iterable[str]) -> SymbolicRun:
        """The start: each register holds its old value."""
        return cls({name: f"old {name}" for name in names})

    def require_one_call(self, descriptor: int) -> None:
        """The stack pointer is back, and the descriptor was called once."""
        if self.pointer != 0 or self.calls != 1 or self.descriptor != descriptor:
            raise WrongThunkError(f"the stack pointer moved by {self.pointer}, {self.calls} calls, descriptor {self.descriptor:#x}")

    def require_registers(self, wanted: dict[str, str]) -> None:
        """Each register holds what it must."""
        for name, value in wanted.items():
            if self.registers[name] != value:
                raise WrongThunkError(f"{name} holds {self.registers[name]} and not {value}")

    def forget_below(self) -> None:
        """What a call does to the stack below its pointer."""
        self.stack = {place: value for place, value in self.stack.items() if place >= self.pointer}
