"""ICMP errors about a connection (RFC 9293 3.9.2.2, RFC 5461, RFC 5927)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiotcp.reasons import Drop
from aiotcp.tcp import usualacks
from aiotcp.tcp.fastopen_setup import on_failure
from aiotcp.tcp.pathmtu import on_packet_too_big
from aiotcp.tcp.seq import unwrap
from aiotcp.tcp.tcb import State

if TYPE_CHECKING:
    from aiotcp.tcp.connection import Connection


class IcmpNews(NamedTuple):
    """An ICMP error as far as TCP is concerned."""

    seq: int | None
    """Sequence number of the segment that it quotes, mod 2**32; None if it was cut off."""
    error: OSError | None
    """What the user would see of it."""
    hard: bool
    """RFC 1122 4.2.3.9: should abort (protocol or port unreachable, fragmentation needed)."""
    mtu: int | None
    """Packet too big: the next hop's MTU, 0 if it is not told; None for other errors."""


def on_icmp(conn: Connection, news: IcmpNews, now: float) -> Drop | None:
    """Act on it if it is plausible: the name under which it was discarded, or None."""
    if conn.acks_noted:
        usualacks.settle(conn, now)
    if conn.ended:
        return Drop.ICMP_NO_CONNECTION
    # RFC 5927 4.1: only a segment that is in flight can have caused it. RFC 792 has every error
    # quote 64 bits of TCP, so one without a sequence number is none.
    if news.seq is None:
        return Drop.ICMP_SEQUENCE
    seq = unwrap(news.seq, conn.snd_una)
    if not conn.snd_una <= seq < conn.snd_max:
        return Drop.ICMP_SEQUENCE
    if conn.fast_open is not None:
        on_failure(conn, now)
    if news.mtu is not None:
        return on_packet_too_big(conn, seq, news.mtu, now)
    if news.hard and conn.state is State.SYN_SENT:
        # RFC 5461 3: hard errors end an attempt, and are soft in every synchronized state.
        conn.fail(news.error or ConnectionError())
        return None
    conn.soft_error = news.error
    conn.error_news = True
    return None
