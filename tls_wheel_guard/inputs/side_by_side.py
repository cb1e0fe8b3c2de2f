"""Work on several members of one wheel in threads, with the outcome of working on them one by one."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

__all__ = ["side_by_side"]

_Found = TypeVar("_Found")

SWITCH = 0.0005
"""Seconds after which a thread that runs Python code lets others run. A megabyte is inflated in a millisecond: after the usual five, the
thread that inflates would wait for most of its time."""
INTERRUPTED = 0.1
"""Seconds after which Ctrl-C is noticed at the latest, on systems where waiting for a thread can't be interrupted."""


def side_by_side(work: Callable[[int], _Found], large: Iterable[int], small: Iterable[int], threads: int) -> dict[int, _Found]:
    """What ``work`` returns for each place. The calling thread works on the small ones, ``threads`` others on the large ones, in the order given.

    Raises what a small place raises, else what the lowest large one that fails raises, whenever that happened. An interruption of the calling
    thread passes through at once. However it ends, the other threads begin nothing new.
    """
    run = _Run(work, large)
    others = [threading.Thread(target=run.go_on, name=f"reading members {n}", daemon=True) for n in range(threads)]
    try:
        with _quick_switches():
            for thread in others:
                thread.start()
            for place in small:
                run.found[place] = work(place)
            for thread in others:
                while thread.is_alive():
                    thread.join(INTERRUPTED)
    finally:
        run.stopped = True
    if run.failed:
        raise run.failed[min(run.failed)]
    return run.found


@contextlib.contextmanager
def _quick_switches() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(min(SWITCH, usual))
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


class _Run(Generic[_Found]):
    """What the threads share."""

    def __init__(self, work: Callable[[int], _Found], places: Iterable[int]) -> None:
        self.work = work
        self.found: dict[int, _Found] = {}
        self.failed: dict[int, Exception] = {}
        self.stopped = False
        self._places = iter(places)
        self._lock = threading.Lock()

    def go_on(self) -> None:
        """Take places until none is left. Those behind one that failed no longer matter."""
        while not self.stopped:
            with self._lock:
                place = next(self._places, None)
            if place is None:
                return
            if self.failed and place > min(self.failed):
                continue
            try:
                self.found[place] = self.work(place)
            except Exception as error:  # the calling thread raises it
                self.failed[place] = error
