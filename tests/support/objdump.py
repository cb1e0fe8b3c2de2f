"""What GNU objdump lists as reads of some slots: its own decoding, and for aarch64 its own idea of where functions begin."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.toolchain import require

__all__ = ["machine_sites"]

TOOLS = {"x86_64": "objdump", "i386": "i686-linux-gnu-objdump", "aarch64": "aarch64-linux-gnu-objdump", "riscv64": "riscv64-linux-gnu-objdump"}
_PAGE = re.compile(r"^(x\d+), ([0-9a-f]+)")
_LOAD = re.compile(r"^x\d+, \[(x\d+)(?:, #(\d+))?\]")
_UPPER = re.compile(r"^(\w+),(0x[0-9a-f]+)")
_RELATIVE = re.compile(r"^\w+,(-?\d+)\((\w+)\)")


def machine_sites(path: Path, machine: str, slots: set[int]) -> set[int]:
    """Addresses of the instructions that read one of the slots, as objdump's listing shows them."""
    listing = _listing(path, machine)
    return set({"x86_64": _x86_64, "i386": _i386, "aarch64": _aarch64, "riscv64": _riscv64}[machine](listing, slots, path))


def _listing(path: Path, machine: str) -> list[tuple[int, str, str]]:
    command = [require(TOOLS[machine]), "-d", "--no-show-raw-insn", "-w", str(path)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = []
    for line in text.splitlines():
        head, tab, rest = line.partition(":\t")
        if tab and rest.strip() and re.fullmatch(r" *[0-9a-f]+", head):
            name, *operands = rest.strip().split(maxsplit=1)
            rows.append((int(head, 16), name, operands[0] if operands else ""))
    return rows


def _x86_64(listing: list[tuple[int, str, str]], slots: set[int], path: Path) -> Iterator[int]:
    """objdump prints the target of a rip-relative operand as a comment: ``# f3638``."""
    del path
    for address, name, operands in listing:
        target = re.search(r"# ([0-9a-f]+)", operands)
        if target and int(target[1], 16) in slots and not name.startswith("lea"):
            yield address


def _i386(listing: list[tuple[int, str, str]], slots: set[int], path: Path) -> Iterator[int]:
    """Displacements from the GOT, whose place is DT_PLTGOT."""
    text = subprocess.run(["readelf", "-dW", str(path)], check=True, capture_output=True, text=True).stdout
    found = re.search(r"\(PLTGOT\)\s+0x([0-9a-f]+)", text)
    got = int(found[1], 16) if found else 0
    wanted = {slot - got for slot in slots}
    is_frame = False
    for address, name, operands in listing:
        # A frame pointer leads to variables on the stack, and an offset is loaded or added (R_386_TLS_GOTIE), never subtracted.
        offset = re.match(r"(-?0x[0-9a-f]+)\(%(\w+)\),%\w+$", operands)
        if name in ("mov", "add") and offset and int(offset[1], 16) in wanted and not (offset[2] == "ebp" and is_frame):
            yield address
        if operands.endswith(",%ebp") or (name, operands) == ("pop", "%ebp"):
            is_frame = operands == "%esp,%ebp"


def _aarch64(listing: list[tuple[int, str, str]], slots: set[int], path: Path) -> Iterator[int]:
    """Each ldr whose base was last set, reading upwards, by an adrp of the slot's page."""
    del path
    for place, (address, name, operands) in enumerate(listing):
        load = _LOAD.match(operands) if name == "ldr" else None
        if load is None:
            continue
        rest = int(load[2] or 0)
        if not any(slot & 0xFFF == rest for slot in slots):
            continue
        page = _last_page(listing, place, load[1])
        if page is not None and page + rest in slots:
            yield address


def _last_page(listing: list[tuple[int, str, str]], place: int, register: str) -> int | None:
    """The page in a register, from the nearest instruction above that sets it."""
    for _, name, operands in reversed(listing[max(0, place - 4000) : place]):
        if name in ("adrp", "adr") and (page := _PAGE.match(operands)) and page[1] == register:
            return int(page[2], 16)
        if operands.startswith((f"{register},", f"w{register[1:]},")) and not name.startswith(("st", "cb", "tb", "cmp", "b")):
            return None
    return None


def _riscv64(listing: list[tuple[int, str, str]], slots: set[int], path: Path) -> Iterator[int]:
    """auipc and the next load from its register."""
    del path
    upper: dict[str, int] = {}
    for address, name, operands in listing:
        if name == "auipc" and (found := _UPPER.match(operands)):
            value = int(found[2], 16)
            upper[found[1]] = address + ((value ^ 0x80000) - 0x80000 << 12)
        elif name == "ld" and (load := _RELATIVE.match(operands)):
            if load[2] in upper and upper[load[2]] + int(load[1]) in slots:
                yield address
            upper.pop(operands.partition(",")[0], None)
