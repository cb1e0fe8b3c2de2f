"""Batches of wheels over threads of this process, processes of this machine, or a dask cluster.

A scheduler keeps every task that it was given, so few are under way at a time: as one batch ends, the next is sent. A worker that dies costs
its batch, whose items are then tried one by one, so that the one that kills workers is named. Nothing here depends on where a worker runs.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tls_wheel_guard.errors import UnreadableIndex, UsageError
from tls_wheel_guard.version import __version__

__all__ = ["Lost", "by_cluster", "by_threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")

UNDER_WAY = 2
"""Batches under way for each worker."""

LEAN = {
    "distributed.admin.low-level-log-length": 10,
    "distributed.admin.system-monitor.log-length": 100,
    "distributed.worker.profile.enabled": False,
}
"""dask keeps the last thousand messages for its developers, here with the wheels of a batch in each; and it samples what its workers do."""


@dataclass(frozen=True, slots=True)
class Lost(Generic[Item]):
    """An item whose worker died with it, and why."""

    item: Item
    why: str


def by_threads(items: Iterable[Item], work: Callable[[Sequence[Item]], Sequence[Result]], threads: int) -> Iterator[Result]:
    """The results, as they come. Waiting for the network and inflating leave the other threads running."""
    waiting = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="index") as pool:
        under_way: set[Future[Sequence[Result]]] = set()
        try:
            while True:
                for item in itertools.islice(waiting, UNDER_WAY * threads - len(under_way)):
                    under_way.add(pool.submit(work, [item]))
                if not under_way:
                    return
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    yield from future.result()
        finally:
            for future in under_way:
                future.cancel()


def by_cluster(
    items: Iterable[Item], work: Callable[[Sequence[Item]], Sequence[Result]], *, address: str | None, workers: int, batch: int
) -> Iterator[Result | Lost[Item]]:
    """The results, as they come, from a cluster at ``address`` or one that is started here; raises UsageError and UnreadableIndex."""
    try:
        import distributed  # noqa: PLC0415  (large: only a cluster needs it)
    except ImportError as error:
        raise UsageError("a cluster needs dask.distributed", hint="pip install 'tls-wheel-guard[index]'") from error
    with _client(distributed, address, workers) as client:
        yield from _Cluster(distributed, client, iter(items), work, batch).results()


class _Cluster(Generic[Item, Result]):
    """One run on a cluster. ``distributed`` is the module, which is imported only where there is a cluster."""

    def __init__(self, distributed: Any, client: Any, items: Iterator[Item], work: Callable[[Sequence[Item]], Sequence[Result]], batch: int):
        self._client, self._items, self._work, self._batch = client, items, work, batch
        self._killed = distributed.scheduler.KilledWorker
        self._gone = (distributed.client.FutureCancelledError, OSError, TimeoutError)
        self._running: Any = distributed.as_completed()
        self._batches: dict[str, list[Item]] = {}

    def results(self) -> Iterator[Result | Lost[Item]]:
        """The results, as they come."""
        try:
            self._refill()
            for future in self._running:
                yield from self._result(future)
                future.release()
                self._refill()
        except self._gone as error:
            raise UnreadableIndex("the scheduler is gone", hint="start it and run this again: what was stored is not read again") from error
        except ImportError as error:
            raise UsageError(f"the workers can't import tls-wheel-guard: {error}", hint="install the same version on each of them") from error

    def _result(self, future: Any) -> Iterator[Result | Lost[Item]]:
        some = self._batches.pop(future.key)
        try:
            yield from future.result()
        except self._killed:
            yield from self._one_by_one(some)

    def _one_by_one(self, some: list[Item]) -> Iterator[Lost[Item]]:
        """Try the items of a batch whose worker died by themselves."""
        if len(some) == 1:
            yield Lost(some[0], "the worker that read it died, perhaps for want of memory")
            return
        for item in some:
            self._send([item], retries=0)

    def _send(self, some: list[Item], retries: int) -> None:
        future = self._client.submit(_checked, self._work, some, __version__, retries=retries, pure=False)
        self._batches[future.key] = some
        self._running.add(future)

    def _refill(self) -> None:
        threads = max(sum(self._client.nthreads().values()), 1)
        while len(self._batches) < UNDER_WAY * threads and (some := list(itertools.islice(self._items, self._batch))):
            self._send(some, retries=2)


def _checked(work: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item], version: str) -> Sequence[Result]:
    """Run in a worker: it must judge as the others do."""
    if version != __version__:
        raise UsageError(f"a worker has tls-wheel-guard {__version__}, and this is {version}", hint="install the same version on each worker")
    return work(items)


@contextlib.contextmanager
def _client(distributed: Any, address: str | None, workers: int) -> Iterator[Any]:
    import dask  # noqa: PLC0415  (comes with distributed)

    with contextlib.ExitStack() as ending:
        ending.enter_context(dask.config.set(LEAN))
        try:
            if address is None:
                cluster = distributed.LocalCluster(
                    n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None, silence_logs=50,
                    # Without a dashboard there is a page for probes, by default on a port that another cluster may have.
                    scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                )  # fmt: skip
                ending.callback(cluster.close)
                client = distributed.Client(cluster)
            else:
                client = distributed.Client(address, timeout=10)
        except (OSError, ValueError, TimeoutError) as error:
            words = " ".join(str(error).split())[:200]
            raise UsageError(f"--scheduler {address}: no scheduler answers there: {words}", hint="start one: dask scheduler") from error
        ending.callback(_close, client)
        yield client


def _close(client: Any) -> None:
    # A scheduler that is gone can't be said good-bye to.
    with contextlib.suppress(Exception):
        client.close(timeout=2)
