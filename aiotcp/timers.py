"""One timer of the event loop for everything in a stack that has a deadline.

A deadline that moves away costs nothing: the entry in the heap is left to come up, finds that it
is early, and goes back with the deadline of that time. Only one that moves closer is entered anew.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol

_SLACK_S = 0.0005
"""Loops round a time to their own ticks; waking so much early is on time."""


class Timed(Protocol):
    """Something with a deadline. `armed_at` belongs to the queue: the earliest entry it has."""

    armed_at: float

    def next_deadline(self) -> float:
        """Loop time at which it wants to be called; infinity for never."""


class TimerQueue:
    """Calls `on_due(item, due)` for each item whose deadline has passed, or will within half a
    millisecond: `due` is then ahead of the loop's time."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_due: Callable[[Timed, float], None]
    ) -> None:
        self._loop = loop
        self._on_due = on_due
        self._heap: list[tuple[float, int, Timed]] = []
        self._entered = 0
        self._handle: asyncio.TimerHandle | None = None
        self._handle_at = math.inf

    def __len__(self) -> int:
        return len(self._heap)

    def arm(self, item: Timed) -> None:
        """Look at the deadline of `item`: to be called whenever it may have moved closer."""
        deadline = item.next_deadline()
        if deadline < item.armed_at:
            item.armed_at = deadline
            self._entered += 1
            heappush(self._heap, (deadline, self._entered, item))
            if deadline < self._handle_at:
                self._set(deadline)

    def close(self) -> None:
        """Forget everything."""
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._handle_at = math.inf

    def _set(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle_at = when
        self._handle = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self._handle = None
        self._handle_at = math.inf
        now = self._loop.time()
        heap = self._heap
        try:
            while heap and heap[0][0] <= now + _SLACK_S:
                when, _, item = heappop(heap)
                if when != item.armed_at:
                    continue  # an earlier entry has taken its place
                item.armed_at = math.inf
                if item.next_deadline() <= now + _SLACK_S:
                    self._on_due(item, max(now, when))
                self.arm(item)
        finally:  # whatever one of them raised, the others have their time
            if heap and heap[0][0] < self._handle_at:
                self._set(heap[0][0])
