"""FreeBSD's rules, release by release. Expected numbers: the rule sets of its rtld, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.demands import module
from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.live.model import Live
from tls_wheel_guard.loaders import Close, Given, Open, freebsd, loader_called
from tls_wheel_guard.loaders.freebsd import State, extra_from, rule_set
from tls_wheel_guard.loaders.link_map import there_from_the_start
from tls_wheel_guard.report.env import text as env_text
from tls_wheel_guard.report.json import live_document


def copies_that_load(loader: str, machine: str, size: int, align: int = 8) -> int:
    """How many modules of one size load, one after another."""
    model = loader_called(loader, machine)
    state, count = model.fresh, 0
    while count < 50:
        late = module(f"m{count}.so", size, align, machine=machine)
        state, step = model.step(state, Open(late, Given()))
        if not step.loads:
            assert step.error == f"m{count}.so: No space available for static Thread Local Storage"
            return count
        count += 1
    return count


@pytest.mark.parametrize(
    ("loader", "machine", "size", "copies"),
    [
        ("freebsd-12", "x86_64", 33, 3),
        ("freebsd-14.1", "x86_64", 33, 3),
        ("freebsd-12", "aarch64", 33, 3),
        ("freebsd-13.1", "aarch64", 33, 2),
        ("freebsd-14.1", "aarch64", 33, 2),
        ("freebsd-14.1", "x86_64", 64, 2),
        ("freebsd-12", "aarch64", 64, 2),
        ("freebsd-14.1", "aarch64", 64, 1),
        ("freebsd-14.1", "x86_64", 128, 1),
        ("freebsd-14.1", "aarch64", 128, 1),
        ("freebsd-15.0", "aarch64", 128, 1),
        ("freebsd-14.1", "x86_64", 129, 0),
        ("freebsd", "x86_64", 129, 0),
    ],
)
def test_how_many_load(loader: str, machine: str, size: int, copies: int) -> None:
    assert copies_that_load(loader, machine, size) == copies


@pytest.mark.parametrize(
    ("version", "rules"),
    [
        ((12, 4), (12,)),
        ((13, 0), (12,)), ((13, 1), (13, 1)), ((13, 5), (13, 1)), ((14, 2), (14,)), ((15,), (15,)), ((16,), (16,)), (None, (16,)),
    ],
)  # fmt: skip
def test_releases(version: tuple[int, ...] | None, rules: tuple[int, ...]) -> None:
    assert rule_set(version) == rules


@pytest.mark.parametrize(
    ("value", "rules", "extra"),
    [
        ("512", (13, 1), 128), ("512", (14,), 512), ("", (14,), 128), ("64", (14,), 128), ("127", (14,), 128), ("128", (14,), 128),
        ("4k", (14,), 2**64 - 1), ("512 ", (14,), 2**64 - 1), ("+512", (14,), 2**64 - 1), ("0x200", (14,), 2**64 - 1),
        ("0x200", (16,), 512), ("01000", (16,), 512), ("01000", (14,), 1000), ("0b1000000000", (16,), 512), ("0", (16,), 128),
    ],
)  # fmt: skip
def test_the_variable(value: str, rules: tuple[int, ...], extra: int) -> None:
    assert extra_from(value, rules) == extra


def test_the_flag_takes_room_before_any_relocation() -> None:
    flagged = module("f.so", 100, 8, static=False, flagged=True)
    model = loader_called("freebsd-14.1")
    _, step = model.step(model.fresh, Open(flagged, Given()))
    assert (step.loads, step.taken) == (True, 104)
    # As a dependency its flag is not looked at.
    root = module("root.so", 0, 1, static=False, needed=("f.so",))
    _, step = model.step(model.fresh, Open(root, Given([flagged])))
    assert (step.loads, step.taken) == (True, 0)


def test_the_error_names_the_module_that_is_relocated() -> None:
    definer = module("definer.so", 300, 8, static=False, exports=("v",))
    user = module("user.so", 0, 1, static=False, needed=("definer.so",), foreign=("v",))
    model = loader_called("freebsd-14.1")
    state, step = model.step(model.fresh, Open(user, Given([definer])))
    assert step.error == "user.so: No space available for static Thread Local Storage"
    assert state.loaded == ()


def test_closing_gives_back_the_last_block_only() -> None:
    model = loader_called("freebsd-14.1")
    first, second = module("a.so", 33, 8), module("b.so", 33, 8)
    state = model.fresh
    for late in (first, second):
        state, _ = model.step(state, Open(late, Given()))
    used = state.used
    state, step = model.step(state, Close(first))
    assert (step.taken, state.used) == (0, used)
    state, step = model.step(state, Close(second))
    assert step.taken == -33


def test_release_12_gives_a_block_away_twice_on_variant_1() -> None:
    """Its cursor is a block's start; a close moves it below, and the next module lies over what is in use."""
    model = loader_called("freebsd-12", "aarch64")
    a, b, c = (module(name, 40, 8, machine="aarch64") for name in ("a.so", "b.so", "c.so"))
    state = model.fresh
    for event in (Open(a, Given()), Open(b, Given()), Close(b)):
        state, step = model.step(state, event)
        assert step.unsafe is None
    _, step = model.step(state, Open(c, Given()))
    assert step.unsafe is not None
    newer = loader_called("freebsd-14.1", "aarch64")
    state = newer.fresh
    for event in (Open(a, Given()), Close(a), Open(c, Given())):
        state, step = newer.step(state, event)
        assert step.unsafe is None


def test_descriptors_on_x86_are_unknown_before_main() -> None:
    late = module("d.so", 8, 8, static=False, descriptors=True)
    for loader, loads in (("freebsd-14.1", False), ("freebsd", True)):
        model = loader_called(loader)
        words = "d.so: Unsupported relocation type 36 in non-PLT relocations", "Unknown relocation type 24 in PLT"
        for in_plt in (False, True):
            _, step = model.step(model.fresh, Open(replace(late, descriptors_in_plt=in_plt), Given()))
            assert (step.loads, step.error) == (loads, None if loads else words[in_plt])


def test_dynamic_first_and_static_later() -> None:
    definer = module("definer.so", 40, 8, static=False, exports=("v",))
    user = module("user.so", 0, 1, static=False, needed=("definer.so",), foreign=("v",))
    from tls_wheel_guard.loaders import Use  # noqa: PLC0415

    for loader, loads in (("freebsd-13.1", True), ("freebsd-14.1", False)):
        model = loader_called(loader)
        state = model.fresh
        for event in (Open(definer, Given()), Use(definer)):
            state, _ = model.step(state, event)
        _, step = model.step(state, Open(user, Given([definer])))
        assert step.loads == loads


def test_placement_by_offset() -> None:
    """Release 12 rounds the end up and adds the missing first byte; later ones take the smallest end that fits."""
    late = module("m.so", 20, 16, file_first_byte=4)
    for rules, expected in (((12,), 32 + 12 + 16), ((14,), 16 + 20 + (-4 - 36) % 16)):
        state = State("x86_64", rules, 16, 16, 16 + 128)
        after, _ = freebsd.step(state, Open(late, Given()))
        assert after.last_offset == (expected if rules == (14,) else -(-36 // 16) * 16 + 12)


def test_what_was_there_from_the_start_stays() -> None:
    library = module("preloaded.so", 16, 8)
    user = module("user.so", 8, 8, needed=("preloaded.so",))
    model = loader_called("freebsd-14.1")
    state = replace(model.fresh, loaded=(there_from_the_start(library),))
    for event in (Open(user, Given()), Close(user)):
        state, step = model.step(state, event)
        assert step.loads
    assert [row.module for row in state.loaded] == [library]


@pytest.mark.parametrize("machine", ["x86_64", "i386", "aarch64"])
@pytest.mark.parametrize("value", ["4k", "512 ", "+512", "-1"])
def test_an_extra_that_is_no_number_leaves_nothing(value: str, machine: str) -> None:
    """It becomes SIZE_MAX: the process starts, space is one less than what is used, and nothing comes in late but what asks for nothing."""
    state = freebsd.fresh_state((14, 1), machine, freebsd.extra_from(value, (14,)) if machine != "i386" else 2**32 - 1)
    assert state.space == state.used - 1
    assert state.room == 0
    _, step = freebsd.step(state, Open(module("m.so", 1, machine=machine), Given()))
    assert (step.loads, step.reason) == (False, "room")
    _, step = freebsd.step(state, Open(module("dynamic.so", 8, machine=machine, static=False), Given()))
    assert step.loads
    assert freebsd.is_no_number(value, (14, 1))
    assert not freebsd.is_no_number(value, (13, 2))


def test_such_a_start_can_be_simulated() -> None:
    loader = loader_called("freebsd-14.1")
    state = loader.start({"last_offset": 160, "last_size": 16, "space": 159})
    assert not loader.step(state, Open(module("m.so", 8, 8), Given()))[1].loads
    with pytest.raises(UsageError, match="space is 158"):
        loader.start({"last_offset": 160, "last_size": 16, "space": 158})


def test_env_and_doctor_say_what_is_wrong() -> None:
    live = Live("python3", "CPython 3.11", "freebsd", "14.1", "x86_64", 2, None, None, None, None, 0, "bisecting", {}, extra="4k")
    assert live.warning is not None
    assert "LD_STATIC_TLS_EXTRA='4k' is no plain decimal number" in env_text(live)
    assert live_document(live)["warning"] == live.warning
    assert replace(live, extra="1024").warning is None
    assert replace(live, libc_version="13.2").warning is None
