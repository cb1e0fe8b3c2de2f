"""ELF format in, frozen facts out. No paths, no files: a :class:`Source` gives bytes at offsets."""

from tls_wheel_guard.elf.reader import is_elf, read_shared_object
from tls_wheel_guard.elf.shared_object import DynamicTls, InitialExec, SharedObject, Symbol, TlsAccess, TlsReloc, TlsSegment
from tls_wheel_guard.elf.source import BytesSource, Source
from tls_wheel_guard.elf.symbol_lookup import Linkage, defined_tls, linkage

__all__ = [
    "BytesSource",
    "DynamicTls",
    "InitialExec",
    "Linkage",
    "SharedObject",
    "Source",
    "Symbol",
    "TlsAccess",
    "TlsReloc",
    "TlsSegment",
    "defined_tls",
    "is_elf",
    "linkage",
    "read_shared_object",
]
