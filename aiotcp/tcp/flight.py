"""Frames in flight: records of what was sent and not yet acknowledged, in two orders."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from heapq import heappush
from itertools import repeat
from typing import Final

from aiotcp.mypyc import mypyc_attr
from aiotcp.tcp.delivery import Stamp
from aiotcp.tcp.timeline import Sent, Timeline, sent

_NONE_LOST: Final[list[Sent]] = []  # what most have, all their life: never added to


@mypyc_attr(acyclic=True)
class Flight:
    """The records, and how many bytes there are of each kind; what becomes of them: `Scoreboard`.

    Three orders are kept: by sequence number, without gaps from `snd_una` to `snd_nxt`; by the time
    of the latest transmission (`Timeline`); and, of what is lost, the lowest first.
    """

    __slots__ = (
        "_first",
        "_losses",
        "_records",
        "_timeline",
        "in_flight",
        "lost_bytes",
        "repeated_end",
        "sacked_bytes",
    )

    def __init__(self) -> None:
        self._records: list[Sent] = []
        self._first = 0  # entries before this one are acknowledged and not yet cut off
        self._timeline: Timeline | None = None
        """None as long as nobody needs it, and nothing was sent twice: then the one order is the
        other one, too."""
        self._losses = _NONE_LOST  # a heap, lowest first
        self.in_flight = 0
        self.lost_bytes = 0
        """Bytes that wait for retransmission."""
        self.sacked_bytes = 0
        self.repeated_end = -1
        """Nothing above was sent more than once."""

    def __bool__(self) -> bool:
        return self._first < len(self._records)

    def __iter__(self) -> Iterator[Sent]:
        return iter(self._records[self._first :])

    @property
    def oldest(self) -> Sent | None:
        """The record at `snd_una`."""
        return self._records[self._first] if self else None

    @property
    def oldest_sent_at(self) -> float:
        """When the record at `snd_una` was sent last; there must be one."""
        return self._records[self._first].stamp.sent_at

    @property
    def newest(self) -> Sent | None:
        """The record that ends at `snd_nxt`."""
        return self._records[-1] if self else None

    def sent(self, start: int, end: int, stamp: Stamp) -> None:
        """New bytes left; `start` is where the last record ended."""
        record = sent(start, end, stamp)
        self._records.append(record)
        if self._timeline is not None:
            self._timeline.sent(record)
        self.in_flight += end - start

    def sent_alike(self, start: int, end: int, size: int, stamp: Stamp) -> None:
        """New bytes left in frames of `size` bytes each, all at once; the last may be smaller."""
        ends = range(start + size, end + size, size)
        records = list(map(sent, range(start, end, size), ends, repeat(stamp)))
        records[-1].end = end
        self._records += records
        if self._timeline is not None:
            self._timeline.sent_alike(records, stamp)
        self.in_flight += end - start

    def _by_time(self) -> Timeline:
        """What is neither lost nor selectively acknowledged, in the order in which it left."""
        timeline = self._timeline
        if timeline is None:
            timeline = self._timeline = Timeline()
            self._rebuild()
        return timeline

    def _rebuild(self) -> None:
        if self._timeline is not None:
            self._timeline.rebuild(r for r in self if not (r.sacked or r.lost))

    def _find(self, seq: int) -> int:
        """The index of the record that holds `seq`, or else of the first one."""
        index = bisect_right(self._records, seq, self._first, key=_start) - 1
        return max(index, self._first)

    def _split(self, index: int, at: int) -> None:
        record = self._records[index]
        rest = sent(at, record.end, record.stamp, record.transmissions)
        record.end = at
        rest.lost, rest.sacked = record.lost, record.sacked
        self._records.insert(index + 1, rest)
        if rest.lost:
            self._await_repetition(rest)
        elif not rest.sacked and self._timeline is not None:
            self._timeline.insert(rest)

    def _await_repetition(self, record: Sent) -> None:
        if self._losses is _NONE_LOST:
            self._losses = []
        heappush(self._losses, record)


def _start(record: Sent) -> int:
    return record.start
