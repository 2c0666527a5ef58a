"""ICMP errors about a connection (RFC 9293 3.9.2.2, RFC 5461, RFC 5927)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiotcp.reasons import Drop, Why
from aiotcp.tcp.opening import TIMESTAMP_OPTION_BYTES
from aiotcp.tcp.seq import unwrap
from aiotcp.tcp.tcb import State

if TYPE_CHECKING:
    from aiotcp.tcp.connection import Connection

_LEAST_MTU_IPV4 = 552
"""Lower values are attacks or errors: RFC 1191 7 and the kernel's own floor."""
_LEAST_MTU_IPV6 = 1280
_PLATEAUS = (32000, 17914, 8166, 4352, 2002, 1492, 1006, 508)
"""RFC 1191 7.1, for routers that do not tell their MTU."""


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
    if conn.ended:
        return Drop.ICMP_NO_CONNECTION
    # RFC 5927 4.1: only a segment that is in flight can have caused it. RFC 792 has every error
    # quote 64 bits of TCP, so one without a sequence number is none.
    if news.seq is None:
        return Drop.ICMP_SEQUENCE
    if not conn.snd_una <= unwrap(news.seq, conn.snd_una) < conn.snd_max:
        return Drop.ICMP_SEQUENCE
    if news.mtu is not None:
        return _packet_too_big(conn, news.mtu)
    if news.hard and conn.state is State.SYN_SENT:
        # RFC 5461 3: hard errors end an attempt, and are soft in every synchronized state.
        conn.fail(news.error or ConnectionError())
        return None
    conn.soft_error = news.error
    conn.error_news = True
    return None


def _packet_too_big(conn: Connection, mtu: int) -> Drop | None:
    """RFC 1191 6.4: lower the path's MTU, cut anew and repeat at once; no congestion signal."""
    path = conn.path
    if path.ip_header == 20:
        if mtu == 0:
            mtu = next(plateau for plateau in (*_PLATEAUS, 0) if plateau < path.mtu)
        mtu = max(mtu, _LEAST_MTU_IPV4)
    elif mtu < _LEAST_MTU_IPV6:
        # RFC 8201 4: "reporting a next-hop MTU that is less than the IPv6 minimum link MTU, it
        # must discard it".
        return Drop.ICMP_MTU
    if mtu >= path.mtu:
        return None
    conn.path = path = path._replace(mtu=mtu)
    options = TIMESTAMP_OPTION_BYTES if conn.ts_enabled else 0
    mss = min(conn.peer_mss, path.mss) - options
    if mss < conn.mss and conn.established:
        conn.mss = mss
        conn.cc.set_mss(mss)
        conn.scoreboard.mark_lost(conn.snd_nxt)
        conn.rexmt_why = Why.PATH_MTU_RETRANSMIT
        conn.force_retransmit = True
    return None
