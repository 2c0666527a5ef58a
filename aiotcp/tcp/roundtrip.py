"""The round trip that an acknowledgment tells of (RFC 6298 3, RFC 7323 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotcp.tcp.connection import Connection
    from aiotcp.tcp.scoreboard import Delivered
    from aiotcp.tcp.timeline import Sent
    from aiotcp.wire.tcp import Segment

_TICKS_S: Final = 0.002
"""How far the timestamp clock's whole milliseconds may be off for a difference of two."""


def round_trip(
    conn: Connection,
    segment: Segment,
    oldest: Sent | None,
    delivered: Sequence[Delivered],
    now: float,
) -> float | None:
    """The sample that an advancing acknowledgment gives, by Karn's rule (RFC 6298 3): none from
    bytes that were sent more than once, unless timestamps tell which time it was."""
    if not delivered:
        return None
    for record, _, _ in delivered:
        if record.transmissions > 1:
            if conn.ts_enabled and segment.tsecr and oldest is not None:
                return _echoed_round_trip(conn, oldest, segment.tsecr, now)
            return None
    return now - delivered[-1][0].stamp.sent_at


def _echoed_round_trip(conn: Connection, oldest: Sent, tsecr: int, now: float) -> float | None:
    """RFC 7323 4.1, for an acknowledgment of repeated data; `oldest` was at the left edge.

    Only if the echo is of its latest transmission. An earlier one reached the peer before, and
    its acknowledgment was lost: the time since then holds our own back-off and not the path's
    round trip, and as a sample it would feed on itself until the RTO is at its ceiling. Then
    Karn's rule stands (RFC 6298 3), and the back-off with it (5.5, 5.7).
    """
    rtt = ((conn.clock(now) - tsecr) & 0xFFFF_FFFF) / 1000
    return rtt if rtt <= now - oldest.stamp.sent_at + _TICKS_S else None
