"""The package's own dataclasses beside those of the standard library."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import typing
from collections.abc import Callable
from typing import Any

import pytest

from tls_wheel_guard.config.model import Config
from tls_wheel_guard.records import closures


class Plain:
    a: int
    b: tuple[str, ...] = ()
    c: list[int] = closures.field(default_factory=list, metadata={"doc": "numbers"})

    def total(self) -> int:
        """Has a docstring and is no field."""
        return self.a + sum(self.c)


class Usual:
    a: int
    b: tuple[str, ...] = ()
    c: list[int] = dataclasses.field(default_factory=list, metadata={"doc": "numbers"})


Frozen: Any = closures.dataclass(frozen=True, slots=True)(type("Frozen", (), dict(Plain.__dict__, __module__=__name__)))
Open: Any = closures.dataclass(slots=True)(type("Open", (), dict(Plain.__dict__)))
StandardFrozen: Any = dataclasses.dataclass(frozen=True, slots=True)(type("Frozen", (), dict(Usual.__dict__)))


@closures.dataclass(frozen=True, slots=True)
class Child(Frozen):  # type: ignore[misc]
    d: str = "d"
    kind: typing.ClassVar[str] = "no field"

    def __post_init__(self) -> None:
        if self.d == "bad":
            raise ValueError("bad")


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,), {}), ((1, ("x",)), {}), ((1,), {"c": [2]}), ((), {"a": 1, "b": ("y",), "c": [3]}), ((1, (), [4]), {}),
    ((), {}), ((1, (), [], 9), {}), ((1,), {"a": 2}), ((1,), {"x": 2}), ((), {"b": ()}),
]  # fmt: skip


def outcome(make: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> object:
    try:
        made = make(*args, **named)
    except TypeError:
        return TypeError
    return made.a, made.b, made.c, repr(made)


@pytest.mark.parametrize(("args", "named"), CALLS, ids=repr)
def test_calls_end_as_those_of_the_standard_library(args: tuple[Any, ...], named: dict[str, Any]) -> None:
    assert outcome(Frozen, args, named) == outcome(StandardFrozen, args, named)


def test_values_are_compared_hashed_and_carried_over() -> None:
    first, second = Frozen(1, ("x",), (2,)), Frozen(1, ("x",), (2,))
    assert first == second
    assert hash(first) == hash(second)
    assert first != StandardFrozen(1, ("x",), (2,))
    assert pickle.loads(pickle.dumps(first)) == copy.copy(first) == copy.deepcopy(first) == first  # noqa: S301
    assert closures.replace(first, a=5) == Frozen(5, ("x",), (2,)) == dataclasses.replace(first, a=5)
    assert closures.replace(StandardFrozen(1), a=5).a == 5
    with pytest.raises(TypeError):
        closures.replace(first, x=5)
    assert Frozen(1).c is not Frozen(1).c
    assert first.total() == 3


def test_what_is_frozen_stays() -> None:
    record, written = Frozen(1), Open(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.a = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del record.a
    written.a = 2
    assert written == Open(2)
    with pytest.raises(TypeError, match="unhashable"):
        hash(written)
    with pytest.raises(AttributeError):
        written.other = 1
    assert Frozen.__slots__ == ("a", "b", "c")


def test_the_standard_library_knows_them() -> None:
    known: Callable[[Any], bool] = dataclasses.is_dataclass
    assert known(Frozen)
    assert dataclasses.asdict(Frozen(1)) == {"a": 1, "b": (), "c": []}
    ours, usual = dataclasses.fields(Frozen), dataclasses.fields(StandardFrozen)
    assert [(f.name, f.default, f.metadata) for f in ours] == [(f.name, f.default, f.metadata) for f in usual]
    assert [(f.name, f.type, f.metadata) for f in closures.fields(Frozen)] == [(f.name, f.type, f.metadata) for f in usual]
    assert list(inspect.signature(Frozen).parameters) == ["a", "b", "c"]
    assert typing.get_type_hints(Frozen)["a"] is int
    assert "fail_on" in inspect.signature(Config).parameters
    assert Frozen.__match_args__ == ("a", "b", "c")


def test_a_child_has_its_parents_fields_first() -> None:
    assert Child(1, (), [], "e").d == "e"
    assert [f.name for f in closures.fields(Child)] == ["a", "b", "c", "d"]
    assert Child.__slots__ == ("d",)
    assert repr(Child(1)) == "Child(a=1, b=(), c=[], d='d')"
    with pytest.raises(ValueError, match="bad"):
        Child(1, d="bad")
