"""Files of a given age, and distributions as an installer leaves them in site-packages."""

from __future__ import annotations

import json
import os
import time
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from tests.support.elf_builder import Spec, build

__all__ = ["HOUR", "TAG", "installed", "put"]


ELF = build(Spec())
TAG = EXTENSION_SUFFIXES[0]
HOUR = 3600 * 10**9


def put(path: Path, data: bytes = ELF, age_hours: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    when = time.time_ns() - age_hours * HOUR
    os.utime(path, ns=(when, when))
    return path


def installed(site: Path, name: str, origin: dict[str, object] | str | None) -> Path:
    """A distribution in a site-packages folder with one module; ``origin``: its direct_url.json."""
    module = put(site / name / f"_m{TAG}")
    info = site / f"{name}-1.0.dist-info"
    put(info / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode())
    put(info / "RECORD", f"{name}/_m{TAG},,\n{name}/gone.so,,\n{name}/__init__.py,,\n".encode())
    if origin is not None:
        put(info / "direct_url.json", (origin if isinstance(origin, str) else json.dumps(origin)).encode())
    return module
