"""Frames of functions as they are read, and what unwinders find behind the last function of a repaired object."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.repair_machines import AARCH64, X86_64
from tests.support.repair_sources import c_source
from tests.support.repairing import build_object
from tls_wheel_guard.elf import BytesSource
from tls_wheel_guard.machine_code import read_code
from tls_wheel_guard.machine_code.call_frames import FrameTable, Row
from tls_wheel_guard.machine_code.eh_frame import Frame, frames
from tls_wheel_guard.repair.elf_file import read_elf_file
from tls_wheel_guard.repair.plan import MACHINES, plan_repair
from tls_wheel_guard.repair.prove import repaired
from tls_wheel_guard.repair.section_table import FRAME_SECTION

pytestmark = pytest.mark.compiler


_RULE = re.compile(r"^c([+-]\d+)$")


@pytest.mark.parametrize(("compiler", "level"), [("gcc", "-O2"), ("gcc", "-O0"), ("clang-19", "-O2")])
def test_frames_are_those_of_readelf(compiler: str, level: str, tmp_path: Path) -> None:
    """Every row of every FDE, beside readelf's own reading of it."""
    (tmp_path / "m.c").write_text(
        c_source(12) + "void call(void *); void big(int n) { char a[n]; char b[70] __attribute__((aligned(64))); call(a); call(b); }"
    )
    path = build_object(tmp_path / "m.c", tmp_path / "m.so", compiler, level)
    found, table = frames_of(path.read_bytes(), "x86_64", ".eh_frame")
    own = {address: row for frame in found for address, row in table.rows(frame)}
    text = subprocess.run(["readelf", "--debug-dump=frames-interp", str(path)], check=True, capture_output=True, text=True).stdout
    seen = 0
    for part in re.split(r"\n(?=[0-9a-f]{8} )", text):
        if " FDE " not in part:
            continue
        lines = part.strip().splitlines()
        if len(lines) < 2:
            continue
        names = lines[1].split()[1:]
        for line in lines[2:]:
            if not line.strip():
                continue
            address, *cells = line.split()
            assert_row(own[int(address, 16)], dict(zip(names, cells, strict=True)))
            seen += 1
    assert seen > 20


def assert_row(row: Row, cells: dict[str, str]) -> None:
    numbers = {"rax": 0, "rdx": 1, "rcx": 2, "rbx": 3, "rsi": 4, "rdi": 5, "rbp": 6, "rsp": 7, "ra": 16, **{f"r{n}": n for n in range(8, 16)}}
    cfa = cells.pop("CFA")
    if cfa == "exp":
        assert isinstance(row.cfa, bytes)
    else:
        register, offset = re.split(r"(?=[+-])", cfa)
        assert row.cfa == (numbers[register], int(offset))
    rules = dict(row.rules)
    for name, cell in cells.items():
        rule = rules.get(numbers[name])
        if match := _RULE.match(cell):
            assert rule == ("offset", int(match[1]))
        elif cell == "exp":
            assert rule is not None
            assert rule[0] == "expression"
        else:
            assert (cell, rule) in (("u", None), ("u", ("undefined", 0)), ("s", ("same_value", 0)))


@pytest.mark.parametrize("machine", [pytest.param(machine, id=machine.name) for machine in (X86_64, AARCH64)])
def test_no_caller_is_made_up_behind_the_last_function(machine: Any, tmp_path: Path) -> None:
    """Between it and the thunks may lie code without frames, such as a linker's veneers: an unwinder stops there, as before."""
    (tmp_path / "m.c").write_text(c_source(12))
    data = build_object(tmp_path / "m.c", tmp_path / "m.so", "gcc", "-O2", machine=machine).read_bytes()
    plan = plan_repair(data, (machine.glibc,))
    assert plan is not None
    assert plan.unwinding == "last"
    after = repaired(data, plan)
    end = frames_of(data, machine.name, ".eh_frame")[0][-1].end
    (frame,), table = frames_of(after, machine.name, FRAME_SECTION)
    returns = MACHINES[read_elf_file(data).e_machine].frame.return_register
    assert frame.start < end <= plan.layout.address < frame.end
    assert (returns, ("undefined", 0)) in table.row_at(frame, end).rules
    assert (returns, ("undefined", 0)) not in table.row_at(frame, end - 1).rules
    assert (returns, ("undefined", 0)) not in table.row_at(frame, plan.sites[0].thunk_address).rules


def frames_of(data: bytes, machine: str, name: str) -> tuple[list[Frame], FrameTable]:
    """The frames of a section, and the table that has their rows."""
    section = read_elf_file(data).section(name)
    assert section is not None
    code = read_code(BytesSource(data), machine)
    return frames(code, 8, True, (section.address, section.size)), FrameTable(code.loaded(section.address, section.size), section.address)
