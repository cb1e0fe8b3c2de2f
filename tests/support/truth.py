"""One history, told to a real loader and to its model, and compared step by step."""

from __future__ import annotations

import random
import re
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.support.histories import History, make_history
from tests.support.runtimes import Runtime
from tests.support.toolchain import SOURCES
from tls_wheel_guard.elf import BytesSource, read_shared_object
from tls_wheel_guard.loaders import Loader, Step, glibc, loader_called
from tls_wheel_guard.loaders.link_map import there_from_the_start
from tls_wheel_guard.tls import TlsDemand, demand_of

__all__ = ["Answer", "Tally", "compare", "libc_of", "run_history", "without_folder"]

HAS_TUNABLES = (2, 31)
"""Debian's 2.31 has them by a backport."""
R_X86_64_GLOB_DAT = 6
TCB_2_31 = {"x86_64": 2304}
"""sizeof(struct pthread), which libc.so.6 names only since 2.34."""


@dataclass
class Tally:
    """What was compared."""

    histories: int = 0
    steps: int = 0
    loads: int = 0
    refusals: int = 0
    crashes: int = 0
    closes: int = 0
    descriptors: int = 0
    tunables: int = 0
    differences: list[str] = field(default_factory=list)

    def row(self) -> str:
        """The cells of a row."""
        counts = (self.histories, self.steps, self.loads, self.refusals, self.crashes, self.closes, self.descriptors, self.tunables)
        return " | ".join(map(str, (*counts, len(self.differences))))

    def line(self) -> str:
        """In words."""
        return f"{self.histories} histories, {self.steps} steps, {len(self.differences)} differences"


@dataclass(frozen=True)
class Answer:
    error: str
    used: int
    optional: int


def libc_of(runtime: Runtime) -> TlsDemand:
    """What the runtime's own libc takes at the start, read from its file."""
    path = runtime.libc_path()
    return demand_of(read_shared_object(BytesSource(path.read_bytes())), str(path))


def _tunables(draw: random.Random, runtime: Runtime) -> dict[str, int]:
    if runtime.libc != "glibc" or runtime.version < HAS_TUNABLES or draw.random() < 0.6:
        return {}
    return {
        "nns": draw.choice([draw.randint(1, 16), 17]),
        "optional": draw.choice([0, draw.randint(0, 100), draw.randint(0, 2000), draw.randint(0, 2000)]),
    }


def _environment(history: History, tunables: dict[str, int]) -> dict[str, str]:
    # The modules have no DT_PLTGOT, so nothing of theirs can be bound lazily.
    found = {"LD_BIND_NOW": "1"}
    if history.preloaded:
        found["LD_PRELOAD"] = " ".join(map(str, history.preloaded))
    if tunables:
        names = {"nns": "nns", "optional": "optional_static_tls"}
        found["GLIBC_TUNABLES"] = ":".join(f"glibc.rtld.{names[key]}={value}" for key, value in tunables.items())
    return found


def run_history(runtime: Runtime, history: History, environment: dict[str, str], python: Path | None) -> tuple[list[int], list[Answer], int]:
    """The start's numbers, an answer a step, and the exit code."""
    words = [act.word() for act in history.acts]
    if python is not None:
        command = ["env", *(f"{name}={value}" for name, value in environment.items()), str(python), "-I", str(SOURCES / "process.py"), *words]
    else:
        command = runtime.command(runtime.program(SOURCES / "process.c"), *words, environment=environment)
    run = subprocess.run(command, capture_output=True, check=False, timeout=60)
    lines = run.stdout.decode(errors="backslashreplace").splitlines()
    start = [int(word) for word in lines[0].split()[1:]] if lines else []
    answers = []
    for line in lines[1:]:
        error, used, optional = line[1:].rsplit("\t", 2)
        answers.append(Answer(error, int(used), int(optional)))
    return start, answers, run.returncode


def _start(runtime: Runtime, history: History, tunables: dict[str, int], loader: Loader[Any]) -> Any:
    if loader.name != "glibc":
        rows = tuple(there_from_the_start(history.modules[path]) for path in history.preloaded)
        return replace(loader.fresh, loaded=rows)
    modules = [history.modules[path] for path in history.preloaded]
    blocks = [*(module.demand for module in modules), libc_of(runtime)]
    state = glibc.place_at_start(blocks, runtime.version, runtime.machine, **tunables)
    return replace(state, loaded=tuple(there_from_the_start(module) for module in modules))


def _start_of_loader(runtime: Runtime, words: list[int], variant: int) -> tuple[int, int, int, int]:
    used, size, align, optional, tcb = words
    if variant == 2:
        size -= tcb if tcb > 0 else TCB_2_31[runtime.machine]
    return used, size, align, optional


def compare(runtime: Runtime, seed: int, folder: Path, tally: Tally, *, python: Path | None = None) -> None:
    """Run one history both ways; differences go into the tally. ``python``: in this interpreter, from the numbers that it starts with."""
    history = make_history(seed, runtime.machine, folder, named=R_X86_64_GLOB_DAT if runtime.libc == "musl" else None)
    tunables = _tunables(random.Random(seed), runtime)
    loader = loader_called(f"{runtime.libc}-{'.'.join(map(str, runtime.version))}", runtime.machine)
    state = _start(runtime, history, tunables, loader)
    words, answers, code = run_history(runtime, history, _environment(history, tunables), python)
    tally.histories += 1
    tally.tunables += bool(tunables)
    tally.descriptors += any(a.kind == "TLSDESC" for m in history.given for a in m.accesses)
    where = f"seed {seed}, tunables {tunables}, preloaded {[p.name for p in history.preloaded]}"
    if loader.name == "glibc":
        expected = (state.used, state.limit, state.align, state.optional)
        found = _start_of_loader(runtime, words, state.variant) if words else ()
        if found and python is not None:
            # What the interpreter itself takes is its own affair.
            used, limit, align, optional = found
            state = replace(state, used=used, limit=limit, align=align, optional=optional)
        elif found != expected:
            tally.differences.append(f"{where}: at the start: loader {found}, model {expected}")
            return
    for number, (act, event) in enumerate(zip(history.acts, history.events(), strict=True)):
        state, step = loader.step(state, event)
        tally.steps += 1
        tally.closes += act.deed == "close"
        if number < len(answers) and answers[number].error == "not open":
            # Nobody holds a handle of it, though it may be there for others.
            continue
        if step.unsafe:
            # Behind a crash there is nothing, behind an overwritten block nothing that could be compared.
            tally.crashes += 1
            died = code < 0 and len(answers) == number
            if died != state.ended if state.ended else not died and step.loads != (answers[number].error == ""):
                tally.differences.append(f"{where}: step {number} {act.deed} {act.path.name}: {step}, loader {answers[number:]} {code}")
            return
        if number >= len(answers):
            tally.differences.append(f"{where}: step {number} {act}: loader dies ({code}), model {step}")
            return
        tally.loads += step.loads and act.deed == "open"
        tally.refusals += not step.loads and act.deed == "open"
        if problem := _differs(loader, state, step, answers[number], act.deed == "open", folder):
            tally.differences.append(f"{where}: step {number} {act.deed} {act.path.name}: {problem}")
            return


def without_folder(words: str, folder: Path) -> str:
    """A loader's words with the modules' names alone."""
    return re.sub(re.escape(f"{folder}/") + r"(near|far)/(\.\./(near|far)/)*", "", words)


def _differs(loader: Loader[Any], state: Any, step: Step, answer: Answer, is_open: bool, folder: Path) -> str | None:
    said = without_folder(answer.error, folder)
    if step.loads != (said == ""):
        return f"loader {said!r}, model {step}"
    if is_open and said != (step.error or ""):
        # musl prints the symbol of an earlier relocation where this one has none.
        pattern = re.escape(step.error or "").replace(": :", ": .*:").replace(":\\ :", ":\\ .*:")
        if loader.name != "musl" or not re.fullmatch(pattern, said):
            return f"loader says {said!r}, model {step.error!r}"
    if loader.name == "glibc":
        numbers = (state.used, answer.optional if state.optional is None else state.optional)
        if numbers != (answer.used, answer.optional):
            return f"loader has used {answer.used}, optional {answer.optional}; model {numbers}"
    return None
