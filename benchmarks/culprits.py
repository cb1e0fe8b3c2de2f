#!/usr/bin/env python3
"""Who brought initial-exec TLS in: the guard's answers beside the truth; prints Markdown, exits 1 on a wrong name.

objects     shared objects built here from their own sources, whole and stripped (the first run builds for an hour, the next take a minute)
decoys      modules that look like a culprit's and are not
corpus      wheels whose truth is written down: --truth FILE --wheels FOLDER; whole, and stripped without bills of materials
remedies    objects built with a remedy: how many initial-exec relocations are left
sites       the code that reads the slots, beside objdump's listing

Everything is built from fixed versions; nothing is random.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.culprit_objects import CURED, OBJECTS  # noqa: E402
from tests.support.culprit_recipes import KnownObject, stripped  # noqa: E402
from tests.support.decoys import decoys  # noqa: E402
from tests.support.inputs import sites_of  # noqa: E402
from tests.support.objdump import machine_sites  # noqa: E402
from tests.support.wheel_builder import make_wheel  # noqa: E402
from tls_wheel_guard import check_wheel  # noqa: E402
from tls_wheel_guard.culprits import Suspect  # noqa: E402
from tls_wheel_guard.elf import BytesSource, read_shared_object  # noqa: E402

TRUTHS = {"mimalloc": "mimalloc", "jemalloc": "jemalloc", "Go ": "go", "libgomp": "libgomp"}
"""How a truth's text begins -> the culprit's id."""


def suspects_in(path: Path) -> dict[str, tuple[Suspect, ...]]:
    """Module -> its suspects, for each module with a finding about initial-exec."""
    rules = ("initial-exec-tls", "foreign-initial-exec")
    return {f.module: f.culprits for f in check_wheel(path).findings if f.rule in rules and f.module is not None}


def sure(suspects: Iterable[Suspect]) -> list[str]:
    """The ids that are certain or likely."""
    return [s.match.culprit.id for s in suspects if s.match.confidence != "possible"]


def outcome(right: str, suspects: Iterable[Suspect]) -> str:
    """``right``: named for sure and nobody else; ``wrong``: somebody else is; ``silent``: nobody is."""
    found = sure(suspects)
    return "right" if found == [right] else "wrong" if set(found) - {right} else "silent"


def table(head: list[str], rows: Iterable[Iterable[object]]) -> None:
    """A Markdown table."""
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print()


def objects() -> int:
    """Known objects: a row an object, then a row a culprit."""
    tally: dict[str, Counter[str]] = defaultdict(Counter)
    rows = []
    with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-culprits-") as name:
        for known in OBJECTS:
            cells = []
            for kind, path in _copies(known, Path(name)):
                (suspects,) = suspects_in(path).values() or [()]
                word = outcome(known.culprit, suspects)
                tally[known.culprit][f"{kind} {word}"] += 1
                said = next((s.match for s in suspects if s.match.culprit.id == known.culprit), None)
                version = f" ({said.version})" if said and said.version else ""
                cells.append(f"{said.confidence}{version}" if said and word == "right" else word)
            tally[known.culprit]["objects"] += 1
            rows.append([known.made, known.machine, known.culprit, *cells])
    table(["built from", "machine", "culprit", "whole", "stripped"], rows)
    total: Counter[str] = sum(tally.values(), Counter())
    columns = ["objects", "whole right", "whole wrong", "stripped right", "stripped wrong"]
    table(["culprit", *columns], [[name, *(count[c] for c in columns)] for name, count in [*sorted(tally.items()), ("all", total)]])
    return total["whole wrong"] + total["stripped wrong"]


def _copies(known: KnownObject, folder: Path) -> Iterator[tuple[str, Path]]:
    """The object whole and stripped, under a name that says nothing."""
    for kind, path in (("whole", known.path()), ("stripped", stripped(known.path(), known.machine, folder))):
        (folder / kind).mkdir(exist_ok=True)
        plain = folder / kind / "native.so"
        plain.write_bytes(path.read_bytes())
        yield kind, plain


def fooled() -> int:
    """Decoys: how many, and who was named for sure."""
    count, wrong, rows = 0, 0, []
    with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-culprits-") as name:
        for decoy in decoys():
            cells = []
            for kind, wheel in decoy.wheels(Path(name) / decoy.name):
                del kind
                found = [s for suspects in suspects_in(wheel).values() for s in suspects]
                count += 1
                wrong += bool(sure(found))
                cells.append(", ".join(f"{s.match.culprit.id} {s.match.confidence}" for s in found) or "nobody")
            rows.append([decoy.name, *cells])
    table(["decoy", "whole", "stripped"], rows)
    print(f"{len(rows)} decoys, {count} modules: {wrong} wrong names.\n")
    return wrong


def remedies() -> int:
    """Objects built with a remedy: a remedy that leaves initial-exec is none."""
    rows = []
    for known in CURED:
        facts = read_shared_object(BytesSource(known.path().read_bytes()))
        rows.append([known.culprit, known.made, facts.initial_exec.count, facts.dynamic.dtpmod + facts.dynamic.tlsdesc])
    table(["culprit", "built with", "initial-exec relocations", "dynamic"], rows)
    return 0


def corpus(truth: Path, wheels: Path) -> int:
    """Wheels with a written truth: right names where it has one, none on wheels without initial-exec."""
    tally: Counter[str] = Counter()
    rows = []
    for line in truth.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        path = wheels / row["wheel"]
        if not path.exists():
            tally["absent"] += 1
            continue
        named = {m["member"]: _id_of(m["culprit"]) for m in row["members"] if m["n_ie"] and m["kind"] == "shared"}
        found = suspects_in(path)
        tally["wheels"] += 1
        if not named:
            tally["wheels without initial-exec"] += 1
            tally["names on them"] += sum(len(s) for s in found.values())
            continue
        bare = _bare(path, list(named))
        for member, right in named.items():
            words = [outcome(right, found.get(member, ())), outcome(right, bare.get(member, ()))]
            tally.update([f"whole {words[0]}", f"stripped {words[1]}"])
            rows.append([row["wheel"], member.rsplit("/", 1)[-1], right, *words])
    table(["wheel", "module", "truth", "as it is", "stripped, no SBOM"], rows)
    print("; ".join(f"{name}: {count}" for name, count in tally.items()) + ".\n")
    return tally["whole wrong"] + tally["stripped wrong"] + tally["names on them"]


def _id_of(text: str) -> str:
    return next((name for begin, name in TRUTHS.items() if text.startswith(begin)), text)


def _bare(path: Path, members: list[str]) -> dict[str, tuple[Suspect, ...]]:
    """The suspects of stripped copies in a wheel that holds nothing else."""
    with tempfile.TemporaryDirectory(prefix="tls-wheel-guard-culprits-") as name, zipfile.ZipFile(path) as archive:
        folder, data = Path(name), {}
        for number, member in enumerate(members):
            copy = folder / f"{number}.so"
            copy.write_bytes(archive.read(member))
            subprocess.run(["llvm-strip-19", "-s", str(copy)], check=True)
            data[member] = copy.read_bytes()
        return suspects_in(make_wheel(folder, data))


def sites() -> int:
    """Access sites of the known objects that are decoded, beside objdump's listing."""
    rows, wrong = [], 0
    for known in OBJECTS:
        if known.machine not in ("x86_64", "i386", "aarch64", "riscv64"):
            continue
        (found,) = sites_of(known.path()).values()
        listed = machine_sites(known.path(), known.machine, {slot for slot, _ in found.variables})
        ours = {site.address for site in found.sites}
        wrong += bool(listed - ours)
        rows.append(
            [known.name, known.machine, len(found.variables), len(ours), len(listed), len(listed - ours), len(ours - listed), len(found.doubts)]
        )
    table(["object", "machine", "slots", "sites", "objdump's", "missed", "more", "in doubt"], rows)
    return wrong


def main() -> int:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="default: objects decoys remedies sites, and corpus where --truth is given")
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--wheels", type=Path)
    options = parser.parse_args()
    wrong = 0
    runs = {"objects": objects, "decoys": fooled, "remedies": remedies, "sites": sites}
    for part in options.parts or [*runs, *(["corpus"] if options.truth else [])]:
        if part == "corpus":
            if options.truth is None or options.wheels is None:
                parser.error("corpus needs --truth and --wheels")
            print("## Wheels\n")
            wrong += corpus(options.truth, options.wheels)
        elif part in runs:
            print(
                {"objects": "## Objects built here\n", "decoys": "## Decoys\n", "remedies": "## Remedies\n", "sites": "## Access sites\n"}[part]
            )
            wrong += runs[part]()
        else:
            parser.error(f"no part is called {part!r}; parts: {', '.join([*runs, 'corpus'])}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
