"""The only module that imports capstone, the extra ``[repair]``: bytes in, plain instructions out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.records import dataclass

__all__ = ["MACHINES", "Disassembler", "Instruction", "Line", "LineDecoder", "Memory"]

MACHINES = ("x86_64", "i386", "aarch64", "riscv64")
"""Machines whose code is decoded; names of platforms.py."""


@dataclass(frozen=True, slots=True)
class Memory:
    """A memory operand: base register (None without one), displacement, and whether an index register adds to it."""

    base: str | None
    displacement: int
    indexed: bool


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. Registers have the names that capstone gives them, 32-bit views of aarch64's under the 64-bit name.

    ``operands``: registers by name, immediates as numbers, memory as :class:`Memory`, in order. ``writes``: registers that change.
    """

    address: int
    size: int
    mnemonic: str
    text: str
    operands: tuple[str | int | Memory | None, ...]
    writes: frozenset[str]

    @property
    def end(self) -> int:
        """The address of the next instruction."""
        return self.address + self.size


class Line(NamedTuple):
    """One instruction in capstone's words, Intel's order. ``operands``: its text; branch targets are absolute addresses in hexadecimal."""

    address: int
    size: int
    mnemonic: str
    operands: str


def _capstone() -> Any:
    """The library; raises UsageError where it is not installed."""
    try:
        import capstone  # noqa: PLC0415  (the [repair] extra; only what decodes code needs it)
    except ImportError:
        raise UsageError("capstone is not installed: it decodes machine code", hint="pip install 'tls-wheel-guard[repair]'") from None
    return capstone


def _engine(machine: str) -> Any:
    """A decoder of capstone for a machine."""
    capstone = _capstone()
    modes: dict[str, tuple[int, int]] = {
        "x86_64": (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
        "x32": (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
        "i386": (capstone.CS_ARCH_X86, capstone.CS_MODE_32),
        "aarch64": (capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN),
        "riscv64": (capstone.CS_ARCH_RISCV, capstone.CS_MODE_RISCV64 | capstone.CS_MODE_RISCVC),
    }
    return capstone.Cs(*modes[machine])


class LineDecoder:
    """A decoder that gives instructions as text. It is fifteen times as fast as :class:`Disassembler`, fast enough for whole functions."""

    def __init__(self, machine: str) -> None:
        self._lines = _engine(machine).disasm_lite

    def decode(self, data: bytes, address: int) -> list[Line]:
        """Instructions from the start of ``data`` up to the first bytes that do not decode."""
        return list(map(Line._make, self._lines(data, address)))


class Disassembler:
    """A decoder for one machine; raises UsageError where capstone is not installed."""

    def __init__(self, machine: str) -> None:
        self._engine = _engine(machine)
        self._engine.detail = True
        self._capstone = _capstone()
        self._wide = machine == "aarch64"

    def decode(self, data: bytes, address: int) -> Iterator[Instruction]:
        """Instructions from the start of ``data`` up to the first bytes that do not decode."""
        for found in self._engine.disasm(data, address):
            yield self._plain(found)

    def listing(self, data: bytes, address: int) -> list[tuple[int, int, str, str]]:
        """(address, size, mnemonic, operands as text) of each instruction up to the first bytes that do not decode. Ten times as fast."""
        self._engine.detail = False
        try:
            return list(self._engine.disasm_lite(data, address))
        finally:
            self._engine.detail = True

    def reads(self, data: bytes, address: int) -> frozenset[str] | None:
        """The registers that the first instruction reads, by name; None where the bytes are none."""
        found = next(self._engine.disasm(data, address, 1), None)
        return None if found is None else frozenset(self._register(found, register) for register in found.regs_access()[0])

    def _plain(self, found: Any) -> Instruction:
        operands = tuple(self._operand(found, operand) for operand in found.operands)
        try:
            _, written = found.regs_access()
        except self._capstone.CsError:
            # capstone 5 has no access table for RISC-V: take the first register of every instruction but a store as written.
            written = [o.reg for o in found.operands[:1] if o.type == self._capstone.CS_OP_REG]
        writes = frozenset(self._register(found, register) for register in written)
        return Instruction(found.address, found.size, found.mnemonic, f"{found.mnemonic} {found.op_str}".strip(), operands, writes)

    def _register(self, found: Any, register: int) -> str:
        name = str(found.reg_name(register))
        if not self._wide:
            return name
        name = {"fp": "x29", "lr": "x30"}.get(name, name)
        return f"x{name[1:]}" if name[:1] == "w" and name[1:].isdigit() else name

    def _operand(self, found: Any, operand: Any) -> str | int | Memory | None:
        kind, capstone = operand.type, self._capstone
        if kind == capstone.CS_OP_REG:
            return self._register(found, operand.reg)
        if kind == capstone.CS_OP_IMM:
            return int(operand.imm)
        if kind == capstone.CS_OP_MEM:
            base = operand.mem.base
            index = getattr(operand.mem, "index", 0)
            return Memory(self._register(found, base) if base else None, int(operand.mem.disp), bool(index))
        return None
