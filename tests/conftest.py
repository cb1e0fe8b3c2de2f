"""What holds for the whole run, and what it says at its end."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.marks import MARKERS, OF_FIXTURES, running

LEFT_OUT: Counter[str] = Counter()
"""Marker -> how many tests that have it were left out by ``-m``."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known; let tests be interrupted; give reports their usual width.

    A shell that runs the tests in the background lets them ignore SIGINT, and all that they start: nothing could be interrupted.
    """
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    # A worker of pytest-xdist has the controller's; a report takes it for the width that is wanted.
    os.environ.pop("COLUMNS", None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests whose fixtures install from an index."""
    for item in items:
        for name in {OF_FIXTURES[name] for name in getattr(item, "fixturenames", ()) if name in OF_FIXTURES}:
            item.add_marker(name)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Count what ``-m`` and ``-k`` leave out."""
    for item in items:
        LEFT_OUT.update({name for name in MARKERS if item.get_closest_marker(name)} or {"no marker"})
        LEFT_OUT["tests"] += 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let helpers know the test that uses them."""
    running(item)
    try:
        return (yield)
    finally:
        running(None)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist tells what it left out; each of them collects all tests."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = dict(LEFT_OUT)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what one worker left out: all of them leave out the same."""
    LEFT_OUT.update(Counter(getattr(node, "workeroutput", {}).get("left_out", {})) if not LEFT_OUT else ())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests ran, how many were skipped, how many of those were ground truth, and what was left out by markers."""
    stats = terminalreporter.stats
    skipped = stats.get("skipped", [])
    ground = sum("ground_truth" in str(report.nodeid) for report in skipped)
    ran = sum(len(stats.get(kind, [])) for kind in ("passed", "failed"))
    terminalreporter.write_line(f"tests: {ran} ran, {len(skipped)} skipped ({ground} of them ground truth)")
    if left := LEFT_OUT["tests"]:
        marked = ", ".join(f"{LEFT_OUT[name]} {name}" for name in (*MARKERS, "no marker") if LEFT_OUT[name])
        terminalreporter.write_line(f"left out: {left} tests, by what they need ({marked}; a test can need more than one)")
