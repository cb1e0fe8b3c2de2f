"""Small modules, built byte by byte: one with initial-exec TLS, one without, one that can be marked."""

from __future__ import annotations

from typing import Any

from tests.support.elf_builder import Reloc, Spec, Tls, build

__all__ = ["CLEAN", "INITIAL_EXEC", "MARKABLE", "TPOFF", "ie", "with_fields"]


TPOFF = {"x86_64": 18, "aarch64": 1030}

"""Machine -> the number of its initial-exec relocation."""

INITIAL_EXEC = build(Spec(relocs=(Reloc(TPOFF["x86_64"]),), tls=Tls(64, 8), needed=("libc.so.6",)))

CLEAN = build(Spec(needed=("libc.so.6",)))

MARKABLE = Spec(machine="aarch64", relocs=(Reloc(TPOFF["aarch64"]),), tls=Tls(64, 8))


def with_fields(spec: Spec, **fields: object) -> bytes:
    """The bytes of a specification with some fields changed."""
    return build(Spec(**{**{name: getattr(spec, name) for name in spec.__slots__}, **fields}))


def ie(size: int = 64, machine: str = "x86_64", flags: int = 0x10, **fields: Any) -> bytes:
    """A module with own initial-exec TLS."""
    return build(Spec(machine, relocs=(Reloc(TPOFF[machine]),), tls=Tls(size, 8), flags=flags, **fields))
