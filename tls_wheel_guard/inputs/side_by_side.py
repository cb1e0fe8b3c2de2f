"""Work on several members of one wheel in threads, with the outcome of working on them one by one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

__all__ = ["side_by_side"]

_Found = TypeVar("_Found")


def side_by_side(work: Callable[[int], _Found], large: Iterable[int], small: Iterable[int], threads: int) -> dict[int, _Found]:
    """What ``work`` returns for each place. The calling thread begins with the small ones, the others with the large ones, in the order given.

    Raises what a small place raises, else what the lowest large one that fails raises, whenever that happened. An interruption of the calling
    thread passes through at once. However it ends, the other threads begin nothing new.
    """
    run = _Run(work, large)
    others = [threading.Thread(target=run.go_on, name=f"reading members {n}", daemon=True) for n in range(1, threads)]
    try:
        for thread in others:
            thread.start()
        for place in small:
            run.found[place] = work(place)
        run.go_on()
        for thread in others:
            thread.join()
    finally:
        run.stopped = True
    if run.failed:
        raise run.failed[min(run.failed)]
    return run.found


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
