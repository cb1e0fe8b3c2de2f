"""The settings, as values."""

from __future__ import annotations

import fnmatch
import re
from typing import Any, Literal

from tls_wheel_guard.findings import SEVERITIES, Finding
from tls_wheel_guard.limits import Limits, limits_from
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.records import dataclass, field, fields
from tls_wheel_guard.rules import RULES, LiveProcess, Thresholds
from tls_wheel_guard.targets import require_target

__all__ = ["ACTIONS", "FAIL_ON", "INTERPOSER_RULE", "KEYS", "NOTE_RULES", "STOP", "TABLE", "Allow", "Config", "matches"]

Action = Literal["fail", "warn", "repair", "rewrite"]
ACTIONS: tuple[Action, ...] = ("fail", "warn", "repair", "rewrite")
FAIL_ON = (*reversed(SEVERITIES), "never")
STOP = ("releases", "everyone")
TABLE = "tool.tls-wheel-guard"
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
        return self.rule == finding.rule and matches(finding.module or "", self.module)


_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
"""How an absolute path begins on Windows: with a drive, or with a server."""


def matches(path: str, pattern: str) -> bool:
    """Whether a pattern fits a member's path; of a file on disk, from any folder on."""
    return pattern == "*" or any(fnmatch.fnmatchcase(tail, pattern) for tail in _tails(path))


def _tails(path: str) -> list[str]:
    """The path; of an absolute one also all that stands behind each of its slashes. A pattern has slashes on Windows too."""
    drive = _WINDOWS.match(path)
    path = path.replace("\\", "/") if drive else path
    parts = path.split("/") if drive or path.startswith("/") else []
    return [path, *("/".join(parts[start:]) for start in range(1, len(parts)))]


def _setting(doc: str, default: Any) -> Any:
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. The docs' table is made from this class (tests/test_docs.py)."""

    action: Action = _setting("what a build does on a finding: fail, warn, repair or rewrite", "fail")
    fail_on: str = _setting("the least severity that fails: error, warning, note, never", "warning")
    stop: str = _setting("whose build is stopped: releases (not who installs from an sdist), or everyone", "releases")
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
    exclude: tuple[str, ...] = _setting('members and files that are not judged, as patterns: ["*/tests/*", "*-win_amd64.whl"]', ())
    baseline: str | None = _setting("a file of findings that are known; they do not fail", None)
    limits: tuple[str, ...] = _setting('limits on what is read, moved: ["members=300000"]; docs/hardening.md has their names', ())
    source: str | None = None
    """The pyproject.toml that they were read from; None without one."""

    def thresholds(self, live: LiveProcess | None = None) -> Thresholds:
        """The numbers that the rules use; ``live``: a process that was read, in place of ``room``."""
        return Thresholds(self.room, self.crowding, self.strict, live)

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

    def excludes(self, path: str) -> bool:
        """Whether a member or a file is left out."""
        return any(matches(path, pattern) for pattern in self.exclude)

    @property
    def never_fails(self) -> bool:
        """Whether findings leave the exit code 0."""
        return self.action == "warn" or self.fail_on == "never"


KEYS = {f.name.replace("_", "-"): f.name for f in fields(Config) if "doc" in f.metadata}
"""Key in the table -> field of Config."""
