"""What a test needs from outside, as markers; a helper fails the test that uses it without the marker."""

from __future__ import annotations

import pytest

__all__ = ["MARKERS", "in_test", "needs", "running"]

MARKERS = {
    "network": "needs files from an index, a crate registry or a Debian mirror; they are kept in the user's cache folder",
    "compiler": "needs compilers or binutils, as tools/packages.txt lists them",
    "emulated": "runs programs of other machines under qemu-user",
}
"""Marker -> what it says of a test. ``pytest -m "not network"`` leaves out what can't run offline on a new machine."""

OF_FIXTURES = {"new_python": "network", "old_python": "network", "cibuildwheel": "network", "python": "network"}
"""Fixtures of tests/builds that install from an index -> the marker of every test that uses one."""

_running: list[pytest.Item] = []


def running(item: pytest.Item | None) -> None:
    """Say which test runs now."""
    _running[:] = [item] if item else []


def in_test() -> bool:
    """Whether a test runs, and no benchmark."""
    return bool(_running)


def needs(marker: str) -> None:
    """Fail the running test when it has not the marker. Outside of tests, in benchmarks, nothing is checked."""
    if _running and not _running[0].get_closest_marker(marker):
        pytest.fail(f"this test needs @pytest.mark.{marker}: it {MARKERS[marker]}")
