"""The schema of the settings says what the reader of the settings says."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import jsonschema
import pytest
from validate_pyproject import api, errors
from validate_pyproject.plugins import PluginWrapper

from tls_wheel_guard.config.fields import checked
from tls_wheel_guard.config.model import KEYS
from tls_wheel_guard.config.schema import settings_schema
from tls_wheel_guard.errors import ConfigError

GOOD: dict[str, list[Any]] = {
    "action": ["fail", "rewrite"], "fail-on": ["never", "note"], "stop": ["everyone"], "targets": [[], ["freebsd_14_0_amd64"]],
    "crowding": [0, 0.5, 1], "set-flag": [True], "room": [0, 1664], "select": [["initial-exec-tls"]], "ignore": [["unused-allow"]],
    "strict": [False], "build-backend": ["maturin"], "backend-path": [["."]], "limits": [["members=300000"]], "exclude": [["*/tests/*"]],
    "baseline": ["known.json"],
    "allow": [[], [{"module": "*", "rule": "initial-exec-tls"}], [{"module": "a", "rule": "rewritten-interposer", "reason": "r"}]],
}  # fmt: skip
BAD: dict[str, list[Any]] = {
    "action": ["warm", 1], "fail-on": ["all"], "stop": ["nobody"],
    "targets": ["x", [1]], "crowding": [-1, 2, "x", True], "set-flag": ["yes", 1],
    "room": [-1, 1.5, "x", True], "select": [["no-such-rule"]], "ignore": ["x"], "strict": ["no"], "build-backend": [1, ""],
    "backend-path": ["."], "limits": ["members=1"], "exclude": ["x"], "baseline": [1, ""],
    "allow": [{}, [{"module": "a"}], [{"rule": "initial-exec-tls"}], [{"module": "a", "rule": "x"}],
              [{"module": "a", "rule": "initial-exec-tls", "why": "w"}]],
}  # fmt: skip


def valid(table: dict[str, Any]) -> bool:
    return bool(jsonschema.Draft7Validator(settings_schema()).is_valid(table))


def read(key: str, value: Any) -> bool:
    try:
        checked(KEYS[key], value, key)
    except ConfigError:
        return False
    return True


def test_every_setting_is_tried() -> None:
    assert set(GOOD) == set(BAD) == set(KEYS) == set(settings_schema()["properties"])


@pytest.mark.parametrize(("key", "value"), [(key, value) for table in (GOOD, BAD) for key, values in table.items() for value in values])
def test_the_schema_and_the_reader_agree(key: str, value: Any) -> None:
    assert valid({key: value}) == read(key, value) == (value in GOOD[key] and type(value) in map(type, GOOD[key]))


def test_a_key_that_is_not_known_is_refused() -> None:
    assert not valid({"acton": "fail"})


def test_validate_pyproject_finds_it() -> None:
    (entry,) = entry_points(group="validate_pyproject.tool_schema", name="tls-wheel-guard")
    validator = api.Validator(plugins=[PluginWrapper("tls-wheel-guard", entry.load())])
    validator({"tool": {"tls-wheel-guard": {"action": "fail"}}})
    with pytest.raises(errors.ValidationError, match="acton"):
        validator({"tool": {"tls-wheel-guard": {"acton": "fail"}}})
