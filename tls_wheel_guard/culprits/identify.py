"""Who brought initial-exec TLS into a module: the culprits whose evidence holds, the surest first. Pure: clues in, matches out.

``certain``: a variable reached bears its name. ``likely``: a tie to the access and one more class of evidence. ``possible``: the rest,
and never more for words in the file alone. Where a symbol table names every variable reached, only names count.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from tls_wheel_guard.culprits.clues import Clues, Component, ReachedVariable
from tls_wheel_guard.culprits.evidence import PRESENCE, TIES, matching_layout, named_variables
from tls_wheel_guard.culprits.model import Culprit
from tls_wheel_guard.records import dataclass

__all__ = ["Confidence", "Match", "identify"]

Confidence = Literal["certain", "likely", "possible"]
_ORDER: tuple[Confidence, ...] = ("certain", "likely", "possible")


@dataclass(frozen=True, slots=True)
class Match:
    """One culprit of one module. ``evidence``: sentences, the weightiest first. ``version``: what is known of it, or None.

    ``package``: the crate that a bill of materials names, or None. ``variables``: those reached that are its own, where named.
    ``interposes``: the C library's functions that the module stands in for.
    """

    culprit: Culprit
    confidence: Confidence
    evidence: tuple[str, ...]
    version: str | None = None
    package: Component | None = None
    variables: tuple[ReachedVariable, ...] = ()
    interposes: str = ""


def identify(clues: Clues, culprits: Iterable[Culprit]) -> tuple[Match, ...]:
    """The culprits of one module. Generic ones (a flag, an attribute) are named only where no other is sure."""
    culprits = tuple(culprits)
    found = [match for culprit in culprits if not culprit.generic and (match := _match(culprit, clues)) is not None]
    sure = [match for match in found if match.confidence != "possible"]
    if sure:
        # Culprits that are merely in the file too explain nothing more.
        return tuple(sorted(sure, key=lambda m: _ORDER.index(m.confidence)))
    generic = [match for culprit in culprits if culprit.generic and (match := _generic(culprit, clues)) is not None]
    return (*sorted(generic, key=lambda m: _ORDER.index(m.confidence)), *found)


def _match(culprit: Culprit, clues: Clues) -> Match | None:
    ties = {name: said for name, check in TIES.items() if (said := check(culprit, clues))}
    presence = {name: said for name, check in PRESENCE.items() if (said := check(culprit, clues))}
    confidence = _confidence(culprit, clues, ties, presence)
    if confidence is None:
        return None
    return Match(
        culprit,
        confidence,
        tuple(sentence for said in (*ties.values(), *presence.values()) for sentence in said),
        _version(culprit, clues),
        next((c for name in culprit.words.crates for c in (*clues.embedded, *clues.listed) if c.name == name), None),
        named_variables(culprit, clues),
        clues.interposes,
    )


def _confidence(culprit: Culprit, clues: Clues, ties: dict[str, tuple[str, ...]], presence: dict[str, tuple[str, ...]]) -> Confidence | None:
    if "variable" in ties:
        return "certain"
    if not clues.own or ("common" not in ties and _names_another(clues)):
        return None
    other = set(presence) - {"functions"}
    if "layout" in ties and presence:
        return "likely"
    if "common" in ties and other:
        return "likely"
    # Who reads the slot says as much as a function's name does, so the names alone are no second class.
    if "readers" in ties and (other or matching_layout(culprit, clues) is not None):
        return "likely"
    # Sections that only one toolchain writes are worth more than words: with them a plain pattern is enough.
    if "structure" in presence and matching_layout(culprit, clues) is not None:
        return "likely"
    return "possible" if presence else None


def _names_another(clues: Clues) -> bool:
    """Whether symbols name every own variable reached; then a culprit whose names are not among them is ruled out."""
    return all(r.name for r in clues.own)


def _version(culprit: Culprit, clues: Clues) -> str | None:
    if culprit.id == "go" and clues.go_version and clues.go_version != "go":
        return clues.go_version.removeprefix("go")
    if written := dict(clues.versions).get(culprit.id):
        return written
    pattern = matching_layout(culprit, clues)
    if pattern is not None and not pattern.weak and " " not in pattern.versions:
        return pattern.versions
    said = next((version for text, version in culprit.by_string if text in clues.strings), None)
    return said or (pattern.versions if pattern is not None and not pattern.weak else None)


def _generic(culprit: Culprit, clues: Clues) -> Match | None:
    said = GENERIC[culprit.id](clues) if culprit.id in GENERIC else None
    return Match(culprit, said[0], (said[1],), interposes=clues.interposes) if said else None


def _flag(clues: Clues) -> tuple[Confidence, str] | None:
    if clues.own and any("-ftls-model=initial-exec" in line for line in clues.producers):
        return "likely", "a compiler's command line in the file has -ftls-model=initial-exec"
    return None


def _attribute(clues: Clues) -> tuple[Confidence, str] | None:
    compiled = [line for line in clues.producers if line.startswith("GNU C")]
    if clues.own and compiled and all(_is_pic(line) and "-ftls-model" not in line for line in compiled):
        return "possible", "the compilers' command lines in the file have -fPIC and no -ftls-model"
    return None


def _objects(clues: Clues) -> tuple[Confidence, str] | None:
    compiled = [line for line in clues.producers if line.startswith("GNU C")]
    if clues.foreign and any(not _is_pic(line) for line in compiled):
        return "likely", "a compiler's command line in the file has no -fPIC"
    if clues.foreign and not clues.own:
        return "possible", "only variables of other libraries are reached by initial-exec, as objects without -fPIC do"
    return None


def _is_pic(command: str) -> bool:
    """Whether the last of -fPIC, -fpic, -fPIE, -fpie and -fno-pic is one of the first two."""
    last = [word for word in command.split() if word.lower() in ("-fpic", "-fpie", "-fno-pic", "-fno-pie")][-1:]
    return bool(last) and last[0].lower() == "-fpic"


def _no_dlopen(clues: Clues) -> tuple[Confidence, str] | None:
    if clues.no_dlopen and any("mold" in text for text in clues.comments):
        return "likely", "mold linked it with -z nodlopen (DF_1_NOOPEN), and then turns dynamic accesses into initial-exec"
    return None


GENERIC = {
    "nodlopen": _no_dlopen, "compiler-flag": _flag, "attribute": _attribute, "program-objects": _objects,
}  # fmt: skip
"""What a generic culprit rests on: a file's command lines, its relocations, its dynamic flags.

Assembler is never named: the C library's own start files are assembled, and say so in most files that say anything.
"""
