"""Facts as JSON and back: frozen dataclasses of numbers, texts, tuples and sets, by their own type hints.

Facts are stored and verdicts are computed, so a newer judgement needs no wheel. JSON and not pickle: a store may come from elsewhere, and
reading it must not run anything. What does not fit its type raises ValueError.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["decoded", "encoded", "shape_of"]

Fact = TypeVar("Fact")


def encoded(value: Any) -> Any:
    """A value as JSON has it. A dataclass is the list of its fields that differ from the end on: trailing defaults are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        row = [getattr(value, f.name) for f in fields]
        while row and fields[len(row) - 1].default is not dataclasses.MISSING and row[-1] == fields[len(row) - 1].default:
            row.pop()
        return [encoded(item) for item in row]
    if isinstance(value, tuple | list):
        return [encoded(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, dict):
        return {key: encoded(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} is no fact")


def decoded(kind: type[Fact], data: Any) -> Fact:
    """The value of a type; raises ValueError where the data do not fit it."""
    try:
        return typing.cast("Fact", _reader(typing.cast("typing.Hashable", kind))(data))
    except (TypeError, KeyError, IndexError, RecursionError) as error:
        raise ValueError(f"the stored facts do not fit {kind.__name__}") from error


@functools.cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(kind)
    if origin in (typing.Union, types.UnionType):
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return lambda data: None if data is None else _reader(inner)(data)
    if origin is typing.Literal:
        return lambda data: data if data in arguments else _refuse(kind)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return lambda data: tuple(map(_reader(arguments[0]), _list(data)))
    if origin is tuple:
        return lambda data: tuple(_reader(argument)(item) for argument, item in zip(arguments, _list(data), strict=True))
    if origin in (frozenset, set, list):
        return lambda data: origin(map(_reader(arguments[0]), _list(data)))
    if origin is dict:
        return lambda data: {_reader(arguments[0])(key): _reader(arguments[1])(item) for key, item in data.items()}
    if kind in (int, str, bool, float):
        return lambda data: data if type(data) is kind else _refuse(kind)
    raise TypeError(f"{kind} is no type of facts")


def _dataclass(kind: type) -> Callable[[Any], Any]:
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]

    def read(data: Any) -> Any:
        row = _list(data)
        if len(row) > len(names):
            _refuse(kind)
        return kind(**{name: _reader(hints[name])(item) for name, item in zip(names, row, strict=False)})

    return read


def _list(data: Any) -> list[Any]:
    return data if isinstance(data, list) else _refuse(list)


def _refuse(kind: Any) -> Any:
    raise ValueError(f"the stored facts do not fit {kind}")


def shape_of(*kinds: type) -> str:
    """The names and types of all fields, so that a store knows facts that another version wrote."""
    seen: dict[str, None] = {}

    def visit(kind: Any) -> None:
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            hints = typing.get_type_hints(kind)
            line = f"{kind.__name__}({', '.join(f'{f.name}: {hints[f.name]}' for f in dataclasses.fields(kind))})"
            if line in seen:
                return
            seen[line] = None
            for hint in hints.values():
                visit(hint)
        for argument in typing.get_args(kind):
            visit(argument)

    for kind in kinds:
        visit(kind)
    return "\n".join(seen)
