"""What a member is, by its first bytes. Its name counts only where the bytes can't be read."""

from __future__ import annotations

from typing import Literal

__all__ = ["PEEK", "Format", "format_of", "name_says_no_elf"]

Format = Literal["elf", "mach-o", "pe", "wasm", "archive", "other"]

PEEK = 512
"""Bytes of a member that tell its format: a tar's magic stands at 257."""

_MACH_O = frozenset({b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe"})
_FAT = frozenset({b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf"})
_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"!<arch>\n", b"!<thin>\n", b"7z\xbc\xaf\x27\x1c")
_COMPRESSED_TAR = (".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tar.zst")

_TEXT_OR_DATA = frozenset(
    """py pyi pyx pxd pyc txt md rst json toml cfg ini yaml yml xml html htm css js mjs ts map svg png jpg jpeg gif ico woff
    woff2 ttf otf csv tsv h hh hpp hxx c cc cpp cxx cu cuh f f90 inc cmake pc sh bat ps1 in typed npz npy pkl proto mo po tex ipynb
    lib dll pyd dylib exe""".split()
)


def format_of(first: bytes, name: str = "") -> Format:
    """The format of a file from its first ``PEEK`` bytes (fewer where it is shorter)."""
    if first[:4] == b"\x7fELF":
        return "elf"
    if first[:4] in _MACH_O or (first[:4] in _FAT and int.from_bytes(first[4:8], "big") < 20):
        # cafebabe is a Java class too; there the next word is the class file version, 45 or more.
        return "mach-o"
    if first[:4] == b"\0asm":
        return "wasm"
    if first[:2] == b"MZ":
        return "pe"
    if first.startswith(_ARCHIVES) or first[257:262] == b"ustar" or name.endswith(_COMPRESSED_TAR):
        return "archive"
    return "other"


def name_says_no_elf(name: str) -> bool:
    """Whether a file's name ends in an extension of text or data. Used for members whose bytes can't be read at all."""
    base = name.rsplit("/", 1)[-1].lower()
    return name.endswith("/") or (".dist-info/" in name and "." not in base) or base.rpartition(".")[2] in _TEXT_OR_DATA
