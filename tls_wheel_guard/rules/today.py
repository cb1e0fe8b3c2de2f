"""What a user can do today, with the wheel as it is."""

from __future__ import annotations

from collections.abc import Iterable

from tls_wheel_guard.findings import Hint, ModuleReport
from tls_wheel_guard.loaders import Verdict, freebsd, glibc

__all__ = ["steps_today"]

PRELOAD = "LD_PRELOAD for python itself"
"""An extension module wants Python's own symbols: any other program that is started with it stops."""
MARGIN = 256
"""Bytes of room that advised values leave to other modules."""


def steps_today(module: ModuleReport, verdicts: Iterable[Verdict], *, alone: bool = True) -> tuple[Hint, ...]:
    """What helps where a verdict refuses the module or may do so, each step once.

    ``alone``: False where it is refused with what it needs, so that no order of imports helps.
    """
    refused = [verdict for verdict in verdicts if verdict.verdict in ("never", "if-room")]
    steps = {step: verdict.target.libc for verdict in refused if (step := _step(module, verdict, alone))}
    return tuple(Hint(step, "today", libc) for step, libc in steps.items())


def _step(module: ModuleReport, verdict: Verdict, alone: bool) -> str | None:
    libc = verdict.target.libc
    crashes = _crashes_when_preloaded(module, libc)
    if crashes:
        return f"nothing helps on {libc} but another build: preloaded, {crashes}"
    if libc == "freebsd":
        return _freebsd(verdict)
    if libc == "musl":
        return f"on musl only {PRELOAD} helps"
    return _glibc(verdict, alone) if libc == "glibc" else None


def _crashes_when_preloaded(module: ModuleReport, libc: str) -> str | None:
    """Why the module must not be preloaded: the runtime of a culprit in it does not work that way."""
    return next((why for suspect in module.traced.sure for name, why in suspect.match.culprit.no_preload if name == libc), None)


def _glibc(verdict: Verdict, alone: bool) -> str:
    outcome, fit = verdict.outcome, verdict.outcome.fits_fresh_process
    if outcome.reason == "alignment":
        return f"no order of imports helps, only {PRELOAD}"
    if alone and (fit is None or fit.oldest or fit.current):
        return f"import it before other native libraries, or {PRELOAD}"
    more = ""
    if outcome.room is not None and outcome.taken > outcome.room:
        optional = -(-(glibc.OPTIONAL + outcome.taken - outcome.room + MARGIN) // 512) * 512
        more = f"; since glibc 2.32 also GLIBC_TUNABLES=glibc.rtld.optional_static_tls={optional}"
    return f"no order of imports helps, only {PRELOAD}{more}"


def _freebsd(verdict: Verdict) -> str:
    oldest = verdict.target.oldest or freebsd.TUNABLE_SINCE
    if oldest >= freebsd.TUNABLE_SINCE:
        return f"on FreeBSD 14 and newer, start Python with LD_STATIC_TLS_EXTRA={_padded(verdict.outcome.taken)} in its environment"
    return f"only {PRELOAD} helps (FreeBSD {oldest[0]} has no LD_STATIC_TLS_EXTRA yet)"


def _padded(taken: int) -> int:
    """A round number with some room for others: the least power of two from 1024 on that leaves them 256 bytes."""
    value = 1024
    while value < taken + MARGIN:
        value *= 2
    return value
