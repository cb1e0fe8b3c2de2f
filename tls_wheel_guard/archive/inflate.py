"""One member's bytes, inflated as a stream, of which the beginning and the end are kept.

Relocation tables stand in the first hundredths of a shared object, the dynamic segment that says where they are near its
end. So the first ``HEAD`` bytes and the last ``TAIL`` are kept while the stream runs on, and only a file whose tables lie between
them is inflated a second time, up to there. Memory stays the same for a member of any size.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

from tls_wheel_guard.errors import MalformedElf, UnreadableMember
from tls_wheel_guard.limits import DEFAULT_LIMITS, Limits, over

__all__ = ["HEAD", "MemberSource"]

HEAD = 8 << 20
"""Bytes of a member's beginning that are kept."""
TAIL = 8 << 20
"""Bytes of its end that are kept once it was inflated whole: patchelf moves the string table there."""
OVERLAP = 64 << 10
"""Bytes before the newest piece that are kept: a reader may want bytes on both sides of the end of a piece."""


class MemberSource:
    """A member's bytes by offset (an ``elf.Source``), over a stream that can only be started again.

    Read without starting again: the first ``HEAD`` bytes, what lies just before the newest piece, and, once the stream has run to
    its end, the last ``TAIL`` bytes.
    """

    def __init__(self, start: Callable[[], Iterator[bytes]], size: int, limits: Limits = DEFAULT_LIMITS) -> None:
        self.size = size
        self.start = start
        self._limits = limits
        self._stream = start()
        self._head = bytearray()
        self._tail: list[bytes] = []
        self._tail_at = size
        # The newest piece, what was before it, and their offsets in the file; ``_next`` is where the stream goes on.
        self._piece = self._previous = b""
        self._piece_at = self._previous_at = self._next = 0
        self._restarts = 0
        self._checked = False

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise MalformedElf(f"bytes {offset}..{offset + length} lie outside the file of {self.size} bytes")
        end = offset + length
        if end <= HEAD:
            while len(self._head) < end:
                self._advance()
            with memoryview(self._head) as head:
                return bytes(head[offset:end])
        if offset < self._previous_at and not self._checked:
            self.finish()
        if self._checked and offset >= self._tail_at:
            return self._from_tail(offset, end)
        if offset < self._previous_at:
            self._restart()
        return self._from_stream(offset, end)

    def _from_stream(self, offset: int, end: int) -> bytes:
        # One buffer that grows. A list of parts that is joined would hold a large member twice.
        found = io.BytesIO()
        while offset < end:
            while self._next <= offset:
                self._advance()
            if offset < self._piece_at:
                part = self._previous[offset - self._previous_at : end - self._previous_at]
            else:
                part = self._piece[offset - self._piece_at : end - self._piece_at]
            if len(part) == end - offset and not found.tell():
                return part
            found.write(part)
            offset += len(part)
        return found.getvalue()

    def _from_tail(self, offset: int, end: int) -> bytes:
        parts, at = [], self._tail_at
        for piece in self._tail:
            if at < end and offset < at + len(piece):
                parts.append(piece[max(0, offset - at) : end - at])
            at += len(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def finish(self) -> None:
        """Run to the end once, so that size and CRC are checked; raises UnreadableMember."""
        while not self._checked:
            self._advance(at_end_ok=True)

    def _advance(self, at_end_ok: bool = False) -> None:
        piece = next(self._stream, None)
        if piece is None:
            if at_end_ok:
                self._checked = True
                return
            raise UnreadableMember(f"it ends after {self._next} of {self.size} bytes")
        if len(self._piece) >= OVERLAP:
            self._previous = self._piece
        else:
            self._previous = self._previous[-OVERLAP:] + self._piece
        self._previous_at = self._next - len(self._previous)
        self._piece, self._piece_at = piece, self._next
        if len(self._head) == self._next < HEAD:
            self._head += piece[: HEAD - self._next]
        self._next += len(piece)
        if not self._checked and self.size > HEAD and self._next > self.size - TAIL:
            # The tail is kept even where the head has the same bytes, so that memory does not depend on the member's size.
            if not self._tail:
                self._tail_at = self._piece_at
            self._tail.append(piece)

    def _restart(self) -> None:
        self._restarts += 1
        if self._restarts > self._limits.restarts:
            raise MalformedElf(f"its parts are so scattered that it would be inflated {self._restarts} times; {over(self._limits, 'restarts')}")
        self._stream = self.start()
        self._piece = self._previous = b""
        self._piece_at = self._previous_at = self._next = 0
