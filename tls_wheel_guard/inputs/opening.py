"""Open an input: what it is, is told by its first bytes."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from tls_wheel_guard.inputs.contents import Contents
from tls_wheel_guard.inputs.files import open_regular
from tls_wheel_guard.inputs.opened import OpenInput
from tls_wheel_guard.inputs.wheel import OpenWheel
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits

__all__ = ["inspect_file", "open_input"]


def open_input(
    path: str | os.PathLike[str],
    limits: Limits = DEFAULT_LIMITS,
    *,
    tree: bool = False,
    threads: int = 1,
    only: Collection[int] | None = None,
) -> OpenInput:
    """Open a wheel or a bare file, or with ``tree`` a folder; raises UnreadableInput. The caller closes it, or uses ``with``.

    ``threads``: how many may read the members of a wheel side by side. ``only``: as of :class:`OpenWheel`.
    """
    place = Path(path)
    if tree and place.is_dir():
        from tls_wheel_guard.inputs.folder import OpenFolder  # noqa: PLC0415  (what an input is, decides)

        return OpenFolder(place, limits)
    file = open_regular(path)
    try:
        first = file.read(2)
        if first == b"PK" or place.suffix == ".whl":
            return OpenWheel(file, str(path), place.name, limits, threads, only)
    except BaseException:
        file.close()
        raise
    from tls_wheel_guard.inputs.bare_file import OpenFile  # noqa: PLC0415

    return OpenFile(file, str(path), place.name, limits)


def inspect_file(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> Contents:
    """The contents of a wheel or of a bare file, opened for nothing else; raises UnreadableInput."""
    with open_input(path, limits) as opened:
        return opened.contents
