"""The static TLS block of a process, as segments with sizes and meaning: what the terminal's bar and the SVG both draw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from tls_wheel_guard.loaders import Verdict
from tls_wheel_guard.records import dataclass
from tls_wheel_guard.report.matrix import COLUMNS
from tls_wheel_guard.report.style import Colour, Style, wrap
from tls_wheel_guard.rules.phrases import bytes_of

__all__ = ["MEANING", "Block", "Segment", "SegmentKind", "bar", "block_of", "blocks_of", "shares"]

BAR = 32
"""Columns of the bar."""

SegmentKind = Literal["start", "before", "asked", "left", "beyond"]

MEANING: dict[SegmentKind, str] = {
    "start": "taken when the process starts",
    "before": "taken by modules that came before",
    "asked": "asked by this module",
    "left": "left for other late modules",
    "beyond": "asked beyond the end",
}
_DRAWN: dict[SegmentKind, tuple[str, Colour]] = {
    "start": ("=", "dim"), "before": ("-", "cyan"), "asked": ("#", "yellow"), "left": (".", "green"), "beyond": ("!", "red"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the block: what it is for, and its size in bytes."""

    kind: SegmentKind
    size: int


@dataclass(frozen=True, slots=True)
class Block:
    """One loader's block with one module's demand in it. Sizes in bytes.

    ``used``: taken at the start; ``room``: what the loader keeps for modules that come late; ``taken``: what the module asks.
    ``refused``: it does not fit. ``at_most``: other wheels of the same finding ask for less.
    ``align_limit``: the largest alignment that is granted, where that is why it is refused.
    """

    system: str
    used: int
    room: int
    taken: int
    refused: bool
    at_most: bool = False
    align_limit: int | None = None

    @property
    def segments(self) -> tuple[Segment, ...]:
        """From the start of the block to its end, then what is asked beyond it; none is empty."""
        inside = 0 if self.refused and self.taken <= self.room else min(self.taken, self.room)
        sizes: tuple[tuple[SegmentKind, int], ...] = (
            ("start", self.used if self.room else 0), ("asked", inside), ("left", self.room - inside), ("beyond", self.taken - inside),
        )  # fmt: skip
        return tuple(Segment(kind, size) for kind, size in sizes if size)

    @property
    def caption(self) -> str:
        """The numbers, and why."""
        most = "up to " if self.at_most else ""
        if not self.room:
            return f"{most}{bytes_of(self.taken)} asked; imports get none"
        if not self.refused:
            return f"{most}{self.taken:,} of the {bytes_of(self.room)} that all imports share"
        if self.taken > self.room:
            return f"{most}{bytes_of(self.taken)} asked; all imports share {self.room:,}"
        if self.align_limit:
            return f"{most}{bytes_of(self.taken)} asked, at an alignment above the {self.align_limit} that imports are granted"
        return f"{most}{bytes_of(self.taken)} asked; of the {self.room:,} for imports none lie at such an alignment"


def block_of(verdict: Verdict, at_most: bool = False) -> Block | None:
    """The block of one verdict; None where the loader has none that is known, or where nothing of it is asked."""
    outcome = verdict.outcome
    if outcome.room is None or not outcome.taken or outcome.word not in ("if-room", "never"):
        return None
    return Block(verdict.target.libc, outcome.used, outcome.room, outcome.taken, verdict.refuses, at_most, outcome.align_limit)


def blocks_of(verdicts: Iterable[Verdict]) -> tuple[Block, ...]:
    """A block for each system, that of its worst verdict; those that refuse come first."""
    by_system: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_system.setdefault(verdict.target.libc, []).append(verdict)
    found = []
    for same in by_system.values():
        worst = max(same, key=lambda v: (v.refuses, v.outcome.taken))
        found.append(block_of(worst, len({v.outcome.taken for v in same}) > 1))
    return tuple(sorted((block for block in found if block is not None), key=lambda block: not block.refused))


def shares(segments: Sequence[Segment], whole: int) -> tuple[int, ...]:
    """How many of ``whole`` units each segment gets: at least one, in proportion beyond that, and all of them together exactly ``whole``."""
    total = sum(segment.size for segment in segments)
    spare = whole - len(segments)
    exact = [spare * segment.size / total for segment in segments]
    found = [1 + int(part) for part in exact]
    # What rounding left over goes to those that lost most by it.
    for place in sorted(range(len(found)), key=lambda n: exact[n] % 1, reverse=True)[: whole - sum(found)]:
        found[place] += 1
    return tuple(found)


def bar(block: Block, style: Style) -> Iterator[str]:
    """The block as one line, or two where the caption needs the second: ``=`` at the start, ``#`` asked, ``.`` left, ``!`` beyond the end."""
    if block.room:
        parts = zip(block.segments, shares(block.segments, BAR), strict=True)
        drawn = "".join(style.paint(_DRAWN[s.kind][0] * columns, _DRAWN[s.kind][1]) for s, columns in parts)
    else:
        drawn = style.paint(" no room ".center(BAR, "!"), "red")
    label, beside = f"  {COLUMNS.get(block.system, block.system):10}", " " * (BAR + 15)
    if len(beside) + 24 <= style.width:
        first, *more = wrap(block.caption, style.width - len(beside), "")
        yield f"{label}[{drawn}] {first}"
        yield from (beside + line for line in more)
    else:
        if len(beside) <= style.width:
            yield f"{label}[{drawn}]"
            label = " " * len(label)
        yield from wrap(block.caption, style.width, " " * 12, label)
