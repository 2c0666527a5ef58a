"""How large buffers should be: dynamic right-sizing (Fisk and Feng 2001), as in Linux.

A window smaller than what the path holds slows the peer down; one that is larger than the program
can use only costs memory. So the receiver looks at what the program takes within a round trip, and
offers twice that: a peer in slow start sends twice as much in the next one. The sender keeps twice
its congestion window: one in flight, and one that follows it.
"""

from __future__ import annotations

import math
from typing import Final

RECEIVE_INITIAL_BYTES: Final = 512 * 1024
"""A peer with an initial window of 10 segments (RFC 6928) needs five round trips to use it up; it
can grow after one."""

SEND_INITIAL_BYTES: Final = 256 * 1024

FRESH_UNSENT_BYTES: Final = 1024 * 1024
"""What waits to be sent for the first time, where each piece is in memory of its own (`Tcb.fresh`):
what leaves soon is in the processor's caches yet, and so is what malloc gives for the next one.
Like Linux's TCP_NOTSENT_LOWAT. No path is slower for it: the user is told in the same thread, and
so at once, when it has left."""

_LEAST_RTT_S: Final = 0.001
"""Timestamps tell milliseconds."""

_LEISURE_S: Final = 0.05
"""Until the next look at a program that took little. The first window is ample for so long, and a
conversation of short messages is one measurement for each of them otherwise."""

_INITIAL_WINDOW_SEGMENTS: Final = 10
_SLACK_SEGMENTS: Final = 16


class ReceiveTuning:
    """Bytes that the program took, and round trips, in; the size of the receive buffer out.

    `due` is when `measure` has something to do: once in a round trip, or seldom if little comes.
    """

    __slots__ = ("_edge", "_edge_at", "_most", "_mss", "_since", "_taken", "due", "rtt")

    def __init__(self, mss: int, rtt: float | None) -> None:
        """`mss`: of the peer's segments. `rtt`: as the handshake took, in seconds, if known."""
        self.due = -math.inf
        self.rtt = rtt if rtt is None else max(rtt, _LEAST_RTT_S)
        self._mss = mss
        self._most = _INITIAL_WINDOW_SEGMENTS * mss
        """The most that was taken in one round trip."""
        self._since = math.inf
        self._taken = 0
        self._edge = 0
        self._edge_at = math.inf

    def on_echo(self, rtt: float) -> None:
        """A segment of the peer echoed a timestamp that we sent `rtt` seconds ago.

        Too long where the peer had nothing to send in between: a longer one is believed little by
        little, a shorter one at once.
        """
        rtt = max(rtt, _LEAST_RTT_S)
        if self.rtt is None or rtt < self.rtt:
            self.rtt = rtt
        else:
            self.rtt += (min(rtt, 2 * self.rtt) - self.rtt) / 8

    def on_progress(self, rcv_nxt: int, edge: int, now: float) -> None:
        """Without timestamps: no more than one window arrives within a round trip, so the time
        that one took is a bound; the least counts. `edge` is the right edge offered by now."""
        if rcv_nxt >= self._edge:
            took = max(now - self._edge_at, _LEAST_RTT_S)
            if self._edge and (self.rtt is None or took < self.rtt):
                self.rtt = took
            self._edge = edge
            self._edge_at = now

    def measure(self, taken: int, buffer: int, now: float) -> int:
        """The new size of the buffer, never less than `buffer`.

        `taken`: a running total of the bytes that the program took. A program that takes much at
        once, but seldom, is no reason to offer more: what counts is the average over the time.
        """
        rtt = self.rtt
        if rtt is None:
            return buffer
        due = self._since + rtt
        pause = rtt
        if now >= due:
            amount = int((taken - self._taken) * rtt / max(now - self._since, rtt))
            if amount > self._most:
                # Twice of it; more while it grows, since this round trip's segments are already
                # answers to the last one's window (tcp_rcv_space_adjust).
                growth = min((amount - self._most) / self._most, 1.0)
                wanted = 2 * amount + _SLACK_SEGMENTS * self._mss
                buffer = max(buffer, int(wanted * (1 + 2 * growth)))
                self._most = amount
            elif pause < _LEISURE_S and 4 * amount < self._most:
                pause = _LEISURE_S
        elif self._since < math.inf:
            self.due = due  # the round trip has become longer
            return buffer
        self._since = now
        self._taken = taken
        self.due = now + pause
        return buffer


def send_buffer(cwnd: int, window: int, limit: int) -> int:
    """What the send buffer holds: twice what may be in flight, by `cwnd` and by the largest
    `window` that the peer has offered; at least 256 KiB, at most `limit` bytes."""
    return min(max(2 * min(cwnd, window), SEND_INITIAL_BYTES), limit)
