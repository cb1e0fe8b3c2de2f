"""One setting's value: checked, with the place and what was meant where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tls_wheel_guard.config.model import ACTIONS, FAIL_ON, INTERPOSER_RULE, NOTE_RULES, STOP, TABLE, Allow
from tls_wheel_guard.errors import ConfigError, UsageError
from tls_wheel_guard.limits import limits_from
from tls_wheel_guard.rules import RULES
from tls_wheel_guard.targets import require_target

__all__ = ["allow_from_option", "checked", "did_you_mean", "one_of", "value_of_text"]


def did_you_mean(word: str, known: tuple[str, ...]) -> str:
    """A hint that names the nearest known word, or all of them."""
    import difflib  # noqa: PLC0415  (only mistakes need it)

    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def one_of(value: object, known: tuple[str, ...], where: str) -> str:
    """``value``, which must be one of some words; raises ConfigError with the place."""
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"{where}: unknown value {value!r}", hint=did_you_mean(str(value), known))
    return value


def _strings(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{where}: {value!r} is not a list of strings", hint='write it as ["a", "b"]')
    return tuple(value)


def _number(value: object, where: str, kind: type[int] | type[float]) -> Any:
    good = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
    if not good or value < 0 or (kind is float and value > 1):  # type: ignore[operator]
        wanted = "a share from 0 to 1" if kind is float else "a number of bytes, 0 or more"
        raise ConfigError(f"{where}: {value!r} is not {wanted}", hint="see the table of settings in docs/configuration.md")
    return value


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{where}: {value!r} is not true or false", hint="write true or false without quotes")
    return value


def _rules(value: object, where: str) -> tuple[str, ...]:
    known = (*RULES, *NOTE_RULES)
    return tuple(one_of(name, known, where) for name in _strings(value, where))


def _tags(value: object, where: str) -> tuple[str, ...]:
    tags = _strings(value, where)
    for tag in tags:
        try:
            require_target(tag)
        except UsageError as error:
            raise ConfigError(f"{where}: {error.message}", hint=error.hint) from error
    return tags


def _limits(value: object, where: str) -> tuple[str, ...]:
    texts = _strings(value, where)
    try:
        limits_from(texts)
    except UsageError as error:
        raise ConfigError(f"{where}: {error.message}", hint=error.hint) from error
    return texts


def _allows(value: object, where: str) -> tuple[Allow, ...]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ConfigError(f"{where}: not an array of tables", hint=f"write [[{TABLE}.allow]] above each")
    return tuple(_allow(item, f"{where}[{number}]") for number, item in enumerate(value))


def _allow(item: Mapping[str, object], where: str) -> Allow:
    known = ("module", "rule", "reason")
    for key, value in item.items():
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}", hint=did_you_mean(key, known))
        if not isinstance(value, str):
            raise ConfigError(f"{where}.{key}: {value!r} is not a string", hint="put it in quotes")
    if not str(item.get("module", "")).strip():
        raise ConfigError(f"{where}: no module", hint='name a member, or a pattern such as module = "pkg.libs/libgomp-*.so*"; "*" is all')
    if "rule" not in item:
        raise ConfigError(f"{where}: no rule", hint=f"name one: {', '.join(RULES)}")
    rule = one_of(item["rule"], (*RULES, INTERPOSER_RULE), f"{where}.rule")
    return Allow(str(item["module"]), rule, str(item.get("reason", "")).strip())


def checked(name: str, value: object, where: str) -> Any:
    """A value of the table, checked, as the field ``name`` of Config holds it."""
    if name == "action":
        return one_of(value, ACTIONS, where)
    if name == "fail_on":
        return one_of(value, FAIL_ON, where)
    if name == "stop":
        return one_of(value, STOP, where)
    if name in ("build_backend", "baseline"):
        noun, such = ("name of a backend", "maturin") if name == "build_backend" else ("path of a file", "tls-baseline.json")
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{where}: {value!r} is not the {noun}", hint=f'such as "{such}"')
        return value
    if name in ("room", "crowding"):
        return _number(value, where, int if name == "room" else float)
    parse = {
        "targets": _tags, "set_flag": _flag, "strict": _flag, "select": _rules, "ignore": _rules, "backend_path": _strings,
        "exclude": _strings,
        "limits": _limits,
        "allow": _allows,
    }[name]  # fmt: skip
    return parse(value, where)


def value_of_text(name: str, text: str) -> object:
    """An environment variable's text as the table would hold it."""
    if name in ("targets", "select", "ignore", "backend_path", "limits", "exclude"):
        return [item.strip() for item in text.split(",") if item.strip()]
    if name in ("set_flag", "strict"):
        return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(text.lower(), text)
    if name in ("room", "crowding"):
        try:
            return int(text) if name == "room" else float(text)
        except ValueError:
            return text
    return text


def allow_from_option(text: str) -> Allow:
    """``MODULE-GLOB:RULE`` or ``MODULE-GLOB:RULE:REASON``, as on the command line."""
    module, _, rest = text.partition(":")
    rule, _, reason = rest.partition(":")
    if not module or not rule:
        raise ConfigError(f"--allow {text!r} is not MODULE-GLOB:RULE", hint="such as '*.libs/libgomp*:initial-exec-tls:shared by all'")
    return Allow(module, one_of(rule, (*RULES, INTERPOSER_RULE), "--allow"), reason.strip() or "given on the command line")
