"""Transmissions, and the order in which they left: time tells what is lost (RFC 8985)."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from itertools import repeat

from aiotcp.tcp.delivery import Stamp


class Sent:
    """The bytes [start, end) as they were last sent."""

    __slots__ = ("end", "lost", "sacked", "stamp", "start", "transmissions")

    def __init__(self, start: int, end: int, stamp: Stamp, transmissions: int = 1) -> None:
        self.start = start
        self.end = end
        self.stamp = stamp
        """When the latest transmission left, and what had been delivered then."""
        self.transmissions = transmissions
        """1 for bytes that were never repeated."""
        self.lost = False
        """Believed to have left the network without arriving; waits for retransmission."""
        self.sacked = False
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


class Timeline:
    """Records that are in flight, by the time of their latest transmission.

    An entry is a transmission: one whose record has been sent again, has arrived, or is believed
    lost is passed over when it comes up.
    """

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: deque[tuple[Stamp, Sent]] = deque()

    def sent(self, record: Sent) -> None:
        """`record` left, for the first time or again."""
        self._entries.append((record.stamp, record))

    def sent_alike(self, records: Iterable[Sent], stamp: Stamp) -> None:
        """`records`, all with `stamp`, left for the first time."""
        self._entries.extend(zip(repeat(stamp), records, strict=False))

    def insert(self, record: Sent) -> None:
        """Half of a record that was split: it left when the other half did."""
        entry = (record.stamp, record)
        self._entries.insert(bisect_right(self._entries, _order(entry), key=_order), entry)

    def rebuild(self, records: Iterable[Sent]) -> None:
        self._entries = deque(sorted(((r.stamp, r) for r in records), key=_order))

    def clear(self) -> None:
        """Everything has arrived."""
        self._entries.clear()

    def trim(self) -> None:
        """Let go of what has arrived at the old end."""
        entries = self._entries
        while entries:
            stamp, record = entries[0]
            if not record.sacked and stamp is record.stamp:
                break
            entries.popleft()

    def before(self, sent_at: float, end: int) -> Sent | None:
        """The record that left first, if it left before the segment that left at `sent_at` and
        ends at `end` (RFC 8985 6.2: RACK_sent_after)."""
        entries = self._entries
        while entries:
            stamp, record = entries[0]
            if stamp is record.stamp and not (record.sacked or record.lost):
                first = stamp.sent_at, record.end
                return record if first < (sent_at, end) else None
            entries.popleft()
        return None


def _order(entry: tuple[Stamp, Sent]) -> tuple[float, int]:
    return entry[0].sent_at, entry[1].end
