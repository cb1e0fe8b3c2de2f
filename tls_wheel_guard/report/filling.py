"""The static TLS block filling up, step by step: what a simulation did, and what a diagnosis found, as segments. Sizes in bytes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from tls_wheel_guard.doctor.result import Diagnosis
from tls_wheel_guard.loaders.simulation import Simulation, StepReport
from tls_wheel_guard.records import dataclass
from tls_wheel_guard.report.block import Segment, SegmentKind
from tls_wheel_guard.rules.phrases import count_of

__all__ = ["Frame", "diagnosis_frames", "simulation_frames"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One step. ``what``: what was done to ``module``; ``segments``: the block after it; ``words``: the loader's, where it refuses.

    ``fails``: the step did not work, or is unsafe.
    """

    what: str
    module: str
    segments: tuple[Segment, ...]
    words: tuple[str, ...] = ()
    fails: bool = False


def _segments(start: int, before: int, asked: int, left: int, refused: bool) -> tuple[Segment, ...]:
    """The block. What is refused stands beyond the end: all of it where no part would do."""
    inside = 0 if refused else asked
    sizes: tuple[tuple[SegmentKind, int], ...] = (
        ("start", start), ("before", before), ("asked", inside), ("left", left), ("beyond", asked - inside),
    )  # fmt: skip
    return tuple(Segment(kind, size) for kind, size in sizes if size > 0)


def simulation_frames(simulation: Simulation) -> Iterator[Frame]:
    """A frame for each step that changed something or failed; one for all steps in a row that did neither."""
    start, left = simulation.start.get("used") or 0, simulation.room
    for idle, steps in groupby(simulation.steps, _is_idle):
        if idle:
            names = [report.module for report in steps]
            what = "takes no room" if len(names) == 1 else f"and {count_of(len(names) - 1, 'more module')} take no room"
            yield Frame(what, names[0], _segments(start, simulation.room - left, 0, left, refused=False))
            continue
        for report in steps:
            taken = max(report.step.taken, 0)
            refused = not report.step.loads
            before = max(simulation.room - report.room - taken, 0)
            segments = _segments(start, before, report.asked if refused else taken, report.room, refused)
            words = tuple(word for word in (report.step.error, report.step.unsafe) if word)
            yield Frame(_what(report, left), report.module, segments, words, refused or bool(report.step.unsafe))
            left = report.room


def _is_idle(report: StepReport) -> bool:
    return report.step.loads and not report.step.taken and not report.step.unsafe


def _what(report: StepReport, left: int) -> str:
    if not report.step.loads:
        return "is refused"
    verb = {"open": "loads", "global": "loads", "close": "is closed", "use": "is used"}[report.deed]
    change = left - report.room
    moved = f"takes {change:,} bytes" if change > 0 else f"gives back {-change:,} bytes" if change < 0 else "takes no room"
    return f"{verb} and {moved}"


def diagnosis_frames(diagnosis: Diagnosis) -> Iterator[Frame]:
    """A frame for each file that took room after the start, and one for what was refused."""
    start = sum(share.size for share in diagnosis.took if share.stage is None)
    whole = diagnosis.live.room
    if whole is None:
        return
    before = 0
    for share in diagnosis.took:
        if share.stage is not None:
            left = max(whole - before - share.size, 0)
            yield Frame(f"takes {share.size:,} bytes, by {share.stage}", share.path, _segments(start, before, share.size, left, refused=False))
            before += share.size
    asked = diagnosis.asked
    if diagnosis.outcome == "static-tls" and asked is not None and asked.size:
        left = max(whole - before, 0) if diagnosis.room is None else diagnosis.room
        words = tuple(word for word in (diagnosis.stages[-1].static_tls,) if word)
        yield Frame(f"asks for {asked.size:,} bytes and is refused", asked.definer, _segments(start, before, asked.size, left, True), words, True)
