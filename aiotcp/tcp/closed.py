"""CLOSED: what a segment for no connection is answered with (RFC 9293 3.10.7.1)."""

from __future__ import annotations

from typing import NamedTuple

from aiotcp.tcp.seq import wrap
from aiotcp.wire.tcp import ACK, RST, Segment


class Reset(NamedTuple):
    """Header fields of the answer."""

    seq: int
    ack: int
    flags: int


def reset_for(segment: Segment) -> Reset | None:
    """ "If the incoming segment [contains] a RST [...] it is discarded"; otherwise the reset that
    the sender of `segment` will find acceptable."""
    if segment.flags & RST:
        return None
    if segment.flags & ACK:
        return Reset(wrap(segment.ack), 0, RST)
    return Reset(0, wrap(segment.seq + segment.length), RST | ACK)
