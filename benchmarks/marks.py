#!/usr/bin/env python3
"""DF_STATIC_TLS set in real modules, proved from outside; prints Markdown and exits 1 on any damage.

wheels      every wheel of a list that holds initial-exec relocations without the flag: readelf, byte for byte, and a real loader
linked      1,000 modules for aarch64, linked with random options by GNU ld, gold and lld: set or refused, opened before and after
generated   1,000 ELF files for every machine with random contents, byte by byte: set or refused, what readelf prints before and after

usage: marks.py [PROOF ...] [--wheels FOLDER]     FOLDER: wheels to take instead of the list
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.emulated import glibc_opens, musl_opens, musl_starts_with  # noqa: E402
from tests.support.elf_builder import Reloc, Spec, Tls, build  # noqa: E402
from tests.support.toolchain import compile_shared  # noqa: E402
from tests.support.wheels import fetch  # noqa: E402
from tls_wheel_guard.commands.mark import mark_file  # noqa: E402
from tls_wheel_guard.elf import BytesSource, read_shared_object  # noqa: E402
from tls_wheel_guard.elf.relocations import TLS_RELOCS  # noqa: E402
from tls_wheel_guard.platforms import MACHINES  # noqa: E402

WHEELS = (
    ("cachebox==5.2.0", "musllinux_1_2_aarch64", "3.12"),
    ("cmeel-mimalloc==3.4.3", "manylinux_2_28_aarch64", "3.12"),
    ("neonize==0.5.2", "manylinux2014_aarch64", "3.10"),
    ("pydantic-core==0.7.1", "musllinux_1_1_aarch64", "3.10"),
    ("scikit-learn==1.0.2", "manylinux2014_aarch64", "3.9"),
    ("scikit-learn==1.9.1", "manylinux_2_28_aarch64", "3.12"),
    ("sentencepiece==0.2.3", "manylinux_2_28_aarch64", "3.12"),
    ("tls-client==1.0.1", "manylinux2014_aarch64", "3.12"),
)
"""Requirement, platform, Python: releases on PyPI with such members, all of aarch64, whose linkers leave the flag out."""
COUNT, SEED = 1000, 4


def readelf(path: Path) -> str:
    """All that readelf prints of a file, warnings too, without its name."""
    command = ["readelf", "-aW", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"})
    return (done.stdout + done.stderr).replace(str(path), "FILE")


def only_the_flag(before: str, after: str) -> bool:
    """Whether readelf's words differ by the flag alone: its line changes or is new, one line of the end mark may go, and the count."""
    old, new = Counter(before.splitlines()), Counter(after.splitlines())
    gone, come = list((old - new).elements()), list((new - old).elements())
    flags = [line for line in come if re.search(r"\(FLAGS\)\s.*\bSTATIC_TLS", line)]
    allowed = r"Dynamic section at offset|\(FLAGS\)|\(NULL\)"
    return len(flags) == 1 and all(re.search(allowed, line) for line in gone + come)


def differing(a: bytes, b: bytes) -> int:
    """Bytes that differ; the lengths must be the same."""
    return sum(x != y for x, y in zip(a, b, strict=True))


# ---- wheels


def unpacked(wheel: Path, folder: Path) -> dict[str, bytes]:
    """Every member's bytes; they lie in the folder too, since modules look for their own libraries there."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
        return {name: archive.read(name) for name in archive.namelist()}


def directory(wheel: Path) -> list[tuple[object, ...]]:
    """What the zip's directory says of each member, in order."""
    with zipfile.ZipFile(wheel) as archive:
        return [(i.filename, i.date_time, i.external_attr, i.compress_type, i.file_size) for i in archive.infolist()]


def prove_wheel(wheel: Path, folder: Path) -> int:
    """Mark one wheel, print a row a module; how many were wrong."""
    marked = folder / wheel.name
    marking = mark_file(wheel, marked)
    for name, why in (*marking.refused, *marking.unreadable):
        print(f"| {wheel.name} | {name} | left as it is: {why} | | | |")
    if not marking.marked:
        return 0
    before, after = unpacked(wheel, folder / "old"), unpacked(marked, folder / "new")
    changed = {name for name in before if before[name] != after[name]}
    record = {name for name in before if name.endswith(".dist-info/RECORD")}
    sizes = [entry for entry in directory(wheel) if entry[0] not in record]
    whole = changed == {name for name, _ in marking.marked} | record and sizes == [e for e in directory(marked) if e[0] not in record]
    wrong = 0
    for name, how in marking.marked:
        old, new = folder / "old" / name, folder / "new" / name
        flag = only_the_flag(readelf(old), readelf(new))
        said = [_opened(path, before[name], folder) for path in (old, new)]
        same = said[0].replace("/old/", "/new/") == said[1]
        wrong += not (flag and whole and same)
        words = said[1].replace(f"{folder}/new/", "")
        cells = (
            wheel.name,
            name,
            how,
            differing(before[name], after[name]),
            "yes" if flag else "NO",
            f"{'the same: ' if same else 'OTHER: '}{words}",
        )
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    return wrong


def _opened(path: Path, data: bytes, folder: Path) -> str:
    module = read_shared_object(BytesSource(data))
    if "libc.so" in module.needed:
        return f"at start-up {musl_starts_with(path, folder) or 'loads'}; dlopen, as musl does: {musl_opens(path, folder)}"
    return glibc_opens(path, folder) or "loads"


def wheels(given: Path | None) -> int:
    """A table of marked modules of real wheels."""
    print("| wheel | module | how | bytes changed | readelf: the flag and nothing else | loaded before and after |\n|---|---|---|---|---|---|")
    wrong = modules = 0
    for wheel in sorted(given.glob("*.whl")) if given else [fetch(*row) for row in WHEELS]:
        with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-marks-") as folder:
            wrong += prove_wheel(wheel, Path(folder))
            modules += 1
    print(f"\n{modules} wheels; {wrong} modules are not right.")
    return wrong


# ---- linked

LINKERS: dict[str, tuple[str, ...]] = {
    "GNU ld": ("aarch64-linux-gnu-gcc",),
    "gold": ("aarch64-linux-gnu-gcc", "-fuse-ld=gold"),
    "lld 14": ("clang-19", "--target=aarch64-linux-gnu", "-fuse-ld=lld-14"),
    "lld 19": ("clang-19", "--target=aarch64-linux-gnu", "-fuse-ld=lld-19"),
}
WEIGHTS = (12, 1, 6, 1)
"""gold and lld 19 set the flag themselves."""
OPTIONS = (
    "-Wl,-z,now", "-Wl,-z,relro", "-Wl,-z,norelro", "-Wl,-Bsymbolic", "-Wl,-soname,libx.so", "-Wl,--hash-style=sysv", "-Wl,--hash-style=gnu",
    "-Wl,--build-id=sha1", "-s", "-Wl,-z,nodelete", "-Wl,-rpath,/opt/lib", "-Wl,--gc-sections", "-Wl,-z,origin", "-g", "-Wl,--no-undefined",
)  # fmt: skip
SPARE = ("", "", "-Wl,--spare-dynamic-tags=0", "-Wl,--spare-dynamic-tags=1", "-Wl,--spare-dynamic-tags=9")
"""Options of GNU ld and gold only; nothing means five slots."""
SOURCE = "static __thread int table[{size}] = {{{value}}};\nint *{name}(void) {{ table[0]++; return table; }}\n"


def link_one(number: int, folder: Path) -> tuple[str, str]:
    """Link, mark, open: the linker, and the outcome; an outcome that begins with WRONG is damage."""
    chance = random.Random(SEED * 100_000 + number)
    (linker,) = chance.choices(tuple(LINKERS), WEIGHTS)
    source, path = folder / f"{number}.c", folder / f"{number}.so"
    source.write_text(SOURCE.format(size=chance.randrange(1, 300), value=chance.choice((0, 7)), name=f"entry{number}"))
    options = chance.sample(OPTIONS, chance.randrange(6)) + ([chance.choice(SPARE)] if "lld" not in linker else [])
    before = compile_shared(LINKERS[linker], source, path, "-ftls-model=initial-exec", *filter(None, options))
    new = folder / "new" / path.name
    marking = mark_file(path, new)
    if not marking.marked and not new.exists():
        if marking.refused:
            return linker, "refused, nothing written"
        return linker, "has the flag, nothing written" if "STATIC_TLS" in readelf(path) else f"WRONG: {number} {options}"
    said = [glibc_opens(file, folder).replace("/new/", "/") for file in (path, new)]
    if not only_the_flag(readelf(path), readelf(new)) or differing(before, new.read_bytes()) > 2 or said[0] != said[1]:
        return linker, f"WRONG: {number} {options} {said}"
    return linker, f"{marking.marked[0][1]}; {'loads' if not said[1] else 'is refused'} before and after"


def linked(_: Path | None) -> int:
    """A table of outcomes a linker."""
    with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-marks-") as name:
        folder = Path(name)
        (folder / "new").mkdir()
        with ThreadPoolExecutor(2) as pool:
            outcomes = Counter(pool.map(lambda number: link_one(number, folder), range(COUNT)))
    return _tally("linker", outcomes)


def _tally(what: str, outcomes: Counter[tuple[str, str]]) -> int:
    print(f"| {what} | outcome | modules |\n|---|---|---|")
    for (name, outcome), count in sorted(outcomes.items()):
        print(f"| {name} | {outcome} | {count} |")
    wrong = sum(count for (_, outcome), count in outcomes.items() if outcome.startswith("WRONG"))
    print(f"\n{outcomes.total()} modules; {wrong} are not right.")
    return wrong


# ---- generated


def generate_one(number: int, folder: Path) -> tuple[str, str]:
    """Build, mark, compare what readelf prints."""
    chance = random.Random(SEED * 100_000 + number)
    machine = chance.choice(MACHINES)
    relocation = next(n for n, (kind, _) in TLS_RELOCS[machine.e_machine].items() if kind == "TPOFF")
    spec = Spec(
        machine.name,
        relocs=(Reloc(relocation),) * chance.randrange(1, 5),
        tls=Tls(chance.randrange(1, 3000), 8),
        flags=chance.choice((0, 0, 0x2, 0x8)),
        spare=chance.choice((0, 1, 5)),
        soname=chance.choice((None, "libx.so")),
        relative=chance.randrange(20),
        sections=chance.random() < 0.5,
        padding=chance.randrange(5000),
    )
    path, new = folder / f"{number}.so", folder / "new" / f"{number}.so"
    path.write_bytes(build(spec))
    marking = mark_file(path, new)
    if marking.refused:
        right = not new.exists() and not spec.flags and not spec.spare
        return "any", "refused, nothing written" if right else f"WRONG: {number} {spec}"
    right = only_the_flag(readelf(path), readelf(new)) and differing(path.read_bytes(), new.read_bytes()) <= 2
    return "any", marking.marked[0][1] if right else f"WRONG: {number} {spec}"


def generated(_: Path | None) -> int:
    """A table of outcomes over all machines."""
    with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-marks-") as name:
        folder = Path(name)
        (folder / "new").mkdir()
        return _tally(f"machine, of {len(MACHINES)}", Counter(generate_one(number, folder) for number in range(COUNT)))


def main() -> None:
    """Run the proofs that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    proofs: dict[str, Callable[[Path | None], int]] = {"wheels": wheels, "linked": linked, "generated": generated}
    titles = {
        "wheels": "Marks: real wheels with initial-exec and no flag",
        "linked": "Marks: modules linked with random options",
        "generated": "Marks: generated ELF files",
    }
    parser.add_argument("proofs", nargs="*", metavar="PROOF", help="default: all")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if unknown := [name for name in options.proofs if name not in proofs]:
        parser.error(f"no such proof: {unknown[0]}; choose from {', '.join(proofs)}")
    wrong = 0
    for name in options.proofs or proofs:
        print(f"\n## {titles[name]}\n", flush=True)
        wrong += proofs[name](options.wheels)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
