"""What is in the network: a record for what left together and is not yet acknowledged.

That is a frame, or several of many MSS each (`bulk`), and an acknowledgment or a loss may touch
part of it: then the record is split, so that each byte is always in exactly one record, and a
record is lost, or selectively acknowledged, as a whole. Sizes are bytes.
"""

from __future__ import annotations

from heapq import heappop
from typing import Final, TypeAlias

from aiotcp.mypyc import mypyc_attr
from aiotcp.tcp.delivery import Stamp
from aiotcp.tcp.flight import Flight
from aiotcp.tcp.timeline import Sent

_COMPACT_AT: Final = 64


Delivered: TypeAlias = tuple[Sent, int, int]
"""A record, or its beginning up to an end, of which an acknowledgment tells for the first time:
record, end, bytes."""


@mypyc_attr(acyclic=True)
class Scoreboard(Flight):
    """RFC 6675's scoreboard. `in_flight` is its pipe: the bytes believed to be in the network,
    which are neither lost nor selectively acknowledged."""

    __slots__ = ()

    # -- what arrived -----------------------------------------------------------------------

    def acknowledge(self, una: int) -> list[Delivered]:
        """Drop all below `una`: what of it was not known to have arrived, in sequence order."""
        records, first = self._records, self._first
        delivered: list[Delivered] = []
        while first < len(records):
            record = records[first]
            if record.start >= una:
                break
            end = min(record.end, una)
            size = end - record.start
            if record.sacked:
                self.sacked_bytes -= size
            else:
                if record.lost:
                    self.lost_bytes -= size
                else:
                    self.in_flight -= size
                delivered.append((record, end, size))
            if record.end > una:
                record.start = una
                break
            record.lost, record.sacked = False, True
            first += 1
        if first == len(records):
            records.clear()
            self._first = 0
            self._timeline = None
            return delivered
        if first >= _COMPACT_AT:
            del records[:first]
            first = 0
        self._first = first
        if self._timeline is not None:
            self._timeline.trim()
        return delivered

    def acknowledge_usual(self, una: int) -> Sent:
        """`acknowledge`, where nothing below `una` was lost, selectively acknowledged, or sent more
        than once: only the newest record that it touches."""
        records = self._records
        record = records[-1]
        if record.end == una:  # all of it has arrived
            records.clear()
            self._first = self.in_flight = 0
            self._timeline = None
            return record
        first = self._first
        record = records[first]
        self.in_flight -= una - record.start
        while record.end < una:
            record.sacked = True
            first += 1
            record = records[first]
        if record.end > una:
            record.start = una
        else:
            record.sacked = True
            first += 1
        if first >= _COMPACT_AT:
            del records[:first]
            first = 0
        self._first = first
        if self._timeline is not None:
            self._timeline.trim()
        return record

    def sack(self, left: int, right: int, grain: int = 1) -> list[Delivered]:
        """The peer has [left, right): what of it was not known to have arrived.

        Neighbours that have arrived become one record, so that a block costs what it tells for the
        first time, however much it repeats. No record is cut into pieces shorter than `grain`
        bytes: honest peers tell of whole segments, and what a block tells of less can wait for the
        cumulative acknowledgment.
        """
        records = self._records
        index = self._find(left)
        delivered: list[Delivered] = []
        while index < len(records) and (record := records[index]).start < right:
            if not record.sacked:
                if record.start < left:
                    cut = max(left, record.start + grain)
                    if cut + grain <= record.end:
                        self._split(index, cut)
                    index += 1
                    continue
                if record.end > right:
                    cut = min(right, record.end - grain)
                    if cut - grain < record.start:
                        break
                    self._split(index, cut)
                size = record.size
                if record.lost:
                    record.lost = False
                    self.lost_bytes -= size
                else:
                    self.in_flight -= size
                record.sacked = True
                self.sacked_bytes += size
                delivered.append((record, record.end, size))
            if not self._joined(index):
                index += 1
        if index < len(records) and records[index].sacked:
            self._joined(index)
        return delivered

    def _joined(self, index: int) -> bool:
        """Let the record before it, if that has arrived as well, take in the one at `index`."""
        records = self._records
        if index == self._first or not records[index - 1].sacked:
            return False
        records[index - 1].end = records[index].end
        del records[index]
        return True

    def forget_sacked(self) -> None:
        """The peer has thrown away what it had out of order: it is in the network again, as far as
        anybody knows (RFC 2018 8). Having arrived once, it gives no round trip any more."""
        for record in self:
            if record.sacked:
                record.sacked = False
                record.transmissions = max(record.transmissions, 2)
                self.repeated_end = record.end
                self.in_flight += record.size
        self.sacked_bytes = 0
        self._rebuild()

    # -- what is lost -----------------------------------------------------------------------

    def mark_lost(self, end: int, longer_than: int = 0) -> list[Sent]:
        """Believe everything below `end` lost that is in flight, in records `longer_than` that."""
        found = []
        index = self._first
        while index < len(self._records) and (record := self._records[index]).start < end:
            if not record.lost and not record.sacked and record.size > longer_than:
                if record.end > end:
                    self._split(index, end)
                found.append(self._lose(record))
            index += 1
        return found

    def any_overtaken(self, sent_at: float, end: int) -> bool:
        """Whether `overtaken` would find anything, now or later."""
        return bool(self) and self._by_time().before(sent_at, end) is not None

    def overtaken(
        self, sent_at: float, end: int, patience: float, now: float
    ) -> tuple[list[Sent], float]:
        """RFC 8985 6.2 step 5: believe lost what left before the segment that was sent at
        `sent_at` and ends at `end`, which has arrived, and has not itself arrived within
        `patience` seconds. Also returns how long to wait for the next; 0.0: for nothing."""
        found: list[Sent] = []
        timeline = self._by_time()
        while (record := timeline.before(sent_at, end)) is not None:
            remaining = record.stamp.sent_at + patience - now
            if remaining > 0:
                return found, remaining
            found.append(self._lose(record))
        return found, 0.0

    def _lose(self, record: Sent) -> Sent:
        record.lost = True
        size = record.size
        self.in_flight -= size
        self.lost_bytes += size
        self._await_repetition(record)
        return record

    def forgive(self) -> int:
        """What is believed lost is not: it is in flight as before. How many bytes that is."""
        size = self.lost_bytes
        for record in self:
            record.lost = False
        self._losses.clear()
        self.in_flight += size
        self.lost_bytes = 0
        self._rebuild()
        return size

    # -- what is repeated -------------------------------------------------------------------

    def first_lost(self) -> Sent | None:
        """The first record that waits for retransmission."""
        losses = self._losses
        while losses:
            if losses[0].lost:
                return losses[0]
            heappop(losses)
        return None

    def fit(self, record: Sent, size: int) -> None:
        """Make `record`, which is lost, the next `size` bytes to repeat.

        A longer one is split. A shorter one takes in what is lost behind it, so that small segments
        are repeated as one (RFC 9293 3.8.6: the sender "may repackage segments on the
        retransmission queue"), and a window of one segment is one packet.
        """
        records = self._records
        index = self._find(record.start)
        while record.end - record.start < size and index + 1 < len(records):
            following = records[index + 1]
            if not following.lost:
                break
            del records[index + 1]
            following.lost, following.sacked = False, True
            record.end = following.end
            record.transmissions = max(record.transmissions, following.transmissions)
        if record.end - record.start > size:
            self._split(index, record.start + size)

    def last(self, size: int) -> Sent | None:
        """Split off the last `size` bytes that are in flight, for a probe (RFC 8985 7.3)."""
        record = self.newest
        if record is None or record.sacked or record.lost:
            return None
        if record.end - record.start > size:
            self._split(len(self._records) - 1, record.end - size)
            record = self._records[-1]
        return record

    def repeated(self, record: Sent, stamp: Stamp) -> None:
        """`record` was retransmitted: it is in the network again."""
        timeline = self._by_time()
        if record.lost:
            size = record.size
            record.lost = False
            self.lost_bytes -= size
            self.in_flight += size
        record.transmissions += 1
        record.stamp = stamp
        if record.end > self.repeated_end:
            self.repeated_end = record.end
        timeline.sent(record)


NOTHING_IN_FLIGHT: Final = Scoreboard()
"""What a connection has that has ended: nothing is ever sent by it."""
