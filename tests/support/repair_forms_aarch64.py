"""Reads of slots that compilers and linkers of aarch64 seldom make, as assembler: those that a repair follows and those that it must refuse.

Each is the body of ``work``: x19 holds its argument, x20 the thread pointer; it leaves the offsets of the variables ``a`` and ``b`` from the
thread pointer in x21 and x22. A frame is there, with sixteen free bytes at its end.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FORMS", "Form", "form_source"]


@dataclass(frozen=True)
class Form:
    """``refused``: a repair must refuse it; else it may, where ``may_refuse``. ``moved``: the linker moves the read from where it says it is.

    ``flags``: of compiler and linker. ``more``: assembler behind ``work``; ``before``: before it.
    """

    body: str
    refused: bool = False
    may_refuse: bool = False
    moved: bool = False
    flags: tuple[str, ...] = ()
    more: str = ""
    before: str = ""


def _load(variable: str, register: str, base: str = "x8") -> str:
    return f"adrp {base}, :gottprel:{variable}\nldr {register}, [{base}, :gottprel_lo12:{variable}]"


A, B = _load("a", "x21"), _load("b", "x22")
# An adrp at the end of a page, a store, and a load with its register: what the erratum is about.
ERRATUM = f"b 1f\n.p2align 12\n.fill 0x3fe, 4, 0xd503201f\n1: adrp x8, :gottprel:a\nstr x19, [sp, #64]\nldr x21, [x8, :gottprel_lo12:a]\n{B}"
PAGE, READ = "adrp x8, :gottprel:a", "ldr x21, [x8, :gottprel_lo12:a]"
FAR = '.section .rodata.far,"a"\n.skip 3 << 20\n.text\n'
FORMS = {
    "a page for two slots": Form(f"{PAGE}\n{READ}\nldr x22, [x8, :gottprel_lo12:b]", flags=("-Wl,-z,norelro",)),
    "the page in another register": Form(f"{PAGE}\nmov x9, x8\nmov x8, #1\nldr x21, [x9, :gottprel_lo12:a]\n{B}"),
    "the page kept over a call": Form("adrp x23, :gottprel:a\nadrp x24, :gottprel:b\nbl other\nldr x21, [x23, :gottprel_lo12:a]\n"
                                      "ldr x22, [x24, :gottprel_lo12:b]", more="other: mov x8, #3\nret"),
    "kept in x0 over a call": Form("adrp x0, :gottprel:a\nldr x21, [x0, :gottprel_lo12:a]\nbl other\nldr x22, [x0, :gottprel_lo12:b]",
                                   more="other: mov x8, #3\nret"),
    "two ways to one read": Form(f"tbz x19, #0, 1f\n{PAGE}\nb 2f\n1: {PAGE}\n2: {READ}\n{B}"),
    "one page, read in two ways": Form(f"{PAGE}\ncbz x19, 1f\n{READ}\nb 2f\n"
                                       f"1: {READ}\n2:{B}"),
    "a loop": Form(f"{PAGE}\nmov x9, #3\n1: {READ}\nsubs x9, x9, #1\nb.ne 1b\n{B}"),
    "behind a table of jumps": Form(f"{PAGE}\nand x9, x19, #1\nadr x10, 3f\nadd x10, x10, x9, lsl #2\nbr x10\n3: b 4f\nb 5f\n"
                                    f"4: {READ}\nb 6f\n5: {READ}\n6:{B}", may_refuse=True),
    "flags live over the read": Form(f"cmp x19, #7\n{A}\nb.hi 1f\n{B}\nb 2f\n1: {_load('b', 'x22', 'x22')}\n2:"),
    "data between the functions": Form(f"{A}\n{B}", more="ret\n.word 0x90000008, 0xf9400108, 0xffffffff\n.p2align 2"),
    "the link register read into": Form(f"{_load('a', 'x30', 'x30')}\nmov x21, x30\n{B}"),
    "erratum 843419, adr for adrp": Form(ERRATUM, flags=("-Wl,--fix-cortex-a53-843419=adr",)),
    "erratum 843419, a veneer": Form(ERRATUM, flags=("-Wl,--fix-cortex-a53-843419",), may_refuse=True, moved=True, before=FAR),
    "erratum 843419, not mended": Form(ERRATUM, flags=("-mno-fix-cortex-a53-843419",)),
    "the page stored": Form(f"{PAGE}\nstr x8, [sp, #64]\nldr x9, [sp, #64]\nldr x21, [x9, :gottprel_lo12:a]\n{B}", refused=True),
    "the page handed to a function": Form(f"{PAGE}\nbl other\n{B}", more=f"other: {READ}\nret", may_refuse=True),
    "one use here, one in a function": Form(f"{PAGE}\n{READ}\nbl other\n{B}",
                                            more=f"other: {READ}\nret", may_refuse=True),
    "into a vector register": Form(f"{PAGE}\nldr d0, [x8, :gottprel_lo12:a]\nfmov x21, d0\n{B}", refused=True),
    "an index register": Form(f"{PAGE}\nmov x9, #0\nldr x21, [x8, x9]\n{B}", refused=True),
    "a page that may be another": Form(f"{PAGE}\ncbnz x20, 1f\nadrp x8, 1f\n1: {READ}\n{B}", refused=True),
    "read into nothing": Form(f"{PAGE}\nldr xzr, [x8, :gottprel_lo12:a]\n{A}\n{B}", may_refuse=True),
    "a literal load": Form(f"ldr x21, :gottprel:a\n{B}", refused=True),
    "SVE beside a read": Form(f".arch armv8.2-a+sve\nptrue p0.b\n{A}\n{B}", refused=True),
}  # fmt: skip
"""What it is -> its code."""


def form_source(form: Form) -> str:
    """An object with ``work(n)``: adds n to a, its half to b, and gives a * 31 + b."""
    frame = "stp x29, x30, [sp, #-80]!\n.cfi_def_cfa_offset 80\n.cfi_offset 29, -80\n.cfi_offset 30, -72"
    pairs = ((19, 16), (21, 32), (23, 48))
    saved = "\n".join(f"stp x{n}, x{n + 1}, [sp, #{at}]\n.cfi_offset {n}, {at - 80}\n.cfi_offset {n + 1}, {at - 72}" for n, at in pairs)
    restored = "\n".join(f"ldp x{n}, x{n + 1}, [sp, #{at}]" for n, at in pairs)
    end = "add x9, x20, x21\nldr x10, [x9]\nadd x10, x10, x19\nstr x10, [x9]\nadd x9, x20, x22\nldr x11, [x9]\nadd x11, x11, x19, lsr #1\n"
    end += f"str x11, [x9]\nmov x12, #31\nmadd x0, x10, x12, x11\n{restored}\nldp x29, x30, [sp], #80\nret"
    return f"""{form.before}.text
.p2align 2
.globl work
.type work, %function
work:
.cfi_startproc
{frame}
{saved}
mov x19, x0
mrs x20, tpidr_el0
{form.body}
{end}
.cfi_endproc
.size work, .-work
.type other, %function
{_function(form.more)}
.section .tdata,"awT",%progbits
.balign 16
a: .quad 5
b: .quad 9
.section .tbss,"awT",%nobits
.zero 900
.section .note.GNU-stack,"",%progbits
"""


def _function(text: str) -> str:
    if not text.startswith("other:"):
        return text
    return f"{text.replace('other:', 'other:' + chr(10) + '.cfi_startproc' + chr(10))}\n.cfi_endproc\n.size other, .-other"
