"""Shared objects for repair's planner and its surgery, compiled here: every linker's layout, both flavours, and some that are repaired.

What is refused is refused by CannotRepair or MalformedElf, and not because the proof failed. What is repaired must hold by more than its
own proof: nothing is left to repair, no sign of damage is found, and readelf warns of nothing that it did not warn of before (asked once
in eight, it takes long). Once in sixteen the command line repairs the file too, and must write a whole file or none.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.hostile import Wrong
from benchmarks.hostile.scratch import scratch
from tests.support.repairing import GLIBC, LINKERS, MUSL
from tls_wheel_guard.__main__ import main as guard
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.repair.damage import damage_of
from tls_wheel_guard.repair.plan import MACHINES, RepairPlan, plan_repair
from tls_wheel_guard.repair.prove import repaired
from tls_wheel_guard.repair.refusal import CannotRepair

LONGEST = 40_000
CHOICE = 15
"""The byte of e_ident, which nothing reads, that says what is asked: 1 musl only, 2 the build-id note's header may go."""
CODE = r"""
#define IE __attribute__((tls_model("initial-exec")))
static __thread long own IE = 7, more[3] IE;
__thread int shown IE;
extern __thread int foreign IE;
extern int called(long *);
long work(long n) {
    own += n;
    if (n > 3 && own > 9) more[n & 1] ^= own;
    for (long i = 0; i < n; i++) shown += (int)(i ^ own);
    return called(&more[1]) + shown + foreign + own;
}
int small(void) { return shown++; }
"""
_AARCH64 = ("-mtls-dialect=trad", "-Wl,-z,max-page-size=4096")
COMPILERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "x86_64": (("gcc", "-O2"), ("gcc", "-O0")),
    "aarch64": (("aarch64-linux-gnu-gcc", "-O2", *_AARCH64), ("aarch64-linux-gnu-gcc", "-O0", *_AARCH64)),
}
"""Machine -> compilers with flags; the first with every layout, the second with the linker's own."""
LLD = "/usr/lib/llvm-19/bin"
TARGETS = {
    "x86_64": (GLIBC, MUSL),
    "aarch64": (Target("manylinux_2_17_aarch64", "aarch64", "glibc", (2, 17)), Target("musllinux_1_2_aarch64", "aarch64", "musl", (1, 2))),
}
_NUMBERS = re.compile(r"0x[0-9a-f]+|\s*\d+")


def seeds() -> list[bytes]:
    """Objects of each machine that has a repair, by each linker that is here; some of them repaired, some with another choice."""
    found = [data for machine in MACHINES.values() for data in _compiled(machine.name)]
    asked = [bytes([*data[:CHOICE], choice, *data[CHOICE + 1 :]]) for data in found[::4] for choice in (1, 2)]
    mended = [result for data in found[::3] for result, _ in [_repaired(data)] if result is not None]
    return [*found, *asked, *mended]


def _compiled(machine: str) -> Iterator[bytes]:
    first, second = COMPILERS[machine]
    folder = scratch()
    (folder / "seed.c").write_text(CODE)
    layouts: list[tuple[tuple[str, ...], tuple[str, ...]]] = [(first, flags) for flags in LINKERS.values()] + [(second, ())]
    for command, flags in layouts:
        output = folder / "seed.so"
        words = [*command, "-shared", "-fPIC", "-w", "-nostdlib", f"-B{LLD}", *flags, "-o", str(output), str(folder / "seed.c")]
        made = shutil.which(command[0]) and subprocess.run(words, capture_output=True, check=False).returncode == 0
        if made and output.stat().st_size <= LONGEST:
            yield output.read_bytes()


def _asked(data: bytes) -> tuple[tuple[Target, ...], bool]:
    choice = data[CHOICE] if len(data) > CHOICE else 0
    machine = "aarch64" if data[18:20] == b"\xb7\0" else "x86_64"
    return (TARGETS[machine][choice & 1],), bool(choice & 2)


def _repaired(data: bytes) -> tuple[bytes | None, RepairPlan | None]:
    """The result and the plan, (None, None) where there is nothing to repair; raises as the product."""
    targets, drop = _asked(data)
    plan = plan_repair(data, targets, allow_dropping_build_id=drop)
    return (None, None) if plan is None else (repaired(data, plan), plan)


def judge(data: bytes) -> str:
    """``repaired``, ``nothing to repair``, or the rule of the refusal."""
    damage_of(data)
    try:
        result, plan = _repaired(data)
    except CannotRepair as error:
        if "\n" in error.line():
            raise Wrong(f"a refusal of several lines: {error.line()!r}") from error
        if error.rule == "unproved":
            raise Wrong(error.reason) from error
        outcome, result = f"refused: {error.rule}", None
    except MalformedElf:
        outcome, result = "malformed", None
    else:
        outcome = "nothing to repair" if result is None else "repaired"
        if result is not None and plan is not None:
            _require_whole(data, result, plan)
    if zlib.crc32(data) % 16 == 1:
        _require_same_by_command(data, outcome, result)
    return outcome


def _require_whole(data: bytes, result: bytes, plan: RepairPlan) -> None:
    if found := damage_of(result):
        raise Wrong(f"a repaired file is damaged: {found}")
    if plan_repair(result, _asked(data)[0]) is not None:
        raise Wrong("a repaired file has something to repair")
    if len(result) != len(data) + plan.bytes_added:
        raise Wrong(f"{len(result)} bytes, {len(data)} before, and the plan adds {plan.bytes_added}")
    if zlib.crc32(data) % 8 == 0 and (new := _warnings(result) - _warnings(data)):
        raise Wrong(f"readelf: {sorted(new)[:3]}")


def _warnings(data: bytes) -> frozenset[str]:
    """What readelf says on stderr, without its numbers."""
    path = scratch() / "readelf.so"
    path.write_bytes(data)
    run = subprocess.run([_readelf(), "-aW", str(path)], capture_output=True, text=True, errors="replace", check=False)
    return frozenset(_NUMBERS.sub("N", line) for line in run.stderr.splitlines())


@functools.cache
def _readelf() -> str:
    found = shutil.which("readelf")
    if found is None:
        raise FileNotFoundError("readelf is not installed")
    return found


def _require_same_by_command(data: bytes, outcome: str, result: bytes | None) -> None:
    """The command line asks the file's own evidence for targets, so a refusal may differ; a file that is written must be whole."""
    source, folder = scratch() / "bare.so", scratch() / "out"
    source.write_bytes(data)
    shutil.rmtree(folder, ignore_errors=True)
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = guard(["repair", "--no-config", "-w", str(folder), str(source)])
    said = errors.getvalue() + out.getvalue()
    if code not in (0, 3, 4) or "Traceback" in said:
        raise Wrong(f"repair ends with {code}: {said.strip()[-300:]}")
    written = Path(folder, source.name)
    if (code == 0) != written.exists():
        raise Wrong(f"exit code {code}, and the file is {'' if written.exists() else 'not '}there")
    if outcome == "malformed" and code == 0 and written.read_bytes() != data:
        raise Wrong("a malformed file was repaired by the command line")
    if result is not None and code == 0 and damage_of(written.read_bytes()):
        raise Wrong("the command line wrote a damaged file")
