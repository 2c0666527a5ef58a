"""The buffers of a connection: fixed where the user said how large, else tuned (`autotune`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from aiotcp.options import Options
from aiotcp.tcp.autotune import (
    FRESH_UNSENT_BYTES,
    RECEIVE_INITIAL_BYTES,
    SEND_INITIAL_BYTES,
    ReceiveTuning,
    send_buffer,
)
from aiotcp.tcp.memory import LEAST_SEND_BYTES
from aiotcp.tcp.reassembly import NOTHING_HELD

if TYPE_CHECKING:
    from aiotcp.tcp.connection import Connection

_MAX_FIELD: Final = 0xFFFF
_LITTLE_UNSENT_BYTES: Final = 64 * 1024
"""The end of what was written may wait for the rest of its frame (see `transmit`)."""


def initial_receive_buffer(options: Options) -> int:
    """What the first windows offer."""
    if options.receive_buffer is not None:
        return options.receive_buffer
    most = options.receive_buffer_max
    return RECEIVE_INITIAL_BYTES if most > RECEIVE_INITIAL_BYTES else most


def largest_receive_buffer(options: Options) -> int:
    """What a SYN must choose its window scale for: there is no changing it later."""
    if options.receive_buffer is not None:
        return options.receive_buffer
    return options.receive_buffer_max


def tune_receive_buffer(conn: Connection, tsecr: int, now: float) -> None:
    """Text arrived, which echoes our timestamp `tsecr` (0: none), and a measurement is due."""
    tuning = conn.rcv_tuning
    if tuning is None:
        if conn.rcv_nxt == conn.irs + 1:
            return  # it takes two to measure, and many connections never get a second one
        tuning = conn.rcv_tuning = ReceiveTuning(conn.rcv_mss, conn.rto.srtt)
    if not conn.ts_enabled:
        tuning.on_progress(conn.rcv_nxt, conn.rcv_adv, now)
    elif tsecr:
        tuning.on_echo(((conn.clock(now) - tsecr) & 0xFFFF_FFFF) / 1000)
    taken = conn.total_received - conn.received_bytes
    space = tuning.measure(taken, conn.rcv_space, now)
    if space > conn.rcv_space and not conn.memory.pressure:
        _resize(conn, min(space, conn.options.receive_buffer_max))
    if conn.ts_enabled:
        conn.rcv_tune_at = tuning.due


def change_receive_buffer(conn: Connection) -> None:
    """The options changed (SO_RCVBUF): a fixed size from now on, as far as the agreed window scale
    can say it; or tuned again, from what it is."""
    size = conn.options.receive_buffer
    if size is None:
        conn.rcv_tune_at = -math.inf
    else:
        conn.rcv_tuning = None
        conn.rcv_tune_at = math.inf
        _resize(conn, size)


def receive_room(conn: Connection, now: float) -> int:
    """What may wait, for the user and, as far as it is not here yet, in the link's queue."""
    share = conn.queue_share
    if share is None:
        return conn.rcv_space
    window = share.window(conn.total_received, conn.acks.full, now)
    offered = conn.rcv_adv - conn.rcv_nxt  # is not taken back (SHLD-14)
    return min(conn.rcv_space, conn.received_bytes + max(window, offered))


def _resize(conn: Connection, size: int) -> None:
    conn.rcv_space = min(size, _MAX_FIELD << conn.rcv_wscale)
    # Not less than before: what was offered must find room, be it empty at this moment.
    if conn.reassembly is not NOTHING_HELD:
        conn.reassembly.limit = max(conn.reassembly.limit, 2 * conn.rcv_space)


def initial_send_buffer(options: Options) -> int:
    """What `send` accepts at first."""
    if options.send_buffer is not None:
        return options.send_buffer
    most = options.send_buffer_max
    return SEND_INITIAL_BYTES if most > SEND_INITIAL_BYTES else most


def least_send_limit(options: Options) -> int:
    """What `send` accepts whatever windows and memory say."""
    initial = initial_send_buffer(options)
    return initial if initial < LEAST_SEND_BYTES else LEAST_SEND_BYTES


def send_room(conn: Connection) -> int:
    """What `send` accepts now, bytes."""
    sending = conn.sending
    room = conn.memory.send_room(send_limit(conn), sending.end - sending.start)
    if conn.fresh and conn.options.send_buffer is None:
        room = min(room, FRESH_UNSENT_BYTES - conn.unsent)
    return max(room, 0)


def wants_more(conn: Connection) -> bool:
    """Whether nearly all that the user gave is on its way, and there is room for more: of a user
    who has more (`Tcb.more`), and whom no acknowledgment may tell for a while."""
    return conn.unsent < _LITTLE_UNSENT_BYTES and send_room(conn) > 0


def send_limit(conn: Connection) -> int:
    """What `send` accepts before it is acknowledged, bytes."""
    options = conn.options
    if options.send_buffer is not None:
        return options.send_buffer
    return send_buffer(conn.cc.cwnd, conn.max_snd_wnd, options.send_buffer_max)
