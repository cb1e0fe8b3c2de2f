"""A stream of pieces that another thread makes ahead of its reader.

Decompressors release the GIL, so one member is inflated while its reader checks and parses what came before.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from queue import SimpleQueue

__all__ = ["PIECES", "pieces_ahead"]

PIECES = 3
"""Pieces that wait for the reader at most."""


def pieces_ahead(pieces: Iterator[bytes]) -> Generator[bytes]:
    """The same pieces and, at the same place, the same error. Its thread ends with the pieces, or when this generator is closed."""
    ready: SimpleQueue[bytes | Exception | None] = SimpleQueue()
    room: SimpleQueue[None] = SimpleQueue()
    for _ in range(PIECES):
        room.put(None)
    unwanted = threading.Event()
    maker = threading.Thread(target=_make, args=(pieces, ready, room, unwanted), name="inflating ahead", daemon=True)
    maker.start()
    try:
        while (piece := ready.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece
            room.put(None)
    finally:
        unwanted.set()
        room.put(None)
        maker.join()


def _make(pieces: Iterator[bytes], ready: SimpleQueue[bytes | Exception | None], room: SimpleQueue[None], unwanted: threading.Event) -> None:
    """Put pieces until there are no more or nobody wants them."""
    try:
        for piece in pieces:
            room.get()
            if unwanted.is_set():
                return
            ready.put(piece)
        ready.put(None)
    except Exception as error:  # the reader raises it
        ready.put(error)
