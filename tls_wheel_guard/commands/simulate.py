"""Files and steps -> a simulation."""

from __future__ import annotations

import itertools
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tls_wheel_guard.commands.outside import found_outside
from tls_wheel_guard.doctor.settings_search import orders
from tls_wheel_guard.errors import MalformedElf, UnreadableInput, UnreadableMember, UsageError
from tls_wheel_guard.inputs.files import expand, read_regular
from tls_wheel_guard.inputs.opened import OpenInput
from tls_wheel_guard.inputs.opening import open_input
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits
from tls_wheel_guard.loaders import LOADERS, Given, Loader, dependencies_first, loader_called
from tls_wheel_guard.loaders.link_map import there_from_the_start
from tls_wheel_guard.loaders.simulation import Deed, Simulation, fold
from tls_wheel_guard.platforms import Target, machine_called
from tls_wheel_guard.records import dataclass, replace
from tls_wheel_guard.targets import promised_by, targets_for
from tls_wheel_guard.tls import TlsModule, names_asked, tls_module

__all__ = ["Act", "ReadModules", "loaders_for", "machine_of", "parse_acts", "read_modules", "read_start", "simulate"]

WORDS: dict[str, Deed] = {"@open": "open", "@global": "global", "@close": "close", "@use": "use"}
MAX_START = 1 << 20
MOST_STEPS = 20_000
"""Steps of other orders that are tried: some seconds."""


@dataclass(frozen=True, slots=True)
class Act:
    """One step as it was asked for: a file, and what is done with all its modules."""

    deed: Deed
    path: Path


def parse_acts(words: Sequence[str]) -> tuple[Act, ...]:
    """What the words on the command line ask for.

    PATH opens, ``@global PATH`` opens with RTLD_GLOBAL, ``@close PATH`` closes, ``@use PATH`` is a first dynamic access.
    """
    acts: list[Act] = []
    deed: Deed = "open"
    waiting: str | None = None
    for word in words:
        if waiting is None and word.startswith("@"):
            if word not in WORDS:
                raise UsageError(f"unknown step {word!r}", hint=f"steps are PATH, {', '.join(f'{known} PATH' for known in WORDS)}")
            deed, waiting = WORDS[word], word
            continue
        acts += [Act(deed, path) for path in expand(Path(word))]
        deed, waiting = "open", None
    if waiting is not None:
        raise UsageError(f"{waiting} names no file", hint=f"write {waiting} PATH")
    if not acts:
        raise UsageError("no PATH was given", hint="name shared objects or wheels in the order in which they are opened")
    return tuple(acts)


@dataclass(frozen=True, slots=True)
class ReadModules:
    """The modules of a simulation.

    ``modules``: the shared objects of each file, dependencies first; ``targets``: what the wheels' tags promise, or else the evidence in
    each file; ``at_start``: what is there from the start; ``needed``: libraries that were looked up.
    """

    modules: dict[Path, tuple[TlsModule, ...]]
    targets: tuple[Target, ...]
    at_start: tuple[TlsModule, ...] = ()
    needed: tuple[TlsModule, ...] = ()


def read_modules(paths: Sequence[Path], limits: Limits = DEFAULT_LIMITS, start: Sequence[str] = (), folders: Sequence[str] = ()) -> ReadModules:
    """The shared objects of each file; raises UnreadableInput. A module of a wheel is named ``WHEEL:MEMBER``.

    ``start``: files that the process has from its start. ``folders``: where libraries are looked for that the files need; none, and they
    are assumed. Files stay open until all have been read: only then is it known which variables are wanted.
    """
    with ExitStack() as stack:
        inputs: dict[Path, OpenInput] = {}
        for path in paths:
            if path not in inputs:
                with _naming(path):
                    inputs[path] = _opened(path, limits, stack, keep=bool(start or folders))
        outside = found_outside(inputs, start, tuple(folders), limits, stack)
        every = [*inputs.values(), *outside.at_start, *outside.needed]
        wanted = {name for opened in every for module in opened.contents.modules for name in names_asked(module.facts)}
        found = {}
        for path, opened in inputs.items():
            with _naming(path):
                found[path] = dependencies_first(_modules(opened, wanted))
        targets = (target for opened in inputs.values() for target in _targets(opened))
        return ReadModules(found, tuple(dict.fromkeys(targets)), _sound(outside.at_start, wanted), _sound(outside.needed, wanted))


def _sound(inputs: Sequence[OpenInput], wanted: set[str]) -> tuple[TlsModule, ...]:
    """The modules of files that nobody named, those that are damaged left out."""
    found: list[TlsModule] = []
    for opened in inputs:
        with suppress(UnreadableInput, UnreadableMember, MalformedElf):
            found += _modules(opened, wanted)
    return tuple(found)


def _targets(opened: OpenInput) -> Iterator[Target]:
    promised = promised_by(opened.contents.tags)
    for module in opened.contents.modules:
        yield from targets_for(module.facts, module.name, promised)


def loaders_for(read: ReadModules, asked: str | None, machine: str | None) -> tuple[Loader[Any], ...]:
    """The loader that was asked for, or all that the files are for, each once; raises UsageError where there is no model.

    Of glibc and musl the newest: a tag says the oldest, and users run newer ones. Other systems' tags name their release.
    """
    process = machine_of(read.modules, machine)
    if asked is not None:
        return (loader_called(asked, process),)
    names: dict[str, str] = {}
    for target in read.targets:
        newest = target.libc in ("glibc", "musl") or target.oldest is None
        names.setdefault(target.libc, target.libc if newest else f"{target.libc}-{'.'.join(map(str, target.oldest or ()))}")
    known = [name for libc, name in names.items() if libc in LOADERS]
    return tuple(loader_called(name, process) for name in known or list(names.values())[:1] or ["glibc"])


def _opened(path: Path, limits: Limits, stack: ExitStack, *, keep: bool) -> OpenInput:
    """One input, read, its shared objects alone; closed again where it can't define a variable."""
    with ExitStack() as own:
        opened = own.enter_context(open_input(path, limits))
        contents = opened.contents
        if contents.unreadable:
            member, reason = contents.unreadable[0]
            raise UnreadableInput(reason if not contents.is_archive else f"{member}: {reason}", hint="give files that are whole")
        shared = [module for module in contents.modules if module.is_shared]
        if not shared and not contents.is_archive:
            kind = contents.modules[0].facts.kind if contents.modules else "of another format"
            raise UnreadableInput(f"it is no shared object ({kind})", hint="dlopen opens shared objects")
        contents.modules = shared
        if contents.definitions or keep or _calls_descriptors(opened):
            stack.enter_context(own.pop_all())
        return opened


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Puts a file's name in front of what went wrong with it."""
    try:
        yield
    except UnreadableInput as error:
        raise type(error)(f"{path}: {error.message}", hint=error.hint) from error


def _calls_descriptors(opened: OpenInput) -> bool:
    return any(module.facts.dynamic.tlsdesc for module in opened.contents.modules)


def _modules(opened: OpenInput, wanted: set[str]) -> Iterator[TlsModule]:
    exports, kept = opened.exports(wanted), _calls_that_keep(opened)
    for module in opened.contents.modules:
        label = f"{opened.path}:{module.name}" if opened.contents.is_archive else opened.path
        yield replace(tls_module(module.facts, label, exports.get(module.index, ())), calls_that_keep=kept.get(module.index, 0))


def _calls_that_keep(opened: OpenInput) -> dict[int, int]:
    """Module's index -> descriptor calls over which its code keeps vector registers. Nothing is loaded for an input without such calls."""
    if not _calls_descriptors(opened):
        return {}
    from tls_wheel_guard.commands.descriptors import descriptor_calls_in  # noqa: PLC0415

    return {index: len(look.sites.kept) for index, look in descriptor_calls_in(opened).items() if look.sites is not None}


def machine_of(modules: Mapping[Path, tuple[TlsModule, ...]], asked: str | None) -> str:
    """The one machine of all modules; raises UsageError where there are several, or another one was asked for."""
    known = machine_called(asked) if asked else None
    if asked and known is None:
        raise UsageError(f"unknown machine {asked!r}", hint="machines are spelled as by `show`: x86_64, aarch64, riscv64, ...")
    machine = known.name if known else None
    for found in modules.values():
        for module in found:
            if machine is not None and module.demand.machine != machine:
                raise UsageError(
                    f"{module.path}: it is for {module.demand.machine}, and the process is one of {machine}",
                    hint="simulate one machine at a time; --machine says which, and must be that of the modules",
                )
            machine = module.demand.machine
    if machine is None:
        raise UsageError("these files hold no shared object", hint="name shared objects, or wheels with some in them")
    return machine


def simulate(acts: Sequence[Act], read: ReadModules, loader: Loader[Any], state: Any) -> Simulation:
    """What the steps do to a process that starts in ``state``."""
    given = Given([*(module for found in read.modules.values() for module in found), *read.needed])
    if read.at_start:
        state = replace(state, loaded=tuple(there_from_the_start(module) for module in read.at_start))
    simulation = fold([(act.deed, read.modules[act.path]) for act in acts], given, loader, state)
    return _with_order(simulation, acts, read, lambda chosen: fold([(act.deed, read.modules[act.path]) for act in chosen], given, loader, state))


def _with_order(simulation: Simulation, acts: Sequence[Act], read: ReadModules, run: Callable[[Sequence[Act]], Simulation]) -> Simulation:
    """The simulation, with an order in which all files load, where it has only opened files, one failed, and another order helps."""
    if not simulation.fails or len(acts) < 2 or any(act.deed not in ("open", "global") for act in acts):
        return simulation
    steps = 0
    ends = list(itertools.accumulate(len(read.modules[act.path]) for act in acts))
    failed = next(place for place, report in enumerate(simulation.steps) if not report.step.loads or report.step.unsafe)
    for order in orders(len(acts), bisect_right(ends, failed)):
        steps += len(simulation.steps)
        if steps > MOST_STEPS:
            break
        chosen = [acts[place] for place in order]
        other = run(chosen)
        if not other.fails:
            return replace(simulation, order=tuple(str(act.path) for act in chosen), works=other)
    return simulation


def read_start(path: Path) -> dict[str, Any]:
    """The document that ``env --format json`` wrote; raises UsageError or UnreadableInput."""
    if not path.exists():
        raise UsageError(f"{path}: no such file", hint="`tls-wheel-guard env --format json > env.json` makes one")
    with _naming(path):
        data = read_regular(path, MAX_START)
    if data is None:
        raise UnreadableInput(f"{path}: it has more than {MAX_START} bytes", hint="give what `env --format json` printed")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnreadableInput(f"{path}: it is no JSON document ({error})", hint="give what `env --format json` printed") from error
    if not isinstance(document, dict) or document.get("version") != 1 or "start" not in document:
        raise UnreadableInput(f"{path}: it is not a document of `env --format json`", hint="it has version 1, libc, machine and start")
    return document
