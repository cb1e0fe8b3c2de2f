"""Function ranges beside readelf's frames, names beside nm, sites beside --emit-relocs: for small objects of each machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.inputs import sites_of
from tests.support.toolchain import COMPILERS, require
from tls_wheel_guard.elf import BytesSource, read_shared_object
from tls_wheel_guard.elf.section_headers import read_sections
from tls_wheel_guard.elf.symbol_tables import read_names
from tls_wheel_guard.machine_code import read_code
from tls_wheel_guard.machine_code.eh_frame import function_ranges

pytestmark = pytest.mark.compiler

SOURCE = """
static __thread int first __attribute__((tls_model("initial-exec")));
__thread long second[3] __attribute__((tls_model("initial-exec")));
extern __thread int other __attribute__((tls_model("initial-exec")));
void call(void *);
int plain(int n) { return first += n; }
long *address(int n) { return &second[n]; }
int loop(int n) { int sum = 0; for (int i = 0; i < n; i++) { call(&sum); first += i; second[i % 3] += other; sum += first; } return sum; }
int choose(int n) {
    switch (n) {
    case 0: return first; case 1: call(&first); return 1; case 2: return other; case 3: call(second); return first + other;
    case 4: return (int)second[0]; case 5: other = 3; return 0; default: return -1;
    }
}
double many(double x) { char room[n_bytes]; call(room); return x * first + second[1] + other; }
""".replace("n_bytes", "5000")
RELOCS = {"x86_64": "GOTTPOFF", "aarch64": "TLSIE_LD64_GOTTPREL_LO12", "i386": "TLS_GOTIE"}
"""The relocations of sites as --emit-relocs keeps them, by a word in their names."""


def build(folder: Path, machine: str, *flags: str, compiler: tuple[str, ...] = ()) -> Path:
    command = compiler or COMPILERS[machine]
    require(command[0])
    (folder / "m.c").write_text(SOURCE)
    output = folder / "m.so"
    base = ("-shared", "-fPIC", "-nostdlib", "-fasynchronous-unwind-tables", "-Wl,--unresolved-symbols=ignore-all")
    subprocess.run([*command, *base, *flags, "-o", str(output), str(folder / "m.c")], check=True, capture_output=True)
    return output


@pytest.mark.parametrize("machine", ["x86_64", "i386", "aarch64", "arm", "ppc64le", "s390x", "riscv64"])
def test_ranges_are_those_of_readelf(machine: str, tmp_path: Path) -> None:
    path = build(tmp_path, machine, "-O2")
    source = BytesSource(path.read_bytes())
    facts, sections = read_shared_object(source), read_sections(source)
    code = read_code(source, machine)
    text = subprocess.run(["readelf", "--debug-dump=frames", str(path)], check=True, capture_output=True, text=True).stdout
    told = sorted({(int(start, 16), int(end, 16)) for start, end in re.findall(r"FDE .*pc=([0-9a-f]+)\.\.([0-9a-f]+)", text)})
    frames = next(((s.address, s.size) for s in sections if s.name == ".eh_frame"), None)
    by_section = function_ranges(code, facts.bits // 8, facts.little_endian, frames)
    assert [r for r in by_section if r[0] < r[1]] == [r for r in told if r[0] < r[1]]
    assert told or machine == "arm", "the compiler wrote no frames"
    if any(s.type == 0x6474E550 for s in code.segments):
        assert function_ranges(code, facts.bits // 8, facts.little_endian, None) == by_section


@pytest.mark.parametrize("machine", ["x86_64", "i386", "aarch64", "arm", "s390x", "sparc64"])
def test_names_are_those_of_nm(machine: str, tmp_path: Path) -> None:
    path = build(tmp_path, machine, "-O1")
    source = BytesSource(path.read_bytes())
    names = read_names(source, read_sections(source))
    text = subprocess.run(["readelf", "-sW", str(path)], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in text.splitlines() if re.match(r" *\d+:", line)]
    tls = {(row[7], int(row[1], 16)) for row in rows if row[3] == "TLS" and row[6] != "UND" and not row[7].startswith((".L", "$", "_TLS_MODULE"))}
    assert {(v.name, v.offset) for v in names.variables} == tls
    functions = {row[7] for row in rows if row[3] == "FUNC" and row[6] != "UND" and len(row) > 7}
    assert {f.name for f in names.functions} >= functions


@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2", "-O3", "-Os"])
@pytest.mark.parametrize(("machine", "compiler"), [("x86_64", ()), ("x86_64", ("clang-19",)), ("aarch64", ()), ("i386", ())])
def test_sites_are_those_of_the_linkers_relocations(machine: str, compiler: tuple[str, ...], level: str, tmp_path: Path) -> None:
    path = build(tmp_path, machine, level, "-Wl,--emit-relocs", compiler=compiler)
    text = subprocess.run(["readelf", "-rW", str(path)], check=True, capture_output=True, text=True).stdout
    kept = {int(line.split()[0], 16) for line in text.splitlines() if RELOCS[machine] in line}
    assert kept
    for strip in (False, True):
        if strip:
            tool = {"aarch64": "aarch64-linux-gnu-strip", "i386": "i686-linux-gnu-strip"}.get(machine, "strip")
            subprocess.run([tool, "-s", "--remove-section=.rela.text", "--remove-section=.rel.text", str(path)], check=True)
        (found,) = sites_of(path).values()
        # A relocation stands at the instruction on aarch64, at its displacement on x86.
        offset = {"x86_64": 3, "i386": 2, "aarch64": 0}[machine]
        assert {site.address for site in found.sites} == {at - offset for at in kept}
        assert found.doubts == ()
