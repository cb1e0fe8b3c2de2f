"""The static TLS block as SVG: the segments of ``block``, in the proportions of the terminal's bar. A string of our own numbers only.

The HTML report draws one block a picture with ``svg``; docs/pictures/make_pictures.py puts several blocks and labels together with
``shapes`` and ``places``. The geometry is the same in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tls_wheel_guard.report.block import Segment, shares

__all__ = ["places", "shapes", "svg"]

WIDTH, HEIGHT = 1000, 40
"""Units of the drawing; the page stretches it to its own width."""


def svg(segments: Sequence[Segment], label: str) -> str:
    """The drawing. ``label``: what it shows, in words that were escaped; the caption beside it has the numbers."""
    parts = shapes(segments, WIDTH, HEIGHT)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{label}">{parts}</svg>'


def places(segments: Sequence[Segment], width: int, left: int = 0) -> Iterator[tuple[Segment, int, int]]:
    """Each segment with its left edge and its width, where all of them together take ``width`` units from ``left`` on."""
    for segment, size in zip(segments, shares(segments, width), strict=True):
        yield segment, left, size
        left += size


def shapes(segments: Sequence[Segment], width: int, height: int, left: int = 0, top: int = 0, closer: int = 1) -> str:
    """A rectangle a segment, with strokes over some. ``closer``: how many times closer than in the report they stand, in a small drawing."""
    parts: list[str] = []
    for segment, x, size in places(segments, width, left):
        parts.append(f'<rect class="{segment.kind}" x="{x}" y="{top}" width="{size}" height="{height}"/>')
        parts.append(_pattern(segment.kind, x, size, top, height, closer))
    return "".join(parts)


def _pattern(kind: str, at: int, width: int, top: int, height: int, closer: int) -> str:
    """Strokes over what is refused and what was taken before, so that no meaning is carried by colour alone."""
    step = {"beyond": 16, "before": 28}.get(kind)
    if step is None:
        return ""
    step //= closer
    lean = height // 2 if kind == "beyond" else 0
    lines = (f"M{x} {top + height}L{min(x + lean, at + width)} {top}" for x in range(at + step // 2, at + width, step))
    return f'<path class="stroke" d="{"".join(lines)}"/>'
