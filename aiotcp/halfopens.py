"""The half-open entries of a stack that wait for the first time, in the order in which they began.

Nearly all have their answer long before their SYN+ACK is due again: they need no timer each.
"""

from __future__ import annotations

import math

from aiotcp.tcp.halfopen import HalfOpen


class HalfOpens:
    """They have one place in the `TimerQueue`: that of the first of them."""

    def __init__(self) -> None:
        self._waiting: dict[HalfOpen, bool] = {}
        self._latest = -math.inf
        self.armed_at = math.inf

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, entry: HalfOpen) -> bool:
        """A wait begins, or goes on. False: not here, as others that are here end later; or it is
        not the first one of `entry`."""
        if entry in self._waiting:
            return True
        if entry.retransmissions or entry.deadline < self._latest:
            return False
        self._latest = entry.deadline
        self._waiting[entry] = True
        return True

    def drop(self, entry: HalfOpen) -> bool:
        """It waits no more. False: it was not here."""
        return self._waiting.pop(entry, False)

    def next_deadline(self) -> float:
        """When `take_due` has something to give."""
        for entry in self._waiting:
            return entry.deadline
        return math.inf

    def take_due(self, now: float) -> HalfOpen | None:
        """The next one whose wait is over; it is no longer here."""
        for entry in self._waiting:
            if entry.deadline > now:
                return None
            del self._waiting[entry]
            return entry
        return None
