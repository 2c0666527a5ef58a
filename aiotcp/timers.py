"""One timer of the event loop for everything in a stack that has a deadline.

A deadline that moves away costs nothing: the entry in the heap is left to come up, finds that it
is early, and goes back with the deadline of that time. Only one that moves closer is entered anew.
And what is new waits beside the heap until the timer fires the next time, which is before any of
these deadlines: most of it is over by then, and was no work to keep in order.

What has arrived may be the very acknowledgment whose absence a timer is about, and wait unread:
some loops run timers before they look at their descriptors, and with many connections a batch of
packets is not all that there is. So the owner of the timers is asked to `look` before they are due,
as Linux takes packets in before it runs timers. Where he can't, a timer that comes late, because
something kept the loop busy, lets the loop look at its descriptors first.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final, Protocol

_SLACK_S: Final = 0.0005
"""Loops round a time to their own ticks; waking so much early is on time."""
_LATE_S: Final = 0.01
"""A loop that comes so much late was busy."""
_GRACE_S: Final = 0.001
"""How long it then has for its descriptors. Not 0, which could mean: before it looks at them."""
_LOOKS: Final = 8
"""Batches that are taken in before timers are believed, or put off for a turn of the loop if there
are more: what a device holds by default (500 packets)."""
_TURNS: Final = 8
"""So often, which is the queue that `open_tun` makes. More is a flood, and no reason to wait."""
_MANY: Final = 8
"""Stale entries below this number are not worth cleaning up. Not many, since each may keep alive
what has ended: a connection is dozens of objects."""
_NEVER: Final = math.inf


class Timed(Protocol):
    """Something with a deadline. `armed_at` belongs to the queue: the earliest entry it has."""

    armed_at: float

    def next_deadline(self) -> float:
        """Loop time at which it wants to be called; infinity for never."""


class TimerQueue:
    """Calls `on_due(item, due)` for each item whose deadline has passed, or will within half a
    millisecond: `due` is then ahead of the loop's time."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_due: Callable[[Timed, float], None],
        clock: Callable[[], float] | None = None,
        look: Callable[[], bool] | None = None,
    ) -> None:
        """`clock` is a finer one of the same time as `loop.time()`, which is the default. `look`
        takes in some of what has arrived and tells whether there may be more."""
        self._loop = loop
        self._clock = clock or loop.time
        self._on_due = on_due
        self._look = look
        self._heap: list[tuple[float, int, Timed]] = []
        self._new: dict[Timed, None] = {}  # armed since the timer fired last; in order
        self._firing = False
        self._entered = 0
        self._stale = 0  # entries that an earlier one has replaced, or whose item was dropped
        self._handle: asyncio.TimerHandle | None = None
        self._handle_at = math.inf
        self._late_at = math.inf  # when the handle would be late
        self._grace_given = False
        self._put_off = 0  # so many times in a row

    def __len__(self) -> int:
        return len(self._heap) + len(self._new)

    def arm(self, item: Timed) -> None:
        """Look at the deadline of `item`: to be called whenever it may have moved closer."""
        deadline = item.next_deadline()
        if deadline < item.armed_at:
            self.enter(item, deadline)

    def enter(self, item: Timed, deadline: float) -> None:
        """The deadline of `item` is `deadline`, earlier than what it was armed for."""
        if item.armed_at != _NEVER:
            self.drop(item)
        item.armed_at = deadline
        if self._firing:
            self._push(item)
        else:
            self._new[item] = None
        if deadline < self._handle_at:
            self._set(deadline)

    def _push(self, item: Timed) -> None:
        self._entered += 1
        heappush(self._heap, (item.armed_at, self._entered, item))

    def drop(self, item: Timed) -> None:
        """`item` has no deadlines any more, and is not to be kept alive by an old one."""
        if item.armed_at != _NEVER:
            item.armed_at = _NEVER
            if item in self._new:
                del self._new[item]
            else:
                self._note_stale()

    def _note_stale(self) -> None:
        """Entries stay where they are until they are half of the heap: constant work for each."""
        self._stale += 1
        if self._stale > _MANY and 2 * self._stale > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[0] == entry[2].armed_at]
            heapify(self._heap)
            self._stale = 0

    def _trim(self) -> None:
        """No entry that nobody waits for is worth waking up for."""
        heap = self._heap
        while heap and heap[0][0] != heap[0][2].armed_at:
            heappop(heap)
            self._stale -= 1

    def close(self) -> None:
        """Forget everything."""
        self._heap.clear()
        self._new.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._handle_at = math.inf

    def _set(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle_at = when
        self._late_at = max(when, self._clock()) + _LATE_S
        self._handle = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self._handle = None
        self._handle_at = math.inf
        look = self._look
        now = self._clock()
        if look is None and now > self._late_at and not self._grace_given:
            self._grace_given = True
            self._set(now + _GRACE_S)
            return
        self._grace_given = False
        self._firing = True
        try:
            if look is not None:
                looks = 1
                while (more := look()) and looks < _LOOKS:
                    looks += 1
                now = self._clock()
                if more and self._put_off < _TURNS:
                    self._put_off += 1
                    return
                self._put_off = 0
            soon = now + _SLACK_S
            new, self._new = self._new, {}
            for item in new:
                deadline = item.next_deadline()
                if deadline > soon:  # it has moved away, or is over: no entry for what it was
                    item.armed_at = deadline
                if item.armed_at != _NEVER:
                    self._push(item)
            while self._heap and self._heap[0][0] <= soon:
                when, _, item = heappop(self._heap)
                if when != item.armed_at:
                    self._stale -= 1
                    continue
                item.armed_at = math.inf
                deadline = item.next_deadline()
                if deadline <= soon:
                    self._on_due(item, max(now, when))
                    deadline = item.next_deadline()
                if deadline < item.armed_at:
                    self.enter(item, deadline)
            self._trim()
        finally:  # whatever one of them raised, the others have their time
            self._firing = False
            for item in self._new:  # put off
                self._push(item)
            self._new.clear()
            if self._heap and self._heap[0][0] < self._handle_at:
                self._set(self._heap[0][0])
