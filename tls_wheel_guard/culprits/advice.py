"""From a match to words: who it is, and what helps for the build system that made this wheel."""

from __future__ import annotations

from collections.abc import Iterable

from tls_wheel_guard.culprits.clues import Clues, Component
from tls_wheel_guard.culprits.identify import Match, identify
from tls_wheel_guard.culprits.model import Culprit, Remedy
from tls_wheel_guard.culprits.result import Suspect, Traced

__all__ = ["advice", "build_systems", "remedies_for", "remedy_line", "sentence", "trace"]

_GENERATORS = (
    ("maturin", ("cargo",)), ("setuptools-rust", ("cargo", "setuptools")), ("scikit-build", ("cmake",)), ("py-build-cmake", ("cmake",)),
    ("meson", ("meson",)), ("bdist_wheel", ("setuptools",)), ("setuptools", ("setuptools",)), ("bazel", ("bazel",)), ("cmeel", ("cmake",)),
    ("gopy", ("go",)), ("hatch", ()), ("flit", ()), ("poetry", ()), ("pdm", ()),
)  # fmt: skip
"""A word in WHEEL's Generator -> the build systems whose settings reach the compiler."""


def trace(clues: Clues, culprits: Iterable[Culprit], generator: str | None) -> Traced:
    """The suspects of a module with their remedies for the build that made it. ``generator``: WHEEL's Generator."""
    builds = build_systems(generator, clues)
    suspects = tuple(
        Suspect(match, sentence(match), advice(match, builds), () if match.interposes else remedies_for(match, builds))
        for match in identify(clues, culprits)
    )
    return Traced(suspects, interposer_advice(clues.interposes) if clues.interposes else None, clues.reached)


def interposer_advice(functions: str) -> str:
    """The advice for a library that replaces the C library's functions: it must stay as it is."""
    return (
        f"it exports {functions}, so it is made to be loaded at the start (LD_PRELOAD) and to stand in for the C library: leave its model as"
        " it is, a dynamic access could call malloc inside malloc; where nothing imports it, allow the finding with that reason"
    )


def build_systems(generator: str | None, clues: Clues) -> tuple[str, ...]:
    """What built this module, the likeliest first: from WHEEL's Generator, from bills of materials and from its own compilers' names."""
    word = (generator or "").lower()
    found = next((list(builds) for name, builds in _GENERATORS if name in word), [])
    if clues.embedded or any("rustc" in text for text in clues.comments) or any(c.name == "libc" for c in clues.listed):
        found = ["cargo", *(b for b in found if b != "cargo")]
    if clues.go_version:
        found = ["go", *found]
    if any("zig" in text for text in clues.comments):
        found.append("zig")
    return tuple(dict.fromkeys(found))


def remedies_for(match: Match, builds: Iterable[str]) -> tuple[Remedy, ...]:
    """The culprit's remedies for these build systems, else those for any; then those at the wheel's repair, then for today's users."""
    remedies = match.culprit.remedies
    known = tuple(builds)
    mine = [r for build in known for r in remedies if build in r.builds] or [r for r in remedies if "any" in r.builds]
    if not mine:
        mine = [r for r in remedies if not {"auditwheel", "today"} & set(r.builds)]
    late = [r for place in ("auditwheel", "today") for r in remedies if place in r.builds]
    # A library that was compiled elsewhere is kept out, or repaired, when the wheel is: that comes first.
    ordered = [*late, *mine] if match.culprit.how == "toolchain" and late else [*mine, *late]
    return tuple(dict.fromkeys(ordered))


def advice(match: Match, builds: Iterable[str]) -> tuple[str, ...]:
    """What to do, a line each, the best first. An interposer gets none of the cures: it must stay as it is."""
    if match.interposes:
        return (interposer_advice(match.interposes),)
    lines = [remedy_line(remedy) for remedy in remedies_for(match, builds)]
    return (*lines, *filter(None, [why_no_flag(match.culprit)]))


def remedy_line(remedy: Remedy) -> str:
    """A remedy as one line, with its conditions and how it is known."""
    line = remedy.text
    if remedy.since:
        line += f" (since {remedy.since})"
    if remedy.when:
        line += f"; when: {remedy.when}"
    if remedy.cannot:
        line += f"; not: {remedy.cannot}"
    known = {"measured": "", "read": " (from its source or manual, not tried by us)", "not measured": " (not tried by us)"}
    return line + known[remedy.status]


def sentence(match: Match) -> str:
    """Who it is and why, in one sentence; the wording says how sure it is."""
    culprit = match.culprit
    if culprit.generic:
        return f"{_opening(match)} {culprit.name}: {match.evidence[0]}."
    who = culprit.name + (f" {match.version}" if match.version else "")
    through = f", linked in through the Rust crate {_called(match.package)}," if match.package else ""
    if match.confidence == "certain":
        return f"{who}{through} brings it in: {match.evidence[0]}."
    return f"{_opening(match)} {who}{through.rstrip(',')}: {'; '.join(match.evidence[:3])}."


def _called(package: Component) -> str:
    return f"{package.name} {package.version}"


def _opening(match: Match) -> str:
    return {"certain": "It is", "likely": "It is most likely", "possible": "It may be"}[match.confidence]


def why_no_flag(culprit: Culprit) -> str | None:
    """Why no compiler flag of the project can help; None where one can."""
    return {
        "attribute": "no compiler flag helps: the attribute in its source beats the flag",
        "assembler": "no compiler flag helps: it is written in assembler",
        "toolchain": "no compiler flag helps: it was compiled elsewhere",
        "objects": "no -ftls-model flag helps: -fPIE is the more specific one and stays",
    }.get(culprit.how)
