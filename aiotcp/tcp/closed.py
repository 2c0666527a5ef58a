"""CLOSED: what a segment for no connection is answered with (RFC 9293 3.10.7.1)."""

from __future__ import annotations

from aiotcp.tcp.seq import wrap
from aiotcp.wire.tcp import ACK, RST, Segment


def reset_for(segment: Segment) -> tuple[int, int, int] | None:
    """ "If the incoming segment [contains] a RST [...] it is discarded"; otherwise the reset that
    the sender of `segment` will find acceptable: sequence number, acknowledgment number, flags."""
    if segment.flags & RST:
        return None
    if segment.flags & ACK:
        return wrap(segment.ack), 0, RST
    return 0, wrap(segment.seq + segment.length), RST | ACK
