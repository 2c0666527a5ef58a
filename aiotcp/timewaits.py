"""The TIME-WAIT records of a stack, in the order in which they end.

There may be very many of them, and all wait equally long: they need no timer each.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Final

from aiotcp.tcp.timewait import TimeWait

_MANY: Final = 64
"""Stale places below this number are not worth cleaning up."""


class TimeWaits:
    """A queue for each length of the wait, of which there is seldom more than one."""

    def __init__(self) -> None:
        self._queues: dict[float, deque[TimeWait]] = {}
        self.count = 0
        """How many of them wait."""
        self._places = 0  # in the queues, those of records included that have ended or moved on
        self.armed_at = math.inf

    def add(self, record: TimeWait) -> None:
        """A wait begins."""
        self.count += 1
        wait = record.options.time_wait_s
        queue = self._queues.get(wait)
        if queue is None:
            queue = self._queues[wait] = deque()
        queue.append(record)
        self._places += 1
        if self._places > 2 * self.count + _MANY:
            self._clean()

    def moved(self, record: TimeWait) -> None:
        """The wait of `record` has begun anew."""
        record.restarted = False
        record.stale_places += 1
        self.count -= 1  # it is there already
        self.add(record)

    def ended(self) -> None:
        """A record has `ended`; its place is cleaned up when its time would have come."""
        self.count -= 1

    def _clean(self) -> None:
        self._places = 0
        for wait, queue in list(self._queues.items()):
            live: deque[TimeWait] = deque()
            for record in queue:
                if record.stale_places:
                    record.stale_places -= 1
                elif not record.ended:
                    live.append(record)
            self._queues[wait] = live
            self._places += len(live)

    def oldest(self) -> TimeWait:
        """Who gives way. There must be one."""
        return min((queue[0] for queue in self._heads()), key=lambda record: record.deadline)

    def _heads(self) -> Iterator[deque[TimeWait]]:
        """The queues that are not empty, with a record that waits at the head of each."""
        for wait, queue in list(self._queues.items()):
            while queue and (queue[0].ended or queue[0].stale_places):
                record = queue.popleft()
                self._places -= 1
                if record.stale_places:
                    record.stale_places -= 1
            if queue:
                yield queue
            else:
                del self._queues[wait]

    def next_deadline(self) -> float:
        """When `due` has something to give, at the earliest."""
        return min((queue[0].deadline for queue in self._heads()), default=math.inf)

    def due(self, now: float) -> Iterator[TimeWait]:
        """The records whose wait is over. Each must have `ended` before the next is asked for."""
        while any(queue[0].deadline <= now for queue in self._heads()):
            yield self.oldest()
