"""What mostly is to go out: a small write that fits one segment, an acknowledgment, or nothing.

As header prediction for what arrives (RFC 1323 4.3), one question stands before the whole of
`output`: is anything at work here but an established connection whose windows are open? If not,
the answer is one segment at most, and `output_usual` gives it. Else it changes nothing, and
`output` goes through everything. Both send the same (tests/model/test_usual_output.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiotcp.reasons import Why
from aiotcp.tcp import tlp
from aiotcp.tcp.buffers import receive_room
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
    board, recovery, acks, cc = conn.scoreboard, conn.recovery, conn.acks, conn.cc
    if (
        conn.state is not _ESTABLISHED
        # Nothing is repaired, or missing on either side.
        or recovery.phase is not _OPEN
        or board.lost_bytes
        or board.sacked_bytes
        or acks.duplicates
        or conn.dsacks
        or conn.reassembly.cost
        # No timer asks for anything.
        or conn.tlp_due
        or conn.probe_due
        or (conn.keepalive is not None and conn.keepalive.due)
        # A segment is header, timestamps and text.
        or not conn.ts_enabled
        or not conn.sack_enabled  # or the window grows by duplicates
        or conn.ecn is not None
        or conn.uto is not None
        or conn.snd_up is not None
        # Nobody else has a say in when it leaves, or what window it offers.
        or conn.cork is not None
        or conn.more
        or conn.paced
        or cc.pacing_rate is not None
        or conn.memory.pressure
        or conn.fast_open is not None
        or conn.stray_resets
    ):
        return False
    flight = board.in_flight
    start = conn.snd_nxt
    length = conn.sending.end - start
    if not length:
        recovery.cwnd_limited = limited = flight + conn.mss > cc.cwnd
        if not limited:
            conn.rates.mark_app_limited(flight)
        why = acks.due
        if why is None:
            if not _window_opened(conn, now):
                return True
            why = _WINDOW_UPDATE
        send_plain(conn, now, start, ACK, why)
        return True
    if (
        length >= conn.mss
        or length > conn.snd_una + conn.snd_wnd - start
        or length > cc.cwnd - flight
        or (flight and not conn.nodelay)
    ):
        return False
    rto = conn.rto.rto
    if not flight:
        if now - conn.last_sent_at > rto and start > conn.iss + 1:
            return False  # the window may have to shrink first
        cc.on_send(now, 0, conn.rates.app_limited)
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


def _window_opened(conn: Connection, now: float) -> bool:
    """As `worth_update`, which mostly is not needed to say no."""
    buffer = conn.rcv_buffer
    if conn.queue_share is not None:
        buffer = min(buffer, receive_room(conn, now))
    gain = buffer - conn.received_bytes - conn.rcv_adv + conn.rcv_nxt
    if gain < conn.rcv_mss and 2 * gain < buffer:
        return False
    return worth_update(conn.rcv_nxt, conn.rcv_adv, conn.received_bytes, buffer, conn.rcv_mss)
