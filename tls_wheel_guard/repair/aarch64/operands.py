"""The general registers that an instruction reads and writes: by the usual classes of words, else by the decoder."""

from __future__ import annotations

import struct

from tls_wheel_guard.machine_code.disassembly import Disassembler
from tls_wheel_guard.repair.aarch64.words import effects
from tls_wheel_guard.repair.refusal import CannotRepair

__all__ = ["Operands"]

_NUMBERS = {f"x{number}": number for number in range(31)}


class Operands:
    """Answers about words; the decoder is asked once for each."""

    def __init__(self) -> None:
        self._decoder = Disassembler("aarch64")
        self._known: dict[int, frozenset[int]] = {}

    def reads(self, word: int, address: int) -> frozenset[int]:
        """The numbers of the registers that a word reads; raises CannotRepair where it is no known instruction."""
        usual = effects(word)
        if usual is not None:
            return usual[0]
        if word not in self._known:
            found = self._decoder.reads(struct.pack("<I", word), address)
            if found is None:
                reason = "a word that is no known instruction, in code that has the page of a slot"
                raise CannotRepair("undecodable", reason, address=address, found=struct.pack("<I", word))
            self._known[word] = frozenset(_NUMBERS[name] for name in found if name in _NUMBERS)
        return self._known[word]

    def writes(self, word: int) -> frozenset[int] | None:
        """The numbers of the registers that a word writes; None where that is not known for certain."""
        usual = effects(word)
        return None if usual is None else usual[1]

    def text(self, word: int, address: int) -> str:
        """The instruction as it is printed."""
        found = next(self._decoder.decode(struct.pack("<I", word), address), None)
        return found.text if found is not None else f".inst {word:#010x}"
