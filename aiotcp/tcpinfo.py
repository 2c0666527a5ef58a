"""What a connection knows of itself, under the names of Linux's tcp_info (linux/tcp.h).

`transport.get_extra_info("tcp_info")` gives a `TcpInfo`, and the socket's TCP_INFO the same, packed
as the kernel packs it, for programs that unpack it. Units are Linux's where the name is Linux's:
microseconds for round trips and timeouts, milliseconds for the time since an event, segments for
windows and what is in flight. Where bytes are what is known, segments are those bytes by the MSS.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

from aiotcp.tcp.accecn import AccurateEcn
from aiotcp.tcp.congestion import Phase
from aiotcp.tcp.connection import Connection
from aiotcp.tcp.ecn import FIRST_CEP
from aiotcp.tcp.listener import Listener
from aiotcp.tcp.tcb import State
from aiotcp.tcp.transmit import pacing_rate

INFINITE_SSTHRESH = 0x7FFFFFFF
"""`snd_ssthresh` before the first congestion: TCP_INFINITE_SSTHRESH."""
_UNLIMITED = 2**64 - 1
_U32 = 0xFFFF_FFFF


class TcpState(IntEnum):
    """Linux's numbers, enum in linux/tcp_states.h."""

    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RECV = 3
    FIN_WAIT1 = 4
    FIN_WAIT2 = 5
    TIME_WAIT = 6
    CLOSE = 7
    CLOSE_WAIT = 8
    LAST_ACK = 9
    LISTEN = 10
    CLOSING = 11


class CaState(IntEnum):
    """What loss recovery is doing: Linux's enum tcp_ca_state."""

    OPEN = 0
    DISORDER = 1
    """Selective or duplicate acknowledgments came, and nothing is believed lost yet."""
    CWR = 2
    """Linux alone: here a window that was reduced for a mark is OPEN."""
    RECOVERY = 3
    LOSS = 4
    """After a timeout."""


class TcpOptions(IntFlag):
    """What both sides agreed to use: TCPI_OPT_…."""

    TIMESTAMPS = 1
    SACK = 2
    WSCALE = 4
    ECN = 8
    SYN_DATA = 32
    """Data on the SYN was taken (RFC 7413)."""


NO_OPTIONS = TcpOptions(0)

STATES = {
    State.ESTABLISHED: TcpState.ESTABLISHED,
    State.SYN_SENT: TcpState.SYN_SENT,
    State.SYN_RECEIVED: TcpState.SYN_RECV,
    State.FIN_WAIT_1: TcpState.FIN_WAIT1,
    State.FIN_WAIT_2: TcpState.FIN_WAIT2,
    State.TIME_WAIT: TcpState.TIME_WAIT,
    State.CLOSED: TcpState.CLOSE,
    State.CLOSE_WAIT: TcpState.CLOSE_WAIT,
    State.LAST_ACK: TcpState.LAST_ACK,
    State.LISTEN: TcpState.LISTEN,
    State.CLOSING: TcpState.CLOSING,
}
_CA_STATES = {
    Phase.OPEN: CaState.OPEN,
    Phase.RECOVERY: CaState.RECOVERY,
    Phase.LOSS: CaState.LOSS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpInfo:
    """One connection at one moment: Linux's names in Linux's order, then what Linux tells
    elsewhere. What is not measured here (`busy_time`, `reordering`, …) is left out."""

    state: TcpState
    ca_state: CaState = CaState.OPEN
    retransmits: int = 0
    """Timeouts in a row without an answer."""
    probes: int = 0
    """Window probes in a row without an answer."""
    backoff: int = 0
    """How often `rto` has doubled."""
    options: TcpOptions = NO_OPTIONS
    snd_wscale: int = 0
    rcv_wscale: int = 0
    delivery_rate_app_limited: bool = False
    """`delivery_rate` tells of the application rather than of the path."""
    rto: int = 0
    """Retransmission timeout, µs."""
    ato: int = 0
    """How long an acknowledgment may be delayed, µs."""
    snd_mss: int = 0
    """Payload of a full segment, bytes, options taken off."""
    rcv_mss: int = 0
    """Payload of the largest segment that the peer has shown, bytes."""
    unacked: int = 0
    """Sent and not acknowledged, segments; of a listener, handshakes under way."""
    sacked: int = 0
    """Of these, acknowledged selectively; of a listener, its backlog."""
    lost: int = 0
    """Of these, believed lost and not sent again yet."""
    retrans: int = 0
    """Of these, sent again and on their way."""
    last_data_sent: int = 0
    """Since data was sent, ms; 0 if never, here and in the next two."""
    last_data_recv: int = 0
    """Since data came, ms."""
    last_ack_recv: int = 0
    """Since a segment came that shows the peer alive, ms."""
    pmtu: int = 0
    """Largest IP packet that the path is believed to take, bytes."""
    rcv_ssthresh: int = 0
    """What of the receive buffer the last segment offered, bytes."""
    rtt: int = 0
    """Smoothed round trip, µs; 0 before the first sample."""
    rttvar: int = 0
    """Its mean deviation, µs."""
    snd_ssthresh: int = INFINITE_SSTHRESH
    """Where slow start ends, segments; 2**31 - 1 before the first congestion."""
    snd_cwnd: int = 0
    """Congestion window, segments, rounded down."""
    advmss: int = 0
    """MSS that we advertised."""
    rcv_rtt: int = 0
    """Round trip as the receiver knows it, µs; 0: not yet."""
    rcv_space: int = 0
    """What may wait for the application, bytes."""
    total_retrans: int = 0
    """Segments sent again."""
    pacing_rate: int | None = None
    """Payload bytes per second; None: not paced."""
    max_pacing_rate: int | None = None
    """`Options.max_pacing_rate`; None: no limit."""
    bytes_acked: int = 0
    bytes_received: int = 0
    """In order, whether the application has taken them or not."""
    segs_out: int = 0
    segs_in: int = 0
    notsent_bytes: int = 0
    """In the send buffer and not sent yet."""
    min_rtt: int = 0
    """The shortest round trip so far, µs; 0 before the first sample."""
    data_segs_in: int = 0
    data_segs_out: int = 0
    """Segments with data, sent again ones included."""
    delivery_rate: int = 0
    """The latest sample of how fast data arrives there, bytes per second."""
    delivered: int = 0
    """Segments that arrived there, as far as acknowledgments tell."""
    delivered_ce: int = 0
    """Of these, with a congestion mark; known with accurate feedback only (RFC 9768)."""
    bytes_sent: int = 0
    """Payload, what was sent again included."""
    bytes_retrans: int = 0
    dsack_dups: int = 0
    """How often the peer told that data came twice (RFC 2883)."""
    reord_seen: int = 0
    """How often segments arrived in another order than sent."""
    rcv_ooopack: int = 0
    """Frames that came ahead of their turn."""
    snd_wnd: int = 0
    """The window that the peer offers, bytes."""
    rcv_wnd: int = 0
    """The window that we offer, bytes."""
    total_rto: int = 0
    """Timeouts."""
    received_ce: int = 0
    """Segments that came with a congestion mark, with accurate feedback (RFC 9768)."""
    delivered_ce_bytes: int = 0
    received_ce_bytes: int = 0

    cc: str = ""
    """The congestion control, as TCP_CONGESTION has it."""
    cc_info: dict[str, float] = field(default_factory=dict)
    """What that knows beside (`CongestionControl.info`): for "bbr" `bw`, bytes per second,
    `min_rtt`, seconds, the gains and more."""
    undos: int = 0
    """How often a repair proved to have been for nothing and was taken back."""

    def pack(self) -> bytes:
        """struct tcp_info as Linux 6.18 has it, 280 bytes; programs take the beginning that they
        know. What is not measured is 0, and the degree of reordering Linux's default, 3."""
        paced, most = self.pacing_rate, self.max_pacing_rate
        return _STRUCT.pack(
            *(self.state, self.ca_state, min(self.retransmits, 255), min(self.probes, 255)),
            *(self.backoff, self.options, self.snd_wscale | self.rcv_wscale << 4),
            self.delivery_rate_app_limited,
            *(self.rto, self.ato, self.snd_mss, self.rcv_mss),
            *(self.unacked, self.sacked, self.lost, self.retrans, 0),
            *(self.last_data_sent & _U32, 0, self.last_data_recv & _U32),
            self.last_ack_recv & _U32,
            *(self.pmtu, self.rcv_ssthresh, self.rtt, self.rttvar, self.snd_ssthresh),
            *(self.snd_cwnd, self.advmss, 3, self.rcv_rtt, self.rcv_space),
            self.total_retrans & _U32,
            *(_UNLIMITED if paced is None else paced, _UNLIMITED if most is None else most),
            *(self.bytes_acked, self.bytes_received),
            *(self.segs_out & _U32, self.segs_in & _U32, self.notsent_bytes, self.min_rtt),
            *(self.data_segs_in & _U32, self.data_segs_out & _U32),
            *(self.delivery_rate, 0, 0, 0),
            *(self.delivered & _U32, self.delivered_ce & _U32),
            *(self.bytes_sent, self.bytes_retrans, self.dsack_dups & _U32, self.reord_seen & _U32),
            *(self.rcv_ooopack & _U32, self.snd_wnd, self.rcv_wnd, 0),
            *(self.total_rto & 0xFFFF, 0, 0),
            *(self.received_ce & _U32, 0, 0, self.delivered_ce_bytes & _U32),
            *(0, 0, self.received_ce_bytes & _U32, 0, 0),
        )


_STRUCT = struct.Struct("=8B24I4Q6I4Q2I2Q6I2HI7I2H")


def tcp_info(conn: Connection, now: float) -> TcpInfo:
    """A connection at `now`."""
    mss = conn.mss
    rto, board, rates, acks = conn.rto, conn.scoreboard, conn.rates, conn.acks
    recovery, cc, ecn = conn.recovery, conn.cc, conn.ecn
    options = NO_OPTIONS
    if conn.ts_enabled:
        options |= TcpOptions.TIMESTAMPS
    if conn.sack_enabled:
        options |= TcpOptions.SACK
    if conn.snd_wscale or conn.rcv_wscale:
        options |= TcpOptions.WSCALE
    if ecn is not None:
        options |= TcpOptions.ECN
    if conn.fast_open_data:
        options |= TcpOptions.SYN_DATA
    state = _CA_STATES[recovery.phase]
    if state is CaState.OPEN and recovery.transmits_limited(board.sacked_bytes):
        state = CaState.DISORDER
    again = sum(
        each.size for each in board if each.transmissions > 1 and not (each.lost or each.sacked)
    )
    sent_text = min(conn.snd_nxt, conn.sending.end) - conn.iss - 1
    rate = pacing_rate(conn)
    tuning = conn.rcv_tuning
    accurate = ecn if isinstance(ecn, AccurateEcn) else None
    return TcpInfo(
        state=STATES[conn.state],
        ca_state=state,
        retransmits=conn.retransmissions,
        probes=conn.probes,
        backoff=rto.backoff,
        options=options,
        snd_wscale=conn.snd_wscale,
        rcv_wscale=conn.rcv_wscale,
        delivery_rate_app_limited=rates.rate_app_limited,
        rto=_us(rto.rto),
        ato=_us(acks.delay_s),
        snd_mss=mss,
        rcv_mss=acks.full,
        unacked=_segments(conn.snd_nxt - conn.snd_una, mss),
        sacked=_segments(board.sacked_bytes, mss),
        lost=_segments(board.lost_bytes, mss),
        retrans=_segments(again, mss),
        last_data_sent=_since(conn.last_sent_at, now),
        last_data_recv=_since(conn.last_data_recv_at, now),
        last_ack_recv=_since(conn.heard_at, now),
        pmtu=conn.pmtu.mtu if conn.established else conn.path.mtu,
        rcv_ssthresh=conn.rcv_buffer,
        rtt=_us(rto.srtt),
        rttvar=_us(rto.rttvar),
        snd_ssthresh=min(cc.ssthresh // mss, INFINITE_SSTHRESH),
        snd_cwnd=cc.cwnd // mss,
        advmss=conn.rcv_mss,
        rcv_rtt=_us(tuning.rtt if tuning is not None else None),
        rcv_space=conn.rcv_space,
        total_retrans=conn.total_retrans,
        pacing_rate=None if rate is None else int(rate),
        max_pacing_rate=conn.options.max_pacing_rate,
        bytes_acked=bytes_acked(conn),
        bytes_received=conn.total_received,
        segs_out=conn.segs_out,
        segs_in=conn.segs_in,
        notsent_bytes=max(conn.sending.end - conn.snd_nxt, 0),
        min_rtt=_us(rto.min_rtt),
        data_segs_in=conn.data_segs_in,
        data_segs_out=conn.data_segs_out,
        delivery_rate=int(rates.rate),
        delivered=_segments(rates.delivered, mss),
        delivered_ce=accurate.delivered_ce if accurate is not None else 0,
        bytes_sent=max(sent_text, 0) + conn.total_retransmitted,
        bytes_retrans=conn.total_retransmitted,
        dsack_dups=conn.dsack_dups,
        reord_seen=recovery.rack.reord_seen,
        rcv_ooopack=conn.rcv_ooopack,
        snd_wnd=conn.snd_wnd,
        rcv_wnd=max(conn.rcv_adv - conn.rcv_nxt, 0),
        total_rto=conn.total_rto,
        received_ce=accurate.received_cep - FIRST_CEP if accurate is not None else 0,
        delivered_ce_bytes=accurate.delivered_ce_bytes if accurate is not None else 0,
        received_ce_bytes=accurate.received_ce_bytes if accurate is not None else 0,
        cc=control_name(conn),
        cc_info=cc.info(),
        undos=recovery.spurious,
    )


def listener_info(listener: Listener) -> TcpInfo:
    """A listener: what is on its way to being accepted, and how much of that it takes."""
    cc = listener.options.cc
    return TcpInfo(
        state=TcpState.LISTEN,
        unacked=listener.half_open,
        sacked=listener.backlog,
        cc=cc if isinstance(cc, str) else getattr(cc, "name", ""),
    )


def control_name(conn: Connection) -> str:
    """Of the congestion control in force; of the one chosen, while the connection opens."""
    chosen = conn.options.cc
    name: str = getattr(conn.cc, "name", chosen if isinstance(chosen, str) else "")
    return name


def bytes_acked(conn: Connection) -> int:
    """Payload that the peer has acknowledged."""
    return conn.snd_una - conn.iss - (conn.snd_una > conn.iss) - conn.fin_acked


def _us(seconds: float | None) -> int:
    return 0 if seconds is None else round(seconds * 1e6)


def _since(then: float, now: float) -> int:
    return 0 if then == -math.inf else max(round((now - then) * 1000), 0)


def _segments(size: int, mss: int) -> int:
    return -(-size // mss)
