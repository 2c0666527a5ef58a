"""Transmissions, and the order in which they left: time tells what is lost (RFC 8985)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import repeat
from typing import Final

from aiotcp.mypyc import mypyc_attr
from aiotcp.tcp.delivery import Stamp

_COMPACT_AT: Final = 64


@mypyc_attr(acyclic=True)
class Sent:
    """The bytes [start, end) as they were last sent. Made by `sent`."""

    __slots__ = ("end", "lost", "sacked", "stamp", "start", "transmissions")

    start: int
    end: int
    stamp: Stamp
    """When the latest transmission left, and what had been delivered then."""
    transmissions: int
    """1 for bytes that were never repeated."""
    lost: bool
    """Believed to have left the network without arriving; waits for retransmission."""
    sacked: bool
    """The peer has it, but may still throw it away (RFC 2018 8). Also of a record that is no
    longer in the scoreboard: nothing waits for it."""

    def __lt__(self, other: Sent) -> bool:
        return self.start < other.start

    @property
    def size(self) -> int:
        return self.end - self.start

    def __repr__(self) -> str:
        mark = " lost" if self.lost else " sacked" if self.sacked else ""
        return f"<Sent {self.start}..{self.end} x{self.transmissions}{mark}>"


def sent(start: int, end: int, stamp: Stamp, transmissions: int = 1) -> Sent:
    """A record, without an `__init__`, with which it takes twice as long: there are many."""
    record = Sent()
    record.start = start
    record.end = end
    record.stamp = stamp
    record.transmissions = transmissions
    record.lost = record.sacked = False
    return record


@mypyc_attr(acyclic=True)
class Timeline:
    """Records that are in flight, by the time of their latest transmission.

    An entry is a transmission: one whose record has been sent again, has arrived, or is believed
    lost is passed over when it comes up.
    """

    __slots__ = ("_entries", "_first")

    def __init__(self) -> None:
        self._entries: list[tuple[Stamp, Sent]] = []  # a deque would be half a kilobyte
        self._first = 0  # entries before this one are over and not yet cut off

    def sent(self, record: Sent) -> None:
        """`record` left, for the first time or again."""
        self._entries.append((record.stamp, record))

    def sent_alike(self, records: Iterable[Sent], stamp: Stamp) -> None:
        """`records`, all with `stamp`, left for the first time."""
        self._entries.extend(zip(repeat(stamp), records, strict=False))

    def insert(self, record: Sent) -> None:
        """Half of a record that was split: it left when the other half did."""
        entry = (record.stamp, record)
        at = bisect_right(self._entries, _order(entry), self._first, key=_order)
        self._entries.insert(at, entry)

    def rebuild(self, records: Iterable[Sent]) -> None:
        self._entries = sorted(((r.stamp, r) for r in records), key=_order)
        self._first = 0

    def trim(self) -> None:
        """Let go of what has arrived at the old end."""
        entries, first = self._entries, self._first
        while first < len(entries):
            stamp, record = entries[first]
            if not record.sacked and stamp is record.stamp:
                break
            first += 1
        self._passed(first)

    def before(self, sent_at: float, end: int) -> Sent | None:
        """The record that left first, if it left before the segment that left at `sent_at` and
        ends at `end` (RFC 8985 6.2: RACK_sent_after)."""
        entries, first = self._entries, self._first
        found = None
        while first < len(entries):
            stamp, record = entries[first]
            if stamp is record.stamp and not (record.sacked or record.lost):
                found = record if (stamp.sent_at, record.end) < (sent_at, end) else None
                break
            first += 1
        self._passed(first)
        return found

    def _passed(self, first: int) -> None:
        """Nothing before the entry `first` is of interest any more."""
        if first >= _COMPACT_AT or first == len(self._entries):
            del self._entries[:first]
            first = 0
        self._first = first


def _order(entry: tuple[Stamp, Sent]) -> tuple[float, int]:
    return entry[0].sent_at, entry[1].end
