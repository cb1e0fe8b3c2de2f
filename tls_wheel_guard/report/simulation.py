"""A simulation, for people."""

from __future__ import annotations

from tls_wheel_guard.loaders.simulation import Assumed, Simulation, StepReport
from tls_wheel_guard.report.style import text_of
from tls_wheel_guard.rules.phrases import count_of

__all__ = ["text"]

MAX_ASSUMED = 8
"""Assumptions that are listed; JSON has all."""


def text(simulation: Simulation) -> str:
    """The answer for people."""
    loader = simulation.loader
    numbers = ", ".join(f"{name} {value}" for name, value in simulation.start.items() if value is not None)
    lines = [
        f"{loader.name} {loader.spelling or ''}".rstrip()
        + f", {loader.machine}"
        + (f": {numbers}; {simulation.room:,} bytes left" if numbers else "")
    ]
    lines += [_line(report, bool(loader.numbers)) for report in simulation.steps]
    lines += _assumed(simulation.assumed)
    failed = sum(not report.step.loads for report in simulation.steps)
    lines.append(f"{count_of(len(simulation.steps), 'step')}, {failed} failed")
    if simulation.order:
        lines.append(f"all of them load in this order: {' '.join(simulation.order)}")
    return text_of(lines)


def _assumed(assumed: tuple[Assumed, ...]) -> list[str]:
    """What was not given, and what that means for the numbers."""
    lines = [
        f"  assumed to be there: {each.name}, which {each.module} {'needs' if each.kind == 'library' else 'uses'}; it was not given, and what it"
        " takes is not counted"
        for each in assumed[:MAX_ASSUMED]
    ]
    return [*lines, f"  and {len(assumed) - MAX_ASSUMED} more"] if len(assumed) > MAX_ASSUMED else lines


def _line(report: StepReport, has_room: bool) -> str:
    step = report.step
    verb = {"open": "loads", "global": "loads", "close": "closed", "use": "used"}[report.deed] if step.loads else "FAILS"
    parts = [f"  {verb:6} {report.module}"]
    if has_room:
        moved = f"takes {step.taken:,}" if step.taken >= 0 else f"gives back {-step.taken:,}"
        parts.append(f"{moved}, {report.room:,} left")
    parts += [words for words in (step.error, f"unsafe: {step.unsafe}" if step.unsafe else None) if words]
    return "  ".join(parts)
