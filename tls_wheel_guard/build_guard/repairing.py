"""``action = "repair"``: what a build made is repaired in place, and judged again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tls_wheel_guard.commands.check import check_path
from tls_wheel_guard.commands.repair import Wanted, repair_file, require_repaired
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.errors import Refused
from tls_wheel_guard.findings import Report, at_or_above
from tls_wheel_guard.machine_code.disassembly import Disassembler

__all__ = ["repair_reports", "require_decoder"]


def require_decoder() -> None:
    """Raise UsageError where capstone is not installed: before a build of an hour, not after it."""
    Disassembler("x86_64")


def repair_reports(reports: Sequence[Report], config: Config, say: Callable[[str], None], epoch: int | None, told: bool) -> list[Report]:
    """The reports of files after their repair, where that is the action; the same ones where it is not, or nothing was to be repaired.

    Raises Refused where a file can't be repaired and its findings stop the build. ``told``: who builds only installs, and nothing stops that.
    """
    if config.action != "repair":
        return list(reports)
    return [_repaired(report, config, say, epoch, told) for report in reports]


def _repaired(report: Report, config: Config, say: Callable[[str], None], epoch: int | None, told: bool) -> Report:
    if not any(module.kind == "shared" and module.shared_object.initial_exec.count for module in report.modules):
        return report
    path = Path(report.path)
    try:
        repair = repair_file(path, path, Wanted(config, epoch=epoch))
        require_repaired(repair)
    except Refused as error:
        if told or not any(at_or_above(finding.severity, config.fail_on) for finding in report.findings):
            say(f"warning: {report.wheel} is not repaired: {error.line()}")
            return report
        raise
    for name, plan in repair.modules:
        say(f"repaired {name}: {len(plan.sites)} reads go through descriptors; {plan.layout_words}")
        if plan.layout.warning:
            say(f"warning: {name}: {plan.layout.warning}")
    return check_path(path, config) if repair.modules else report
