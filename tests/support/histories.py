"""Random histories of a process: modules of many kinds, opened, used and closed in any order; and the same told to the models.

Seeded: the same seed makes the same modules and the same events on every machine. Modules are built byte by byte, so that any size,
alignment, first byte, relocation order and dependency can be had.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.support.elf_builder import REL_MACHINES, Reloc, Spec, Sym, Table, Tls, build
from tls_wheel_guard.elf import BytesSource, defined_tls, read_shared_object
from tls_wheel_guard.elf.relocations import TLS_RELOCS
from tls_wheel_guard.loaders import Close, Event, Given, Open, Use
from tls_wheel_guard.platforms import machine_called
from tls_wheel_guard.tls import TlsModule, names_asked, tls_module

__all__ = ["Act", "History", "make_history", "read_modules"]

DF_STATIC_TLS, DF_1_NODELETE = 0x10, 0x8
WANT_PLTGOT = ("riscv64", "ppc64le", "ppc64")
"""Machines whose loader looks at DT_PLTGOT as soon as there is a DT_JMPREL (elf_machine_runtime_setup)."""
Deed = Literal["open", "global", "close", "use"]


@dataclass(frozen=True, slots=True)
class Act:
    """One step: what is done to which module. ``symbol``: the variable of a use."""

    deed: Deed
    path: Path
    symbol: str | None = None

    def word(self) -> str:
        """As tests/sources/process.c takes it."""
        return {"open": "+", "global": "*", "close": "-", "use": "="}[self.deed] + str(self.path) + (f":{self.symbol}" if self.symbol else "")


@dataclass(frozen=True, slots=True)
class History:
    """Modules by path, what is preloaded, and what is done."""

    modules: dict[Path, TlsModule]
    preloaded: tuple[Path, ...]
    acts: tuple[Act, ...]

    @property
    def given(self) -> tuple[TlsModule, ...]:
        """All modules, as a loader finds them in one folder."""
        return tuple(self.modules.values())

    def events(self) -> list[Event]:
        """The same for a model."""
        given = Given(self.given)
        made: list[Event] = []
        for act in self.acts:
            module = self.modules[act.path]
            if act.deed in ("open", "global"):
                made.append(Open(module, given, is_global=act.deed == "global"))
            else:
                made.append(Close(module) if act.deed == "close" else Use(module))
        return made


def read_modules(paths: Iterable[Path]) -> dict[Path, TlsModule]:
    """The modules as the guard reads them, with what they define for each other."""
    sources = {path: BytesSource(path.read_bytes()) for path in paths}
    facts = {path: read_shared_object(source) for path, source in sources.items()}
    wanted = {name for module in facts.values() for name in names_asked(module)}
    return {path: tls_module(facts[path], str(path), defined_tls(source, wanted)) for path, source in sources.items()}


class _Maker:
    """One history's modules."""

    def __init__(self, seed: int, machine: str, folder: Path, named: int | None) -> None:
        self.random = random.Random(seed)
        self.machine, self.folder, self.named = machine, folder, named
        known = machine_called(machine)
        assert known is not None
        word = str(known.bits)
        self.numbers: dict[str, int] = {}
        for number, (kind, name) in TLS_RELOCS[known.e_machine].items():
            if name.endswith(word) or kind not in self.numbers:
                self.numbers[kind] = number
        self.with_symbols: list[str] = []
        self.soname: dict[int, str] = {}

    def _tls(self) -> Tls | None:
        draw = self.random
        if draw.random() < 0.04:
            return None
        if draw.random() < 0.02:
            return draw.choice([Tls(0, 8), Tls(16, 0), Tls(0, 0)])
        size = draw.choice([draw.randint(1, 64), draw.randint(1, 400), draw.randint(300, 900), draw.randint(1, 3000)])
        align = draw.choice((1, 1, 2, 4, 8, 8, 16, 16, 32, 64, 128))
        first = draw.randrange(align) if draw.random() < 0.25 else 0
        return Tls(size, align, first, draw.choice([0, 0, draw.randint(0, size)]))

    def _own(self, tls: Tls | None) -> list[Reloc]:
        draw, kinds = self.random, self.numbers
        if tls is None or not tls.memsz or not tls.align:
            # Initial-exec for a variable that is nowhere: loaders crash on it, or overwrite memory.
            return [Reloc(kinds["TPOFF"])] if draw.random() < 0.2 else []
        tpoff, dtpmod, dtpoff = Reloc(kinds["TPOFF"]), Reloc(kinds["DTPMOD"]), Reloc(kinds["DTPOFF"])
        named = Reloc(kinds["TPOFF"], "own")
        forms: list[list[Reloc]] = [
            [tpoff], [tpoff, tpoff, dtpmod], [dtpmod, dtpoff], [dtpmod], [], [named], [tpoff, named], [Reloc(kinds["TPOFF"], "hid")],
        ]  # fmt: skip
        if "TLSDESC" in kinds:
            desc = Reloc(kinds["TLSDESC"], plt=draw.random() < 0.5)
            forms += [[desc], [desc], [desc, tpoff], [tpoff, desc], [dtpmod, desc], [Reloc(kinds["TLSDESC"], "own", plt=True)]]
        return list(draw.choice(forms))

    def _unseen(self) -> Sym:
        # Linkers make hidden symbols local. Loaders bind both to the module, but musl looks at the binding only.
        return Sym("hid", defined=True, local=True) if self.named is not None else Sym("hid", defined=True, hidden=True)

    def _soname(self, name: str) -> str | None:
        """Its own name, none, or that of an earlier module: a copy of the same library in another place."""
        draw = self.random
        if draw.random() < 0.2:
            return None
        earlier = f"m{draw.randint(0, int(name[1:-3]))}.so"
        return earlier if draw.random() < 0.15 and self.named is None else name

    def _table(self, relocs: list[Reloc]) -> Table | None:
        """Where the relocations are. Without a DT_PLTGOT there can be no DT_JMPREL on some machines."""
        choice: Table | None = "split" if any(reloc.plt for reloc in relocs) else self.random.choice(["jmprel", None])
        if self.machine in WANT_PLTGOT:
            return None
        return "split" if choice and self.machine in REL_MACHINES else choice

    def _shared_names(self, tls: Tls | None, relocs: list[Reloc], symbols: list[Sym]) -> None:
        """Variables of one name that several modules define, or only ask for: which one counts is a matter of scopes."""
        draw = self.random
        for name, unique in (("shared", False), ("shared_unique", True)):
            if draw.random() < 0.7:
                continue
            defined = bool(tls and tls.memsz and tls.align) and draw.random() < 0.8
            kind = draw.choice([k for k in ("TPOFF", "TPOFF", "DTPMOD", "TLSDESC") if k in self.numbers])
            symbols.append(Sym(name, defined=defined, unique=unique and defined, weak=not defined and draw.random() < 0.3))
            relocs.insert(draw.randint(0, len(relocs)), Reloc(self.numbers[kind], name, plt=kind == "TLSDESC"))

    def module(self, number: int) -> Path:
        """One module; later ones may need, and reach into, earlier ones."""
        draw, name = self.random, f"m{number}.so"
        tls = self._tls()
        relocs = self._own(tls)
        symbols = [Sym(f"v{number}", defined=True), Sym("own", defined=True), self._unseen()] if tls else []
        needed = [f"m{other}.so" for other in draw.sample(range(number), min(number, draw.choice([0, 0, 0, 1, 1, 2])))]
        for other in self.with_symbols:
            owner = f"m{other[1:]}.so"
            if owner in needed and draw.random() < 0.6:
                kind = draw.choice([k for k in ("TPOFF", "TPOFF", "DTPMOD", "TLSDESC") if k in self.numbers])
                symbols.append(Sym(other, weak=draw.random() < 0.1))
                relocs.insert(draw.randint(0, len(relocs)), Reloc(self.numbers[kind], other, plt=kind == "TLSDESC"))
        self._shared_names(tls, relocs, symbols)
        if draw.random() < 0.05:
            symbols.append(Sym("nobody", weak=draw.random() < 0.7))
            relocs.append(Reloc(self.numbers["TPOFF"], "nobody"))
        used = {reloc.symbol for reloc in relocs}
        symbols = [s for s in symbols if s.name in used or s.name.startswith(("v", "shared")) or (s.name == "own" and draw.random() < 0.2)]
        if tls and tls.memsz and tls.align:
            self.with_symbols.append(f"v{number}")
        if self.named is not None:
            relocs = [Reloc(self.named, "w"), Reloc(self.named, "w", plt=True), *relocs]
            symbols.append(Sym("w", weak=True))
        table = self._table(relocs)
        spec = Spec(
            self.machine,
            tuple(relocs),
            tls,
            tuple(symbols),
            soname=self._soname(name),
            needed=tuple(needed),
            runpath="$ORIGIN:$ORIGIN/../near:$ORIGIN/../far",
            flags=DF_STATIC_TLS if draw.random() < 0.3 else 0,
            flags_1=DF_1_NODELETE if draw.random() < 0.03 else 0,
            table=table,
        )
        path = self.folder / ("near" if draw.random() < 0.8 else "far") / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(build(spec))
        return path


def make_history(seed: int, machine: str, folder: Path, *, named: int | None = None) -> History:
    """Modules in ``folder`` and a history of 4 to 16 steps with them.

    ``named``: the number of an ordinary relocation that stands in front of each table, with a weak symbol that nobody defines: musl's
    messages print the symbol of the relocation before, and read through a wild pointer where there is none.
    """
    maker = _Maker(seed, machine, folder, named)
    draw = maker.random
    paths = [maker.module(number) for number in range(draw.randint(3, 10))]
    modules = read_modules(paths)
    alone = [
        path
        for path, module in modules.items()
        if not module.needed
        and not any(a.symbol for a in module.accesses)
        and module.demand.block_align
        and module.demand.block_size
        # glibc for riscv64 refuses descriptors, and then the process does not start.
        and not (machine == "riscv64" and any(a.kind == "TLSDESC" for a in module.accesses))
    ]
    preloaded = tuple(draw.sample(alone, min(len(alone), draw.choice([1, 2])))) if draw.random() < 0.2 else ()
    acts: list[Act] = []
    opened: list[Path] = []
    for _ in range(draw.randint(4, 16)):
        deed = draw.random()
        usable = [path for path in opened if f"v{path.stem[1:]}" in maker.with_symbols]
        if opened and deed < 0.25:
            acts.append(Act("close", opened.pop(draw.randrange(len(opened)))))
        elif usable and deed < 0.33:
            path = draw.choice(usable)
            acts.append(Act("use", path, f"v{path.stem[1:]}"))
        else:
            path = draw.choice([p for p in paths if p not in preloaded] or paths)
            opened.append(path)
            acts.append(Act("global" if draw.random() < 0.3 else "open", path))
    return History(modules, preloaded, tuple(acts))
