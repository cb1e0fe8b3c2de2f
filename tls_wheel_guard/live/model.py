"""The static TLS of one live process: values only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from tls_wheel_guard.loaders import freebsd, glibc
from tls_wheel_guard.platforms import Libc
from tls_wheel_guard.records import dataclass

__all__ = ["KEEPS_NO_ROOM", "NO_STATIC_TLS", "Live", "version_numbers"]

NO_STATIC_TLS = "the system has no static TLS block"
KEEPS_NO_ROOM = "the loader keeps no room for late modules"


def version_numbers(text: str | None) -> tuple[int, ...]:
    """The numbers of a version as a child wrote it; parts that are none, or of more than nine digits, are left out."""
    return tuple(int(part) for part in (text or "").split(".") if re.fullmatch("[0-9]{1,9}", part))


@dataclass(frozen=True, slots=True)
class Live:
    """What one process has; sizes in bytes.

    ``python`` is the path of the interpreter, ``implementation`` its name and version. ``used``, ``limit`` and ``align`` are
    glibc's ``_dl_tls_static_used``, ``_dl_tls_static_size`` less the TCB where blocks end at it, and ``_dl_tls_static_align``;
    found by bisecting, ``used`` and ``limit`` are right modulo ``align`` and in their difference, which is all that decides about
    later modules. They are None for other libcs. ``optional`` is what descriptors may still take; None where there is no such
    limit, and where it was not read. ``room`` is the largest block of alignment 1 that fits; None where the question has no
    meaning. ``tunables``: of glibc, in force when the process started. ``files``: those that were mapped when it was read.
    ``extra``: FreeBSD's LD_STATIC_TLS_EXTRA, None where it is not set.
    """

    python: str
    implementation: str
    libc: Libc
    libc_version: str | None
    machine: str
    variant: Literal[1, 2] | None
    used: int | None
    limit: int | None
    align: int | None
    optional: int | None
    room: int | None
    method: str
    tunables: Mapping[str, int]
    imported: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    extra: str | None = None

    @property
    def warning(self) -> str | None:
        """What is wrong with the process's own settings; None where nothing is."""
        version = tuple(int(part) for part in re.findall(r"\d{1,6}", self.libc_version or "")[:2]) or None
        if self.libc != "freebsd" or not self.extra or not freebsd.is_no_number(self.extra, version):
            return None
        return (
            f"LD_STATIC_TLS_EXTRA={self.extra!r} is no plain decimal number: the loader takes it for the largest there is, and refuses every late"
            " module that needs static TLS; unset it, or write LD_STATIC_TLS_EXTRA=1024"
        )

    def glibc_state(self) -> glibc.State | None:
        """The process as the model of glibc sees it; None for another loader's."""
        if self.variant is None or self.used is None or self.limit is None or self.align is None:
            return None
        version = version_numbers(self.libc_version) or glibc.CURRENT
        return glibc.State(self.variant, self.used, self.limit, self.align, self.optional, version)
