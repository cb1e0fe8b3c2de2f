"""A verdict is what the loader's own step does: held together for every loader and machine."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.demands import module
from tests.support.elf_builder import Reloc, Spec, Sym, Tls, build
from tests.support.modules import ie
from tests.support.wheel_builder import make_wheel
from tls_wheel_guard import check_wheel
from tls_wheel_guard.elf import BytesSource, read_shared_object
from tls_wheel_guard.elf.relocations import TLS_RELOCS
from tls_wheel_guard.loaders import Given, Open, Verdict, judge, load_together
from tls_wheel_guard.loaders.glibc import process
from tls_wheel_guard.loaders.refusals import REFUSALS, is_static_tls, named_in
from tls_wheel_guard.loaders.registry import LOADERS, ROWS, loader_called, loader_of
from tls_wheel_guard.platforms import MACHINES, Libc, Machine, Target, machine_called
from tls_wheel_guard.records import replace
from tls_wheel_guard.tls import Access, TlsModule, demand_of, tls_module

VERSIONS: dict[Libc, list[tuple[int, ...] | None]] = {
    "glibc": [None, (2, 5), (2, 12), (2, 17), (2, 28), (2, 31), (2, 34), (2, 36), (2, 41)],
    "freebsd": [None, (12, 1), (13, 1), (14, 2), (15, 0)],
    "musl": [None, (1, 1), (1, 2)],
    "bionic": [None, (24,), (29,), (34,)],
}


@st.composite
def modules(draw: st.DrawFn) -> tuple[TlsModule, Machine]:
    """A module built and read: own, foreign, weak and descriptor accesses, a TLS segment or none, DF_STATIC_TLS or not."""
    machine = draw(st.sampled_from([m for m in MACHINES if m.e_machine in TLS_RELOCS]))
    numbers: dict[str, int] = {}
    for number, (kind, name) in TLS_RELOCS[machine.e_machine].items():
        if name.endswith(str(machine.bits)) or kind not in numbers:
            numbers[kind] = number
    names = {None: None, "own": Sym("own", defined=True), "far": Sym("far"), "perhaps": Sym("perhaps", weak=True)}
    relocs = tuple(
        Reloc(numbers[kind], symbol)
        for kind, symbol in draw(st.lists(st.tuples(st.sampled_from(sorted(numbers)), st.sampled_from(list(names))), max_size=4))
    )
    sizes = st.one_of(st.integers(1, 140), st.integers(1, 2000), st.sampled_from([64, 128, 512, 1664, 1712]))
    tls = draw(
        st.one_of(st.none(), st.builds(Tls, sizes, st.sampled_from([0, 1, 2, 4, 8, 16, 32, 64, 128]), st.integers(0, 3), st.integers(0, 1)))
    )
    used = {reloc.symbol for reloc in relocs}
    symbols = tuple(sym for name, sym in names.items() if sym and name in used)
    data = build(Spec(machine.name, relocs, tls, symbols, flags=draw(st.sampled_from([0, 0x10]))))
    facts = read_shared_object(BytesSource(data))
    definer = module("definer.so", draw(st.integers(1, 200)), 8, machine=machine.name).demand if draw(st.booleans()) else None
    demand = demand_of(facts, "pkg/m.so", {"far": definer} if definer else {})
    return tls_module(facts, "pkg/m.so", demand=demand), machine


def answers(late: TlsModule, libc: Libc, version: tuple[int, ...] | None, machine: Machine) -> list[tuple[Any, Any, Any]]:
    """The state before, after, and the answer, of a process of each version that the verdict is about; with the definers given."""
    found = []
    definers = {use.definer.demand.module: use for use in late.demand.foreign if use.definer.demand}
    given_ = Given(TlsModule(use.definer.demand, exports=frozenset([use.symbol.name])) for use in definers.values() if use.definer.demand)
    opened = TlsModule(late.demand, late.soname, tuple(path.rsplit("/", 1)[-1] for path in definers), late.accesses, late.exports)
    for one in ROWS[libc].judged(version):
        loader = loader_of(libc, one, machine)
        after, step = loader.step(loader.fresh, Open(opened, given_, assumes=True))
        found.append((loader.fresh, after, step))
    return found


@pytest.mark.parametrize("libc", LOADERS)
@settings(max_examples=80, deadline=None)
@given(drawn=modules(), data=st.data())
def test_verdict_and_step_agree(libc: Libc, drawn: tuple[TlsModule, Machine], data: st.DataObject) -> None:
    late, machine = drawn
    version = data.draw(st.sampled_from(VERSIONS.get(libc, [None])))
    verdict = judge(late, Target("tag", machine.name, libc, version))
    found = answers(late, libc, version, machine)
    loads = [step.loads for _, _, step in found]
    if verdict.verdict == "unsafe":
        assert any(step.unsafe for _, _, step in found)
        return
    assert not any(step.unsafe for _, _, step in found)
    assert verdict.refuses == (not all(loads))
    assert (verdict.verdict == "never") <= (False in loads)
    assert (verdict.verdict == "always") <= (all(loads) and all(step.asked is None for _, _, step in found))
    fit = verdict.outcome.fits_fresh_process
    assert fit is None or [fit.oldest, fit.current] == [loads[0], loads[-1]]
    _assert_bytes(verdict, found)


def _assert_bytes(verdict: Verdict, found: list[tuple[Any, Any, Any]]) -> None:
    """What a module is said to take is what the process has less of; and a process with less refuses it."""
    outcome = verdict.outcome
    if outcome.word == "always":
        assert outcome.takes_at_most == max(step.taken for _, _, step in found)
    if outcome.word == "if-room" and not verdict.refuses:
        assert outcome.taken == max(step.taken - step.by_descriptors for _, _, step in found) or verdict.loader == "freebsd"
        assert all(before.room >= outcome.taken - step.taken + step.asked for before, _, step in found)
    if outcome.word in ("if-room", "never") and outcome.reason == "room" and verdict.loader != "freebsd":
        # FreeBSD's room may be enough for the bytes and not for where an alignment puts them.
        assert all(step.asked > 0 for _, _, step in found if not step.loads)


FREEBSD = list(itertools.product([1, 33, 64, 112, 120, 127, 128], [1, 8, 16, 64], [0, 8], [(12, 1), (13, 1), (14, 2), (15, 0), None]))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_freebsd_grid(machine: str) -> None:
    """Size, alignment, p_offset and release: the verdict refuses where the first dlopen of a process is refused, and nowhere else."""
    known = machine_called(machine)
    assert known is not None
    words = set()
    for size, align, first, release in FREEBSD:
        late = module("m.so", size, align, machine=machine, file_first_byte=first % align)
        verdict = judge(late, Target("freebsd", machine, "freebsd", release))
        loader = loader_of("freebsd", release, known)
        _, step = loader.step(loader.fresh, Open(late, Given()))
        assert (verdict.verdict == "never") == (not step.loads), (size, align, first, release)
        words.add((verdict.verdict, size > 112))
    assert words >= {("never", True), ("if-room", True), ("if-room", False)}


def test_netbsd_grid() -> None:
    known = machine_called("x86_64")
    assert known is not None
    loader = loader_of("netbsd", None, known)
    words = []
    for size, align in itertools.product([1, 33, 57, 60, 63, 64, 65], [1, 8, 16, 32, 64]):
        late = module("m.so", size, align)
        verdict = judge(late, Target("netbsd", "x86_64", "netbsd", (10, 0)))
        assert (verdict.verdict == "never") == (not loader.step(loader.fresh, Open(late, Given()))[1].loads), (size, align)
        words.append(verdict.verdict)
    assert words.count("never") == 5


def test_freebsd_findings_do_not_contradict_each_other(tmp_path: Path) -> None:
    """120 bytes at alignment 64: refused in a fresh process, and by one rule only."""
    data = build(Spec(relocs=(Reloc(18),), tls=Tls(120, 64)))
    report = check_wheel(make_wheel(tmp_path, {"pkg/m.so": data}, "cp312-cp312-freebsd_14_2_amd64"))
    assert [(f.rule, f.severity) for f in report.findings if f.severity != "note"] == [("initial-exec-tls", "error")]
    late = report.modules[0].tls_module
    together = load_together([late], report.modules[0].verdicts[0].target, 1664)
    assert together is not None
    assert not together.fits


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.mark[:20])
def test_each_message_is_found_again(refusal: Any) -> None:
    """The words that a model makes are those that doctor reads: the files in them are found, in an exception's text too."""
    names = {"definer": "/a b/lib-1.so.2", "asking": "/c/user.so"}
    words = refusal.says(**names, symbol="var")
    present = [name for name in ("definer", "asking") if "{" + name + "}" in refusal.words]
    expected = tuple(names[name] if name in present else names[present[0]] if present else "" for name in ("definer", "asking"))
    for text in (words, f"ImportError: {words}", f"{words}.", f"('{words}')"):
        assert is_static_tls(text)
        assert named_in(text) == expected, text


def test_a_module_with_very_many_unique_names_costs_one_look_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that a process keeps were a new set for each name: minutes for the most that one file may have."""
    made: list[int] = []
    usual = replace

    def counted(record: Any, **changes: Any) -> Any:
        made.append(1)
        return usual(record, **changes)

    monkeypatch.setattr(process, "replace", counted)
    loader, plain, counts = loader_called("glibc-2.36"), tls_module(read_shared_object(BytesSource(ie())), "m.so"), []
    for names in (10, 2_000):
        accesses = tuple(Access("DTPMOD", f"v{number}", defined=True, unique=True) for number in range(names))
        made.clear()
        state, answer = loader.step(loader.fresh, Open(replace(plain, accesses=accesses), Given()))
        assert answer.loads
        assert len(state.loaded[-1].unique) == names
        counts.append(len(made))
    assert counts[0] == counts[1]
