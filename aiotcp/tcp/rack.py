"""RACK: loss told by time (RFC 8985 6).

A segment is lost if one that was sent later has arrived, and it has not arrived itself within the
reordering window. Sequence numbers and seconds in, seconds out; the scoreboard knows who left when.
"""

from __future__ import annotations

import math
from typing import Final

from aiotcp.mypyc import mypyc_attr

DUP_THRESH: Final = 3
_PERSIST_RECOVERIES: Final = 16
_LONG_AGO: Final = -math.inf


@mypyc_attr(acyclic=True)
class Rack:
    """What is known of the latest segment that arrived, and of reordering on the path."""

    __slots__ = (
        "_dsack_round",
        "_mult",
        "_persist",
        "end_seq",
        "fack",
        "reord_seen",
        "reordering_seen",
        "rtt",
        "steady_rtt",
        "xmit_ts",
    )

    def __init__(self, iss: int) -> None:
        self.xmit_ts = _LONG_AGO
        """When the segment left that was sent last, of all that have arrived."""
        self.end_seq = iss
        """Where that segment ends: who left later, of those that left at one time."""
        self.rtt = 0.0
        """The round trip of the latest arrival, seconds."""
        self.steady_rtt = 0.0
        """The same, of the latest that had not leapt ahead of others."""
        self.reordering_seen = False
        self.reord_seen = 0
        """How often, as tcp_info counts it."""
        self.fack = iss + 1
        """One above the highest that arrived: the SYN did before anything else is acknowledged."""
        self._mult = 1
        self._persist = _PERSIST_RECOVERIES
        self._dsack_round: int | None = None

    def on_delivered(
        self, sent_at: float, end: int, now: float, *, leapt: bool = False, repeated: bool
    ) -> None:
        """Steps 2 and 3, for each segment newly acknowledged, in ascending order.

        Of a `repeated` one only if it is its latest transmission that arrived. `leapt`: it stands
        above a hole that nobody knew of before.
        """
        self.rtt = now - sent_at
        if not leapt:
            self.steady_rtt = self.rtt
        if sent_at > self.xmit_ts or (sent_at == self.xmit_ts and end > self.end_seq):
            self.xmit_ts = sent_at
            self.end_seq = end
        self.on_arrival(end, repeated=repeated)

    def on_arrival(self, end: int, *, repeated: bool) -> None:
        """Step 3 alone: `end` was reached, whichever transmission of it that was."""
        if end > self.fack:
            self.fack = end
        elif end < self.fack and not repeated:
            self.reordering_seen = True
            self.reord_seen += 1
            # RFC 8985 lets the window shrink after 16 recoveries, in case reordering "is
            # temporary": it is not as long as packets still overtake each other.
            self._persist = _PERSIST_RECOVERIES

    def on_spurious(self, snd_una: int, snd_nxt: int) -> None:
        """Step 4: a repetition was for nothing, so packets do overtake each other. The window grows
        once in a round trip for it."""
        self.reordering_seen = True
        if self._dsack_round is None or snd_una >= self._dsack_round:
            self._dsack_round = snd_nxt
            self._mult += 1
            self._persist = _PERSIST_RECOVERIES

    def on_recovered(self) -> None:
        """Step 4: a recovery is over."""
        self._persist -= 1
        if self._persist <= 0:
            self._mult = 1

    def patience(
        self, *, repairing: bool, sacked_segments: float, srtt: float, min_rtt: float
    ) -> float:
        """How long after it was sent a segment is still awaited, seconds, once a later one has
        arrived: RACK.rtt and the reordering window. `repairing`: in fast or RTO recovery.

        RFC 8985 counts the window in quarters of RACK.min_RTT, from RACK.rtt on. Where packets
        overtake others both may be nearly nothing, since the round trip of one that did says how
        fast that one was, and not how long the others take. So once reordering was seen, the
        round trip of those that had not leapt ahead is the least for the one, and half of SRTT
        for the other.
        """
        if self.reordering_seen:
            window = min(self._mult * max(min_rtt, srtt / 2) / 4, srtt)
            return max(self.rtt, self.steady_rtt) + window
        if repairing or sacked_segments >= DUP_THRESH:
            return self.rtt
        return self.rtt + min(self._mult * min_rtt / 4, srtt)
