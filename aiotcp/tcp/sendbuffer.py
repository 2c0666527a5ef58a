"""The bytes that the application handed over and the peer has not acknowledged yet.

What was written is kept, not copied: a segment is sent, and sent again, as views of it. Only small
writes are joined: copying a few of them costs less than a view does. Bytes that are written whole
are kept as they are, since a view is two objects more, which the garbage collector looks at.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, TypeAlias

from aiotcp.mypyc import mypyc_attr

Buffer: TypeAlias = bytes | bytearray | memoryview

_COMPACT_AT: Final = 64
_SMALL_BYTES: Final = 1024
"""Writes below this size are joined: the copy is cheaper than a chunk of their own."""


@mypyc_attr(acyclic=True)
class SendBuffer:
    """A queue of views, addressed by sequence number.

    `start` is the sequence number of the first byte held and `end` of the one that the next
    `append` will get. The caller promises not to change what it appends.
    """

    __slots__ = ("_chunks", "_first", "_starts", "end", "start", "whole_bytes")

    def __init__(self, start: int, whole_bytes: int = 0) -> None:
        self.start = start
        self.end = start
        self.whole_bytes = whole_bytes
        """Up to so many bytes held, `append_whole` takes more; below zero: not even nothing."""
        self._starts: list[int] = []
        self._chunks: list[bytes | memoryview] = []
        self._first = 0  # entries before this one are acknowledged and not yet cut off the lists

    def __len__(self) -> int:
        return self.end - self.start

    def append_whole(self, data: bytes) -> bool:
        """Add all of `data`, if it is one of those small writes for which no other limit needs to
        be looked at. False: it is not."""
        end = self.end
        size = len(data)
        if end + size > self.start + self.whole_bytes:
            return False
        if not 0 < size < _SMALL_BYTES:
            self.append(data)
            return True
        chunks = self._chunks
        if chunks and len(chunks[-1]) < _SMALL_BYTES:  # as `append`
            chunks[-1] = b"".join((chunks[-1], data))
        else:
            self._starts.append(end)
            chunks.append(data)
        self.end = end + size
        return True

    def append(self, data: Buffer) -> None:
        """Add bytes at `end`; an empty buffer adds nothing."""
        chunk: bytes | memoryview
        if type(data) is bytes:
            chunk = data
        else:
            view = memoryview(data)
            if view.format != "B" or view.ndim != 1:
                view = view.cast("B")
            chunk, whole = view, view.obj
            if type(whole) is bytes and len(whole) == len(view) and view.c_contiguous:
                chunk = whole
        size = len(chunk)
        if not size:
            return
        chunks = self._chunks
        if size < _SMALL_BYTES and chunks and len(chunks[-1]) < _SMALL_BYTES:
            # Views of the old one live on in frames that are under way.
            chunks[-1] = b"".join((chunks[-1], chunk))
        else:
            self._starts.append(self.end)
            chunks.append(chunk)
        self.end += size

    def latest_memory(self) -> object:
        """What the latest write was, or was a view of, or the one before: a line may be behind it,
        as with HTTP's chunks. None: nothing that large waits for its acknowledgment."""
        for chunk in self._chunks[:-3:-1]:
            if isinstance(chunk, memoryview):
                return chunk.obj
            if len(chunk) >= _SMALL_BYTES:
                return chunk
        return None

    def finish(self) -> int:
        """Nothing is going to be added any more: the sequence number after the last byte."""
        self.whole_bytes = -1
        return self.end

    def end_here(self) -> None:
        """Nothing is going to be added, and nothing to be sent any more."""
        self.whole_bytes = -1
        self.start = self.end
        self._chunks.clear()
        self._starts.clear()
        self._first = 0

    def discard_to(self, seq: int) -> None:
        """Let go of everything below `seq`."""
        if seq >= self.end:
            self.start = self.end
            self._chunks.clear()
            self._starts.clear()
            self._first = 0
            return
        if seq <= self.start:
            return
        chunks, starts = self._chunks, self._starts
        self.start = seq
        first = self._first
        while starts[first] + len(chunks[first]) <= seq:
            chunks[first] = b""
            first += 1
        if first >= _COMPACT_AT:
            del chunks[:first], starts[:first]
            first = 0
        self._first = first

    def slices(self, seq: int, length: int) -> list[Buffer]:
        """Exactly the `length` bytes from `seq` on; all of them must be held. Views, where a copy
        would cost more."""
        if length <= 0:
            return []
        chunks, starts = self._chunks, self._starts
        if starts[-1] == seq and len(chunks[-1]) == length:  # the latest write, for the first time
            return [chunks[-1] if length < _SMALL_BYTES else memoryview(chunks[-1])]
        index = bisect_right(starts, seq, self._first) - 1
        offset = seq - starts[index]
        chunk = _view(chunks[index])
        if len(chunk) - offset >= length:
            return [chunk[offset : offset + length]]
        found: list[Buffer] = [chunk[offset:]]
        length -= len(chunk) - offset
        while length > 0:
            index += 1
            chunk = _view(chunks[index])
            found.append(chunk[:length])
            length -= len(chunk)
        return found

    def pieces(self, seq: int, length: int, count: int) -> list[list[Buffer]]:
        """`slices` of `count` ranges of `length` bytes each, one behind the other from `seq` on."""
        chunks, starts = self._chunks, self._starts
        index = bisect_right(starts, seq, self._first) - 1
        chunk = _view(chunks[index])
        offset = seq - starts[index]
        left = len(chunk) - offset
        if left >= length * count:  # all of them in one write
            ends = range(offset + length, offset + length * count + 1, length)
            return [[chunk[end - length : end]] for end in ends]
        found: list[list[Buffer]] = []
        while len(found) < count:
            if left >= length:
                found.append([chunk[offset : offset + length]])
                offset += length
                left -= length
                continue
            parts: list[Buffer] = [chunk[offset:]] if left else []
            offset = length - left
            while True:
                index += 1
                chunk = _view(chunks[index])
                left = len(chunk) - offset
                if left >= 0:
                    break
                parts.append(chunk)
                offset = -left
            parts.append(chunk[:offset])
            found.append(parts)
        return found


def _view(chunk: bytes | memoryview) -> bytes | memoryview:
    """To be sliced without a copy, unless it is small."""
    return memoryview(chunk) if len(chunk) >= _SMALL_BYTES else chunk
