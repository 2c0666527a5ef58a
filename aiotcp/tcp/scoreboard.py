"""What is in the network: one record for each frame sent and not yet acknowledged.

A frame may hold many MSS, and an acknowledgment or a loss may touch part of it: then the record
is split, so that each byte is always in exactly one record and a record is lost, or not, as a
whole. Sizes are bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator


class Sent:
    """The bytes [start, end) as they were last sent."""

    __slots__ = ("end", "lost", "sent_at", "start", "transmissions")

    def __init__(self, start: int, end: int, sent_at: float, transmissions: int = 1) -> None:
        self.start = start
        self.end = end
        self.sent_at = sent_at
        """When the latest transmission left."""
        self.transmissions = transmissions
        """1 for bytes that were never repeated."""
        self.lost = False
        """Believed to have left the network without arriving; waits for retransmission."""

    def __repr__(self) -> str:
        mark = " lost" if self.lost else ""
        return f"<Sent {self.start}..{self.end} x{self.transmissions}{mark}>"


class Scoreboard:
    """Records in sequence order, without gaps between `snd_una` and `snd_nxt`.

    `in_flight` is the bytes believed to be in the network: RFC 6675's pipe, as far as is known
    without selective acknowledgments.
    """

    __slots__ = ("_lost", "_records", "in_flight")

    def __init__(self) -> None:
        self._records: deque[Sent] = deque()
        self._lost = 0
        self.in_flight = 0

    def __bool__(self) -> bool:
        return bool(self._records)

    def __iter__(self) -> Iterator[Sent]:
        return iter(self._records)

    @property
    def lost_bytes(self) -> int:
        """Bytes that wait for retransmission."""
        return self._lost

    @property
    def oldest(self) -> Sent | None:
        """The record at `snd_una`."""
        return self._records[0] if self._records else None

    def sent(self, start: int, end: int, now: float) -> None:
        """New bytes left; `start` is where the last record ended."""
        self._records.append(Sent(start, end, now))
        self.in_flight += end - start

    def acknowledge(self, una: int) -> Sent | None:
        """Drop all below `una`; the last record so completed, if it can give an RTT sample.

        Karn's rule (RFC 6298 3): None when any of the bytes had been sent more than once.
        """
        records = self._records
        newest: Sent | None = None
        ambiguous = False
        while records and records[0].start < una:
            record = records[0]
            if record.end > una:
                self._account(record, una - record.start)
                record.start = una
                ambiguous = ambiguous or record.transmissions > 1
                break
            records.popleft()
            self._account(record, record.end - record.start)
            newest = record
            ambiguous = ambiguous or record.transmissions > 1
        return None if ambiguous else newest

    def _account(self, record: Sent, gone: int) -> None:
        if record.lost:
            self._lost -= gone
        else:
            self.in_flight -= gone

    def mark_lost(self, end: int) -> None:
        """Believe everything below `end` lost that is in flight."""
        for index, record in enumerate(self._records):
            if record.start >= end:
                return
            if record.lost:
                continue
            reaches_end = record.end >= end
            if record.end > end:
                self._split(index, end)
            record.lost = True
            size = record.end - record.start
            self.in_flight -= size
            self._lost += size
            if reaches_end:
                return  # before the iterator could see that a record was inserted

    def first_lost(self) -> Sent | None:
        """The first record that waits for retransmission."""
        if not self._lost:
            return None
        return next((record for record in self._records if record.lost), None)

    def fit(self, record: Sent, size: int) -> None:
        """Make `record`, which is lost, the next `size` bytes to repeat.

        A longer one is split. A shorter one takes in what is lost behind it, so that small segments
        are repeated as one (RFC 9293 3.8.6: the sender "may repackage segments on the
        retransmission queue"), and a window of one segment is one packet.
        """
        records = self._records
        index = records.index(record)
        while record.end - record.start < size and index + 1 < len(records):
            following = records[index + 1]
            if not following.lost:
                break
            del records[index + 1]
            record.end = following.end
            record.transmissions = max(record.transmissions, following.transmissions)
        if record.end - record.start > size:
            self._split(index, record.start + size)

    def repeated(self, record: Sent, now: float) -> None:
        """`record` was retransmitted: it is in the network again."""
        size = record.end - record.start
        if record.lost:
            record.lost = False
            self._lost -= size
            self.in_flight += size
        record.transmissions += 1
        record.sent_at = now

    def _split(self, index: int, at: int) -> None:
        record = self._records[index]
        rest = Sent(at, record.end, record.sent_at, record.transmissions)
        rest.lost = record.lost
        record.end = at
        self._records.insert(index + 1, rest)
