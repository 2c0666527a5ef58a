"""What SACK blocks tell (RFC 2018, 2883), and what RACK concludes of all arrivals (RFC 8985)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotcp.reasons import Event
from aiotcp.tcp.scoreboard import Delivered
from aiotcp.tcp.seq import unwrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotcp.tcp.connection import Connection
    from aiotcp.wire.tcp import Segment


def take(conn: Connection, segment: Segment, delivered: list[Delivered]) -> tuple[int, int] | None:
    """Mark what the blocks tell, adding to `delivered`; the D-SACK block, if there is one."""
    una, nxt = segment.ack, conn.snd_nxt
    blocks = [(unwrap(left, una), unwrap(right, una)) for left, right in segment.sack]
    first = blocks[0]
    # RFC 2883 4: below the acknowledgment number, or within the second block.
    duplicate = first[1] <= una or (
        len(blocks) > 1 and blocks[1][0] <= first[0] and first[1] <= blocks[1][1]
    )
    # Nonsense is passed over: "SACK blocks must be within the window".
    fresh = [(left, right) for left, right in blocks[duplicate:] if una < left < right <= nxt]
    for left, right in sorted(fresh):
        delivered += conn.scoreboard.sack(left, right, conn.mss // 2 + 1)
    if duplicate and first[0] < first[1]:
        conn.dsack_dups += 1
        conn.events[Event.DSACK_RECEIVED] += 1
        return first
    return None


def tell_rack(
    conn: Connection, segment: Segment, delivered: Sequence[Delivered], now: float
) -> float | None:
    """RFC 8985 6.2 steps 2 and 3; the round trip of the latest that was never repeated, and did not
    leap ahead of others."""
    rack = conn.recovery.rack
    rtt = None
    edge = rack.fack  # what comes after a hole that this tells of has leapt as far as its beginning
    for record, end, size in delivered:
        # A record of which only this has arrived begins behind it now.
        leapt = end - size > edge
        if not leapt and end > edge:
            edge = end
        sent_at = record.stamp.sent_at
        if record.transmissions > 1 and _ambiguous(conn, segment, sent_at, now):
            rack.on_arrival(end, repeated=True)
            continue
        if record.transmissions == 1 and not leapt:
            rtt = now - sent_at
        rack.on_delivered(sent_at, end, now, leapt=leapt, repeated=record.transmissions > 1)
    return rtt


def _ambiguous(conn: Connection, segment: Segment, sent_at: float, now: float) -> bool:
    """Whether it may be an earlier transmission than the latest one that was acknowledged."""
    if conn.ts_enabled and segment.tsecr:
        left = conn.clock(sent_at)
        if unwrap(segment.tsecr, left) < left:
            return True
    return conn.rto.min_rtt is not None and now - sent_at < conn.rto.min_rtt
