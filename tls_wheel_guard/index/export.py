"""The findings of a store as a parquet file, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tls_wheel_guard.errors import UsageError
from tls_wheel_guard.index.store import Store

__all__ = ["export"]

ROWS = 50_000
"""Findings that are in memory at a time."""
_NAMES = ("project", "version", "filename", "sha256", "uploaded", "rule", "severity", "module", "system", "culprit")
_QUERY = """
SELECT w.project, w.version, w.filename, w.sha256, w.uploaded, f.rule, f.severity, f.module, f.system, f.culprit
FROM wheels w JOIN verdicts v USING (key) LEFT JOIN findings f ON f.key = v.key AND f.judgement = v.judgement
WHERE v.judgement = ? ORDER BY w.project, w.version, w.filename
"""


def export(store: Store, path: Path) -> int:
    """Write a row for each finding of the store's judgement; how many. Raises UsageError."""
    try:
        import pyarrow as pa  # noqa: PLC0415  (only an export needs it)
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise UsageError("--export needs pyarrow", hint="pip install pyarrow") from error
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with pq.ParquetWriter(unfinished, pa.schema([(name, pa.string()) for name in _NAMES])) as writer:
            written = _written(store, pa, writer)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise UsageError(f"{path}: it can't be written: {error.strerror or error}", hint="name a file in a folder that exists") from error
    return written


def _written(store: Store, pa: Any, writer: Any) -> int:
    count = 0
    found = store.db.execute(_QUERY, (store.judgement,))
    while rows := found.fetchmany(ROWS):
        columns = zip(*rows, strict=True)
        writer.write_table(pa.table({name: pa.array(column, pa.string()) for name, column in zip(_NAMES, columns, strict=True)}))
        count += len(rows)
    return count
