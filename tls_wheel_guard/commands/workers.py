"""Many inputs over processes: bounded submission, order, a killed worker."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tls_wheel_guard.commands.check import Asked, check_path
from tls_wheel_guard.config.model import Config
from tls_wheel_guard.findings import Report
from tls_wheel_guard.records import replace

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

__all__ = ["check_many"]

WORKERS_PAY_FROM = 128 << 20
"""Bytes of wheels from which worker processes pay for their start: two cost 0.3 s of CPU time, in which one process reads 90 MB."""
MOST_IN_ONE = 0.75
"""Share of all bytes in one wheel from which a worker would be left alone with it: threads share its members."""


def check_many(
    paths: Sequence[Path],
    config: Config,
    jobs: int,
    on_done: Callable[[Path], None] | None = None,
    asked: Asked = Asked(),
) -> Iterator[Report]:
    """Judge many files, in parallel where that pays; reports come in the order of ``paths``.

    ``on_done`` is called with each path as soon as it is done, from another thread where there are workers.
    """
    done = on_done or (lambda _: None)
    if jobs > 1 and len(paths) > 1 and _workers_pay([_size(path) for path in paths]):
        yield from _by_workers(paths, partial(check_path, config=config, asked=replace(asked, on_file=None)), min(jobs, len(paths)), done)
    else:
        alone = replace(asked, threads=jobs)
        for path in paths:
            report = check_path(path, config, alone)
            done(path)
            yield report


def _workers_pay(sizes: Sequence[int]) -> bool:
    return sum(sizes) >= WORKERS_PAY_FROM and max(sizes) <= MOST_IN_ONE * sum(sizes)


def _by_workers(paths: Sequence[Path], check: Callable[[Path], Report], workers: int, done: Callable[[Path], None]) -> Iterator[Report]:
    import multiprocessing  # noqa: PLC0415
    from concurrent.futures.process import BrokenProcessPool  # noqa: PLC0415

    if sys.platform != "win32":
        # Otherwise it is started with the first worker, and lets SIGINT through again.
        from multiprocessing import resource_tracker  # noqa: PLC0415

        resource_tracker.ensure_running()
    with _pool(workers) as pool:
        futures: list[Future[Report]] = []
        before = set(multiprocessing.active_children())
        try:
            for path in paths:
                with _interrupts_held():
                    future = pool.submit(check, path)
                future.add_done_callback(lambda _, path=path: done(path))  # type: ignore[misc]  # a default that binds
                futures.append(future)
            for path, future in zip(paths, futures, strict=True):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    # Any of the files under way may have killed the worker, and the results of all of them are lost.
                    yield _alone(path, check)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()
            raise


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C goes to all processes of a terminal: a worker that is started here ignores it, and this process ends the worker.

    On POSIX a worker inherits the blocked signal, and this process receives afterwards what came in the meantime.
    """
    import signal  # noqa: PLC0415  (with workers only)

    if threading.current_thread() is not threading.main_thread():
        yield
    elif hasattr(signal, "pthread_sigmask"):
        usual = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, usual)
    else:
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, handler)


def _pool(workers: int) -> ProcessPoolExecutor:
    # Imported where there are workers: a run over one wheel should not wait 25 ms for them.
    import multiprocessing  # noqa: PLC0415
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415

    # spawn: fork is not safe where threads run, and does not exist on Windows.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _alone(path: Path, check: Callable[[Path], Report]) -> Report:
    """Judge a file in a process of its own, so that the one that kills its worker does not hide the others' results."""
    from concurrent.futures.process import BrokenProcessPool  # noqa: PLC0415

    with _pool(1) as pool:
        try:
            return pool.submit(check, path).result()
        except BrokenProcessPool:
            died = "the process that read it was killed, perhaps for want of memory"
            return Report(path.name, str(path), error=died, error_hint="check it by itself, on a machine with more memory")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
