"""The bytes that the application handed over and the peer has not acknowledged yet.

Views are kept, not copied: a segment is sent, and sent again, as slices of what was written. Only
small writes are joined.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

_COMPACT_AT = 64
_SMALL_BYTES = 1024
"""Writes below this size are joined: the copy is cheaper than a chunk of their own."""


class SendBuffer:
    """A queue of views, addressed by sequence number.

    `start` is the sequence number of the first byte held and `end` of the one that the next
    `append` will get. The caller promises not to change what it appends.
    """

    __slots__ = ("_chunks", "_first", "_starts", "end", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self._starts: list[int] = []
        self._chunks: list[memoryview] = []
        self._first = 0  # entries before this one are acknowledged and not yet cut off the lists

    def __len__(self) -> int:
        return self.end - self.start

    def append(self, data: Buffer) -> None:
        """Add bytes at `end`; an empty buffer adds nothing."""
        view = memoryview(data)
        if view.nbytes == 0:
            return
        if view.format != "B" or view.ndim != 1:
            view = view.cast("B")
        if len(view) < _SMALL_BYTES and self._first < len(self._chunks):
            last = self._chunks[-1]
            if len(last) < _SMALL_BYTES:
                # Views of the old one live on in frames that are under way.
                self._chunks[-1] = memoryview(b"".join((last, view)))
                self.end += len(view)
                return
        self._starts.append(self.end)
        self._chunks.append(view)
        self.end += len(view)

    def discard_to(self, seq: int) -> None:
        """Let go of everything below `seq`."""
        if seq <= self.start:
            return
        self.start = min(seq, self.end)
        first, chunks, starts = self._first, self._chunks, self._starts
        while first < len(chunks) and starts[first] + len(chunks[first]) <= seq:
            chunks[first] = _EMPTY
            first += 1
        if first == len(chunks):
            chunks.clear()
            starts.clear()
            first = 0
        elif first >= _COMPACT_AT:
            del chunks[:first], starts[:first]
            first = 0
        self._first = first

    def slices(self, seq: int, length: int) -> list[memoryview]:
        """Views of exactly the `length` bytes from `seq` on; all of them must be held."""
        if length <= 0:
            return []
        chunks, starts = self._chunks, self._starts
        index = bisect_right(starts, seq, self._first) - 1
        offset = seq - starts[index]
        chunk = chunks[index]
        if len(chunk) - offset >= length:
            return [chunk[offset : offset + length]]
        found = [chunk[offset:]]
        length -= len(chunk) - offset
        while length > 0:
            index += 1
            chunk = chunks[index]
            found.append(chunk[:length])
            length -= len(chunk)
        return found


_EMPTY = memoryview(b"")
