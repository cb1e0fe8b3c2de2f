"""Settings: command line > ``TLS_WHEEL_GUARD_*`` > ``[tool.tls-wheel-guard]`` in pyproject.toml > default.

Text and mappings in, a frozen :class:`Config` out; files and the environment are read at the edge.
"""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from tls_wheel_guard.errors import ConfigError, UsageError
from tls_wheel_guard.findings import SEVERITIES, Finding
from tls_wheel_guard.limits import Limits, limits_from
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.rules import RULES, LiveProcess, Thresholds
from tls_wheel_guard.targets import require_target

__all__ = [
    "ACTIONS",
    "FAIL_ON",
    "INTERPOSER_RULE",
    "NOTE_RULES",
    "Allow",
    "Config",
    "allow_from_option",
    "from_environment",
    "from_settings",
    "from_toml",
    "has_table",
    "merge",
]

Action = Literal["fail", "warn", "repair", "rewrite"]
ACTIONS: tuple[Action, ...] = ("fail", "warn", "repair", "rewrite")
FAIL_ON = (*reversed(SEVERITIES), "never")
TABLE = "tool.tls-wheel-guard"
ENVIRONMENT = "TLS_WHEEL_GUARD_"

NOTE_RULES = ("unexplained-allow", "unused-allow")
"""Notes about the settings themselves; they can be ignored but not allowed."""
INTERPOSER_RULE = "rewritten-interposer"
"""What ``action = "rewrite"`` refuses by itself; it can be allowed as a rule's finding can."""


@dataclass(frozen=True, slots=True)
class Allow:
    """One finding that the user accepts: a glob on the member's path, a rule, and why.

    An editable build has files on disk instead of members, so there the end of the path counts, from any folder on.
    """

    module: str
    rule: str
    reason: str = ""

    def matches(self, finding: Finding) -> bool:
        """Whether it covers a finding."""
        if self.rule != finding.rule:
            return False
        return self.module == "*" or any(fnmatch.fnmatchcase(tail, self.module) for tail in _tails(finding.module or ""))


def _tails(path: str) -> list[str]:
    """The path; of an absolute one also all that stands behind each of its slashes."""
    parts = path.split("/") if path.startswith("/") else []
    return [path, *("/".join(parts[start:]) for start in range(1, len(parts)))]


def _setting(doc: str, default: Any) -> Any:
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. The docs' table is made from this class (tests/test_docs.py)."""

    action: Action = _setting("what a build does on a finding: fail, warn, repair or rewrite", "fail")
    fail_on: str = _setting("the least severity that fails: error, warning, note, never", "warning")
    targets: tuple[str, ...] = _setting('more platform tags to judge for, beside the wheel\'s own: ["freebsd_14_0_amd64"]', ())
    crowding: float = _setting("share of the room from which static-tls-crowding is reported", 0.25)
    set_flag: bool = _setting('whether action = "warn" sets DF_STATIC_TLS where a linker left it out', True)
    room: int = _setting("bytes of static TLS that a glibc process is taken to have left", 1664)
    select: tuple[str, ...] = _setting("run only these rules", ())
    ignore: tuple[str, ...] = _setting("rules not to run", ())
    strict: bool = _setting("what could not be analysed is an error", False)
    build_backend: str | None = _setting("the real backend behind tls_wheel_guard.backend", None)
    backend_path: tuple[str, ...] = _setting("folders of an in-tree backend, as in PEP 517", ())
    allow: tuple[Allow, ...] = _setting("findings that are accepted: tables with module, rule, reason", ())
    limits: tuple[str, ...] = _setting('limits on what is read, moved: ["members=300000"]; docs/hardening.md has their names', ())
    own_tags: bool = True
    """Whether the wheel's own tags are judged; only the command line turns it off."""
    tree: bool = False
    """Whether a folder stands for the ELF files below it; only the command line says so."""
    live: LiveProcess | None = None
    """A process that was read; only the command line names one."""

    @property
    def thresholds(self) -> Thresholds:
        """The numbers that the rules use."""
        return Thresholds(self.room, self.crowding, self.strict, self.live)

    @property
    def bounds(self) -> Limits:
        """How much of an input is read."""
        return limits_from(self.limits)

    @property
    def more_targets(self) -> tuple[Target, ...]:
        """The configured targets, parsed."""
        return tuple(require_target(tag) for tag in self.targets)

    @property
    def rules(self) -> tuple[str, ...]:
        """The names of the rules to run."""
        chosen = self.select or tuple(RULES)
        return tuple(name for name in RULES if name in chosen and name not in self.ignore)

    @property
    def never_fails(self) -> bool:
        """Whether findings leave the exit code 0."""
        return self.action == "warn" or self.fail_on == "never"


KEYS = {f.name.replace("_", "-"): f.name for f in fields(Config) if "doc" in f.metadata}
"""Key in the table -> field of Config."""


def _did_you_mean(word: str, known: tuple[str, ...]) -> str:
    import difflib  # noqa: PLC0415  (only mistakes need it)

    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _one_of(value: object, known: tuple[str, ...], where: str) -> str:
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"{where}: unknown value {value!r}", hint=_did_you_mean(str(value), known))
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
    return tuple(_one_of(name, known, where) for name in _strings(value, where))


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
            raise ConfigError(f"{where}: unknown key {key!r}", hint=_did_you_mean(key, known))
        if not isinstance(value, str):
            raise ConfigError(f"{where}.{key}: {value!r} is not a string", hint="put it in quotes")
    if "rule" not in item:
        raise ConfigError(f"{where}: no rule", hint=f"name one: {', '.join(RULES)}")
    rule = _one_of(item["rule"], (*RULES, INTERPOSER_RULE), f"{where}.rule")
    return Allow(str(item.get("module", "*")), rule, str(item.get("reason", "")).strip())


def _value(name: str, value: object, where: str) -> Any:
    """A value of the table, checked, as the field ``name`` of Config holds it."""
    if name == "action":
        return _one_of(value, ACTIONS, where)
    if name == "fail_on":
        return _one_of(value, FAIL_ON, where)
    if name == "build_backend":
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{where}: {value!r} is not the name of a backend", hint='such as "maturin"')
        return value
    if name in ("room", "crowding"):
        return _number(value, where, int if name == "room" else float)
    parse = {
        "targets": _tags, "set_flag": _flag, "strict": _flag, "select": _rules, "ignore": _rules, "backend_path": _strings,
        "limits": _limits,
        "allow": _allows,
    }[name]  # fmt: skip
    return parse(value, where)


def _table(text: str, path: str) -> Any:
    # Most runs read no settings, and the parser costs as much as a small wheel.
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415
    else:
        import tomli as tomllib  # noqa: PLC0415
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}", hint="mend the file, or pass --no-config") from error
    tool = document.get("tool", {})
    return tool.get("tls-wheel-guard") if isinstance(tool, dict) else None


def has_table(text: str, path: str) -> bool:
    """Whether a pyproject.toml has a table of ours at all; raises ConfigError where it is no TOML."""
    return "tls-wheel-guard" in text and _table(text, path) is not None


def from_toml(text: str, path: str) -> dict[str, Any]:
    """The settings in a pyproject.toml; empty where it has no table of ours. Raises ConfigError with the place."""
    table = _table(text, path)
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {TABLE} is not a table", hint=f"write [{TABLE}]")
    found = {}
    for key, value in table.items():
        where = f"{path}: {TABLE}.{key}"
        if key not in KEYS:
            raise ConfigError(f"{path}: unknown key {key!r} in [{TABLE}]", hint=_did_you_mean(key, tuple(KEYS)))
        found[KEYS[key]] = _value(KEYS[key], value, where)
    return found


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings in ``TLS_WHEEL_GUARD_*``; lists are separated by commas. Raises ConfigError."""
    found = {}
    known = {ENVIRONMENT + key.upper().replace("-", "_"): name for key, name in KEYS.items() if name != "allow"}
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT):
            continue
        if variable not in known:
            raise ConfigError(f"unknown variable {variable}", hint=_did_you_mean(variable, tuple(known)))
        found[known[variable]] = _value(known[variable], _from_text(known[variable], text), variable)
    return found


def from_settings(settings: Mapping[str, object]) -> dict[str, Any]:
    """PEP 517 config settings without their prefix: ``action=warn``, ``fail-on=error``. Raises ConfigError."""
    known = ("action", "fail-on")
    found = {}
    for key, value in settings.items():
        if key not in known:
            raise ConfigError(f"config setting tls-wheel-guard.{key}: unknown", hint=_did_you_mean(key, known))
        found[KEYS[key]] = _value(KEYS[key], value, f"config setting tls-wheel-guard.{key}")
    return found


def _from_text(name: str, text: str) -> object:
    """An environment variable's text as the table would hold it."""
    if name in ("targets", "select", "ignore", "backend_path", "limits"):
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
    return Allow(module, _one_of(rule, (*RULES, INTERPOSER_RULE), "--allow"), reason.strip() or "given on the command line")


def merge(*layers: Mapping[str, Any]) -> Config:
    """Later layers win; lists of targets, ignored rules and allows add up."""
    settings: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            adds = name in ("targets", "ignore", "allow", "limits") and name in settings
            settings[name] = (*settings[name], *value) if adds else value
    return replace(Config(), **settings)
