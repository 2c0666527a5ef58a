"""What a stack tells about its connections: rows as `ss` shows them."""

from __future__ import annotations

from dataclasses import dataclass

from aiotcp.addresses import endpoints
from aiotcp.tcp.connection import Connection
from aiotcp.tcp.flow import Endpoint
from aiotcp.tcp.halfopen import HalfOpen
from aiotcp.tcp.tcb import State
from aiotcp.tcp.timewait import TimeWait
from aiotcp.tcpinfo import bytes_acked, control_name


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """One connection at one moment. Sizes in bytes, times in seconds."""

    local: Endpoint
    remote: Endpoint
    state: str
    bytes_received: int = 0
    """In order, whether the application has taken them or not."""
    bytes_sent: int = 0
    """Acknowledged by the peer."""
    receive_queue: int = 0
    send_queue: int = 0
    """Not acknowledged, sent or not."""
    rtt_s: float | None = None
    """Smoothed (SRTT); None before the first sample."""
    rto_s: float | None = None
    cwnd_bytes: int = 0
    ssthresh_bytes: int | None = None
    """None while it is arbitrarily high."""
    mss: int = 0
    send_window: int = 0
    receive_window: int = 0
    bytes_retransmitted: int = 0
    age_s: float = 0.0
    cc: str = ""
    """The congestion control's name."""
    retransmissions: int = 0
    """Segments sent again."""
    timeouts: int = 0


def describe(entry: Connection | HalfOpen | TimeWait, now: float) -> ConnectionInfo:
    """The row of one entry of the demultiplexer."""
    if isinstance(entry, Connection):
        return ConnectionInfo(
            local=entry.local,
            remote=entry.remote,
            state=str(entry.state),
            bytes_received=entry.total_received,
            bytes_sent=bytes_acked(entry),
            receive_queue=entry.received_bytes,
            send_queue=len(entry.sending),
            rtt_s=entry.rto.srtt,
            rto_s=entry.rto.rto,
            cwnd_bytes=entry.cc.cwnd,
            ssthresh_bytes=entry.cc.ssthresh if entry.cc.ssthresh < 1 << 32 else None,
            mss=entry.mss,
            send_window=entry.snd_wnd,
            receive_window=max(entry.rcv_adv - entry.rcv_nxt, 0),
            bytes_retransmitted=entry.total_retransmitted,
            cc=control_name(entry),
            retransmissions=entry.total_retrans,
            timeouts=entry.total_rto,
            age_s=now - entry.opened_at,
        )
    local, remote = endpoints(entry.flow)
    state = State.SYN_RECEIVED if isinstance(entry, HalfOpen) else State.TIME_WAIT
    return ConnectionInfo(local=local, remote=remote, state=str(state))
