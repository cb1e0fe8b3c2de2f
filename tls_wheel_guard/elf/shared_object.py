"""What the guard knows of one ELF file: facts only, no judgement."""

from __future__ import annotations

from typing import Literal

from tls_wheel_guard.elf.relocations import RelocKind
from tls_wheel_guard.platforms import Machine
from tls_wheel_guard.records import dataclass

__all__ = ["DynamicTls", "InitialExec", "Kind", "SharedObject", "Symbol", "TlsAccess", "TlsReloc", "TlsSegment"]

Kind = Literal["shared", "program", "object", "debug"]
"""``shared``: what dlopen opens. ``program``: ET_EXEC, DF_1_PIE, or an interpreter and no SONAME. ``object``: ET_REL.
``debug``: split debug information, whose .dynamic has no bytes. ET_CORE counts as ``object``: no loader opens it."""


@dataclass(frozen=True, slots=True)
class TlsSegment:
    """PT_TLS, the template of a module's TLS block. ``vaddr``: virtual address; ``offset``: file offset; rest bytes."""

    vaddr: int
    offset: int
    filesz: int
    memsz: int
    align: int


@dataclass(frozen=True, slots=True)
class Symbol:
    """A dynamic symbol that a TLS relocation names. ``defined``: in this file; ``weak``: STB_WEAK; ``local``: STB_LOCAL.

    ``version`` is the symbol version that the file asks for (``GLIBC_PRIVATE``), or None. ``hidden``: its visibility binds it to
    this file (STV_INTERNAL, STV_HIDDEN, STV_PROTECTED). ``unique``: STB_GNU_UNIQUE.
    """

    name: str
    defined: bool
    weak: bool
    local: bool
    version: str | None = None
    hidden: bool = False
    unique: bool = False

    @property
    def versioned_name(self) -> str:
        """The name as readelf prints it: ``name@version``."""
        return f"{self.name}@{self.version}" if self.version else self.name


@dataclass(frozen=True, slots=True)
class TlsReloc:
    """One initial-exec relocation. ``offset``: virtual address of the slot; ``addend``: None in a REL table."""

    name: str
    offset: int
    addend: int | None
    symbol: Symbol | None


@dataclass(frozen=True, slots=True)
class TlsAccess:
    """What one or more TLS relocations ask of a loader: the kind of access, and whose variable. ``symbol``: None for the file's own.

    ``in_plt``: the first of them is in DT_JMPREL.
    """

    kind: RelocKind
    symbol: Symbol | None
    in_plt: bool = False

    @property
    def own(self) -> bool:
        """Whether the loader looks no name up: the variable is the file's own."""
        return self.symbol is None or self.symbol.local or (self.symbol.defined and self.symbol.hidden)


@dataclass(frozen=True, slots=True)
class InitialExec:
    """All initial-exec relocations of a file, counted.

    ``types``: psABI name and count. ``no_symbol``, ``defined``, ``foreign``: how many have no symbol, one that the file
    defines, one that another module must define. ``foreign_symbols``: symbol and count. ``addends``: the different
    addends of relocations without symbol, sorted. ``relocs``: the first ``MAX_KEPT`` in table order.
    """

    count: int = 0
    types: tuple[tuple[str, int], ...] = ()
    no_symbol: int = 0
    defined: int = 0
    foreign_symbols: tuple[tuple[Symbol, int], ...] = ()
    addends: tuple[int, ...] = ()
    relocs: tuple[TlsReloc, ...] = ()

    @property
    def own(self) -> int:
        """Relocations for variables of this file."""
        return self.no_symbol + self.defined

    @property
    def foreign(self) -> int:
        """Relocations for variables that another module must define."""
        return self.count - self.own


@dataclass(frozen=True, slots=True)
class DynamicTls:
    """Dynamic TLS relocations, counted. ``undefined_weak``: weak symbols that they name and the file does not define.

    ``tlsdesc_own``: descriptors for a variable of the file itself. ``descriptors_in_plt``: the first one is in DT_JMPREL.
    """

    dtpmod: int = 0
    tlsdesc: int = 0
    dtpoff: int = 0
    tlsdesc_own: int = 0
    undefined_weak: tuple[str, ...] = ()
    descriptors_in_plt: bool = False


@dataclass(frozen=True, slots=True)
class SharedObject:
    """The facts of one ELF file. ``machine`` is None where ``e_machine`` has no row in the table of relocations.

    ``accesses``: the different TLS relocations, each once, in the order in which a loader meets the first of them (DT_RELA or
    DT_REL, then DT_JMPREL). ``local_exec``: virtual addresses of local-exec code. ``nodelete``: DF_1_NODELETE.
    ``tls_optimised``: DT_PPC64_OPT or DT_PPC_OPT has the TLS bit. ``search_path``: folders of DT_RUNPATH, else of DT_RPATH, as written.
    ``markers``: versions of libc.so.6 without symbols that linkers for x86
    ask for where code uses TLS in a way that old releases of glibc get wrong: GLIBC_ABI_GNU2_TLS, GLIBC_ABI_GNU_TLS.

    ``note_owners``: names in PT_NOTE, such as GNU, Android, FreeBSD. ``relr_relative``: relative relocations packed in DT_RELR.
    ``dynamic_relocations``: entries of the other dynamic tables, overlapping ranges once.
    """

    size: int
    e_machine: int
    bits: int
    little_endian: bool
    osabi: int
    e_type: int
    kind: Kind
    machine: Machine | None
    soname: str | None = None
    needed: tuple[str, ...] = ()
    interpreter: str | None = None
    df_static_tls: bool = False
    df_1_pie: bool = False
    textrel: bool = False
    has_section_headers: bool = False
    note_owners: tuple[str, ...] = ()
    tls_segment: TlsSegment | None = None
    initial_exec: InitialExec = InitialExec()
    dynamic: DynamicTls = DynamicTls()
    accesses: tuple[TlsAccess, ...] = ()
    local_exec: tuple[int, ...] = ()
    nodelete: bool = False
    tls_optimised: bool = False
    search_path: tuple[str, ...] = ()
    dynamic_relocations: int = 0
    relr_relative: int = 0
    markers: tuple[str, ...] = ()

    @property
    def machine_name(self) -> str:
        """The machine's name, or ``e_machine N`` where there is no row."""
        return self.machine.name if self.machine else f"e_machine {self.e_machine}"
