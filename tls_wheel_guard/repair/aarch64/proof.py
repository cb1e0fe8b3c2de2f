"""A thunk read again: its instructions are decoded and run over symbols, and what they leave is compared with what the read left.

The proof knows nothing of how a thunk is written. At the end every register must hold what it held before, the stack pointer too, but
the register that the read wrote must hold the descriptor's answer; the flags must be the old ones; and nothing may have been written
above the stack pointer.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tls_wheel_guard.machine_code.disassembly import Line, LineDecoder
from tls_wheel_guard.repair.machine import Depth, Proof, Site
from tls_wheel_guard.repair.symbolic_run import SymbolicRun, WrongThunkError

__all__ = ["prove"]

NAMES = [f"x{number}" for number in range(31)]
_STACK = re.compile(r"\[sp(?:, #(?P<at>-?(?:0x)?[0-9a-f]+))?\](?P<before>!)?(?:, #(?P<after>-?(?:0x)?[0-9a-f]+))?")


def prove(site: Site, redirected: bytes, at: int, thunk: bytes, descriptor: int, guard: int) -> Proof:
    """Whether a site's new bytes and its thunk at address ``at`` do what the read did. ``guard`` is unused: there is none."""
    del guard
    decoder = LineDecoder("aarch64")
    depths: list[Depth] = []
    try:
        _require_branch(decoder.decode(redirected, site.address), at, f"the site at {site.address:#x} does not lead to its thunk at {at:#x}")
        run, lines = SymbolicRun.of(NAMES), decoder.decode(thunk, at)
        if not lines or 4 * len(lines) != len(thunk):
            raise WrongThunkError("the thunk does not decode")
        for line in lines[:-1]:
            depths.append(_depth(run, line.address))
            _step(run, line)
        depths.append(_depth(run, lines[-1].address))
        _require_branch(lines[-1:], site.address + site.size, f"the thunk ends with `{_text(lines[-1])}` and not with a branch behind its site")
        _require_same(run, site, descriptor)
    except WrongThunkError as wrong:
        return Proof(str(wrong))
    return Proof("", tuple(depths))


def _depth(run: SymbolicRun, address: int) -> Depth:
    """How far down the stack pointer is, and where above it the old x30 lies."""
    if run.pointer == 0:
        return Depth(address, 0)
    kept = min((place for place, value in run.stack.items() if value == "old x30" and place >= run.pointer), default=None)
    if kept is None:
        raise WrongThunkError(f"the return address is lost at {address:#x}")
    return Depth(address, -run.pointer, kept - run.pointer)


def _text(line: Line) -> str:
    return f"{line.mnemonic} {line.operands}".strip()


def _number(text: str | None) -> int:
    return int(text, 0) if text else 0


def _require_branch(lines: list[Line], target: int, what: str) -> None:
    if [line.mnemonic for line in lines] != ["b"] or int(lines[0].operands.lstrip("#"), 0) != target:
        raise WrongThunkError(what)


def _require_same(run: SymbolicRun, site: Site, descriptor: int) -> None:
    run.require_one_call(descriptor)
    run.require_registers({name: "answer" if number == site.register else f"old {name}" for number, name in enumerate(NAMES)})
    if run.flags != "old flags":
        raise WrongThunkError(f"the flags are {run.flags} and not the old ones")


def _step(run: SymbolicRun, line: Line) -> None:
    """One instruction of those that a thunk may have."""
    handler = _HANDLERS.get(line.mnemonic)
    if handler is None or not handler(run, line, [word.strip() for word in line.operands.split(",")]):
        raise WrongThunkError(f"`{_text(line)}` has no place in a thunk")


def _place(run: SymbolicRun, line: Line) -> int | None:
    """Where a memory operand reaches, as a distance from the first stack pointer; the stack pointer is moved."""
    found = _STACK.search(line.operands)
    if found is None or (found["after"] and found["at"]):
        return None
    place = run.pointer + _number(found["at"])
    if found["before"]:
        run.pointer = place
    run.pointer += _number(found["after"])
    return place


def _store_pair(run: SymbolicRun, line: Line, operands: list[str]) -> bool:
    place = _place(run, line)
    if place is None or not {*operands[:2]} <= run.registers.keys() or place < run.pointer or place + 16 > 0:
        return False
    run.stack[place], run.stack[place + 8] = run.registers[operands[0]], run.registers[operands[1]]
    return True


def _load(run: SymbolicRun, line: Line, operands: list[str]) -> bool:
    """A pair or one register from the stack, or the descriptor's function from the descriptor."""
    if line.mnemonic == "ldr" and operands[1].startswith("[x0"):
        at = _number(operands[2].strip("#]")) if len(operands) > 2 else 0
        if operands[0] != "x1" or not run.registers["x0"].startswith("address "):
            return False
        run.registers["x1"] = f"function at {int(run.registers['x0'].split()[1]) + at}"
        return True
    registers = operands[: 2 if line.mnemonic == "ldp" else 1]
    lowest = run.pointer
    place = _place(run, line)
    if place is None or place < lowest or not {*registers} <= run.registers.keys():
        return False
    for number, register in enumerate(registers):
        run.registers[register] = run.stack.get(place + 8 * number, "nothing known")
    return True


def _flags(run: SymbolicRun, line: Line, operands: list[str]) -> bool:
    """``mrs`` keeps the flags in a register, ``msr`` brings them back."""
    register, name = operands if line.mnemonic == "mrs" else operands[::-1]
    if name != "nzcv" or register not in run.registers:
        return False
    if line.mnemonic == "mrs":
        run.registers[register] = f"flags({run.flags})"
    else:
        run.flags = run.registers[register].removeprefix("flags(").removesuffix(")")
    return True


def _adrp(run: SymbolicRun, line: Line, operands: list[str]) -> bool:
    del line
    run.registers[operands[0]] = f"address {_number(operands[1].lstrip('#'))}"
    return operands[0] == "x0"


def _add(run: SymbolicRun, line: Line, operands: list[str]) -> bool:
    del line
    number = _number(operands[2].lstrip("#"))
    if operands[:2] == ["sp", "sp"]:
        run.pointer += number
        return True
    if operands[:2] != ["x0", "x0"] or not run.registers["x0"].startswith("address "):
        return False
    run.registers["x0"] = f"address {int(run.registers['x0'].split()[1]) + number}"
    return True


def _call(run: SymbolicRun, line: Line, operands: list[str]) -> bool:
    """The descriptor's function: the answer in x0; x1, x30, the flags, and what lies below the stack pointer are gone."""
    del line
    kept = run.registers["x0"].removeprefix("address ")
    if operands != ["x1"] or run.registers["x1"] != f"function at {kept}" or run.pointer % 16:
        return False
    run.descriptor, run.calls, run.flags = int(kept), run.calls + 1, "unknown"
    run.registers |= {"x0": "answer", "x1": "nothing known", "x30": "the way back"}
    run.forget_below()
    return True


def _mov(run: SymbolicRun, line: Line, operands: list[str]) -> bool:
    del line
    if not {*operands} <= run.registers.keys():
        return False
    run.registers[operands[0]] = run.registers[operands[1]]
    return True


_HANDLERS: dict[str, Callable[[SymbolicRun, Line, list[str]], bool]] = {
    "stp": _store_pair, "ldp": _load, "ldr": _load, "mrs": _flags, "msr": _flags, "adrp": _adrp, "add": _add, "blr": _call, "mov": _mov,
}  # fmt: skip
