"""Tables on stdout."""

from __future__ import annotations


def row(*cells: object) -> None:
    """One line of a table, at once: the runs are long."""
    print("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |", flush=True)


def heading(*cells: str) -> None:
    """The first two lines of a table."""
    row(*cells)
    row(*["---"] * len(cells))
