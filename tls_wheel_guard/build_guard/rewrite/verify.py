"""The check after a rewritten build: nothing is left of initial-exec, and nothing was rewritten that must not be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tls_wheel_guard.build_guard.rewrite.environment import Rebuilding
from tls_wheel_guard.build_guard.rewrite.remaining import Leftover, explain_leftovers
from tls_wheel_guard.config.model import INTERPOSER_RULE, Config
from tls_wheel_guard.errors import CheckFailed
from tls_wheel_guard.findings import Finding, Report
from tls_wheel_guard.inputs.opened import OpenInput

__all__ = ["require_rewritten", "rewritten_interposers"]

ACCESS_RULES = frozenset({"initial-exec-tls", "foreign-initial-exec"})
ALLOCATOR = frozenset({"malloc", "free"})
"""Functions that the loader itself calls: a module that exports them is called by it."""


def require_rewritten(
    reports: Sequence[Report], interposers: Sequence[Sequence[str]], config: Config, say: Callable[[str], None], rebuilding: Rebuilding
) -> None:
    """Raise CheckFailed where initial-exec is left or an allocator was rewritten that stands in for the system's.

    ``interposers``: for each report the modules that :func:`rewritten_interposers` found.
    """
    _refuse_interposers(reports, interposers, config)
    left = [leftover for report in reports for leftover in _left_in(report, rebuilding)]
    if not left:
        return
    for leftover in left if config.never_fails else left[1:]:
        say(f"initial-exec is left in {leftover.module}: {leftover.why}; hint: {leftover.hint}")
    if config.never_fails:
        return
    modules = "" if len(left) == 1 else f" and {len(left) - 1} more"
    names = ", ".join(report.wheel for report in reports)
    raise CheckFailed(f"{names} is not released: initial-exec is left in {left[0].module}{modules}: {left[0].why}", hint=left[0].hint)


def _left_in(report: Report, rebuilding: Rebuilding) -> list[Leftover]:
    """Modules with a finding that nobody allowed; a note, as on errno of libc itself, is no concern of the build."""
    concerned = {f.module for f in report.findings if f.rule in ACCESS_RULES and f.severity != "note"}
    modules = [module for module in report.modules if module.path in concerned]
    return explain_leftovers(modules, (Path.cwd(), *rebuilding.trees), rebuilding.started) if modules else []


def rewritten_interposers(opened: OpenInput) -> tuple[str, ...]:
    """Modules that reach their variables dynamically and export malloc and free."""
    found = opened.exporters(ALLOCATOR, lambda module: bool(module.facts.dynamic.dtpmod or module.facts.dynamic.tlsdesc))
    return tuple(sorted({module.name for module in found}))


def _refuse_interposers(reports: Sequence[Report], interposers: Sequence[Sequence[str]], config: Config) -> None:
    for report, found in zip(reports, interposers, strict=True):
        for module in found:
            finding = Finding(INTERPOSER_RULE, "error", module, ("it exports malloc and free.",), ())
            if not any(allow.matches(finding) for allow in config.allow):
                raise CheckFailed(
                    f"{report.wheel} is not released: {module} exports malloc and free, and now asks the loader for thread-local variables;"
                    " the loader calls malloc, and the two may wait for each other for ever",
                    hint=f'build without rewrite (action = "fail"), or allow it by name: rule = "{INTERPOSER_RULE}" with the reason',
                )
