"""What should go out now? Asked after each batch of segments, each timer and each call.

The order: a reset that ends it all; the SYN; what is lost; new data and the FIN; a window probe;
and, if nothing of that carried it, the acknowledgment that is due. Every segment is labelled with
its reason (`Why`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from aiotcp.reasons import Why
from aiotcp.tcp import transmit
from aiotcp.tcp.buffers import receive_room
from aiotcp.tcp.fastopen_setup import sends_early
from aiotcp.tcp.frto import NO_TIMEOUT
from aiotcp.tcp.opening import output_syn
from aiotcp.tcp.segments import acknowledge, send_segment
from aiotcp.tcp.tcb import State
from aiotcp.tcp.usual import output_usual
from aiotcp.tcp.window import worth_update
from aiotcp.wire.tcp import ACK, RST

if TYPE_CHECKING:
    from aiotcp.tcp.accecn import AccurateEcn
    from aiotcp.tcp.connection import Connection
    from aiotcp.tcp.ecn import ClassicEcn

__all__ = ["output", "output_usual"]

_OVERRIDE_S: Final = 1.0
"""RFC 9293 3.8.6.2.1: "The override timeout should be in the range 0.1 - 1.0 seconds"."""
_CLOSED: Final = State.CLOSED
_SYN_RECEIVED: Final = State.SYN_RECEIVED
_FIN_WAIT_2: Final = State.FIN_WAIT_2
_UNSYNCHRONIZED: Final = frozenset({State.SYN_SENT, State.SYN_RECEIVED})


def output(conn: Connection, now: float) -> None:
    """Send all that may be sent, and set the send timer for what could not."""
    if conn.ended:
        _send_last(conn, now)
        return
    if conn.parting:
        conn.parting = False
        if conn.keepalive is None and transmit.send_only_one(conn, now, calm=True):
            return
    if output_usual(conn, now):
        return
    if conn.stray_resets:
        _send_stray_resets(conn)
    if conn.farewell is not None:
        _send_farewell(conn, now)
        return
    state = conn.state
    if state in _UNSYNCHRONIZED:
        output_syn(conn, now)
        if not sends_early(conn):
            if state is _SYN_RECEIVED and conn.acks.due is not None:
                acknowledge(conn, now)
            return
    if (
        conn.acks.duplicates
        or conn.dsacks
        or (conn.ecn is not None and _answers_handshake(conn, conn.ecn))
    ):
        # Apart from the data that may follow: an acknowledgment counts as a duplicate only if
        # "the incoming acknowledgment carries no data" (RFC 5681 2); and that of a SYN+ACK tells
        # which codepoint that had only if it is a pure one (RFC 9768 3.2.2.1).
        acknowledge(conn, now)
    if conn.scoreboard.lost_bytes:
        if conn.acks.due is not None and conn.reassembly:
            acknowledge(conn, now)
        transmit.retransmit(conn, now)
    if conn.tlp_due:
        transmit.tail_loss_probe(conn, now)
    fin = conn.fin_seq
    if (conn.sending.end if fin is None else fin + 1) > conn.snd_nxt:  # `unsent`
        if transmit.send_new(conn, now) and conn.keepalive is None:
            return
    else:
        transmit.note_app_limited(conn)
    if conn.cork is not None and conn.unsent <= 0:
        conn.cork.emptied()
    if conn.recovery.frto.sends_nothing(conn.snd_nxt):
        conn.recovery.frto = NO_TIMEOUT
        transmit.retransmit(conn, now)
    if conn.probe_due:
        transmit.probe(conn, now)
    if conn.acks.due is None and not conn.fin_reached and _window_opened(conn, now):
        conn.acks.at_once(Why.WINDOW_UPDATE)
    if conn.acks.due is not None:
        acknowledge(conn, now)
    if conn.keepalive is not None and conn.keepalive.due:
        # SHLD-12: no data, and SEG.SEQ = SND.NXT-1, which the peer has to answer.
        send_segment(conn, now, conn.snd_nxt - 1, ACK, Why.KEEPALIVE)
        conn.keepalive.probed(now)
    if state is _FIN_WAIT_2 and conn.closed_by_user and conn.orphan_until == math.inf:
        conn.orphan_until = now + conn.options.fin_timeout_s
    if conn.rexmt_at == math.inf and (
        conn.scoreboard
        or (conn.unsent > 0 and conn.pace_at == math.inf and not _held_by_cork(conn))
    ):
        wait = conn.rto.rto
        if conn.snd_wnd and not conn.scoreboard:
            wait = min(wait, _OVERRIDE_S)  # the window is open, but too little for a segment
        conn.rexmt_at = now + wait


def _held_by_cork(conn: Connection) -> bool:
    return conn.cork is not None and conn.cork.deadline != math.inf


def _answers_handshake(conn: Connection, ecn: ClassicEcn | AccurateEcn) -> bool:
    """Whether the acknowledgment that is due has to tell the SYN+ACK's codepoint."""
    return ecn.ack_apart and conn.acks.due is not None


def _window_opened(conn: Connection, now: float) -> bool:
    """Whether the user's reading is worth telling."""
    buffer = conn.rcv_buffer
    if conn.queue_share is not None:
        buffer = min(buffer, receive_room(conn, now))
    return worth_update(conn.rcv_nxt, conn.rcv_adv, conn.received_bytes, buffer, conn.rcv_mss)


def _send_last(conn: Connection, now: float) -> None:
    """Nothing is left of the connection but what it still owes the peer."""
    if conn.stray_resets:
        _send_stray_resets(conn)
    if conn.farewell is not None:
        _send_farewell(conn, now)
    elif conn.acks.due is not None and conn.state is not _CLOSED:
        acknowledge(conn, now)


# -- resets -----------------------------------------------------------------------------------


def _send_stray_resets(conn: Connection) -> None:
    """Answers to segments of some other connection between the same ports (ST-4, ST-12)."""
    for seq in conn.stray_resets:
        conn.transmit(
            conn.template.frame(seq, 0, RST, 0, offload=conn.path.offload, reason=Why.RST_BAD_ACK)
        )
    conn.stray_resets = ()


def _send_farewell(conn: Connection, now: float) -> None:
    why = conn.farewell
    conn.farewell = None
    assert why is not None
    send_segment(conn, now, conn.snd_nxt, RST | ACK, why)
