"""Text for a segment or more, on a connection at which nothing else is at work: a part of `usual`.

`transmit.send_new` asks for each frame anew how much may leave. Here that is asked once, and the
frames are made and sent together, since they differ in number and text alone. Both send the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiotcp.reasons import Why
from aiotcp.tcp import tlp
from aiotcp.tcp.segments import send_run
from aiotcp.tcp.transmit import frame_size, waits_for_more

if TYPE_CHECKING:
    from aiotcp.tcp.connection import Connection

_NEW_DATA: Final = Why.NEW_DATA
_TIMESTAMP_OPTION_BYTES: Final = 12


def output_bulk(conn: Connection, now: float, length: int, flight: int) -> bool:
    """Send what the windows allow of the `length` bytes that are unsent. False: nothing was sent,
    and `output` is to decide. The caller has seen that `conn` is plain and not paced.
    """
    if now >= conn.mtu_at or conn.pmtu.seen != conn.paths.changes:
        return False
    start = conn.snd_nxt
    size = frame = conn.mss
    if conn.path.gso_max_bytes and length > size:
        frame = frame_size(conn, size, _TIMESTAMP_OPTION_BYTES)
    window = conn.snd_una + conn.snd_wnd - start
    cc = conn.cc
    room = cc.cwnd - flight
    limited = False
    if length <= room and length <= window:
        ready = length
        if not conn.nodelay:  # Nagle: something is in flight, or will be
            ready -= length % size
    else:
        if window <= room:
            room = window
            if 2 * (room % size) >= conn.max_snd_wnd:
                return False  # such a piece is worth a segment (RFC 9293 3.8.6.2.1)
        else:
            limited = True
        ready = room - room % size
    if conn.more:
        whole = ready - ready % frame
        if length - whole < frame and waits_for_more(length - whole, flight + whole, frame):
            ready = whole
            limited = False
        elif limited and length - ready < frame:
            limited = not waits_for_more(length - ready, flight + ready, frame)
    if ready <= 0:
        return False
    rates = conn.rates
    if not flight:
        rto = conn.rto.rto
        if now - conn.last_sent_at > rto and start > conn.iss + 1:
            return False  # the window may have to shrink first
        cc.on_send(now, 0, rates.app_limited_until != 0)
        conn.rexmt_at = now + rto
        conn.probes = 0
        conn.stalled_since = now
    conn.snd_nxt = end = start + ready
    send_run(conn, now, start, ready, frame, size, _NEW_DATA)
    stamp = rates.on_sent(now, flight, ready)
    if frame > size:
        conn.scoreboard.sent(start, end, stamp)  # what of it is lost will be cut out
    else:
        conn.scoreboard.sent_alike(start, end, frame, stamp)
    conn.last_sent_at = now
    conn.recovery.cwnd_limited = limited
    tlp.schedule_usual(conn, now)
    return True
