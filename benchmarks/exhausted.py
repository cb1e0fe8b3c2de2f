"""A glibc process that has no static TLS left: libraries that take it, and the Python that loads them."""

from __future__ import annotations

import subprocess
from pathlib import Path

SIZES = (256,) * 20 + (64,) * 20 + (8,) * 30
"""Bytes of the fillers, the large ones first: together more than any surplus."""

EXHAUST = """
import ctypes as _ctypes, os as _os
_loaded = 0
for _path in _os.environ["FILLERS"].split(_os.pathsep):
    try:
        _ctypes.CDLL(_path)
        _loaded += 1
    except OSError as _error:
        assert "cannot allocate memory in static TLS block" in str(_error), _error
assert 0 < _loaded < len(_os.environ["FILLERS"].split(_os.pathsep)), "static TLS is not used up"
"""
"""Runs first; fails where some room may be left."""


def make_fillers(folder: Path, compiler: str = "gcc") -> list[Path]:
    """Compile the libraries."""
    folder.mkdir(parents=True)
    made = []
    for number, size in enumerate(SIZES):
        source = folder / f"f{number}.c"
        source.write_text(f"static __thread char block[{size}];\nchar *filler_{number}(void);\nchar *filler_{number}(void) {{ return block; }}\n")
        output = folder / f"f{number}.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-ftls-model=initial-exec", "-o", str(output), str(source)], check=True)
        made.append(output)
    return made
