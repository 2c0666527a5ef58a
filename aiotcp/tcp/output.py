"""What should go out now? Asked after each batch of segments, each timer and each call.

The order: a reset that ends it all; the SYN; what is lost; new data and the FIN; a window probe;
and, if nothing of that carried it, the acknowledgment that is due. Every segment is labelled with
its reason (`Why`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotcp.reasons import Why
from aiotcp.tcp import pathmtu
from aiotcp.tcp.buffers import receive_room
from aiotcp.tcp.opening import TIMESTAMP_OPTION_BYTES, output_syn
from aiotcp.tcp.recovery import DUP_THRESH
from aiotcp.tcp.tcb import State
from aiotcp.tcp.window import advertise, worth_update
from aiotcp.wire.tcp import (
    ACK,
    FIN,
    MAX_OPTIONS_LENGTH,
    PSH,
    RST,
    URG,
    pack_accecn,
    pack_options,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotcp.tcp.connection import Connection
    from aiotcp.wire.frame import Buffer

_MAX_FRAME_BYTES = 65535
_MAX_SACK_BLOCKS = 4
_OVERRIDE_S = 1.0
"""RFC 9293 3.8.6.2.1: "The override timeout should be in the range 0.1 - 1.0 seconds"."""
_UNSYNCHRONIZED = frozenset({State.SYN_SENT, State.SYN_RECEIVED})


def output(conn: Connection, now: float) -> None:
    """Send all that may be sent, and set the send timer for what could not."""
    if conn.stray_resets:
        _send_stray_resets(conn)
    if conn.farewell is not None:
        _send_farewell(conn, now)
        return
    state = conn.state
    if state in _UNSYNCHRONIZED:
        output_syn(conn, now)
        if state is State.SYN_RECEIVED and conn.acks.due is not None:
            _acknowledge(conn, now)
        return
    if state is State.CLOSED:
        return
    if conn.acks.duplicates or conn.dsacks or _answers_handshake(conn):
        # Apart from the data that may follow: an acknowledgment counts as a duplicate only if
        # "the incoming acknowledgment carries no data" (RFC 5681 2); and that of a SYN+ACK tells
        # which codepoint that had only if it is a pure one (RFC 9768 3.2.2.1).
        _acknowledge(conn, now)
    if conn.scoreboard.lost_bytes:
        _retransmit(conn, now)
    if conn.unsent > 0:
        _send_new(conn, now)
        if conn.cork is not None and conn.unsent <= 0:
            conn.cork.emptied()
    if conn.probe_due:
        _probe(conn, now)
    if conn.acks.due is None and not conn.fin_reached and _window_opened(conn, now):
        conn.acks.at_once(Why.WINDOW_UPDATE)
    if conn.acks.due is not None:
        _acknowledge(conn, now)
    if conn.keepalive is not None and conn.keepalive.due:
        # SHLD-12: no data, and SEG.SEQ = SND.NXT-1, which the peer has to answer.
        _segment(conn, now, conn.snd_nxt - 1, ACK, Why.KEEPALIVE)
        conn.keepalive.probed(now)
    if state is State.FIN_WAIT_2 and conn.closed_by_user and conn.orphan_until == conn.NEVER:
        conn.orphan_until = now + conn.options.fin_timeout_s
    if conn.rexmt_at == conn.NEVER and (
        conn.scoreboard or (conn.unsent > 0 and not _held_by_cork(conn))
    ):
        wait = conn.rto.rto
        if conn.snd_wnd and not conn.scoreboard:
            wait = min(wait, _OVERRIDE_S)  # the window is open, but too little for a segment
        conn.rexmt_at = now + wait


def _held_by_cork(conn: Connection) -> bool:
    return conn.cork is not None and conn.cork.deadline != conn.NEVER


def _answers_handshake(conn: Connection) -> bool:
    """Whether the acknowledgment that is due has to tell the SYN+ACK's codepoint."""
    return conn.ecn is not None and conn.ecn.ack_apart and conn.acks.due is not None


def _window_opened(conn: Connection, now: float) -> bool:
    """Whether the user's reading is worth telling."""
    buffer = conn.rcv_buffer
    if conn.queue_share is not None:
        buffer = min(buffer, receive_room(conn, now))
    return worth_update(conn.rcv_nxt, conn.rcv_adv, conn.received_bytes, buffer, conn.rcv_mss)


# -- resets -----------------------------------------------------------------------------------


def _send_stray_resets(conn: Connection) -> None:
    """Answers to segments of some other connection between the same ports (ST-4, ST-12)."""
    for seq in conn.stray_resets:
        conn.transmit(
            conn.template.frame(seq, 0, RST, 0, offload=conn.path.offload, reason=Why.RST_BAD_ACK)
        )
    conn.stray_resets.clear()


def _send_farewell(conn: Connection, now: float) -> None:
    why = conn.farewell
    conn.farewell = None
    assert why is not None
    _segment(conn, now, conn.snd_nxt, RST | ACK, why)


# -- one segment ------------------------------------------------------------------------------


def _options(conn: Connection, now: float, duplicate: tuple[int, int] | None = None) -> bytes:
    """The options of every segment after the SYNs (RFC 7323 3.2, RFC 2018 4).

    `duplicate` is what the segment reports as received again (RFC 2883).
    """
    timestamps = (conn.clock(now), conn.timestamp) if conn.ts_enabled else None
    user_timeout = conn.uto.advertised_s if conn.uto is not None and conn.uto.due else None
    sack: Sequence[tuple[int, int]] = ()
    if duplicate is not None:
        sack = conn.reassembly.dsack_blocks(_MAX_SACK_BLOCKS, duplicate)
    elif conn.reassembly and conn.sack_enabled:
        sack = conn.reassembly.sack_blocks(_MAX_SACK_BLOCKS)
    if conn.ecn is not None and conn.ecn.accurate:
        # RFC 9768 3.2.3.3, in the room that there is beside two SACK blocks if need be: "the Data
        # Receiver MUST give precedence to the SACK option".
        room = MAX_OPTIONS_LENGTH - (TIMESTAMP_OPTION_BYTES if timestamps else 0)
        if sack:
            room -= 4 + 8 * min(len(sack), 2)
        if user_timeout is not None:
            room -= 4
        counters = conn.ecn.option(room)
        accecn = pack_accecn(*counters) if counters is not None else b""
        return pack_options(
            timestamps=timestamps, sack=sack, accecn=accecn, user_timeout=user_timeout
        )
    if sack or user_timeout is not None:
        return pack_options(timestamps=timestamps, sack=sack, user_timeout=user_timeout)
    return pack_options(timestamps=timestamps) if timestamps else b""


def _segment(
    conn: Connection,
    now: float,
    seq: int,
    flags: int,
    why: str,
    *,
    options: bytes | None = None,
    payload: Sequence[Buffer] = (),
    length: int = 0,
    gso_size: int = 0,
) -> None:
    rcv_nxt = conn.rcv_nxt
    shift = conn.rcv_wscale
    conn.rcv_buffer = conn.rcv_space if conn.queue_share is None else receive_room(conn, now)
    if conn.memory.pressure:
        offered = conn.received_bytes + conn.rcv_adv - rcv_nxt  # is not taken back (SHLD-14)
        share = conn.memory.receive_buffer(conn.rcv_buffer, conn.rcv_mss)
        conn.rcv_buffer = max(share, offered)
    window = advertise(
        rcv_nxt,
        conn.rcv_adv,
        conn.received_bytes,
        conn.rcv_buffer,
        conn.rcv_mss,
        shift,
    )
    edge = rcv_nxt + (window << shift)
    if edge > conn.rcv_adv:
        conn.rcv_adv = edge
    urgent = 0
    if conn.snd_up is not None and seq < conn.snd_up and not flags & RST:
        # MUST-62: the pointer is the number of the octet that follows the urgent data.
        flags |= URG
        urgent = min(conn.snd_up - seq, 0xFFFF)
    ecn = conn.ecn
    ect = False
    if ecn is not None and not flags & RST:
        new = length > 0 and seq >= conn.snd_max and why != Why.WINDOW_PROBE
        ect = new and ecn.ect  # RFC 3168 6.1.4 to 6.1.6: nothing else may be ECN-capable
        flags |= ecn.stamp(flags == ACK and not length and not conn.reassembly, new)
    conn.last_ack_sent = rcv_nxt
    conn.acks.sent()
    end = seq + length + (flags & FIN)
    if end > conn.snd_max:
        conn.snd_max = end
    conn.transmit(
        conn.template.frame(
            seq,
            rcv_nxt,
            flags,
            window,
            options=_options(conn, now) if options is None else options,
            payload=payload,
            payload_length=length,
            gso_size=gso_size,
            urgent=urgent,
            ect=ect,
            offload=conn.path.offload,
            reason=why,
        )
    )
    if conn.uto is not None:
        conn.uto.due = False


def _acknowledge(conn: Connection, now: float) -> None:
    """A pure ACK; out-of-order segments of one batch are answered one by one (RFC 5681 4.2), and
    so are duplicates: each is reported once, by one D-SACK block (RFC 2883 4)."""
    why = conn.acks.due
    assert why is not None
    dsacks, conn.dsacks = conn.dsacks, ()
    count = max(1, conn.acks.duplicates)
    for duplicate in dsacks:
        options = _options(conn, now, duplicate)
        _segment(conn, now, conn.snd_nxt, ACK, why, options=options)
    for _ in range(count - len(dsacks)):
        _segment(conn, now, conn.snd_nxt, ACK, why)


# -- data -------------------------------------------------------------------------------------


def _segment_size(conn: Connection, options: bytes) -> int:
    """Payload bytes of a full segment that carries `options` (MUST-16)."""
    usual = TIMESTAMP_OPTION_BYTES if conn.ts_enabled else 0
    return conn.mss + usual - len(options)


def _frame_size(conn: Connection, size: int, options: bytes) -> int:
    """Payload bytes of the largest frame: whole segments of `size`, cut by the link."""
    path = conn.path
    if not path.gso_max_bytes or conn.snd_up is not None:
        return size
    if conn.ecn is not None and conn.ecn.one_by_one:
        return size
    most = min(path.gso_max_bytes, _MAX_FRAME_BYTES) - path.ip_header - 20 - len(options)
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
    _segment(
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


def _retransmit(conn: Connection, now: float) -> None:
    """Repeat what is lost, oldest first, as far as cwnd and the peer's window allow.

    A window that has shrunk below what was sent may cut a segment (SHLD-16). Below the granularity
    of its scale it counts as not shrunk (RFC 7323 2.4, for the sender, 4).
    """
    options = _options(conn, now)
    size = _segment_size(conn, options)
    frame = _frame_size(conn, size, options)
    board = conn.scoreboard
    edge = conn.send_edge
    if conn.snd_wnd:
        edge += (1 << conn.snd_wscale) - 1
    while (record := board.first_lost()) is not None:
        room = conn.cc.cwnd + conn.recovery.inflation - board.in_flight
        if conn.force_retransmit:
            room = max(room, size)
            conn.force_retransmit = False
        # A FIN needs no window: it carries nothing that must be stored.
        window = edge - record.start + (record.start == conn.fin_seq)
        if window <= 0 or room < min(size, record.end - record.start):
            break
        room = min(room, window)
        if room < size:
            room = min(room, record.end - record.start)
        board.fit(record, min(frame, room - room % size or room))
        conn.total_retransmitted += record.end - record.start
        _send_range(conn, now, record.start, record.end, conn.rexmt_why, options, size)
        board.repeated(record, now)
        conn.last_sent_at = now
    conn.force_retransmit = False


def _send_new(conn: Connection, now: float) -> None:
    """New data, and the FIN behind the last of it."""
    if conn.unsent >= conn.mss and (now >= conn.mtu_at or conn.pmtu.seen != conn.paths.changes):
        pathmtu.attend(conn, now)
    begin = conn.snd_nxt
    options = _options(conn, now)
    size = _segment_size(conn, options)
    frame = _frame_size(conn, size, options)
    board = conn.scoreboard
    if not board and conn.snd_nxt > conn.iss + 1:
        conn.cc.on_idle(now - conn.last_sent_at, conn.rto.rto)
    while (left := conn.unsent) > 0:
        fin = conn.fin_seq is not None
        text = left - fin
        window_room = conn.send_edge - conn.snd_nxt
        cwnd_room = conn.cc.cwnd + conn.recovery.inflation - board.in_flight
        length = max(min(text, window_room, cwnd_room, frame), 0)  # a window may have shrunk
        if text:
            length = _whole_segments(
                conn, now, length, text, size, limited_by_cwnd=cwnd_room < window_room
            )
            if length <= 0:
                break
        fin = fin and length == text
        if fin and window_room <= length and not text:
            break  # a closed window is probed, with the FIN if that is all there is
        fin = fin and window_room > length
        why = Why.NEW_DATA if text else Why.CLOSE
        if text and 0 < conn.recovery.dup_acks < DUP_THRESH and not conn.recovery.in_recovery:
            why = Why.LIMITED_TRANSMIT
        start = conn.snd_nxt
        end = start + length + fin
        if not board:
            # The first in flight: whatever the timer was set for, it is a retransmission's now.
            conn.rexmt_at = now + conn.rto.rto
            conn.probes = 0
            conn.stalled_since = now
        conn.snd_nxt = end
        _send_range(conn, now, start, end, why, options, size)
        board.sent(start, end, now)
        conn.last_sent_at = now
        conn.probe_due = False
    if now >= conn.mtu_at and conn.snd_nxt - begin >= size:
        pathmtu.on_full_sized(conn, begin + size, size)


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


def _probe(conn: Connection, now: float) -> None:
    """A closed window is asked for with "at least one octet of new data" (RFC 9293 3.8.6.1).

    `snd_nxt` stays: the octet may well not be taken, and goes out with the rest when the window
    opens. `snd_max` remembers that an acknowledgment may cover it. Where the window closed over
    data in flight, the octet is the first of that (MUST-35).
    """
    conn.probe_due = False
    start = conn.snd_una if conn.scoreboard else conn.snd_nxt
    _send_range(conn, now, start, start + 1, Why.WINDOW_PROBE, _options(conn, now), 1)
