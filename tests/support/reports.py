"""Reports with findings of nearly every kind, for tests of writers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support.checking import check
from tests.support.elf_builder import Reloc, Spec, Sym, build
from tests.support.modules import ie
from tls_wheel_guard.config.model import Allow
from tls_wheel_guard.findings import Report

__all__ = ["EVIL", "every_kind"]

EVIL = (
    "<script>alert(1)</script>",
    "a|b`c``d",
    "](http://evil)",
    "x\x1b]8;;http://evil\x1b\\y",
    "n\r\n::error::x",
    "\ud800\ufffe\x01",
    "y" * 4000,
)


def every_kind(folder: Path) -> list[Report]:
    """Reports with findings of nearly every rule, allowed ones, a file that could not be read, and names that are attacks."""
    members = {
        "a.so": ie(flags=0, symbols=(Sym("x"),)), "b.so": build(Spec(header=(50, 64, True))), "c.so": ie()[:200], "d.dylib": b"\xcf\xfa\xed\xfe",
        "g.so": build(Spec(relocs=(Reloc(18, "errno"),), symbols=(Sym("errno", version="GLIBC_PRIVATE"),), needed=("libc.so.6",))),
        "big.so": ie(1200), "huge.so": ie(9000),
    }  # fmt: skip
    allow = (Allow("a.so", "initial-exec-tls", "why <b>not</b>"), Allow("z.so", "initial-exec-tls", ""))
    first = check(folder, members, "manylinux1_x86_64.musllinux_1_1_x86_64", targets=("netbsd_10_0_amd64", "openbsd_7_5_amd64"), allow=allow)
    evil = check(folder, {f"p/{n}.so": ie() for n in range(len(EVIL))}, "musllinux_1_2_x86_64")
    names = dict(zip((f"p/{n}.so" for n in range(len(EVIL))), EVIL, strict=True))
    named = replace(evil, findings=tuple(replace(f, module=names.get(f.module or "", f.module)) for f in evil.findings))
    return [
        first,
        named,
        Report("x.whl", "dist/x<y>.whl", error="it is not a zip archive", error_hint="build it again"),
        check(folder, {}, "any"),
    ]
