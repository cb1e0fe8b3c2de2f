"""A thunk read again: its instructions are decoded and run over symbols, and what they leave is compared with what the read left.

The proof knows nothing of how a thunk is written. At the end every register must hold what it held before, the stack pointer too, but
the register that the read wrote must hold the descriptor's answer, or its old value and that answer added; the flags must be the old ones
where they may be read; and nothing may have been written above the red zone.
"""

from __future__ import annotations

from tls_wheel_guard.machine_code.disassembly import Disassembler, Instruction, Memory
from tls_wheel_guard.repair.machine import Depth, Proof, Site
from tls_wheel_guard.repair.symbolic_run import SymbolicRun, WrongThunkError
from tls_wheel_guard.repair.x86_64.thunks import RED_ZONE

__all__ = ["prove"]

NAMES = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split()


def prove(site: Site, redirected: bytes, at: int, thunk: bytes, descriptor: int, guard: int) -> Proof:
    """Whether a site's new bytes and its thunk at address ``at`` do what the read did. ``guard``: its address, 0 for plain."""
    engine = Disassembler("x86_64")
    depths: list[Depth] = []
    try:
        _require_jump(list(engine.decode(redirected, site.address)), site, at)
        run, instructions = SymbolicRun.of(NAMES), list(engine.decode(thunk, at))
        if not instructions or sum(i.size for i in instructions) != len(thunk):
            raise WrongThunkError("the thunk does not decode")
        for instruction in instructions[:-1]:
            depths.append(Depth(instruction.address, -run.pointer))
            _step(run, instruction, guard)
        last = instructions[-1]
        depths.append(Depth(last.address, -run.pointer))
        if (last.mnemonic, last.operands) != ("jmp", (site.address + site.size,)):
            raise WrongThunkError(f"the thunk ends with `{last.text}` and not with a jump behind its site")
        _require_same(run, site, descriptor)
    except WrongThunkError as wrong:
        return Proof(str(wrong))
    return Proof("", tuple(depths))


def _require_jump(found: list[Instruction], site: Site, at: int) -> None:
    if [i.mnemonic for i in found] != ["jmp", "nop"] or found[0].operands != (at,) or sum(i.size for i in found) != site.size:
        raise WrongThunkError(f"the site at {site.address:#x} does not jump to its thunk at {at:#x}")


def _require_same(run: SymbolicRun, site: Site, descriptor: int) -> None:
    wanted = {name: f"old {name}" for name in NAMES}
    written = NAMES[site.register]
    wanted[written] = "answer" if site.form == "mov" else f"old {written} + answer"
    run.require_one_call(descriptor)
    run.require_registers({name: value for name, value in wanted.items() if name != "rsp"})
    if site.form == "add" and run.flags != "flags of the sum":
        raise WrongThunkError(f"the flags are {run.flags} and not those of the sum")
    if site.keep_flags and run.flags != "old flags":
        raise WrongThunkError(f"the flags are {run.flags} and not the old ones")


def _store(run: SymbolicRun, place: int, value: str) -> None:
    if place > -RED_ZONE - 8:
        raise WrongThunkError(f"a write {-place} bytes below the stack pointer: the red zone is the function's")
    run.stack[place] = value


def _step(run: SymbolicRun, instruction: Instruction, guard: int) -> None:
    """One instruction of those that a thunk may have."""
    name, operands = instruction.mnemonic, instruction.operands
    handler = _HANDLERS.get(name)
    if handler is None:
        raise WrongThunkError(f"`{instruction.text}` has no place in a thunk")
    handler(run, instruction, operands, guard)


def _lea(run: SymbolicRun, instruction: Instruction, operands: tuple[object, ...], guard: int) -> None:
    del guard
    register, memory = operands
    if not isinstance(memory, Memory) or memory.indexed or not isinstance(register, str):
        raise WrongThunkError(f"`{instruction.text}`")
    if register == "rsp" and memory.base == "rsp":
        run.pointer += memory.displacement
    elif register == "rax" and memory.base == "rip":
        run.registers["rax"] = f"address {instruction.end + memory.displacement}"
    else:
        raise WrongThunkError(f"`{instruction.text}`")


def _register(instruction: Instruction, operand: object) -> str:
    """A whole general register other than the stack pointer."""
    if operand not in NAMES or operand == "rsp":
        raise WrongThunkError(f"`{instruction.text}`")
    return str(operand)


def _push(run: SymbolicRun, instruction: Instruction, operands: tuple[object, ...], guard: int) -> None:
    del guard
    run.pointer -= 8
    _store(run, run.pointer, run.registers[_register(instruction, operands[0])])


def _pop(run: SymbolicRun, instruction: Instruction, operands: tuple[object, ...], guard: int) -> None:
    del guard
    run.registers[_register(instruction, operands[0])] = run.stack.get(run.pointer, "nothing known")
    run.pointer += 8


def _call(run: SymbolicRun, instruction: Instruction, operands: tuple[object, ...], guard: int) -> None:
    """The guard, or the descriptor's function: the answer in rax, the flags gone, and what lies below the stack pointer."""
    target = operands[0]
    direct = bool(guard) and target == guard
    through = not guard and isinstance(target, Memory) and target == Memory("rax", 0, False)
    if not (direct or through) or not run.registers["rax"].startswith("address "):
        raise WrongThunkError(f"`{instruction.text}`")
    _store(run, run.pointer - 8, "the way back")
    run.descriptor, run.calls = int(run.registers["rax"].split()[1]), run.calls + 1
    run.registers["rax"], run.flags = "answer", "unknown"
    run.forget_below()


def _mov(run: SymbolicRun, instruction: Instruction, operands: tuple[object, ...], guard: int) -> None:
    del guard
    target, source = operands
    value = run.registers[_register(instruction, source)]
    if isinstance(target, Memory):
        if target.base != "rsp" or target.indexed:
            raise WrongThunkError(f"`{instruction.text}`")
        _store(run, run.pointer + target.displacement, value)
    else:
        run.registers[_register(instruction, target)] = value


def _lahf(run: SymbolicRun, instruction: Instruction, operands: tuple[object, ...], guard: int) -> None:
    del instruction, operands, guard
    run.registers["rax"] = f"ah({run.flags})"


def _seto(run: SymbolicRun, instruction: Instruction, operands: tuple[object, ...], guard: int) -> None:
    if operands != ("al",) or run.registers["rax"] != f"ah({run.flags})":
        raise WrongThunkError(f"`{instruction.text}`")
    del guard
    run.registers["rax"] = f"ah and overflow({run.flags})"


def _add(run: SymbolicRun, instruction: Instruction, operands: tuple[object, ...], guard: int) -> None:
    """``add $0x7f,%al`` brings the overflow flag back, ``add n(%rsp),%register`` is the read itself."""
    del guard
    target, source = operands
    if target == "al" and source == 0x7F and run.registers["rax"].startswith("ah and overflow("):
        run.flags = "overflow of " + run.registers["rax"]
    elif isinstance(source, Memory) and source.base == "rsp" and not source.indexed:
        run.registers[_register(instruction, target)] += " + " + run.stack.get(run.pointer + source.displacement, "nothing known")
        run.flags = "flags of the sum"
    else:
        raise WrongThunkError(f"`{instruction.text}`")


def _sahf(run: SymbolicRun, instruction: Instruction, operands: tuple[object, ...], guard: int) -> None:
    del operands, guard
    kept = run.registers["rax"]
    if run.flags != "overflow of " + kept:
        raise WrongThunkError(f"`{instruction.text}` without the overflow flag")
    run.flags = kept.removeprefix("ah and overflow(").removesuffix(")")
    run.registers["rax"] = "flags kept"


_HANDLERS = {
    "lea": _lea, "push": _push, "pop": _pop, "call": _call, "mov": _mov, "lahf": _lahf, "seto": _seto, "add": _add, "sahf": _sahf,
}  # fmt: skip
