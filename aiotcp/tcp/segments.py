"""One segment: the header of this moment, and the options that it carries."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Final

from aiotcp.reasons import Why
from aiotcp.tcp.buffers import receive_room
from aiotcp.tcp.opening import TIMESTAMP_OPTION_BYTES
from aiotcp.tcp.window import advertise
from aiotcp.wire.alike import Run, frames, run
from aiotcp.wire.tcp import (
    ACK,
    FIN,
    MAX_OPTIONS_LENGTH,
    PSH,
    RST,
    URG,
    pack_accecn,
    pack_options,
    pack_timestamps,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotcp.tcp.connection import Connection
    from aiotcp.wire.frame import Buffer, Frame

_MAX_SACK_BLOCKS: Final = 4
_FEW: Final = 3
"""Packets that are better sent one by one."""


def timestamps_only(conn: Connection, now: float) -> bytes:
    """The options of a segment that acknowledges nothing new."""
    if not conn.ts_enabled:
        return b""
    return pack_timestamps(floor(now * 1000) + conn.ts_offset, conn.ts_recent)


def header_options(conn: Connection, now: float, duplicate: tuple[int, int] | None = None) -> bytes:
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
    return pack_timestamps(*timestamps) if timestamps else b""


def send_segment(
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
    window = _offer_window(conn, now)
    urgent = 0
    if conn.snd_up is not None and seq < conn.snd_up and not flags & RST:
        # MUST-62: the pointer is the number of the octet that follows the urgent data.
        flags |= URG
        urgent = min(conn.snd_up - seq, 0xFFFF)
    if options is None:
        options = header_options(conn, now)
    ecn = conn.ecn
    ect = False
    if ecn is not None and not flags & RST:
        new = length > 0 and seq >= conn.snd_max and why != Why.WINDOW_PROBE
        ect = new and ecn.ect  # RFC 3168 6.1.4 to 6.1.6: nothing else may be ECN-capable
        flags |= ecn.stamp(flags == ACK and not length and not conn.reassembly, new)
    conn.segs_out += 1
    if length:
        if gso_size:  # a frame of many
            count = -(-length // gso_size)
            conn.segs_out += count - 1
            conn.data_segs_out += count
        else:
            conn.data_segs_out += 1
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
            options=options,
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


def sends_plain(conn: Connection) -> bool:
    """Whether `send_plain` does for a segment that has nothing to tell of what is missing."""
    return (
        conn.ts_enabled
        and conn.ecn is None
        and conn.uto is None
        and conn.snd_up is None
        and not conn.memory.pressure
    )


def send_plain(
    conn: Connection,
    now: float,
    seq: int,
    flags: int,
    why: str,
    payload: Sequence[Buffer] = (),
    length: int = 0,
) -> None:
    """The same, for a segment that is known to carry timestamps and nothing else beside its text
    (see `usual`)."""
    rcv_nxt, rcv_adv, shift = conn.rcv_nxt, conn.rcv_adv, conn.rcv_wscale
    buffer = conn.rcv_space if conn.queue_share is None else receive_room(conn, now)
    conn.rcv_buffer = buffer
    window = advertise(rcv_nxt, rcv_adv, conn.received_bytes, buffer, conn.rcv_mss, shift)
    transmit = conn.transmit  # an attribute: `conn.transmit(...)` would look for a method first
    transmit(
        conn.template.plain(
            seq,
            rcv_nxt,
            flags,
            window,
            floor(now * 1000) + conn.ts_offset,  # `Tcb.clock`
            conn.ts_recent,
            payload,
            length,
            conn.path.offload,
            why,
        )
    )
    # It is on its way, and the peer need not wait for what is noted now. Nobody sees the state in
    # between: a link delivers nothing within `send` (`link.base`).
    edge = rcv_nxt + (window << shift)
    if edge > rcv_adv:
        conn.rcv_adv = edge
    conn.segs_out += 1
    if length:
        conn.data_segs_out += 1
    end = seq + length + (flags & FIN)
    if end > conn.snd_max:
        conn.snd_max = end
    conn.last_ack_sent = rcv_nxt
    conn.acks.sent()


def send_run(
    conn: Connection, now: float, seq: int, length: int, frame: int, size: int, why: str
) -> None:
    """The same for `length` bytes of new data: in segments of `size`, as many to a frame as `frame`
    bytes are, and the rest in a last one."""
    rcv_nxt = conn.rcv_nxt
    window = _offer_window(conn, now)
    template, sending, offload = conn.template, conn.sending, conn.path.offload
    tsval = floor(now * 1000) + conn.ts_offset  # `Tcb.clock`
    end = seq + length
    flags = ACK
    last = length % frame
    if end == sending.end:
        flags = ACK | PSH  # MUST-61
        last = last or frame
    elif last == 0 and length == frame:
        last = frame
    count = (length - last) // frame
    segments = 0
    made: list[Frame] = []
    packets: Run | None = None
    if (
        offload
        and frame == size
        and length > _FEW * size
        and len(whole := sending.slices(seq, length)) == 1
    ):
        # They need no sum of their text, which is of one write: a run, until somebody looks.
        text, tsecr = whole[0], conn.ts_recent
        packets = run(template, seq, rcv_nxt, flags, window, tsval, tsecr, text, size, why)
        segments = packets.count
        count = last = 0
    if count:
        gso_size = size if frame > size else 0
        made = frames(
            template,
            seq,
            rcv_nxt,
            ACK,
            window,
            sending.pieces(seq, frame, count),
            frame,
            options=pack_timestamps(tsval, conn.ts_recent),
            gso_size=gso_size,
            offload=offload,
            reason=why,
        )
        segments = count * (frame // size)
    if last:
        payload = sending.slices(end - last, last)
        rest = template.plain(
            end - last,
            rcv_nxt,
            flags,
            window,
            tsval,
            conn.ts_recent,
            payload,
            last,
            offload,
            why,
        )
        if last > size:
            rest.gso_size = size
            segments += -(-last // size)
        else:
            segments += 1
        made.append(rest)
    conn.segs_out += segments
    conn.data_segs_out += segments
    conn.last_ack_sent = rcv_nxt
    conn.acks.sent()
    if end > conn.snd_max:
        conn.snd_max = end
    sent = packets if packets is not None else made
    transmit_run = conn.transmit_run
    if transmit_run is not None:
        transmit_run(sent)
    else:
        for each in sent:
            conn.transmit(each)


def _offer_window(conn: Connection, now: float) -> int:
    """The window field of a segment that leaves now; what it offers is offered."""
    rcv_nxt = conn.rcv_nxt
    shift = conn.rcv_wscale
    buffer = conn.rcv_space if conn.queue_share is None else receive_room(conn, now)
    if conn.memory.pressure:
        offered = conn.received_bytes + conn.rcv_adv - rcv_nxt  # is not taken back (SHLD-14)
        buffer = max(conn.memory.receive_buffer(buffer, conn.rcv_mss), offered)
    conn.rcv_buffer = buffer
    window = advertise(rcv_nxt, conn.rcv_adv, conn.received_bytes, buffer, conn.rcv_mss, shift)
    edge = rcv_nxt + (window << shift)
    if edge > conn.rcv_adv:
        conn.rcv_adv = edge
    return window


def acknowledge(conn: Connection, now: float) -> None:
    """A pure ACK; out-of-order segments of one batch are answered one by one (RFC 5681 4.2), and
    so are duplicates: each is reported once, by one D-SACK block (RFC 2883 4)."""
    acks = conn.acks
    why, count, dsacks = acks.due, acks.duplicates or 1, conn.dsacks
    assert why is not None
    if count == 1 and not dsacks and not conn.reassembly.cost and sends_plain(conn):
        send_plain(conn, now, conn.snd_nxt, ACK, why)
        return
    conn.dsacks = ()
    for duplicate in dsacks:
        options = header_options(conn, now, duplicate)
        send_segment(conn, now, conn.snd_nxt, ACK, why, options=options)
    for _ in range(count - len(dsacks)):
        send_segment(conn, now, conn.snd_nxt, ACK, why)
