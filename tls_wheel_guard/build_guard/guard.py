"""A build's last step: judge what it made, and by ``action`` stop, warn and mark, or see whether the rewriting was complete.

Used by the plugin, the backend and ``build --``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tls_wheel_guard.build_guard.judged import note_judged
from tls_wheel_guard.build_guard.repairing import repair_reports, require_decoder
from tls_wheel_guard.build_guard.rewrite.environment import Rebuilding
from tls_wheel_guard.build_guard.rewrite.verify import require_rewritten, rewritten_interposers
from tls_wheel_guard.commands.allow import with_allow_notes
from tls_wheel_guard.commands.check import check_wheel, failed_report
from tls_wheel_guard.commands.mark import mark_input, needs_flag
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.config.sources import read_baseline
from tls_wheel_guard.errors import CheckFailed, ConfigError, TlsWheelGuardError, UnreadableWheel
from tls_wheel_guard.findings import Report, at_or_above
from tls_wheel_guard.inputs.opened import OpenInput
from tls_wheel_guard.inputs.opening import open_input
from tls_wheel_guard.report import WRITERS, Style
from tls_wheel_guard.report.baseline import Baseline, parse_baseline, with_known
from tls_wheel_guard.report.text import passed

__all__ = ["Say", "guard", "require_available"]

Say = Callable[[str], None]


def require_available(config: Config) -> None:
    """Refuse an action for which something is missing, before anything is built; raises UsageError."""
    if config.action == "repair":
        require_decoder()


@dataclass(frozen=True, slots=True)
class _Judged:
    """One file that a build made. ``interposers``: modules that were rewritten and must not be. ``said``: what marking came to."""

    report: Report
    interposers: tuple[str, ...] = ()
    said: tuple[str, ...] = ()


def guard(
    paths: Sequence[Path], config: Config, say: Say, epoch: int | None = None, rebuilding: Rebuilding | None = None, told: bool = False
) -> list[Report]:
    """Judge files that a build made. Raises CheckFailed where the build must stop; ``warn`` marks and ``repair`` repairs them in place.

    ``rebuilding``: the rewritten build that made them, still under way. ``told``: who builds only installs, and nothing stops that.
    """
    judged = [_judge(path, config, epoch, rebuilding is not None) for path in paths]
    own = repair_reports([each.report for each in judged], config, say, epoch, told)
    reports = with_known(with_allow_notes(own, config), _baseline(config, say, told))
    _require_readable(reports, say, told)
    _show(reports, say)
    if rebuilding is not None:
        strictly = replace(config, fail_on="never") if told else config
        require_rewritten(reports, [each.interposers for each in judged], strictly, say, rebuilding)
    _stop_or_warn(reports, config, say, told)
    for each in judged:
        for line in each.said:
            say(line)
    if reports and not any(map(_has_something_to_say, reports)):
        say(f"tls-wheel-guard: {passed(reports)}")
    note_judged(paths)
    return reports


def _has_something_to_say(report: Report) -> bool:
    return bool(report.error or report.findings or report.allowed or report.known)


def _show(reports: Sequence[Report], say: Say) -> None:
    """Say all findings, and also what passes only because it is allowed or known, with the reason."""
    if any(map(_has_something_to_say, reports)):
        # The wheel still lies in a folder of ours; only its name means anything to the reader.
        shown = [replace(report, path=report.wheel) if report.tags else report for report in reports]
        say(WRITERS["text"](shown, Style(verbosity=-1 if any(report.findings for report in reports) else 0)).rstrip())


def _stop_or_warn(reports: Sequence[Report], config: Config, say: Say, told: bool) -> None:
    """Where a wheel has a finding at or above ``fail-on``: raise CheckFailed, or say why the build goes on."""
    failing = [report for report in reports if any(at_or_above(finding.severity, config.fail_on) for finding in report.findings)]
    if not failing:
        return
    names = ", ".join(report.wheel for report in failing)
    if config.action == "warn":
        say(f'warning: {names} will not load everywhere, see above; action = "warn" lets the build go on')
    elif told:
        say(f'warning: {names} will not load everywhere, see above; a build from an sdist goes on, unless stop = "everyone"')
    else:
        raise CheckFailed(f"{names} is not released", hint=_next_step(config))


def _baseline(config: Config, say: Say, told: bool) -> Baseline:
    """What is known. An sdist may have been made without the file; who only installs is not stopped by that."""
    if config.baseline is None:
        return Baseline(())
    try:
        return parse_baseline(read_baseline(config), config.baseline)
    except ConfigError as error:
        if not told:
            raise
        say(f"warning: {error.line()}")
        return Baseline(())


def _next_step(config: Config) -> str:
    """What an author can write into the table; a build has no command line for it."""
    cure = "" if config.action in ("rewrite", "repair") else 'set action = "rewrite" in [tool.tls-wheel-guard], which builds it without; or '
    return f'{cure}accept it by a table [[tool.tls-wheel-guard.allow]] with module, rule and reason; action = "warn" lets the build go on'


def _require_readable(reports: Sequence[Report], say: Say, told: bool) -> None:
    """Raise what stands in the way of a verdict; who only installs is told of it."""
    for report in reports:
        if report.error is not None:
            kind = UnreadableWheel if report.error_code == UnreadableWheel.exit_code else TlsWheelGuardError
            error = kind(f"{report.path}: {report.error}", hint=report.error_hint)
            if not told:
                raise error
            say(f"warning: {error.line()}")


def _judge(path: Path, config: Config, epoch: int | None, rewritten: bool) -> _Judged:
    """Judge one file and, with ``warn``, mark it in place: all while it is open once."""
    try:
        with open_input(path, config.bounds) as opened:
            report = check_wheel(opened, config)
            interposers = rewritten_interposers(opened) if rewritten else ()
            marks = config.action == "warn" and config.set_flag
            return _Judged(report, interposers, tuple(_marked(opened, report, epoch)) if marks else ())
    except Exception as error:  # whatever goes wrong is said of this file
        return _Judged(failed_report(path, error))


def _marked(opened: OpenInput, report: Report, epoch: int | None) -> Iterator[str]:
    """Set DF_STATIC_TLS where it is missing; what was done, and what could not be: ``warn`` never stops a build."""
    if not any(needs_flag(module.shared_object) for module in report.modules):
        return
    try:
        marking = mark_input(opened, Path(opened.path), epoch)
    except TlsWheelGuardError as error:
        yield f"warning: {report.wheel}: DF_STATIC_TLS could not be set: {error.line()}"
        return
    for module, how in marking.marked:
        yield f"marked {module}: {how}"
    for module, why in (*marking.refused, *marking.unreadable):
        yield f"warning: {module}: DF_STATIC_TLS could not be set: {why}"
