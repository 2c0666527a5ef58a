"""Data: what is lost, again; what is new; and probes. As much as the windows, pacing, Nagle's
algorithm and silly-window avoidance allow, in frames as large as the link takes them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from aiotcp.reasons import Event, Why
from aiotcp.tcp import mtuprobe, pacing, pathmtu, recovery, tlp
from aiotcp.tcp.congestion import Phase
from aiotcp.tcp.opening import TIMESTAMP_OPTION_BYTES
from aiotcp.tcp.segments import (
    header_options,
    send_plain,
    send_segment,
    sends_plain,
    timestamps_only,
)
from aiotcp.wire.tcp import ACK, FIN, PSH

if TYPE_CHECKING:
    from aiotcp.tcp.connection import Connection
    from aiotcp.tcp.timeline import Sent

_MAX_FRAME_BYTES: Final = 65535
_NEW_DATA: Final = Why.NEW_DATA
_CLOSE: Final = Why.CLOSE
_OPEN: Final = Phase.OPEN


def _segment_size(conn: Connection, options: bytes) -> int:
    """Payload bytes of a full segment that carries `options` (MUST-16)."""
    usual = TIMESTAMP_OPTION_BYTES if conn.ts_enabled else 0
    return conn.mss + usual - len(options)


def frame_size(conn: Connection, size: int, option_bytes: int) -> int:
    """Payload bytes of the largest frame: whole segments of `size`, cut by the link."""
    path = conn.path
    if not path.gso_max_bytes or conn.snd_up is not None:
        return size
    if conn.ecn is not None and conn.ecn.one_by_one:
        return size
    most = min(path.gso_max_bytes, _MAX_FRAME_BYTES) - path.ip_header - 20 - option_bytes
    return max(most - most % size, size)


def _send_range(
    conn: Connection, now: float, start: int, end: int, why: str, options: bytes, size: int
) -> None:
    """The bytes [start, end), of which the last may be our FIN."""
    flags = ACK
    text_end = min(end, conn.sending.end)
    if conn.fin_seq is not None and end > conn.fin_seq:
        flags |= FIN
    length = text_end - start
    if length and text_end == conn.sending.end:
        flags |= PSH  # MUST-61
    send_segment(
        conn,
        now,
        start,
        flags,
        why,
        options=options,
        payload=conn.sending.slices(start, length),
        length=length,
        gso_size=size if length > size else 0,
    )


def retransmit(conn: Connection, now: float) -> None:
    """Repeat what is lost, oldest first, as far as cwnd and the peer's window allow.

    A window that has shrunk below what was sent may cut a segment (SHLD-16). Below the granularity
    of its scale it counts as not shrunk (RFC 7323 2.4, for the sender, 4).

    What the peer is to know of our holes has gone out apart (see `output`): beside SACK blocks a
    segment would not fit that was sent without.
    """
    options = timestamps_only(conn, now)
    size = _segment_size(conn, options)
    frame = frame_size(conn, size, len(options))
    board = conn.scoreboard
    if conn.recovery.frto.holds_back and not conn.force_retransmit:
        return
    rate = _pacing_rate(conn)
    if rate is not None:
        frame = _quantum(conn, frame, size, rate)
    edge = conn.send_edge
    if conn.snd_wnd:
        edge += (1 << conn.snd_wscale) - 1
    while (record := board.first_lost()) is not None:
        room = recovery.window(conn) - board.in_flight
        if conn.force_retransmit:
            room = max(room, size)
            conn.force_retransmit = False
        elif rate is not None and not conn.pacer.ready(now):
            conn.pace_at = conn.pacer.release_at
            break
        elif conn.recovery.frto.holds_back:
            break
        # A FIN needs no window: it carries nothing that must be stored.
        window = edge - record.start + (record.start == conn.fin_seq)
        if window <= 0 or room < min(size, record.end - record.start):
            break
        room = min(room, window)
        if room < size:
            room = min(room, record.end - record.start)
        board.fit(record, min(frame, room - room % size or room))
        _repeat(conn, now, record, conn.rexmt_why, options, size)
    conn.force_retransmit = False


def _repeat(
    conn: Connection, now: float, record: Sent, why: str, options: bytes, size: int
) -> None:
    """Send `record` again."""
    length = record.size
    board = conn.scoreboard
    conn.total_retransmitted += length
    segments = -(-length // size)
    conn.total_retrans += segments
    conn.events[Event.RETRANSMITTED_SEGMENTS] += segments
    _send_range(conn, now, record.start, record.end, why, options, size)
    flight = board.in_flight - (0 if record.lost else length)
    board.repeated(record, conn.rates.on_sent(now, flight, length))
    phase = conn.recovery.phase
    if phase is not _OPEN:
        first = conn.recovery.repetitions.repeated(record.start, record.end)
        if first and conn.ts_enabled:
            conn.recovery.undo_ts = conn.clock(now)
    if phase is Phase.RECOVERY and record.start == conn.snd_una:
        # RFC 6675 6: "a more careful variant that re-arms the RTO timer on each retransmission that
        # is sent during recovery"; here of the first hole. Set when the flight left, it would
        # expire before its repetition can be acknowledged where the round trip varies little.
        conn.rexmt_at = now + conn.rto.rto
    _account(conn, length, now)


def _account(conn: Connection, length: int, now: float) -> None:
    """`length` bytes left, new or again."""
    conn.last_sent_at = now
    if conn.recovery.prr is not None:
        conn.recovery.prr.on_sent(length)
    rate = _pacing_rate(conn)
    if rate is not None:
        conn.pacer.on_sent(length, rate, _burst(conn, rate), now)


def send_new(conn: Connection, now: float) -> bool:
    """New data, and the FIN behind the last of it. True: that was one segment, the only one in
    flight, and told the peer all that there was to tell."""
    if send_only_one(conn, now):
        return True
    if conn.unsent >= conn.mss and (now >= conn.mtu_at or conn.pmtu.seen != conn.paths.changes):
        pathmtu.attend(conn, now)
    begin = conn.snd_nxt
    options = header_options(conn, now)
    size = _segment_size(conn, options)
    frame = frame_size(conn, size, len(options))
    board = conn.scoreboard
    if not board:
        if conn.snd_nxt > conn.iss + 1:
            conn.cc.on_idle(now - conn.last_sent_at, conn.rto.rto)
        conn.cc.on_send(now, 0, conn.rates.app_limited_until != 0)
    rate = _pacing_rate(conn)
    if rate is not None:
        frame = _quantum(conn, frame, size, rate)
    if now >= conn.mtu_at and conn.unsent > conn.mss and not _probe_path(conn, now, options):
        conn.recovery.cwnd_limited = True
        return False
    limited = False
    while (left := conn.unsent) > 0:
        if conn.more and waits_for_more(left, board.in_flight, frame):
            break
        fin = conn.fin_seq is not None
        text = left - fin
        window_room = conn.send_edge - conn.snd_nxt
        cwnd_room = recovery.window(conn) - board.in_flight
        length = max(min(text, window_room, cwnd_room, frame), 0)  # a window may have shrunk
        if text:
            length = _whole_segments(
                conn, now, length, text, size, limited_by_cwnd=cwnd_room < window_room
            )
            if length <= 0:
                limited = cwnd_room < min(text, window_room, size)
                break
            if rate is not None and not conn.pacer.ready(now):
                conn.pace_at = conn.pacer.release_at
                limited = _window_matters(conn)
                break
        fin = fin and length == text
        if fin and window_room <= length and not text:
            break  # a closed window is probed, with the FIN if that is all there is
        fin = fin and window_room > length
        why = Why.NEW_DATA if text else Why.CLOSE
        if text and conn.recovery.transmits_limited(board.sacked_bytes):
            why = Why.LIMITED_TRANSMIT
        start = conn.snd_nxt
        end = start + length + fin
        if not board:
            _first_in_flight(conn, now)
        conn.snd_nxt = end
        _send_range(conn, now, start, end, why, options, size)
        board.sent(start, end, conn.rates.on_sent(now, board.in_flight, end - start))
        _account(conn, end - start, now)
        conn.probe_due = False
    if now >= conn.mtu_at and conn.snd_nxt - begin >= size:
        pathmtu.on_full_sized(conn, begin + size, size)
    conn.recovery.cwnd_limited = limited
    if conn.snd_nxt > begin:
        tlp.schedule(conn, now)
    return False


def waits_for_more(left: int, in_flight: int, frame: int) -> bool:
    """Whether what is left stays until acknowledgments let the user fill up a whole frame: small
    ones cost as much, and once sent come back in every round trip. As Linux defers a segment for
    TSO: only a small part of what is in flight, and only where full frames are, since what
    acknowledges those is not delayed (RFC 9293, SHLD-19)."""
    return left < frame and 2 * frame <= in_flight >= 8 * left


def send_only_one(conn: Connection, now: float, calm: bool = False) -> bool:
    """A request, an answer, a FIN: all that is unsent fits into one segment, and nothing is in
    flight. False where anything else than that is to be thought of; `send_new` does.

    `calm`: as in `Tcb.parting`."""
    start, end = conn.snd_nxt, conn.sending.end
    length = end - start
    fin = conn.fin_seq is not None
    size = length + fin
    cc, board = conn.cc, conn.scoreboard
    if (
        board.in_flight
        or size >= conn.mss  # a full one may tell of the path's MTU
        or size > conn.snd_wnd
        or size > cc.cwnd
        or cc.pacing_rate is not None
        or (conn.memory.pressure if calm else _is_hindered(conn))
    ):
        return False
    if start > conn.iss + 1:
        cc.on_idle(now - conn.last_sent_at, conn.rto.rto)
    cc.on_send(now, 0, conn.rates.app_limited_until != 0)
    _first_in_flight(conn, now)
    conn.snd_nxt = end + fin
    flags = (ACK | PSH if length else ACK) | fin  # MUST-61; FIN is 1
    why = _NEW_DATA if length else _CLOSE
    payload = conn.sending.slices(start, length) if length else ()
    if calm or sends_plain(conn):
        send_plain(conn, now, start, flags, why, payload, length)
    else:
        options = timestamps_only(conn, now)
        send_segment(conn, now, start, flags, why, options=options, payload=payload, length=length)
    board.sent(start, end + fin, conn.rates.on_sent(now, 0, size))
    conn.last_sent_at = now
    conn.probe_due = False
    conn.recovery.cwnd_limited = False
    if conn.sack_enabled and conn.snd_una > conn.iss:
        tlp.schedule_usual(conn, now)
    else:
        conn.tlp_at = math.inf
    return True


def _is_hindered(conn: Connection) -> bool:
    """Whether not only windows have a say in what leaves, or a segment has more to tell."""
    return (
        bool(conn.scoreboard)  # all of it is lost, or arrived out of order
        or conn.ecn is not None
        or conn.uto is not None
        or conn.snd_up is not None
        or conn.cork is not None
        or conn.paced
        or conn.recovery.phase is not _OPEN
        or (conn.reassembly.cost > 0 and conn.sack_enabled)
    )


def _first_in_flight(conn: Connection, now: float) -> None:
    """Whatever the timer was set for, it is a retransmission's now."""
    conn.rexmt_at = now + conn.rto.rto
    conn.probes = 0
    conn.stalled_since = now


def _probe_path(conn: Connection, now: float, options: bytes) -> bool:
    """A segment larger than the others, if one is due; false: first of all when there is room."""
    length = mtuprobe.size_now(conn, len(options), recovery.window(conn))
    if length is None:
        return False
    if length and (_pacing_rate(conn) is None or conn.pacer.ready(now)):
        if not conn.scoreboard:
            _first_in_flight(conn, now)
        start = conn.snd_nxt
        end = conn.snd_nxt = start + length
        _send_range(conn, now, start, end, Why.MTU_PROBE, options, length)
        conn.scoreboard.sent(start, end, conn.rates.on_sent(now, conn.scoreboard.in_flight, length))
        _account(conn, length, now)
        mtuprobe.sent(conn, start, end)
    return True


def note_app_limited(conn: Connection) -> None:
    """All was sent, and more might have been (draft-ietf-ccwg-bbr-05 4.1.2.4)."""
    flight = conn.scoreboard.in_flight
    conn.recovery.cwnd_limited = flight + conn.mss > recovery.window(conn)
    if not conn.recovery.cwnd_limited and not conn.scoreboard.lost_bytes:
        conn.rates.mark_app_limited(flight)


def _pacing_rate(conn: Connection) -> float | None:
    """Bytes per second, or None: the window alone limits."""
    return pacing_rate(conn) if conn.paced else conn.cc.pacing_rate


def pacing_rate(conn: Connection) -> float | None:
    """The same, with what the options ask for."""
    rate = conn.cc.pacing_rate
    options = conn.options
    if rate is None and options.pacing:
        window = max(recovery.window(conn), conn.scoreboard.in_flight)
        rate = pacing.window_rate(window, conn.cc.ssthresh, conn.rto.srtt)
    most = options.max_pacing_rate
    return rate if most is None or (rate is not None and rate <= most) else most


def _burst(conn: Connection, rate: float) -> int:
    """How many bytes may leave at once."""
    most = conn.cc.send_quantum
    return min(most, pacing.burst(rate, conn.mss)) if conn.paced else most


def _quantum(conn: Connection, frame: int, size: int, rate: float) -> int:
    """Payload bytes of a paced frame: whole segments, and no more than may leave at once."""
    quantum = min(frame, _burst(conn, rate))
    return max(quantum - quantum % size, size)


def _window_matters(conn: Connection) -> bool:
    """Whether growing the window has a meaning though pacing ended the output: always for a
    control that paces. Else while the window doubles, if half of it is in use, since pacing may
    need the round trip to fill it (as in Linux); but not where the application set the pace."""
    cc = conn.cc
    if cc.pacing_rate is not None:
        return True
    return cc.cwnd < cc.ssthresh and 2 * conn.scoreboard.in_flight > cc.cwnd


def tail_loss_probe(conn: Connection, now: float) -> None:
    """RFC 8985 7.3: a segment of new data if there is one and the peer's window has room for it,
    else the last one again, whatever the congestion window says."""
    conn.tlp_due = False
    options = header_options(conn, now)
    size = _segment_size(conn, options)
    board = conn.scoreboard
    start = conn.snd_nxt
    text = min(conn.sending.end - start, conn.send_edge - start, size)
    if text > 0:
        end = conn.snd_nxt = start + text
        _send_range(conn, now, start, end, Why.TAIL_LOSS_PROBE, options, size)
        board.sent(start, end, conn.rates.on_sent(now, board.in_flight, text))
        _account(conn, text, now)
        tlp.sent(conn, retransmitted=False)
        return
    record = board.last(size)
    if record is not None:
        _repeat(conn, now, record, Why.TAIL_LOSS_PROBE, options, size)
        tlp.sent(conn, retransmitted=True)


def _whole_segments(
    conn: Connection, now: float, room: int, text: int, size: int, *, limited_by_cwnd: bool
) -> int:
    """How many of `text` bytes to send where `room` fit: RFC 9293 3.8.6.2.1 and Nagle.

    Whole segments always go; the rest of the queue goes too unless Nagle holds it; a piece that
    only the window cut off goes if it is at least half of the largest window seen (Fs = 1/2).
    """
    if room <= 0:
        return 0
    part = room % size
    if not part:
        return room
    if room == text:
        if conn.fin_seq is not None or conn.snd_up is not None:
            return room  # the end of the stream, or urgent
        if conn.cork is not None and conn.cork.holds(now):
            return room - part
        if conn.nodelay:
            return room
        # Nagle: "if there is unacknowledged data [...] then the sending TCP endpoint buffers
        # all user data [...] until the outstanding data has been acknowledged or until the TCP
        # endpoint can send a full-sized segment".
        return room if not conn.scoreboard and room < size else room - part
    if room > size:
        return room - part
    if not limited_by_cwnd and (2 * room >= conn.max_snd_wnd or conn.probe_due):
        return room
    return 0


def probe(conn: Connection, now: float) -> None:
    """A closed window is asked for with "at least one octet of new data" (RFC 9293 3.8.6.1).

    `snd_nxt` stays: the octet may well not be taken, and goes out with the rest when the window
    opens. `snd_max` remembers that an acknowledgment may cover it. Where the window closed over
    data in flight, the octet is the first of that (MUST-35).
    """
    conn.probe_due = False
    start = conn.snd_una if conn.scoreboard else conn.snd_nxt
    _send_range(conn, now, start, start + 1, Why.WINDOW_PROBE, header_options(conn, now), 1)
