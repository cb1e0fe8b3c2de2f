"""Advice by simulation alone: the least values are the least, and larger ones need not work."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.elf_builder import Reloc, Spec, Sym, Tls, build
from tls_wheel_guard.doctor.replay import Segment, replay
from tls_wheel_guard.doctor.settings_search import (
    MARGIN,
    Start,
    Tuning,
    best_order,
    first_refused,
    least_extra,
    least_tuning,
    merged_tunables,
    orders,
    preloaded,
    start_up_order,
)
from tls_wheel_guard.elf import BytesSource, linkage, read_shared_object
from tls_wheel_guard.loaders import Given, Open, freebsd, glibc, loader_called
from tls_wheel_guard.loaders.link_map import there_from_the_start
from tls_wheel_guard.tls import TlsModule, tls_module

TPOFF, TLSDESC = 18, 36
DEFAULT = Tuning(4, 512)


def module(name: str, size: int, align: int = 8, number: int = TPOFF, needed: tuple[str, ...] = (), program: bool = False) -> TlsModule:
    interpreter = "/lib64/ld-linux-x86-64.so.2" if program else None
    spec = Spec(relocs=(Reloc(number),), tls=Tls(size, align), soname=None if program else name, needed=needed, interpreter=interpreter)
    return tls_module(read_shared_object(BytesSource(build(spec))), f"/x/{name}")


def opens(*modules: TlsModule) -> tuple[Open, ...]:
    given = Given(modules)
    return tuple(Open(module, given) for module in modules)


def start(tuning: Tuning = DEFAULT) -> Start:
    loader = loader_called("glibc-2.36")
    return Start(loader, glibc.tuned(loader.fresh, "x86_64", nns=tuning.nns, optional=tuning.optional), tuning)


def works(begin: Start, tuning: Tuning, events: tuple[Open, ...]) -> bool:
    return first_refused(begin.loader, begin.tuned(tuning), events) is None


def test_without_descriptors_the_optional_part_gives_the_bytes_that_are_wanted() -> None:
    """used 144, limit a multiple of 64: 2632 bytes end at 2776, so that limit must be 2816 and S more than 2608."""
    events = opens(module("jemalloc.so", 2632))
    found = least_tuning(start(), events)
    assert found is not None
    assert found[0] == Tuning(4, 1457)
    assert found[1] == Tuning(4, 2048)
    assert works(start(), found[0], events)
    assert not works(start(), Tuning(4, 1456), events)
    assert found[1].optional >= found[0].optional + MARGIN


def test_with_descriptors_nns_comes_first() -> None:
    events = opens(module("d.so", 400, number=TLSDESC), module("ie.so", 1500))
    found = least_tuning(start(), events)
    assert found == (Tuning(5, 512), Tuning(7, 512))


def test_more_optional_room_may_be_too_much() -> None:
    """A descriptor of 600 bytes takes room as soon as it may: 561 to 599 work, 600 does not, 1137 does."""
    events = opens(module("d.so", 600, number=TLSDESC), module("ie.so", 5200))
    begin = start(Tuning(16, 512))
    found = least_tuning(begin, events)
    assert found is not None
    assert found[0] == Tuning(16, 561)
    assert works(begin, Tuning(16, 599), events)
    assert not works(begin, Tuning(16, 600), events)
    assert works(begin, found[1], events)
    assert found[1].optional > 600


@pytest.mark.parametrize(
    ("tuning", "modules"),
    [
        (DEFAULT, (module("fits.so", 100),)),
        (DEFAULT, (module("aligned.so", 100, 128),)),
        (None, (module("big.so", 3000),)),
    ],
)
def test_no_tunable_is_wanted_or_helps(tuning: Tuning | None, modules: tuple[TlsModule, ...]) -> None:
    assert least_tuning(replace(start(), tuning=tuning), opens(*modules)) is None


def test_a_block_of_another_layout_is_noticed() -> None:
    """As under LD_AUDIT, where what is there at the start is not what the formula has."""
    begin = start()
    assert begin.is_known
    assert not replace(begin, state=replace(begin.state, limit=begin.state.limit + 64)).is_known


def test_other_tunables_stay() -> None:
    words = "glibc.malloc.arena_max=2:glibc.rtld.nns=2:glibc.cpu.x=1"
    assert merged_tunables(words, {"rtld.nns": 7}) == "glibc.malloc.arena_max=2:glibc.cpu.x=1:glibc.rtld.nns=7"
    assert merged_tunables("", {"rtld.optional_static_tls": 9}) == "glibc.rtld.optional_static_tls=9"


def test_orders_are_tried_from_the_nearest() -> None:
    assert list(orders(2, 1)) == [(1, 0)]
    three = list(orders(3, 2))
    assert three[0] == (2, 0, 1)
    assert len(three) == len(set(three)) == 5
    assert (0, 1, 2) not in three
    assert len(list(orders(8, 7))) == 7
    groups = [opens(module("wants.so", 400, number=TLSDESC)), opens(module("late.so", 1600))]
    assert best_order(start(), groups, 1) == (1, 0)
    assert best_order(start(), [opens(module("a.so", 1000)), opens(module("b.so", 1000))], 1) is None


@pytest.mark.parametrize("release", ["14.1", "15.0", "16.0"])
@pytest.mark.parametrize("machine_sizes", [((33, 8),) * 5, ((300, 16), (1, 1), (64, 64))])
def test_the_least_reserve_on_freebsd(release: str, machine_sizes: tuple[tuple[int, int], ...]) -> None:
    loader = loader_called(f"freebsd-{release}")
    events = opens(*(module(f"m{place}.so", *size) for place, size in enumerate(machine_sizes)))
    found = least_extra(Start(loader, loader.fresh), freebsd.EXTRA, events)
    assert found is not None
    for extra, loads in ((found[0], True), (found[0] - 1, False), (found[1], True)):
        state = freebsd.fresh_state(loader.version, "x86_64", extra)
        assert (first_refused(loader, state, events) is None) == loads
    # What the process has already is not asked for again.
    roomy = Start(loader, freebsd.fresh_state(loader.version, "x86_64", 1000))
    assert least_extra(roomy, 1000, events) == found


def test_freebsd_without_the_variable() -> None:
    loader = loader_called("freebsd-13.1")
    assert least_extra(Start(loader, loader.fresh), freebsd.EXTRA, opens(module("m.so", 300))) is None


def test_a_preloaded_library_has_its_place_beside_the_room() -> None:
    program, libc = module("python", 16, program=True, needed=("libc.so.6",)), module("libc.so.6", 144)
    helper, library = module("helper.so", 8, 32), module("big.so", 3000, 128, needed=("helper.so",))
    given = Given([program, libc, helper, library])
    assert [m.name for m in start_up_order(program, [library], given)] == ["python", "big.so", "libc.so.6", "helper.so"]
    loader = loader_called("glibc-2.36")
    state = glibc.place_at_start([m.demand for m in (program, libc)], (2, 36), "x86_64")
    begin = Start(loader, replace(state, loaded=tuple(map(there_from_the_start, (program, libc)))), DEFAULT)
    assert first_refused(loader, begin.state, (Open(library, given),)) is not None
    found = preloaded(begin, program, (), library, given)
    assert found is not None
    assert found.align == 128
    assert first_refused(loader, found, (Open(library, given), *opens(module("more.so", 1500)))) is None
    # A start that the model does not lay out as the process has it can't be laid out with one library more either.
    assert preloaded(replace(begin, state=replace(begin.state, used=150)), program, (), library, given) is None


def told(*segments: Segment, modules: tuple[TlsModule, ...]) -> str | None:
    begin = start()
    return replay(begin.loader, begin.state, segments, {m.path: m for m in modules}, Given(modules)).difference


def test_a_replay_compares_every_number() -> None:
    a, b = module("a.so", 100), module("b.so", 3000)
    words = f"{b.path}: cannot allocate memory in static TLS block"
    right = Segment(0, a.path, None, (a.path,), 248, 512)
    assert told(right, Segment(0, b.path, words, (), 248, 512), modules=(a, b)) is None
    assert told(replace(right, used=249), modules=(a,)) == "after a.so: the process has used 249, the model 248"
    assert told(replace(right, optional=500), modules=(a,)) == "after a.so: the process has optional 500, the model 512"
    assert "the model: b.so: cannot allocate" in str(told(Segment(0, b.path, None, (b.path,), None), modules=(b,)))
    assert "the model: it loads" in str(told(Segment(0, a.path, words, (), None), modules=(a,)))
    # Another failure is none of the model's, and what C code opens by itself is seen as mapped.
    other = Segment(0, b.path, "b.so: undefined symbol: f", (), 144, 512)
    assert told(other, Segment(0, None, None, (a.path,), 248, 512), modules=(a, b)) is None


def test_what_a_library_gives_and_wants() -> None:
    spec = Spec(symbols=(Sym("malloc", defined=True), Sym("PyLong_FromLong"), Sym("_Py_NoneStruct", weak=True), Sym("puts")))
    found = linkage(BytesSource(build(spec)), ("malloc", "free"))
    assert found.defined == {"malloc"}
    assert found.undefined == {"PyLong_FromLong", "puts"}
    assert found.needs_python
    assert not linkage(BytesSource(build(replace(spec, symbols=(Sym("puts"),)))), ()).needs_python
