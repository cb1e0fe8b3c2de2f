"""What the rules see of one wheel, and the words that several of them need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tls_wheel_guard.findings import Hint, ModuleReport, Severity
from tls_wheel_guard.loaders import Verdict, glibc
from tls_wheel_guard.platforms import Target
from tls_wheel_guard.records import dataclass
from tls_wheel_guard.tls import TlsDemand

__all__ = ["CURE", "DEFAULTS", "MAX_RELOCS", "WHERE", "Graft", "LiveProcess", "RuleInput", "Thresholds", "Unreadable", "hints", "severity_of"]

MAX_RELOCS = 32
"""Relocations that a finding lists; it counts all."""


@dataclass(frozen=True, slots=True)
class LiveProcess:
    """A process that was read: the interpreter, its machine, and its static TLS."""

    python: str
    machine: str
    state: glibc.State


DEFAULT_ROOM = 1664
"""Bytes that glibc leaves to modules that come late: what every version gives a fresh process. A fact, so there is no setting for it."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Numbers that decide what is found.

    ``room``: bytes of static TLS that a glibc process is taken to have left; ``crowding``: the share of a loader's room from
    which one module is reported; ``strict``: what could not be analysed is an error; ``live``: a process in place of ``room``.
    """

    room: int = DEFAULT_ROOM
    crowding: float = 0.25
    strict: bool = False
    live: LiveProcess | None = None

    def live_state(self, libc: str, machine: str) -> glibc.State | None:
        """The live process's state, for modules that it could open."""
        fits = self.live is not None and libc == "glibc" and self.live.machine == machine
        return self.live.state if fits and self.live else None

    def room_for(self, verdict: Verdict, machine: str) -> int | None:
        """Bytes that all late modules share where a verdict holds; None where that is not known."""
        if verdict.outcome.room is not None or verdict.target.libc != "glibc":
            return verdict.outcome.room
        live = self.live_state("glibc", machine)
        return live.room if live else self.room

    def starts(self, target: Target, demand: TlsDemand) -> tuple[glibc.State, ...]:
        """The processes that verdicts are about in place of fresh ones: the live one, or those with the room that the settings give."""
        if target.libc != "glibc":
            return ()
        live = self.live_state("glibc", demand.machine)
        if live is not None:
            return (live,)
        if self.room == DEFAULT_ROOM:
            return ()
        versions = dict.fromkeys((max(target.oldest or glibc.CURRENT, glibc.OLDEST), glibc.CURRENT))
        return tuple(glibc.state_with_room(version, demand.machine, demand.tls_variant, self.room) for version in versions)


DEFAULTS = Thresholds()


class Graft(NamedTuple):
    """A library of this machine, with initial-exec TLS, that a module needs from outside. ``size``: of its TLS, in bytes."""

    library: str
    path: str
    needed_by: str
    size: int
    relocations: int


class Unreadable(NamedTuple):
    """A member that could not be read, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class RuleInput:
    """All that the rules see of one wheel.

    ``needs``: a module's path -> those of the wheel's modules that it needs and that ask for static TLS, itself last.
    ``one_process``: whether somebody may load all modules into one process; not those of a whole folder.
    ``grafts``: libraries that auditwheel would copy into the wheel; ``needed_outside``: those that stay outside. ``tagged``: what the
    wheel's own tags promise; ``asked``: the targets that the user added.
    """

    modules: tuple[ModuleReport, ...]
    unreadable: tuple[Unreadable, ...]
    needs: dict[str, tuple[ModuleReport, ...]]
    thresholds: Thresholds
    grafts: tuple[Graft, ...] = ()
    one_process: bool = True
    needed_outside: tuple[Graft, ...] = ()
    tagged: tuple[Target, ...] = ()
    asked: tuple[Target, ...] = ()

    @property
    def shared(self) -> Iterator[ModuleReport]:
        """The modules that dlopen may open, of machines that are known."""
        return (m for m in self.modules if m.kind == "shared" and m.shared_object.machine is not None)


CURE = (
    "compile it with -ftls-model=global-dynamic as the last such flag and with -fPIC, without a tls_model attribute in the source;"
    ' or set action = "rewrite", which builds it so'
)
WHERE = Hint(
    "to find it: tls-wheel-guard show --sites lists the code that reads the variables; tls-wheel-guard explain compiler-flag, attribute,"
    " program-objects or assembler says how each gets in",
    "look",
)


def hints(*steps: str | Hint | None, module: str | None, rule: str) -> tuple[Hint, ...]:
    """The next steps (a plain text is a cure), and last how to accept the finding: an option to copy, without a space to break it at."""
    pattern = (module or "*").replace("[", "[[]")
    text = f"{pattern}:{rule}:WHY"
    option = "'" + text.replace("'", "'\"'\"'") + "'"
    allow = f"--allow {option} or, in pyproject.toml, a table [[tool.tls-wheel-guard.allow]] of module, rule and reason"
    return (*(Hint(step) if isinstance(step, str) else step for step in steps if step), Hint(allow, "accept"))


def severity_of(verdicts: list[Verdict]) -> Severity:
    """``error`` where a target refuses the module."""
    return "error" if any(v.refuses for v in verdicts) else "warning"
