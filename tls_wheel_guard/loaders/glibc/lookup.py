"""Looking names up as glibc does: elf/dl-lookup.c."""

from __future__ import annotations

from tls_wheel_guard.loaders.link_map import Table
from tls_wheel_guard.tls import Access, TlsModule

__all__ = ["undefined_words", "unique_names"]


def unique_names(table: Table) -> dict[str, str]:
    """STB_GNU_UNIQUE name -> path of the module whose definition holds; the start-up set has had its lookups."""
    found: dict[str, str] = {}
    for path, row in table.items():
        at_start = [access.symbol for access in row.module.accesses if access.unique and access.symbol] if row.at_start else []
        for name in (*row.unique, *at_start):
            found.setdefault(name, path)
    return found


def undefined_words(module: TlsModule, access: Access) -> str:
    """The words for a symbol that nobody defines (elf/dl-lookup.c:_dl_lookup_symbol_x)."""
    version = f", version {access.version}" if access.version else ""
    return f"{module.name}: undefined symbol: {access.symbol}{version}"
