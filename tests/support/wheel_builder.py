"""Wheels for tests: any members, any compression, any damage."""

from __future__ import annotations

import zipfile
from pathlib import Path

__all__ = ["DEFLATED", "STORED", "make_wheel"]

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def make_wheel(
    folder: Path,
    members: dict[str, bytes],
    tag: str = "cp312-cp312-manylinux_2_28_x86_64",
    *,
    name: str = "pkg",
    method: int = DEFLATED,
    metadata: bool = True,
) -> Path:
    """A wheel with these members and the usual metadata."""
    path = folder / f"{name}-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w", method) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        if metadata:
            tags = "".join(f"Tag: {tag.rsplit('-', 1)[0]}-{platform}\n" for platform in tag.rsplit("-", 1)[1].split("."))
            archive.writestr(f"{name}-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\n{tags}")
            archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return path
