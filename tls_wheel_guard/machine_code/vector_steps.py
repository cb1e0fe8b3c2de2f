"""A block of x86-64 code as the steps that concern vector registers: instructions with an effect on them, and calls."""

from __future__ import annotations

from typing import NamedTuple

from tls_wheel_guard.machine_code.control_flow import Block, ControlFlow, branch_target, plain, rip_target
from tls_wheel_guard.machine_code.disassembly import Line
from tls_wheel_guard.machine_code.vector_effects import NOTHING, Effect, effect_of

__all__ = ["Call", "Step", "called", "steps_of"]

_RAX = ("rax", "eax", "ax", "al", "ah")


class Call(NamedTuple):
    """``target``: address of the code that is called, ``slot``: of the GOT word that holds it; both None where only the register knows.

    ``vectors``: how many vector registers hold arguments, as the caller of a variadic function says in al; None where it says nothing.
    ``saves``: this is not a call but the prologue of a variadic function, which saves the argument registers that al counts.
    """

    target: int | None
    slot: int | None
    vectors: int | None = None
    saves: bool = False


class Step(NamedTuple):
    """One instruction: its effect on vector registers, or a call."""

    address: int
    effect: Effect
    call: Call | None = None


def called(flow: ControlFlow, line: Line, count: int | None = None) -> Call:
    """The function that a call or a jump out of a function leads to."""
    target = branch_target(line)
    if target is None:
        return Call(None, rip_target(line), count)
    slot = flow.stub_slot(target)
    return Call(None, slot, count) if slot is not None else Call(target, None, count)


def steps_of(flow: ControlFlow, block: Block) -> list[Step]:
    """The steps of a block in order; a tail call at its end is a call."""
    if _saves_arguments(block):
        return [Step(block.start, NOTHING, Call(None, None, saves=True))]
    steps: list[Step] = []
    count: int | None = None
    for line in block.lines:
        name, operands = line.mnemonic, line.operands
        effect = effect_of(name, operands) if "mm" in operands or name[:1] in "vk" else NOTHING
        if effect is not NOTHING:
            steps.append(Step(line.address, effect))
        if plain(name) == "call":
            steps.append(Step(line.address, NOTHING, called(flow, line, count)))
            count = None
        else:
            count = _count_in_al(name, operands, count)
    if block.end == "tail":
        steps.append(Step(block.lines[-1].address, NOTHING, called(flow, block.lines[-1], count)))
    return steps


def _count_in_al(name: str, operands: str, count: int | None) -> int | None:
    """The number in eax that only a variadic callee can be meant to see: set to a constant up to 8 and not used since."""
    if name == "xor" and operands == "eax, eax":
        return 0
    if name == "mov" and operands[:5] == "eax, " and operands[5:] in tuple("12345678"):
        return int(operands[5:])
    if count is not None and any(register in operands for register in _RAX):
        return None
    return count


def _saves_arguments(block: Block) -> bool:
    """Whether a block is the one that gcc and clang put behind ``test %al, %al`` in a variadic function: eight stores of xmm0 to xmm7."""
    stored = [line.operands.rsplit(", ", 1)[-1] for line in block.lines if line.mnemonic in ("movaps", "vmovaps") and line.operands[:3] == "xmm"]
    return len(block.lines) <= len(stored) + 1 and stored == [f"xmm{n}" for n in range(8)]
