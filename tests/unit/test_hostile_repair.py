"""What damage and fuzzing found in repair: objects that contradict themselves are refused, and what is repaired is whole."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.repairing import GLIBC, build_object
from tls_wheel_guard.elf.constants import SHT_DYNSYM, SHT_SYMTAB
from tls_wheel_guard.errors import MalformedElf
from tls_wheel_guard.repair.damage import damage_of
from tls_wheel_guard.repair.elf_file import EHDR, PHDR, SHDR, SYM, ElfFile, read_elf_file
from tls_wheel_guard.repair.plan import plan_repair
from tls_wheel_guard.repair.prove import repaired
from tls_wheel_guard.repair.refusal import CannotRepair
from tls_wheel_guard.repair.unwind_info import debug_frame
from tls_wheel_guard.repair.x86_64 import MACHINE as X86_64

pytestmark = pytest.mark.compiler

SOURCE = '__thread int v __attribute__((tls_model("initial-exec"))); int work(int n) { v += n; return v; }'


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An object of GNU ld, whose first tables give way to a program header, with the symbols that debuggers read."""
    folder = tmp_path_factory.mktemp("object")
    (folder / "a.c").write_text(SOURCE)
    return build_object(folder / "a.c", folder / "a.so", "gcc", "-O2", "-nostdlib", "-fuse-ld=bfd", "-Wl,-z,noseparate-code").read_bytes()


def place_of(file: ElfFile, name: str) -> tuple[int, int]:
    """The file offset of a section's header, and its index."""
    index = next(n for n, section in enumerate(file.sections) if section.name == name)
    return file.shoff + SHDR.size * index, index


def put(data: bytes, at: int, form: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, at, *values)
    return bytes(changed)


def name_outside(data: bytes, file: ElfFile) -> bytes:
    """A name that begins where the table of names ends: there the first new name would stand."""
    return put(data, place_of(file, ".comment")[0], "<I", file.sections[file.names_index].size)


def name_without_end(data: bytes, file: ElfFile) -> bytes:
    return put(data, file.sections[file.names_index].file_end - 1, "<B", 65)


def odd_alignment(data: bytes, file: ElfFile) -> bytes:
    number = next(n for n, segment in enumerate(file.segments) if segment.flags & 2 and segment.type == 1)
    return put(data, file.phoff + PHDR.size * number + 48, "<Q", 0x40B00)


def symbol_of_no_section(data: bytes, file: ElfFile) -> bytes:
    """Its section is one that the repaired file has and the old one has not."""
    table = file.section(".symtab")
    assert table is not None
    return put(data, table.offset + SYM.size + 6, "<H", len(file.sections) + 1)


def slots_that_nothing_reads(data: bytes, file: ElfFile) -> bytes:
    text = file.section(".text")
    assert text is not None
    return data[: text.offset] + b"\xc3" + b"\x90" * (text.size - 1) + data[text.offset + text.size :]


def symbols_over_the_header(data: bytes, file: ElfFile) -> bytes:
    return put(data, place_of(file, ".symtab")[0] + 24, "<Q", 0)


def more_in_the_file_than_in_memory(data: bytes, file: ElfFile) -> bytes:
    number = next(n for n, segment in enumerate(file.segments) if segment.flags & 2 and segment.type == 1)
    return put(data, file.phoff + PHDR.size * number + 32, "<Q", file.segments[number].memsz + 64)


def slots_in_a_table_of_symbols(data: bytes, file: ElfFile) -> bytes:
    """The bytes that the repair writes into the slots would change the symbols."""
    return put(data, place_of(file, ".got")[0] + 4, "<I", SHT_SYMTAB)


def relocations_in_a_table_of_symbols(data: bytes, file: ElfFile) -> bytes:
    return put(data, place_of(file, ".rela.dyn")[0] + 4, "<I", SHT_DYNSYM)


def half_a_symbol(data: bytes, file: ElfFile) -> bytes:
    return put(data, place_of(file, ".dynsym")[0] + 32, "<Q", 1)


REFUSED: dict[str, tuple[Callable[[bytes, ElfFile], bytes], str]] = {
    "a name outside": (name_outside, "lies outside .shstrtab"),
    "a name without end": (name_without_end, "does not end"),
    "an alignment that is no power of two": (odd_alignment, "no power of two"),
    "a symbol of no section": (symbol_of_no_section, "is of section"),
    "symbols over the ELF header": (symbols_over_the_header, "share bytes of the file"),
    "a segment with more bytes in the file": (more_in_the_file_than_in_memory, "bytes in the file and"),
    "slots in a table of symbols": (slots_in_a_table_of_symbols, "said to be a table of symbols"),
    "relocations in a table of symbols": (relocations_in_a_table_of_symbols, "said to be a table of symbols"),
    "half a symbol": (half_a_symbol, "inside a symbol"),
    "slots that nothing reads": (slots_that_nothing_reads, "nothing shows how they are used"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_contradicts_itself_is_refused(name: str, whole: bytes) -> None:
    damage, words = REFUSED[name]
    data = damage(whole, read_elf_file(whole))
    assert data != whole
    with pytest.raises(CannotRepair, match=words):
        plan_repair(data, [GLIBC])


@pytest.mark.parametrize("style", ["gnu", "sysv"])
def test_a_hash_table_that_leads_out_of_itself_is_refused(style: str, tmp_path: Path) -> None:
    """Loaders and tools would read on in what lies behind it, which a repair may change or move."""
    (tmp_path / "a.c").write_text(SOURCE)
    flags = ("-O2", "-nostdlib", "-fuse-ld=bfd", f"-Wl,--hash-style={style}")
    whole = build_object(tmp_path / "a.c", tmp_path / "a.so", "gcc", *flags).read_bytes()
    table = read_elf_file(whole).section(".gnu.hash" if style == "gnu" else ".hash")
    assert table is not None
    assert plan_repair(whole, [GLIBC]) is not None
    words = list(struct.unpack_from(f"<{table.size // 4}I", whole, table.offset))
    first_bucket = 4 + 2 * words[2] if style == "gnu" else 2
    damaged = [put(whole, table.offset, "<I", 300), put(whole, table.offset + 4 * first_bucket, "<I", 77)]
    if style == "gnu":
        damaged.append(put(whole, table.file_end - 4, "<I", words[-1] & ~1))
    for data in damaged:
        with pytest.raises(CannotRepair, match="leads out of itself"):
            plan_repair(data, [GLIBC])


def test_what_lies_before_the_tables_that_move_stays_whole(tmp_path: Path) -> None:
    """A section that is not in memory frees no room for a program header, though the tables behind it do."""
    (tmp_path / "a.c").write_text(SOURCE + '__asm__(".text\\n.fill 3900, 1, 0x90");')
    whole = build_object(tmp_path / "a.c", tmp_path / "a.so", "gcc", "-O2", "-nostdlib", "-fuse-ld=bfd", "-Wl,-z,separate-code").read_bytes()
    file, plan = read_elf_file(whole), plan_repair(whole, [GLIBC])
    assert plan is not None
    assert plan.layout.moved is not None
    moved = [s for s in file.sections if s.size and plan.layout.moved.start <= s.offset < plan.layout.moved.end]
    assert len(moved) > 1
    for section in moved:
        # Flags and address: no longer loaded.
        data = put(whole, file.shoff + SHDR.size * file.sections.index(section) + 8, "<QQ", 0, 0)
        changed = plan_repair(data, [GLIBC])
        assert changed is not None
        assert changed.layout.moved is None or not changed.layout.moved.start <= section.offset < changed.layout.moved.end
        assert repaired(data, changed)


def test_frames_that_are_not_understood_leave_thunks_without_a_caller(whole: bytes) -> None:
    """The plan and its proof must agree on that; an instruction of call frame information may be one of a later standard."""
    file = read_elf_file(whole)
    section = file.section(".eh_frame")
    assert section is not None
    frames = file.data[section.offset : section.file_end]
    cie = 4 + struct.unpack_from("<I", frames)[0]
    # Behind length, CIE pointer, start, length of code and length of augmentation data.
    first = cie + 4 + 4 + 4 + 4 + 1
    data = put(whole, section.offset + first, "<B", 0x3E)
    plan = plan_repair(data, [GLIBC])
    assert plan is not None
    assert damage_of(repaired(data, plan)) == ()


def test_frames_without_a_caller_leave_thunks_without_one(whole: bytes) -> None:
    """A CIE whose rule for the return address is gone: the thunks' own CIE must not put one in its place."""
    section = read_elf_file(whole).section(".eh_frame")
    assert section is not None
    at = whole.index(b"\x90\x01", section.offset)  # DW_CFA_offset rip, cfa-8
    data = put(whole, at, "<H", 0)
    plan = plan_repair(data, [GLIBC])
    assert plan is not None
    assert damage_of(repaired(data, plan)) == ()


def test_rows_of_frames_too_far_apart() -> None:
    """An advance has 32 bits; a row that is wrong ended in a traceback."""
    for distance in (-1, 1 << 33):
        with pytest.raises(CannotRepair, match="between two rows"):
            debug_frame(X86_64.frame, [(0x1000, True, b""), (0x1000 + distance, False, b"")], 0x2000)


def test_a_refusal_is_one_line_whatever_a_section_is_called() -> None:
    assert CannotRepair("relocation", "in .g\not").line().startswith("in .g\\not [relocation]")


def test_damage_is_told_of_no_object_cut_anywhere(whole: bytes) -> None:
    """A file cut at any header ends in a refusal, never in another error."""
    for end in (0, EHDR.size - 1, EHDR.size, EHDR.size + PHDR.size, len(whole) // 2, len(whole) - 1):
        with pytest.raises((CannotRepair, MalformedElf)):
            plan_repair(whole[:end], [GLIBC])
