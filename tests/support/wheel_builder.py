"""Wheels for tests: any members, any compression, any damage."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["DEFLATED", "STORED", "assert_record_is_right", "digest", "full_wheel", "make_wheel", "record_of"]

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def make_wheel(
    folder: Path,
    members: Mapping[str, bytes],
    tag: str = "cp312-cp312-manylinux_2_28_x86_64",
    *,
    name: str = "pkg",
    method: int = DEFLATED,
    metadata: bool = True,
) -> Path:
    """A wheel with these members and the usual metadata."""
    path = folder / f"{name}-1.0-{tag}.whl"
    folder_name = f"{name}-1.0.dist-info"
    if metadata:
        tags = "".join(f"Tag: {tag.rsplit('-', 1)[0]}-{platform}\n" for platform in tag.rsplit("-", 1)[1].split("."))
        members = {
            **members,
            f"{folder_name}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\n{tags}".encode(),
            f"{folder_name}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        }
    with zipfile.ZipFile(path, "w", method) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        if metadata:
            archive.writestr(f"{folder_name}/RECORD", record_of(members) + f"{folder_name}/RECORD,,\n")
    return path


def full_wheel(folder: Path, members: dict[str, bytes], method: int = DEFLATED) -> Path:
    """A wheel whose RECORD is right, with modes and dates."""
    path = folder / "pkg-1.0-cp312-cp312-manylinux_2_28_aarch64.whl"
    lines = []
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**members, "pkg-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\n"}.items():
            info = zipfile.ZipInfo(name, (2020, 2, 3, 4, 5, 6))
            info.compress_type, info.external_attr = method, 0o100755 << 16
            archive.writestr(info, data)
            lines.append(f"{name},sha256={digest(data)},{len(data)}\n")
        archive.writestr("pkg-1.0.dist-info/RECORD", "".join(lines) + "pkg-1.0.dist-info/RECORD,,\n")
    return path


def digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def assert_record_is_right(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for name, hashed, size in csv.reader(archive.read("pkg-1.0.dist-info/RECORD").decode().splitlines()):
            if hashed:
                data = archive.read(name)
                assert (hashed, size) == (f"sha256={digest(data)}", str(len(data)))


def record_of(members: Mapping[str, bytes]) -> str:
    """RECORD's lines for some members."""
    out = io.StringIO(newline="")
    for name, data in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        csv.writer(out, lineterminator="\n").writerow([name, f"sha256={digest}", len(data)])
    return out.getvalue()
