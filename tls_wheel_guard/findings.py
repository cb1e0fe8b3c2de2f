"""What a check says: values only, for any writer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from tls_wheel_guard.culprits import Suspect, Traced
from tls_wheel_guard.elf import SharedObject, TlsReloc
from tls_wheel_guard.loaders import Verdict
from tls_wheel_guard.platforms import Libc, Target
from tls_wheel_guard.records import dataclass
from tls_wheel_guard.tls import TlsDemand, TlsModule

if TYPE_CHECKING:
    from tls_wheel_guard.machine_code.access_sites import Sites
    from tls_wheel_guard.machine_code.descriptor_clobber import DescriptorSites

__all__ = ["SEVERITIES", "Finding", "Hint", "ModuleReport", "Report", "Severity", "at_or_above"]

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")


def at_or_above(severity: Severity, threshold: str) -> bool:
    """Whether a severity reaches ``threshold`` (a severity, or ``never``)."""
    return threshold != "never" and SEVERITIES.index(severity) >= SEVERITIES.index(threshold)


HintKind = Literal["cure", "today", "look", "accept"]
"""``cure``: for the author; ``today``: for users of the wheel as it is; ``look``: how to see more; ``accept``: how to allow the finding."""

_OPENINGS: dict[HintKind, str] = {"today": "today: ", "accept": "to accept it: "}


@dataclass(frozen=True, slots=True)
class Hint:
    """One next step, and for whom it is. ``libc``: whose users it helps, None where that does not matter."""

    text: str
    kind: HintKind = "cure"
    libc: Libc | None = None

    def line(self) -> str:
        """The step by itself, with the word that says for whom it is."""
        return _OPENINGS.get(self.kind, "") + self.text


@dataclass(frozen=True, slots=True)
class ModuleReport:
    """One ELF file: its facts, what it asks for, and each loader's verdict (none for what dlopen never opens).

    ``traced``: who brought initial-exec TLS in. ``sites``: where its code reads the slots, where that was asked. ``damage``: what is wrong
    with a module that was repaired, a line each. ``descriptor_sites``: its calls through TLS
    descriptors, where a target may lose registers in them. ``traced_descriptors``: who chose descriptors.
    """

    path: str
    shared_object: SharedObject
    tls_module: TlsModule
    verdicts: tuple[Verdict, ...] = ()
    traced: Traced = Traced()
    sites: Sites | None = None
    damage: tuple[str, ...] = ()
    descriptor_sites: DescriptorSites | None = None
    traced_descriptors: tuple[Suspect, ...] = ()

    @property
    def demand(self) -> TlsDemand:
        """What it asks of static TLS."""
        return self.tls_module.demand

    @property
    def kind(self) -> str:
        """shared, program, object or debug."""
        return self.shared_object.kind


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a rule found. ``module``: the member's path, None for the wheel as a whole.

    ``parts``: what was found, then what happens on each system, a sentence or two each. ``hints``: next steps, the cure first.
    ``verdicts``: the verdicts that it rests on, in the order of the targets. ``relocs``: the first relocations behind it,
    ``relocs_total`` all of them. ``allowed``: the reason for which the user allows it, None when it counts. ``culprits``: who brought it in.
    """

    rule: str
    severity: Severity
    module: str | None
    parts: tuple[str, ...]
    hints: tuple[Hint, ...]
    verdicts: tuple[Verdict, ...] = ()
    targets: tuple[str, ...] = ()
    relocs: tuple[TlsReloc, ...] = ()
    relocs_total: int = 0
    allowed: str | None = None
    culprits: tuple[Suspect, ...] = ()

    @property
    def message(self) -> str:
        """All that was found, as one paragraph."""
        return " ".join(self.parts)

    @property
    def hint(self) -> str:
        """The next steps, as one line."""
        return "; ".join(hint.line() for hint in self.hints)


@dataclass(frozen=True, slots=True)
class Report:
    """What ``check`` knows of one wheel, or of one bare file.

    ``allowed``: findings that the settings accept, ``known``: those of the baseline; neither counts. ``excluded``: members that were not
    judged because the settings say so. ``not_applicable``: formats without static TLS and how many members have them. ``nested``:
    archives that were not entered.
    ``error``: why nothing could be read, None when it could; ``error_code``: the exit code for it; ``error_trace``: where a bug of
    ours arose. ``is_tree``: a folder of files that were judged one by one, not a wheel.
    ``settings_file``: the pyproject.toml whose settings decided, None without one.
    """

    wheel: str
    path: str
    tags: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()
    modules: tuple[ModuleReport, ...] = ()
    findings: tuple[Finding, ...] = ()
    allowed: tuple[Finding, ...] = ()
    known: tuple[Finding, ...] = ()
    excluded: tuple[str, ...] = ()
    not_applicable: tuple[tuple[str, int], ...] = ()
    nested: tuple[str, ...] = ()
    error: str | None = None
    error_hint: str | None = None
    error_code: int = 3
    error_trace: str | None = None
    is_tree: bool = False
    settings_file: str | None = None

    @property
    def worst(self) -> Severity | None:
        """The highest severity among the findings, None without any."""
        return max((f.severity for f in self.findings), key=SEVERITIES.index, default=None)

    def count(self, severity: Severity) -> int:
        """How many findings have that severity."""
        return sum(f.severity == severity for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """One entry of ``wheels`` in the JSON document of ``check``."""
        # The one door from a value to a writer: part of the public API. Values themselves have no format.
        from tls_wheel_guard.report.json import report_entry  # noqa: PLC0415

        return report_entry(self)
