"""What gcc's own data flow says of its descriptor calls: a plug-in prints it, and the linker's relocations tell where the calls are."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.cached import made_once
from tests.support.descriptor_truth import linked_calls
from tests.support.sysroots import sysroot
from tests.support.toolchain import SOURCES, require
from tests.support.wheels import CACHE

__all__ = ["Live", "live_sets", "plugin", "plugin_flags"]

Live = Mapping[int, frozenset[str]]
"""Address of a descriptor call -> vector registers that gcc holds live behind it: ``xmm0``, ``k1``."""
_Place = tuple[str, str]
"""(Source file, assembler name) of a function."""


def plugin() -> Path:
    """The plug-in of tests/sources/gcc_live.cc for this machine's gcc."""
    version = subprocess.run([require("gcc"), "-dumpversion"], check=True, capture_output=True, text=True).stdout.strip()
    headers = sysroot("amd64", (f"gcc-{version}-plugin-dev",)) / f"usr/lib/gcc/x86_64-linux-gnu/{version}/plugin/include"
    source = SOURCES / "gcc_live.cc"

    def make(work: Path) -> None:
        words = [require("g++"), "-O1", "-w", "-fPIC", "-shared", "-fno-rtti", "-I", str(headers), "-o", str(work / "gcc_live.so"), str(source)]
        subprocess.run(words, check=True, capture_output=True)

    return made_once(CACHE / f"gcc-live-{version}-{source.stat().st_mtime_ns}", make) / "gcc_live.so"


def plugin_flags(made: Path, output: Path) -> tuple[str, ...]:
    """The compiler's flags that load the plug-in; what it finds is added to ``output``."""
    return (f"-fplugin={made}", f"-fplugin-arg-gcc_live-output={output}")


def live_sets(path: Path, output: Path) -> dict[int, frozenset[str]]:
    """gcc's sets of the calls in a linked object with symbols and relocations. Calls of functions whose number of calls differs are left out."""
    functions = _functions(path)
    calls = sorted(linked_calls(path))
    found: dict[int, frozenset[str]] = {}
    for place, parts in _printed(output).items():
        for suffix, sets in zip(("", ".cold"), parts, strict=True):
            start, size = _chosen(functions.get(place[1] + suffix, []), place[0])
            inside = [address for address in calls if start <= address < start + size]
            if len(inside) == len(sets):
                found |= dict(zip(inside, sets, strict=True))
    return found


def _printed(output: Path) -> dict[_Place, tuple[list[frozenset[str]], list[frozenset[str]]]]:
    """Function -> sets of the calls in its hot and in its cold part."""
    found: dict[_Place, tuple[list[frozenset[str]], list[frozenset[str]]]] = {}
    parts: tuple[list[frozenset[str]], list[frozenset[str]]] = ([], [])
    for kind, *words in (line.split() for line in output.read_text().splitlines()):
        if kind == "F":
            parts = ([], [])
            found[Path(words[1]).name, words[0]] = parts
        else:
            parts[kind == "S"].append(frozenset(words))
    return found


def _chosen(symbols: list[tuple[str, int, int]], file: str) -> tuple[int, int]:
    """(Address, size) of the function of a source file; (0, 0) where it can't be told. A hidden one stands behind all files once it is linked."""
    same = [symbol for symbol in symbols if symbol[0] == file] or symbols
    return same[0][1:] if len(same) == 1 else (0, 0)


def _functions(path: Path) -> dict[str, list[tuple[str, int, int]]]:
    """Name -> (source file, address, size) of each function, by readelf."""
    text = subprocess.run([require("readelf"), "-sW", str(path)], check=True, capture_output=True, text=True).stdout
    found: dict[str, list[tuple[str, int, int]]] = {}
    file, table = "", text.partition("'.symtab'")[2]
    for row in (line.split() for line in table.splitlines()):
        if len(row) == 8 and row[3] == "FILE":
            file = row[7]
        elif len(row) == 8 and row[3] == "FUNC" and row[6] != "UND":
            found.setdefault(row[7], []).append((file if row[4] == "LOCAL" else "", int(row[1], 16), int(row[2], 0)))
    return found
