"""When to acknowledge (RFC 9293 3.8.6.3, RFC 5681 4.2)."""

from __future__ import annotations

import math
from typing import Final

from aiotcp.mypyc import mypyc_attr
from aiotcp.reasons import Why

_NEVER: Final = math.inf
_SECOND_SEGMENT: Final = Why.ACK_SECOND_SEGMENT
_QUICK: Final = Why.ACK_QUICK
_LEAST_FULL_BYTES: Final = 536
"""A peer that sends less than this does so because it has no more, not because its MSS is small."""


@mypyc_attr(acyclic=True)
class AckPolicy:
    """Text in; `due` (acknowledge now, and why) or `deadline` (acknowledge by then) out.

    Called once for each in-order arrival; the acknowledgment itself is sent once for a batch,
    so MUST-58 and MUST-59 hold by construction.
    """

    __slots__ = ("deadline", "delay_s", "due", "duplicates", "full", "pending", "quick")

    def __init__(self, delay_s: float, quick: bool = False) -> None:
        self.delay_s = delay_s
        self.quick = quick
        """Never delay (TCP_QUICKACK)."""
        self.due: Why | None = None
        """Why an acknowledgment must leave now, if one must."""
        self.deadline = _NEVER
        """When a delayed one must."""
        self.duplicates = 0
        """Out-of-order segments of this batch: each is worth a duplicate ACK (RFC 5681 4.2)."""
        self.pending = 0
        """Bytes of text that are not acknowledged yet."""
        self.full = _LEAST_FULL_BYTES
        """Payload bytes of the largest segment that the peer has shown."""

    def on_text(self, length: int, segment_size: int, now: float) -> None:
        """`length` in-order bytes arrived, in segments of `segment_size` bytes.

        SHLD-19: an acknowledgment for every second full-sized segment. Full-sized is what the
        peer has shown to be its size: its path may carry less than the MSS that we offered.
        A full segment counts as the second after any other: a peer with Nagle's algorithm that
        writes a header, then a body, holds the end of the body back until we acknowledge.
        """
        if segment_size > self.full:
            self.full = segment_size
        self.pending += length
        self.duplicates = 0
        if self.pending > self.full:
            if self.due is None:
                self.due = _SECOND_SEGMENT
        elif self.quick:
            self.at_once(_QUICK)
        elif self.deadline == _NEVER:
            self.deadline = now + self.delay_s

    def at_once(self, why: Why) -> None:
        """Acknowledge without delay; the first reason of a batch stands."""
        if self.due is None:
            self.due = why

    def set_quick(self, quick: bool) -> None:
        """What is being delayed goes at once, too."""
        self.quick = quick
        if quick and self.deadline != _NEVER:
            self.at_once(Why.ACK_QUICK)

    def on_out_of_order(self) -> None:
        """A segment arrived above a hole. If the batch fills the hole, one ACK tells it all."""
        self.duplicates += 1
        self.at_once(Why.ACK_OUT_OF_ORDER)

    def on_timer(self, now: float) -> None:
        if now >= self.deadline:
            self.at_once(Why.ACK_DELAYED)

    def sent(self) -> None:
        """A segment that carries the acknowledgment left."""
        self.due = None
        self.deadline = _NEVER
        self.duplicates = 0
        self.pending = 0
