"""What one side of a connection knows at a moment, as a sample."""

from __future__ import annotations

import math

from aiotcp.tcp.connection import Connection
from aiotcp.trace.events import Sample
from aiotcp.waiting import waiting


def measured(conn: Connection, *, host: str, flow: int, now: float, began: float) -> Sample:
    """now: of the loop's clock; began: of the same, when the trace began."""
    what, until = waiting(conn)
    cc = getattr(conn, "cc", None)
    ssthresh = cc.ssthresh if cc is not None else math.inf
    return Sample(
        at=round(now - began, 9),
        host=host,
        flow=flow,
        state=str(conn.state),
        cwnd=cc.cwnd if cc is not None else 0,
        ssthresh=int(ssthresh) if ssthresh < 1 << 32 else None,
        in_flight=max(conn.snd_nxt - conn.snd_una, 0),
        snd_wnd=conn.snd_wnd,
        rcv_wnd=max(conn.rcv_adv - conn.rcv_nxt, 0),
        srtt=conn.rto.srtt,
        rttvar=conn.rto.rttvar if conn.rto.srtt is not None else None,
        rto=conn.rto.rto,
        waits=what,
        until=round(until - began, 9) if until is not None else None,
    )
