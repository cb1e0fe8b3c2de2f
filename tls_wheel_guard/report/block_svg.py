"""The static TLS block as SVG: the segments of ``block``, in the proportions of the terminal's bar. A string of our own numbers only."""

from __future__ import annotations

from collections.abc import Sequence

from tls_wheel_guard.report.block import Segment, shares

__all__ = ["svg"]

WIDTH, HEIGHT = 1000, 40
"""Units of the drawing; the page stretches it to its own width."""


def svg(segments: Sequence[Segment], label: str) -> str:
    """The drawing. ``label``: what it shows, in words that were escaped; the caption beside it has the numbers."""
    parts: list[str] = []
    at = 0
    for segment, width in zip(segments, shares(segments, WIDTH), strict=True):
        parts.append(f'<rect class="{segment.kind}" x="{at}" y="0" width="{width}" height="{HEIGHT}"/>')
        parts.append(_pattern(segment.kind, at, width))
        at += width
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _pattern(kind: str, at: int, width: int) -> str:
    """Strokes over what is refused and what was taken before, so that no meaning is carried by colour alone."""
    step = {"beyond": 16, "before": 28}.get(kind)
    if step is None:
        return ""
    lean = HEIGHT // 2 if kind == "beyond" else 0
    lines = (f"M{x} {HEIGHT}L{min(x + lean, at + width)} 0" for x in range(at + step // 2, at + width, step))
    return f'<path class="stroke" d="{"".join(lines)}"/>'
