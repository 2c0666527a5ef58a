"""Segments that arrived ahead of their turn (RFC 9293 3.10.7.4, SHLD-31).

What is here is bounded twice: by the receive window, outside of which nothing is offered, and by
what the pieces cost, so that a peer sending single bytes cannot make them cost a hundred times
what the window says.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Final

_OVERHEAD_BYTES: Final = 256
"""What a piece costs beside its bytes: the object, its place in the lists, a run of its own."""

_RECENT: Final = 16
"""How many arrivals are remembered for the order of SACK blocks."""


class _Run:
    """The bytes [start, end), without a hole: what a SACK block tells."""

    __slots__ = ("end", "pieces", "start")

    def __init__(self, start: int, end: int, pieces: list[bytes]) -> None:
        self.start = start
        self.end = end
        self.pieces = pieces
        """A list: an empty deque takes 600 bytes, and there may be one for each byte held."""


class Reassembly:
    """Bytes above `rcv_nxt`, by sequence number, copied: the link reuses its memory.

    `limit` bounds the bytes held, each piece's overhead included.
    """

    __slots__ = ("_recent", "_runs", "_starts", "cost", "held_bytes", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held_bytes = 0
        self._runs: list[_Run] = []  # sorted, and apart from each other
        self._starts: list[int] = []  # of the runs, for bisection
        self.cost = 0
        """Bytes held, each piece's overhead included."""
        self._recent: list[int] = []  # where data arrived, latest last

    def __bool__(self) -> bool:
        return bool(self._runs)

    @property
    def end(self) -> int:
        """One above the highest byte held; below every sequence number if nothing is."""
        return self._runs[-1].end if self._runs else -(1 << 62)

    def insert(self, start: int, data: bytes | bytearray | memoryview) -> bool | None:
        """Keep what is new of `data`, which begins at `start`.

        True if any byte was new, False if all were held already, None if there is no room.
        """
        gaps = self._gaps(start, start + len(data))
        cost = sum(right - left + _OVERHEAD_BYTES for left, right in gaps)
        if self.cost + cost > self.limit:
            return None
        for left, right in gaps:
            self._add(left, bytes(data[left - start : right - start]))
        self.cost += cost
        self._recent.append(start)
        if len(self._recent) > _RECENT:
            del self._recent[0]
        return bool(gaps)

    def _gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of [start, end) that no run holds."""
        gaps = []
        index = max(bisect_right(self._starts, start) - 1, 0)
        while start < end:
            if index == len(self._runs) or self._runs[index].start >= end:
                gaps.append((start, end))
                break
            run = self._runs[index]
            if run.start > start:
                gaps.append((start, run.start))
            start = max(start, run.end)
            index += 1
        return gaps

    def _add(self, start: int, piece: bytes) -> None:
        """Put a piece that overlaps no run where it belongs, and join what it connects."""
        end = start + len(piece)
        self.held_bytes += len(piece)
        runs, starts = self._runs, self._starts
        index = bisect_left(starts, start)
        before = runs[index - 1] if index and runs[index - 1].end == start else None
        after = runs[index] if index < len(runs) and starts[index] == end else None
        if before is None and after is None:
            runs.insert(index, _Run(start, end, [piece]))
            starts.insert(index, start)
        elif before is None:
            assert after is not None
            after.pieces.insert(0, piece)
            after.start = starts[index] = start
        else:
            before.pieces.append(piece)
            before.end = end
            if after is not None:
                self._join(index - 1, before, after)

    def _join(self, index: int, before: _Run, after: _Run) -> None:
        before.pieces += after.pieces
        before.end = after.end
        del self._runs[index + 1], self._starts[index + 1]

    def pop_ready(self, rcv_nxt: int, deliver: Callable[[bytes], None]) -> int:
        """Deliver the pieces that now continue the stream; the new `rcv_nxt`."""
        while self._runs and self._runs[0].start <= rcv_nxt:
            run = self._runs.pop(0)
            del self._starts[0]
            position = run.start
            for piece in run.pieces:
                self.cost -= len(piece) + _OVERHEAD_BYTES
                self.held_bytes -= len(piece)
                position += len(piece)
                if position > rcv_nxt:
                    known = len(piece) - (position - rcv_nxt)
                    deliver(piece[known:] if known else piece)
                    rcv_nxt = position
        if not self._runs:
            self._recent.clear()
        return rcv_nxt

    def clear(self) -> None:
        """Nothing held will have its turn any more."""
        for items in (self._runs, self._starts, self._recent):
            items.clear()
        self.cost = self.held_bytes = 0

    def ranges(self) -> list[tuple[int, int]]:
        """The contiguous ranges held, in sequence order."""
        return [(run.start, run.end) for run in self._runs]

    def first_held(self, start: int, end: int) -> tuple[int, int] | None:
        """The first part of [start, end) that is here already: a duplicate sub-segment."""
        index = max(bisect_right(self._starts, start) - 1, 0)
        for run in self._runs[index : index + 2]:
            left, right = max(start, run.start), min(end, run.end)
            if left < right:
                return left, right
        return None

    def dsack_blocks(self, limit: int, duplicate: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """The duplicate, then the block that it lies in, if any is held, then others (RFC 2883 4).

        The second may equal the first: that it contains it tells the two kinds apart.
        """
        larger = []
        index = bisect_right(self._starts, duplicate[0]) - 1
        if index >= 0 and duplicate[1] <= self._runs[index].end:
            larger.append((self._runs[index].start, self._runs[index].end))
        others = (block for block in self.sack_blocks(limit) if block not in larger)
        return (duplicate, *larger, *others)[:limit]

    def sack_blocks(self, limit: int) -> tuple[tuple[int, int], ...]:
        """Up to `limit` ranges to report, the one that changed last first (RFC 2018 4)."""
        blocks: list[tuple[int, int]] = []
        for seq in reversed(self._recent):
            if len(blocks) == limit:
                return tuple(blocks)
            # An arrival may have begun in front of what it brought: the run at or behind it.
            index = max(bisect_right(self._starts, seq) - 1, 0)
            run = self._runs[index]
            if run.end <= seq and index + 1 < len(self._runs):
                run = self._runs[index + 1]
            if run.end > seq and (run.start, run.end) not in blocks:
                blocks.append((run.start, run.end))
        for run in self._runs[: 2 * limit]:
            if len(blocks) < limit and (run.start, run.end) not in blocks:
                blocks.append((run.start, run.end))
        return tuple(blocks)


NOTHING_HELD: Final = Reassembly(0)
"""Of most connections: empty, and to be left so."""
