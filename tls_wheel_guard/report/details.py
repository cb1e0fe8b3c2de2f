"""What -v adds to a finding: every sentence, loader's word, relocation and remedy, all places, and how to allow it."""

from __future__ import annotations

from collections.abc import Iterator

from tls_wheel_guard.findings import Finding
from tls_wheel_guard.report.proposed import diff_for
from tls_wheel_guard.report.story import Story
from tls_wheel_guard.report.style import Style, printable, wrap

__all__ = ["details"]


def details(story: Story, style: Style) -> Iterator[str]:
    """The lines below a finding's own."""
    finding = story.places[0].finding
    for number, part in enumerate(dict.fromkeys(part for place in story.places for part in place.finding.parts)):
        yield from wrap(part, style.width, " " * 12, f"  {'details:' if number == 0 else '':10}")
    for cause in story.causes:
        for said in cause.evidence[1:]:
            yield from wrap(f"{cause.name}: {said}", style.width, " " * 12, f"  {'evidence:':10}")
    for number, step in enumerate(story.look):
        yield from wrap(step, style.width, " " * 12, f"  {'look:' if number == 0 else '':10}")
    yield from _relocations(finding)
    if len(story.places) > 1:
        yield "  in:"
        for place in story.places:
            yield f"    {printable(place.report.path)}" + (f": {printable(place.finding.module)}" if place.finding.module else "")
    diff = diff_for(story, style.proposed)
    if diff:
        yield "  the edit (tls-wheel-guard fix --write applies what is proved to be safe):"
        yield from (f"    {printable(line)}" for line in diff.splitlines())
    for text in story.accept:
        yield from wrap(f"to accept it: {text}", style.width, " " * 12, "  ")


def _relocations(finding: Finding) -> Iterator[str]:
    if not finding.relocs:
        return
    more = f" (the first {len(finding.relocs)} of {finding.relocs_total:,})" if finding.relocs_total > len(finding.relocs) else ""
    yield f"  relocations{more}, by address:"
    for reloc in finding.relocs:
        symbol = f"  {printable(reloc.symbol.versioned_name)}" if reloc.symbol is not None and reloc.symbol.name else ""
        yield f"    {reloc.offset:#x}  {reloc.name}  addend {reloc.addend if reloc.addend is not None else 'in place'}{symbol}"
