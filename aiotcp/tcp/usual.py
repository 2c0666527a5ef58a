"""What mostly is to go out: a small write that fits one segment, an acknowledgment, or nothing.

As header prediction for what arrives (RFC 1323 4.3), one question stands before the whole of
`output`: is anything at work here but an established connection whose windows are open? If not,
the answer is one segment at most, and `output_usual` gives it. Else it changes nothing, and
`output` goes through everything. Both send the same (tests/model/test_usual_output.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from aiotcp.reasons import Why
from aiotcp.tcp import tlp, usualacks
from aiotcp.tcp.buffers import receive_room
from aiotcp.tcp.bulk import output_bulk
from aiotcp.tcp.congestion import Phase
from aiotcp.tcp.segments import send_plain
from aiotcp.tcp.tcb import State
from aiotcp.tcp.window import worth_update
from aiotcp.wire.tcp import ACK, PSH

if TYPE_CHECKING:
    from aiotcp.tcp.connection import Connection

# Looked up once: a member of an enumeration costs as much as a call.
_ESTABLISHED: Final = State.ESTABLISHED
_OPEN: Final = Phase.OPEN
_NEW_DATA: Final = Why.NEW_DATA
_WINDOW_UPDATE: Final = Why.WINDOW_UPDATE


def output_usual(conn: Connection, now: float) -> bool:
    """Send what is due. False: something unusual may be due, ask `output`."""
    if not conn.calm:
        if not _is_plain(conn):
            return False
        conn.calm = _is_calm_beside(conn)
    board = conn.scoreboard
    recovery = conn.recovery
    cc = conn.cc
    if cc.pacing_rate is not None:  # before all else: `output` may leave some of it to a timer
        conn.calm = False
        return False
    flight = board.in_flight
    start = conn.snd_nxt
    length = conn.sending.end - start
    if length >= conn.mss:
        return output_bulk(conn, now, length, flight)
    if not length:
        why = conn.acks.due
        if why is None and _window_opened(conn, now):
            why = _WINDOW_UPDATE
        if why is not None and conn.memory.pressure:
            return False  # the window that is offered is another one
        recovery.cwnd_limited = limited = flight + conn.mss > cc.cwnd
        if not limited:
            conn.rates.mark_app_limited(flight)
        if why is not None:
            send_plain(conn, now, start, ACK, why)
        return True
    if (
        conn.more
        or conn.memory.pressure
        or length > conn.snd_una + conn.snd_wnd - start
        or length > cc.cwnd - flight
        or (flight and not conn.nodelay)
    ):
        return False
    rto = conn.rto.rto
    if not flight:
        if now - conn.last_sent_at > rto and start > conn.iss + 1:
            return False  # the window may have to shrink first
        cc.on_send(now, 0, conn.rates.app_limited_until != 0)
        conn.rexmt_at = now + rto
        conn.probes = 0
        conn.stalled_since = now
    end = conn.snd_nxt = start + length
    payload = conn.sending.slices(start, length)
    send_plain(conn, now, start, ACK | PSH, _NEW_DATA, payload, length)
    board.sent(start, end, conn.rates.on_sent(now, flight, length))
    conn.last_sent_at = now
    recovery.cwnd_limited = False
    tlp.schedule_usual(conn, now)
    return True


def is_calm(conn: Connection) -> bool:
    """Whether nothing is at work but an established connection, for all that is usual: output,
    acknowledgments and text.

    What is usual leaves that as it is, so it is asked once, until something else has happened:
    `Tcb.calm`. What changes by itself (windows, memory, a pacing rate) is no part of it.
    """
    return _is_plain(conn) and _is_calm_beside(conn)


def begins_calm(conn: Connection) -> bool:
    """The same, of a connection whose handshake has just been completed, by an acknowledgment that
    brought nothing else: what is left to ask are its options, and what both sides agreed on."""
    return (
        conn.ts_enabled
        and conn.sack_enabled
        and conn.ecn is None
        and conn.uto is None
        and not conn.paced
        and conn.cc.pacing_rate is None
        and conn.state is _ESTABLISHED
    )


def _is_calm_beside(conn: Connection) -> bool:
    """The part of it that output does not ask for."""
    return (
        conn.peer_fin is None
        and conn.reo_at == math.inf
        and conn.pace_at == math.inf
        and not conn.acks_noted
        and usualacks.is_usual(conn)
    )


def _is_plain(conn: Connection) -> bool:
    """The part of it that output asks for."""
    board, acks = conn.scoreboard, conn.acks
    return (
        conn.state is _ESTABLISHED
        # Nothing is repaired, or missing on either side.
        and conn.recovery.phase is _OPEN
        and not board.lost_bytes
        and not board.sacked_bytes
        and not acks.duplicates
        and not conn.dsacks
        and not conn.reassembly.cost
        # No timer asks for anything.
        and not conn.tlp_due
        and not conn.probe_due
        and (conn.keepalive is None or not conn.keepalive.due)
        # A segment is header, timestamps and text.
        and conn.ts_enabled
        and conn.sack_enabled  # else the window grows by duplicates
        and conn.ecn is None
        and conn.uto is None
        and conn.snd_up is None
        # Nobody else has a say in when it leaves, or what window it offers.
        and conn.cork is None
        and not conn.paced
        and conn.fast_open is None
        and not conn.stray_resets
    )


def _window_opened(conn: Connection, now: float) -> bool:
    """As `worth_update`, which mostly is not needed to say no."""
    buffer = conn.rcv_buffer
    if conn.queue_share is not None:
        buffer = min(buffer, receive_room(conn, now))
    gain = buffer - conn.received_bytes - conn.rcv_adv + conn.rcv_nxt
    if gain < conn.rcv_mss and 2 * gain < buffer:
        return False
    return worth_update(conn.rcv_nxt, conn.rcv_adv, conn.received_bytes, buffer, conn.rcv_mss)
