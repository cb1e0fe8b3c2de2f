"""The JSON schema of ``[tool.tls-wheel-guard]``, made from the settings: for validate-pyproject and for editors."""

from __future__ import annotations

from typing import Any

from tls_wheel_guard.config.model import ACTIONS, FAIL_ON, INTERPOSER_RULE, KEYS, NOTE_RULES, STOP, TABLE, Config
from tls_wheel_guard.records import fields
from tls_wheel_guard.rules import RULES

__all__ = ["settings_schema"]

_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "array", "items": {"type": "string"}}
_RULES = {"type": "array", "items": {"enum": [*RULES, *NOTE_RULES]}}
_ALLOW = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["module", "rule"],
        "additionalProperties": False,
        "properties": {"module": _TEXT, "rule": {"enum": [*RULES, INTERPOSER_RULE]}, "reason": {"type": "string"}},
    },
}
_TYPES: dict[str, dict[str, Any]] = {
    "action": {"enum": list(ACTIONS)}, "fail_on": {"enum": list(FAIL_ON)}, "stop": {"enum": list(STOP)},
    "crowding": {"type": "number", "minimum": 0, "maximum": 1}, "room": {"type": "integer", "minimum": 0},
    "set_flag": {"type": "boolean"}, "strict": {"type": "boolean"}, "build_backend": _TEXT, "baseline": _TEXT,
    "targets": _TEXTS, "exclude": _TEXTS, "limits": _TEXTS, "backend_path": _TEXTS, "select": _RULES, "ignore": _RULES, "allow": _ALLOW,
}  # fmt: skip
"""A field of Config -> what its value looks like in the table."""


def settings_schema(tool_name: str = "tls-wheel-guard") -> dict[str, Any]:
    """The schema of the table, in draft 7. ``tool_name``: what validate-pyproject calls the table."""
    del tool_name
    documented = {field.name: field for field in fields(Config)}
    properties = {
        key: {"description": documented[name].metadata["doc"], **_TYPES[name], **_default(documented[name].default)} for key, name in KEYS.items()
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "urn:tls-wheel-guard:settings",
        "title": f"[{TABLE}]",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _default(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    return {"default": list(value) if isinstance(value, tuple) else value}
