"""Classes of fields, with methods that are closures. The decorator has those options of ``dataclasses.dataclass`` that this package uses."""

from __future__ import annotations

from operator import attrgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["Field", "dataclass", "field", "fields", "replace"]

MISSING: Any = object()


class Field:
    """One field: its annotation as it was written, its default or what makes it, and what is said of it."""

    __slots__ = ("default", "default_factory", "metadata", "name", "type")

    def __init__(self, default: Any, default_factory: Any, metadata: Mapping[str, Any]) -> None:
        self.name = self.type = ""
        self.default = default
        self.default_factory = default_factory
        self.metadata = metadata


def field(*, default: Any = MISSING, default_factory: Any = MISSING, metadata: Mapping[str, Any] | None = None) -> Any:
    """What stands behind a field's annotation where a plain default does not say it."""
    return Field(default, default_factory, metadata or {})


def fields(record: Any) -> tuple[Field, ...]:
    """The fields of a class or of its object, in order."""
    found: tuple[Field, ...] = record.__fields_of_record__
    return found


def replace(record: Any, /, **changes: Any) -> Any:
    """The same record with some fields changed."""
    kind = type(record)
    if not hasattr(kind, "__fields_of_record__"):
        import dataclasses  # noqa: PLC0415  (what a caller brought)

        return dataclasses.replace(record, **changes)
    for each in kind.__fields_of_record__:
        if each.name not in changes:
            changes[each.name] = getattr(record, each.name)
    return kind(**changes)


def dataclass(cls: Any = None, /, *, frozen: bool = False, slots: bool = False) -> Any:
    """A class whose annotations are its fields, with ``__init__``, ``__eq__``, ``__repr__`` and, where it is frozen, ``__hash__``."""
    if cls is None:
        return lambda cls: _made(cls, frozen, slots)
    return _made(cls, frozen, slots)


def _made(cls: Any, frozen: bool, slots: bool) -> Any:
    found = {each.name: each for base in reversed(cls.__mro__[1:]) for each in getattr(base, "__fields_of_record__", ())}
    own = [name for name, kind in cls.__annotations__.items() if "ClassVar" not in str(kind)]
    body = dict(cls.__dict__)
    for name in own:
        default = body.get(name, MISSING)
        each = default if isinstance(default, Field) else Field(default, MISSING, {})
        each.name, each.type = name, cls.__annotations__[name]
        inherited, found[name] = name in found, each
        if slots or each.default is MISSING:
            body.pop(name, None)
        else:
            body[name] = each.default
        if inherited and slots:
            body.setdefault("__slots__", ())
    if slots:
        there = {name for base in cls.__mro__[1:] for name in base.__dict__.get("__slots__", ())}
        body["__slots__"] = tuple(name for name in own if name not in there)
    body.pop("__dict__", None)
    body.pop("__weakref__", None)
    body["__fields_of_record__"] = tuple(found.values())
    body["__match_args__"] = tuple(found)
    body["__dataclass_fields__"] = _Usual("__dataclass_fields__")
    body["__dataclass_params__"] = _Usual("__dataclass_params__")
    body["__signature__"] = _Usual("__signature__")
    for name, method in _methods(tuple(found), frozen).items():
        body.setdefault(name, method)
    made = type(cls)(cls.__name__, cls.__bases__, body)
    made.__qualname__ = cls.__qualname__
    if "__init__" not in cls.__dict__:
        made.__init__ = _init(made, tuple(found.values()))
    return made


def _init(cls: Any, found: tuple[Field, ...]) -> Callable[..., None]:
    names = tuple(each.name for each in found)
    setters = tuple(_setter(cls, name) for name in names)
    count, then = len(names), getattr(cls, "__post_init__", None)

    def __init__(self: Any, /, *args: Any, **named: Any) -> None:  # noqa: N807  (a method that is made)
        if named or len(args) != count:
            args = _complete(cls, found, args, named)
        for put, value in zip(setters, args):  # noqa: B905  (as many)
            put(self, value)
        if then is not None:
            then(self)

    return __init__


def _setter(cls: Any, name: str) -> Callable[[Any, Any], None]:
    """What sets a field, frozen or not."""
    slot: Any = getattr(cls, name, None)
    if type(slot).__name__ == "member_descriptor":
        put: Callable[[Any, Any], None] = slot.__set__
        return put
    return lambda self, value: object.__setattr__(self, name, value)


def _complete(cls: Any, found: tuple[Field, ...], args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
    """A value for each field; raises TypeError as a function with these parameters does."""
    if len(args) > len(found):
        raise TypeError(f"{cls.__name__}() takes {len(found)} fields, and {len(args)} were given")
    values = list(args)
    for each in found[len(args) :]:
        if each.name in named:
            values.append(named.pop(each.name))
        elif each.default is not MISSING:
            values.append(each.default)
        elif each.default_factory is not MISSING:
            values.append(each.default_factory())
        else:
            raise TypeError(f"{cls.__name__}() lacks a value for {each.name!r}")
    if named:
        again = next(iter(named))
        problem = "more than one value for" if any(each.name == again for each in found) else "no field"
        raise TypeError(f"{cls.__name__}() has {problem} {again!r}")
    return tuple(values)


def _methods(names: tuple[str, ...], frozen: bool) -> dict[str, Any]:
    """What a class gets where it does not say it itself."""
    values: Callable[[Any], Any] = attrgetter(*names) if names else lambda _: ()

    def __eq__(self: Any, other: object) -> Any:  # noqa: N807
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def __repr__(self: Any) -> str:  # noqa: N807
        return f"{self.__class__.__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    if not frozen:
        return {"__eq__": __eq__, "__repr__": __repr__, "__hash__": None}

    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(values(self))

    def __getstate__(self: Any) -> list[Any]:  # noqa: N807
        return [getattr(self, name) for name in names]

    def __setstate__(self: Any, state: list[Any]) -> None:  # noqa: N807
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return {
        "__eq__": __eq__, "__repr__": __repr__, "__hash__": __hash__, "__getstate__": __getstate__, "__setstate__": __setstate__,
        "__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete,
    }  # fmt: skip


def _refuse_to_set(_: Any, name: str, __: object) -> None:
    from dataclasses import FrozenInstanceError  # noqa: PLC0415  (a bug of the caller)

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_: Any, name: str) -> None:
    from dataclasses import FrozenInstanceError  # noqa: PLC0415

    raise FrozenInstanceError(f"cannot delete field {name!r}")


class _Usual:
    """What the standard library looks for in a dataclass, made when it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, record: object, cls: Any) -> Any:
        import dataclasses  # noqa: PLC0415
        import inspect  # noqa: PLC0415

        kinds = {name: kind for base in reversed(cls.__mro__) for name, kind in inspect.get_annotations(base).items()}
        body: dict[str, Any] = {"__annotations__": {each.name: kinds[each.name] for each in cls.__fields_of_record__}}
        for each in cls.__fields_of_record__:
            how = {"default": each.default, "default_factory": each.default_factory}
            body[each.name] = dataclasses.field(**{key: value for key, value in how.items() if value is not MISSING}, metadata=each.metadata)
        params = {"frozen": True, "slots": True} if "__hash__" in cls.__dict__ and cls.__hash__ is not None else {"slots": True}
        usual: Any = dataclasses.dataclass(**params)(type(cls.__name__, (), body))
        found = inspect.signature(usual) if self._name == "__signature__" else getattr(usual, self._name)
        setattr(cls, self._name, found)
        return found
