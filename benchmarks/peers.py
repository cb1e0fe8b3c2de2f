"""What a Python script costs that does the same work with a well-known library; each is a program of its own that speed.py starts.

usage: peers.py zipfile|pyelftools|lief WHEEL
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from typing import Any

TPOFF = {62: {18, 23}, 183: {1030}}
"""e_machine -> numbers of initial-exec relocations, of the two machines whose wheels are measured."""


def elf_members(wheel: str) -> Iterator[bytes]:
    """The bytes of each ELF member, known by its first four."""
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                if member.read(4) == b"\x7fELF":
                    member.seek(0)
                    yield member.read()


def inflate(wheel: str) -> int:
    """Inflate the ELF members and do nothing with them, in pieces of one megabyte."""
    count = 0
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                if member.read(4) == b"\x7fELF":
                    while member.read(1 << 20):
                        pass
                    count += 1
    return count


def pyelftools(wheel: str) -> int:
    """Count initial-exec relocations, section by section."""
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415
    from elftools.elf.relocation import RelocationSection  # noqa: PLC0415

    count = 0
    for data in elf_members(wheel):
        elf = ELFFile(io.BytesIO(data))
        wanted = TPOFF.get(
            elf.header.e_machine if isinstance(elf.header.e_machine, int) else {"EM_X86_64": 62, "EM_AARCH64": 183}.get(elf.header.e_machine, 0),
            set(),
        )
        for section in elf.iter_sections():
            if isinstance(section, RelocationSection):
                count += sum(relocation["r_info_type"] in wanted for relocation in section.iter_relocations())
    return count


def lief(wheel: str) -> int:
    """Count initial-exec relocations with LIEF's parser, told to leave out what is not needed."""
    import lief as library  # noqa: PLC0415

    config: Any = library.ELF.ParserConfig()
    config.parse_symtab_symbols = config.parse_notes = False
    config.parse_symbol_versions = False
    count = 0
    for data in elf_members(wheel):
        binary = library.ELF.parse(io.BytesIO(data), config)
        count += sum("TPOFF" in str(r.type) or "TPREL" in str(r.type) for r in binary.dynamic_relocations)
    return count


if __name__ == "__main__":
    print({"zipfile": inflate, "pyelftools": pyelftools, "lief": lief}[sys.argv[1]](sys.argv[2]))
