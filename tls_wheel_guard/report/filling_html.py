"""``simulate`` and ``doctor`` as a page: the block filling up, beside what the text says. Needs jinja2, the extra ``[html]``."""

from __future__ import annotations

from tls_wheel_guard.doctor.result import Diagnosis
from tls_wheel_guard.loaders.simulation import Simulation
from tls_wheel_guard.report import doctor, simulation
from tls_wheel_guard.report.filling import Frame, diagnosis_frames, simulation_frames
from tls_wheel_guard.report.html import page
from tls_wheel_guard.rules.phrases import count_of

__all__ = ["write_diagnosis", "write_simulation"]

MOST_FRAMES = 200


def write_simulation(simulated: Simulation) -> str:
    """What ``simulate`` did."""
    loader = simulated.loader
    failed = sum(not report.step.loads for report in simulated.steps)
    title = (
        f"{count_of(len(simulated.steps), 'step')} under {loader.name} {loader.spelling or ''}".rstrip()
        + f" on {loader.machine}: {failed} failed"
    )
    better = tuple(simulation_frames(simulated.works)) if simulated.works else ()
    return _page(title, tuple(simulation_frames(simulated)), simulation.text(simulated), simulated.order, better)


def write_diagnosis(diagnosis: Diagnosis) -> str:
    """What ``doctor`` found."""
    last = diagnosis.stages[-1]
    title = f"{last.name} {'loads' if diagnosis.outcome == 'loads' else 'fails'} in {diagnosis.live.python}"
    return _page(title, tuple(diagnosis_frames(diagnosis)), doctor.text(diagnosis))


def _page(title: str, frames: tuple[Frame, ...], text: str, order: tuple[str, ...] = (), better: tuple[Frame, ...] = ()) -> str:
    return page("filling.html", title=title, frames=frames, text=text, order=order, better=better, most=MOST_FRAMES)
