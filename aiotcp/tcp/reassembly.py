"""Segments that arrived ahead of their turn (RFC 9293 3.10.7.4, SHLD-31).

Chunks are kept sorted, disjoint and copied: the link reuses its memory. What is here is bounded
twice: by the receive window, outside of which nothing is offered, and by a count of chunks, so
that a peer sending single bytes cannot make it cost a hundred times what the window says.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

_OVERHEAD_BYTES = 128
"""What a chunk costs beside its bytes: the object, its place in the lists."""


class Reassembly:
    """Bytes above `rcv_nxt`, by sequence number.

    `limit` bounds the bytes held, each chunk's overhead included.
    """

    __slots__ = ("_chunks", "_cost", "_recent", "_starts", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._starts: list[int] = []
        self._chunks: list[bytes] = []
        self._cost = 0
        self._recent: list[int] = []  # a sequence number in each of the latest ranges, newest last

    def __bool__(self) -> bool:
        return bool(self._starts)

    @property
    def held_bytes(self) -> int:
        return self._cost - _OVERHEAD_BYTES * len(self._starts)

    def insert(self, start: int, data: bytes | bytearray | memoryview) -> bool | None:
        """Keep what is new of `data`, which begins at `start`.

        True if any byte was new, False if all were held already, None if there is no room.
        """
        end = start + len(data)
        starts, chunks = self._starts, self._chunks
        index = bisect_left(starts, start)
        if index and starts[index - 1] + len(chunks[index - 1]) > start:
            index -= 1
        # Cut `data` into the pieces that fall between the chunks already held.
        pieces: list[tuple[int, int]] = []
        position, probe = start, index
        while position < end:
            if probe == len(starts) or starts[probe] >= end:
                pieces.append((position, end))
                break
            if starts[probe] > position:
                pieces.append((position, starts[probe]))
            position = max(position, starts[probe] + len(chunks[probe]))
            probe += 1
        if not pieces:
            self._touch(start)
            return False
        cost = sum(right - left + _OVERHEAD_BYTES for left, right in pieces)
        if self._cost + cost > self.limit:
            return None
        for left, right in pieces:
            at = bisect_left(starts, left)
            starts.insert(at, left)
            chunks.insert(at, bytes(data[left - start : right - start]))
        self._cost += cost
        self._touch(start)
        return True

    def _touch(self, seq: int) -> None:
        recent = self._recent
        if recent and recent[-1] == seq:
            return
        recent.append(seq)
        if len(recent) > 32:
            del recent[:16]

    def pop_ready(self, rcv_nxt: int, deliver: Callable[[bytes], None]) -> int:
        """Deliver the chunks that now continue the stream; the new `rcv_nxt`."""
        starts, chunks = self._starts, self._chunks
        used = 0
        while used < len(starts) and starts[used] <= rcv_nxt:
            chunk = chunks[used]
            skip = rcv_nxt - starts[used]
            self._cost -= len(chunk) + _OVERHEAD_BYTES
            used += 1
            if skip < len(chunk):
                rcv_nxt += len(chunk) - skip
                deliver(chunk[skip:] if skip else chunk)
        if used:
            del starts[:used], chunks[:used]
            if not starts:
                self._recent.clear()
        return rcv_nxt

    def ranges(self) -> list[tuple[int, int]]:
        """The contiguous ranges held, in sequence order."""
        found: list[tuple[int, int]] = []
        for start, chunk in zip(self._starts, self._chunks, strict=True):
            if found and found[-1][1] == start:
                found[-1] = (found[-1][0], start + len(chunk))
            else:
                found.append((start, start + len(chunk)))
        return found

    def sack_blocks(self, limit: int) -> tuple[tuple[int, int], ...]:
        """Up to `limit` ranges to report, the one that changed last first (RFC 2018 4)."""
        if not self._starts or limit <= 0:
            return ()
        ranges = self.ranges()
        blocks: list[tuple[int, int]] = []
        for seq in reversed(self._recent):
            for block in ranges:
                if block[0] <= seq < block[1] and block not in blocks:
                    blocks.append(block)
            if len(blocks) == limit:
                return tuple(blocks)
        return tuple(blocks + [block for block in ranges if block not in blocks])[:limit]
