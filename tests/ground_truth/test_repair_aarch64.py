"""Repaired aarch64 objects beside the originals, in real processes under qemu-user: a seeded part of `make repair-bed MACHINE=aarch64`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.repair_breakers_aarch64 import BREAKERS, FRAME_BREAKERS, broken
from tests.support.repair_forms_aarch64 import FORMS, form_source
from tests.support.repair_machines import AARCH64
from tests.support.repair_probes_aarch64 import few_probes, probe_source
from tests.support.repair_sources import EXCEPTIONS, c_source
from tests.support.repairing import build_object, is_true, linker_truth, planned, repair_file, run_host
from tests.support.runtimes import cases, emulated, musl, release
from tls_wheel_guard.repair.patch import apply_to
from tls_wheel_guard.repair.plan import plan_repair
from tls_wheel_guard.repair.prove import faults
from tls_wheel_guard.repair.refusal import CannotRepair

pytestmark = [pytest.mark.compiler, pytest.mark.emulated]
FEW = few_probes()


def make(folder: Path, text: str, compiler: str, *flags: str, name: str = "m.c") -> Path:
    (folder / name).write_text(text)
    return build_object(folder / name, folder / "before.so", compiler, *flags, machine=AARCH64)


def assert_same(before: Path, after: Path, threads: int = 4) -> None:
    """The same values in threads and main, each in a fresh process."""
    runs = [run_host(emulated("aarch64"), "values", path, str(threads), "10") for path in (before, after)]
    assert runs[0].returncode == runs[1].returncode == 0, runs[1].stderr
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.split()) == threads + 1, runs[0].stdout


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        ("gcc", ("-O0", "-fuse-ld=bfd")),
        ("gcc", ("-O2", *AARCH64.linkers["bfd, bti"])),
        ("gcc", ("-O3", "-fuse-ld=mold")),
        ("clang-19", ("-O2", "-fuse-ld=lld", "-mbranch-protection=standard")),
        ("clang-19", ("-Os", "-fuse-ld=gold")),
    ],
    ids=lambda word: word if isinstance(word, str) else " ".join(word[:2]),
)
def test_sites_and_values(compiler: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    """Every read that the linker knows, and no other."""
    before = make(tmp_path, c_source(len(flags[-1]), functions=8), compiler, *flags, "-Wl,-q")
    plan = repair_file(before, tmp_path / "after.so")
    assert plan.sites
    assert is_true(before, {planned.site.address for planned in plan.sites})
    assert_same(before, tmp_path / "after.so", threads=8)
    assert plan_repair((tmp_path / "after.so").read_bytes(), (AARCH64.glibc,)) is None


def test_registers_at_a_threads_first_access(tmp_path: Path) -> None:
    """Each probe in a thread of its own, with a malloc that destroys every register that a call may destroy, and again in main."""
    before = make(tmp_path, probe_source(FEW), "gcc", *AARCH64.probe_flags, name="p.s")
    repair_file(before, tmp_path / "after.so")
    runs = [run_host(emulated("aarch64"), "probes", path, str(len(FEW)), "0", clobber=True) for path in (before, tmp_path / "after.so")]
    assert runs[0].returncode == runs[1].returncode == 0
    assert runs[0].stdout == runs[1].stdout
    assert runs[1].stderr.count("slow") == len(FEW), "the slow path was not entered in each thread"
    assert "misaligned 0" in runs[1].stderr
    assert "lost 0" in runs[1].stderr, "a backtrace from inside of malloc did not reach the caller"


def test_unwinding_at_each_instruction(tmp_path: Path) -> None:
    """Of functions with and without a signed return address."""
    before = make(tmp_path, probe_source(FEW, trap=True), "gcc", *AARCH64.probe_flags, name="s.s")
    repair_file(before, tmp_path / "after.so")
    steps = []
    for path in (before, tmp_path / "after.so"):
        run = run_host(emulated("aarch64"), "steps", path, str(len(FEW)), clobber=True)
        words = run.stdout.split()
        assert (words[0], words[2], words[3]) == ("steps", "lost", "0"), run.stdout + run.stderr
        steps.append(int(words[1]))
    assert steps[1] > steps[0] + 10 * len(FEW), "the thunks were not stepped through"


def test_exceptions(tmp_path: Path) -> None:
    before = make(tmp_path, EXCEPTIONS, "g++", "-O2", name="m.cpp")
    repair_file(before, tmp_path / "after.so")
    assert_same(before, tmp_path / "after.so")


@pytest.mark.parametrize("name", [*cases(["bullseye/aarch64", "trixie/aarch64"]), pytest.param("musl", marks=pytest.mark.network)])
def test_other_loaders(name: str, tmp_path: Path) -> None:
    """musl refuses the original in its own words; the repaired object gives glibc's values there, and on other glibcs."""
    place = musl("aarch64") if name == "musl" else release(name.partition("/")[0], "aarch64")
    before = make(tmp_path, c_source(8), "gcc", "-O2", "-nostdlib")
    expected = run_host(emulated("aarch64"), "values", before, "4", "10").stdout
    if place.libc == "musl":
        assert "initial-exec TLS resolves to dynamic definition" in run_host(place, "values", before, "4", "10").stdout
    repair_file(before, tmp_path / "after.so", (AARCH64.musl if place.libc == "musl" else AARCH64.glibc,))
    run = run_host(place, "values", tmp_path / "after.so", "4", "10")
    assert (run.returncode, run.stdout) == (0, expected), run.stderr


@pytest.mark.parametrize("name", FORMS)
def test_reads_written_by_hand(name: str, tmp_path: Path) -> None:
    """Followed, or refused where it can't be followed."""
    form = FORMS[name]
    before = make(tmp_path, form_source(form), "gcc", "-nostdlib", *form.flags, "-Wl,-q", name="f.s")
    if refused(before):
        assert form.refused or form.may_refuse, "it was refused"
        return
    assert not form.refused, "it was not refused"
    plan = repair_file(before, tmp_path / "after.so")
    assert form.moved or {planned.site.address for planned in plan.sites} == linker_truth(before)
    assert_same(before, tmp_path / "after.so")


def refused(path: Path) -> bool:
    """Whether a repair says that it can't be done."""
    try:
        planned(path.read_bytes())
    except CannotRepair:
        return True
    return False


@pytest.mark.parametrize("name", BREAKERS)
def test_each_fault_of_a_thunk_is_seen(name: str, tmp_path: Path) -> None:
    """By the probes, and by the proof before."""
    before, after = make(tmp_path, probe_source(FEW), "gcc", *AARCH64.probe_flags, name="p.s"), tmp_path / "after.so"
    assert broken(before, after, BREAKERS[name]) != []
    runs = [run_host(emulated("aarch64"), "probes", path, str(len(FEW)), "0", clobber=True) for path in (before, after)]
    assert (runs[0].returncode, runs[0].stdout) != (runs[1].returncode, runs[1].stdout)


@pytest.mark.parametrize("name", FRAME_BREAKERS)
def test_wrong_frames_are_seen(name: str, tmp_path: Path) -> None:
    """Single steps lose the caller, or the unwinder crashes; the proof says so before."""
    before, after = make(tmp_path, probe_source(FEW[:12], trap=True), "gcc", *AARCH64.probe_flags, name="s.s"), tmp_path / "after.so"
    assert any("frame" in fault for fault in broken(before, after, FRAME_BREAKERS[name]))
    assert "lost 0" not in run_host(emulated("aarch64"), "steps", after, "12", clobber=True).stdout


def test_a_missed_site_faults(tmp_path: Path) -> None:
    """One read left as it was: the poisoned slot ends the process, and the proof says so before."""
    before = make(tmp_path, c_source(9), "gcc", "-O1")
    data = before.read_bytes()
    plan = planned(data)
    site = next(found.site for found in plan.sites if found.function == "work")
    missed = next(patch for patch in plan.patches if f" at {site.address:#x} becomes a jump" in patch.why)
    left = tuple(patch for patch in plan.patches if patch is not missed)
    (tmp_path / "after.so").write_bytes(apply_to(data, left, plan.tail, plan.appended))
    assert run_host(emulated("aarch64"), "values", tmp_path / "after.so", "4", "10").returncode == -11
    assert any("left" in fault for fault in faults(data, (tmp_path / "after.so").read_bytes(), plan))
