"""Models of the dynamic loaders, one module or package a loader.

``Loader.step``: what a process does, open by open; the only place that knows what a loader does. A verdict (``judge``) is the step of
one dlopen in a fresh process, a simulation is a fold over it. Pure: values in, values out.
"""

from __future__ import annotations

from tls_wheel_guard.loaders.joint import MAX_SIMULATED, Together, block_of, load_together, registers_lost
from tls_wheel_guard.loaders.link_map import Close, Event, Given, Open, Step, Use, dependencies
from tls_wheel_guard.loaders.needed import dependencies_first, reached
from tls_wheel_guard.loaders.registry import LOADERS, Loader, loader_called
from tls_wheel_guard.loaders.verdict import FreshFit, Outcome, Verdict, VerdictWord, judge

__all__ = [
    "LOADERS",
    "MAX_SIMULATED",
    "Close",
    "Event",
    "FreshFit",
    "Given",
    "Loader",
    "Open",
    "Outcome",
    "Step",
    "Together",
    "Use",
    "Verdict",
    "VerdictWord",
    "block_of",
    "dependencies",
    "dependencies_first",
    "judge",
    "load_together",
    "loader_called",
    "reached",
    "registers_lost",
]
