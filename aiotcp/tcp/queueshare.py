"""How much of a link's queue each connection may fill.

Where a link has no offload, what peers send waits for us in a device's queue, of so many packets;
beyond that the kernel drops. A window that is open is a burst that may come, so all windows
together must fit: the connections that carry much share the queue evenly. Those that carry little
need no share, and a part of the queue is left to them, and to acknowledgments.
"""

from __future__ import annotations

import math
from typing import Final

_EPOCH_S: Final = 0.5
_LONGEST_EPOCH_S: Final = 4.0
_BULK_SEGMENTS: Final = 16
"""Who brings so many in an epoch carries much: more than an initial window (RFC 6928)."""
_RAMP_SEGMENTS: Final = 32
_LEAST_SEGMENTS: Final = 4
"""With less, delayed acknowledgments would slow the peer down (SHLD-19)."""


class ReceiveQueue:
    """The queue of one link, which holds `packets`.

    Who carries much is found out anew in each epoch, and counts in the next one, too. An epoch is
    as long as it takes the queue to be filled and emptied twice, so that all have had their turn;
    half a second at the least, for the round trips of some, and four at the most.
    """

    __slots__ = ("_before", "_began", "arrived", "bulk", "epoch", "packets")

    def __init__(self, packets: int) -> None:
        self.packets = packets
        self.epoch = 0
        self.arrived = 0.0
        """Packets, in this epoch."""
        self.bulk = 0
        """Connections that have carried much in it."""
        self._before = 0
        self._began = -math.inf

    def turn(self, now: float) -> None:
        """Begin a new epoch if this one is over."""
        age = now - self._began
        if age < _EPOCH_S or (age < _LONGEST_EPOCH_S and self.arrived < 2 * self.packets):
            return
        self._before = self.bulk if age < 2 * _LONGEST_EPOCH_S else 0
        self._began = now
        self.bulk = 0
        self.arrived = 0.0
        self.epoch += 1

    def share(self, newcomer: bool) -> int:
        """Packets for each; a `newcomer` is yet to be counted."""
        sharing = max(self._before, self.bulk + newcomer, 1)
        return max(self.packets * 3 // 4 // sharing, _LEAST_SEGMENTS)


class QueueShare:
    """One connection's share of `queue`."""

    __slots__ = ("_bulk", "_epoch", "_mark", "_queue", "_received")

    def __init__(self, queue: ReceiveQueue) -> None:
        self._queue = queue
        self._epoch = 0
        self._mark = 0
        self._received = 0
        self._bulk = False

    def window(self, received: int, segment: int, now: float) -> int:
        """The bytes to offer. `received`: a running total of all that arrived; `segment`: the
        payload bytes of a full one from this peer."""
        queue = self._queue
        queue.turn(now)
        queue.arrived += (received - self._received) / segment
        if self._epoch != queue.epoch:
            self._epoch = queue.epoch
            self._mark = self._received
            self._bulk = False
        self._received = received
        if not self._bulk and received - self._mark >= _BULK_SEGMENTS * segment:
            self._bulk = True
            queue.bulk += 1
        # Slow start has no use for more than it has sent and its initial window: what is offered
        # before all are counted that begin together could not be taken back (SHLD-14).
        ramp = received + _RAMP_SEGMENTS * segment
        return min(queue.share(not self._bulk) * segment, ramp)
