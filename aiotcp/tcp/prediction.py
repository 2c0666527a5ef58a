"""Header prediction (Van Jacobson, 1990): the next segment is nearly always the one that one
would expect, in its turn, of the same window, with nothing out of the ordinary on either side.

One condition tells, and what `arrival.arrive` would do to such a segment step by step is then done
at once: no `Segment` is made, and no step is asked whether it has anything to do. Whatever differs
in any point is for `arrive`; both leave the same state behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiotcp.reasons import Why
from aiotcp.tcp import usualacks
from aiotcp.tcp.buffers import tune_receive_buffer
from aiotcp.tcp.congestion import Phase
from aiotcp.tcp.seq import MASK
from aiotcp.tcp.tcb import Milestone, State
from aiotcp.wire.usual import FIN, PSH

if TYPE_CHECKING:
    from aiotcp.tcp.connection import Connection
    from aiotcp.wire.alike import Run
    from aiotcp.wire.frame import Buffer

_OLDER: Final = 1 << 31
_LONGEST: Final = 0xFFFF
"""Bytes of a frame of many, at most."""
_ESTABLISHED: Final = State.ESTABLISHED
_FIN_WAIT_1: Final = State.FIN_WAIT_1
_LAST_ACK: Final = State.LAST_ACK
_THEY_CLOSE: Final = Milestone.THEY_CLOSE
_FIN_ACKED: Final = Milestone.FIN_ACKED
_ACK_FIN: Final = Why.ACK_FIN
_OPEN: Final = Phase.OPEN


def take(
    conn: Connection,
    seq: int,
    words: int,
    stamps: int,
    packet: memoryview,
    start: int,
    gso_size: int,
    now: float,
) -> bool:
    """A segment with the timestamps option and no other, with ACK and perhaps PSH and no other
    flag; `words` and `stamps` as in `wire.usual`, its text is `packet[start:]`.

    False: nothing has changed, it is for `arrive`.
    """
    rcv_nxt = conn.rcv_nxt
    snd_una = conn.snd_una
    newer = (stamps >> 32) - conn.ts_recent & MASK
    calm = conn.calm
    if (
        # In its turn; neither its window is older than the one we know (ST-15), nor its timestamp
        # (PAWS).
        seq != rcv_nxt & MASK
        or rcv_nxt < conn.snd_wl1
        or newer >= _OLDER
        # And nothing is under way that other segments would have to do with.
        or not (calm or _is_plain(conn))
    ):
        return False
    length = len(packet) - start
    if length and (
        # Text, within the window, and nothing is known of what follows it.
        rcv_nxt + length > conn.rcv_adv
        or conn.memory.exhausted
        or not (calm or (not conn.reassembly.cost and conn.peer_fin is None))
    ):
        return False
    if conn.acks_noted:
        snd_una = conn.ack_noted
    ahead = (words >> 32) - snd_una & MASK
    if ahead:
        if calm and ahead <= conn.snd_nxt - snd_una and conn.cc.pacing_rate is None:
            snd_una += ahead  # as `usualacks.note`
            conn.acks_noted += 1
            conn.ack_noted = snd_una
        elif usualacks.note(conn, words >> 32):
            snd_una = conn.ack_noted
        else:
            return False
    elif not length or (
        # It is no news, which matters while something of ours is on its way; but not if all is as
        # usual, since text is no duplicate (RFC 5681 2).
        not conn.acks_noted
        and (
            conn.recovery.tlp_end is not None
            or (snd_una != conn.snd_nxt and not usualacks.is_usual(conn))
        )
    ):
        return False
    conn.heard_at = now
    window = (words & 0xFFFF) << conn.snd_wscale
    if window != conn.snd_wnd:
        conn.snd_wnd = window
        if window > conn.max_snd_wnd:
            conn.max_snd_wnd = window
    conn.snd_wl1 = rcv_nxt
    conn.snd_wl2 = snd_una
    if rcv_nxt <= conn.last_ack_sent:
        conn.ts_recent += newer
        conn.ts_recent_at = now
    if not length:
        conn.segs_in += 1
        return True
    conn.last_data_recv_at = now
    if now >= conn.rcv_tune_at:
        if conn.acks_noted:
            usualacks.settle(conn, now)  # it may begin with the round trip that they tell
        tune_receive_buffer(conn, stamps & MASK, now)
    count = -(-length // gso_size) if gso_size else 1  # a frame of many
    conn.segs_in += count
    conn.data_segs_in += count
    conn.received.append(packet[start:])
    conn.unsettled += 1
    conn.rcv_nxt = rcv_nxt + length
    conn.received_bytes += length
    conn.acks.on_text(length, gso_size or length, now)
    return True


def take_again(conn: Connection, words: int) -> bool:
    """As `take`, for an acknowledgment directly behind one that was taken and noted, which differs
    in its number and window alone."""
    base = conn.ack_noted
    ahead = (words >> 32) - base & MASK
    if not 0 < ahead <= conn.snd_nxt - base:
        return False
    conn.acks_noted += 1
    conn.ack_noted = conn.snd_wl2 = base + ahead
    conn.segs_in += 1
    window = (words & 0xFFFF) << conn.snd_wscale
    if window != conn.snd_wnd:
        conn.snd_wnd = window
        if window > conn.max_snd_wnd:
            conn.max_snd_wnd = window
    return True


def take_end(conn: Connection, seq: int, words: int, stamps: int, now: float) -> bool:
    """As `take`, for a segment without text that ends one way of a connection or both: the peer's
    FIN, with the acknowledgment of all that was sent, ours perhaps included; or that of our FIN
    after theirs."""
    rcv_nxt, una = conn.rcv_nxt, conn.snd_una
    newer = (stamps >> 32) - conn.ts_recent & MASK
    fin = words & FIN
    if (
        (seq ^ rcv_nxt) & MASK
        or newer >= _OLDER
        or not conn.ts_enabled
        or rcv_nxt >= conn.rcv_adv
        or conn.ecn is not None
        or conn.fast_open is not None
        or conn.probes
        or conn.acks_noted
        or (fin and (conn.peer_fin is not None or conn.reassembly.cost))
    ):
        return False
    state, recovery = conn.state, conn.recovery
    ahead = (words >> 32) - una & MASK
    if state is _FIN_WAIT_1 if fin else state is _LAST_ACK:
        if (
            conn.fin_seq != una + ahead - 1
            or conn.snd_nxt != una + ahead
            or recovery.phase is not _OPEN
            or recovery.tlp_end is not None
            or conn.scoreboard.sacked_bytes
        ):
            return False
        # The last acknowledgment: what it tells of the path is for nobody any more.
        conn.segs_in += 1
        conn.heard_at = now
        conn.snd_una = una + ahead
        conn.reach(_FIN_ACKED)
        if not fin:
            return True
    elif not (fin and state is _ESTABLISHED) or rcv_nxt < conn.snd_wl1:
        return False
    else:
        if ahead:
            if not usualacks.note(conn, words >> 32):
                return False
            usualacks.settle(conn, now)
        elif una != conn.snd_nxt or recovery.tlp_end is not None:
            return False
        conn.segs_in += 1
        conn.heard_at = now
        conn.snd_wnd = window = (words & 0xFFFF) << conn.snd_wscale
        if window > conn.max_snd_wnd:
            conn.max_snd_wnd = window
        conn.snd_wl1 = rcv_nxt
        conn.snd_wl2 = una + ahead
    if rcv_nxt <= conn.last_ack_sent:
        conn.ts_recent += newer
        conn.ts_recent_at = now
    take_fin(conn)
    return True


def take_fin(conn: Connection) -> None:
    """The peer's FIN is in its turn (RFC 9293 3.10.7.4, eighth)."""
    conn.peer_fin = conn.rcv_nxt
    conn.fin_reached = True
    conn.rcv_nxt += 1
    conn.rcv_adv += 1  # it takes a number, but no room: the window stays as it was
    conn.acks.at_once(_ACK_FIN)
    conn.reach(_THEY_CLOSE)


def _is_plain(conn: Connection) -> bool:
    """Whether it is established, with timestamps and without what else a segment may tell."""
    return (
        conn.ts_enabled
        and conn.state is _ESTABLISHED
        and conn.ecn is None
        and conn.fast_open is None
        and not conn.probes
    )


class Train:
    """Segments of one batch that follow directly upon one that was taken, and differ from it in
    sequence number, text and PSH only (what Linux's generic receive offload merges).

    The owner collects them in `pieces`, no more than `most`, and keeps `seq` up to date.
    """

    __slots__ = (
        "acks",
        "conn",
        "gso_size",
        "key",
        "longest",
        "merged",
        "most",
        "pieces",
        "seq",
        "stamps",
        "words",
    )

    def __init__(self) -> None:
        self.acks: Connection | None = None
        """No text is collected: acknowledgments of this one follow each other (`take_again`)."""
        self.conn: Connection | None = None
        self.key = b""
        """Of the connection; empty: no more are taken."""
        self.seq = 0
        """The next one's, as on the wire."""
        self.words = 0
        """Theirs, PSH set."""
        self.stamps = 0
        """Theirs."""
        self.gso_size = 0
        """Of the frame of many that each is; 0 for segments."""
        self.longest = 0
        """Bytes of text: none has more."""
        self.most = 0
        """There is room for so many of that length."""
        self.pieces: list[Buffer] = []
        """Text."""
        self.merged = 0
        """So many more segments than pieces, since some came as one."""

    def begin(
        self,
        conn: Connection,
        seq: int,
        words: int,
        stamps: int,
        gso_size: int,
        length: int,
        now: float,
    ) -> None:
        """`conn` has taken a segment of `length` bytes, or a frame of segments of `gso_size`, and
        others may follow at `seq`. Not while a measurement is due in which each has a part."""
        if now < conn.rcv_tune_at:
            self.acks = None
            self.conn = conn
            self.key = conn.flow
            self.seq = seq & MASK
            self.words = words | PSH
            self.stamps = stamps
            self.gso_size = gso_size
            self.longest = longest = _LONGEST if gso_size else length
            self.most = (conn.rcv_adv - conn.rcv_nxt) // longest

    def take_run(self, run: Run) -> bool:
        """The first packet of `run` was the last one that was taken: the others look like it and
        follow it, and nobody looks at them. False: there is no room for all of them."""
        pieces, others = self.pieces, run.count - 1
        if len(pieces) + others > self.most:
            return False
        between = run.between
        length = len(between)
        if length:
            pieces.append(between)
            merged = others - 2  # the last one is a piece, too
            self.merged += merged
            self.most -= merged
        last = run.last.payload[0]
        pieces.append(last)
        self.seq = (self.seq + length + len(last)) & MASK
        return True

    def begin_acks(self, conn: Connection, seq: int, stamps: int) -> None:
        """`conn` has taken and noted an acknowledgment without text: others may follow."""
        self.acks = conn
        self.key = conn.flow
        self.seq = seq
        self.stamps = stamps
        self.words = 0  # no text is like it

    def end(self, now: float) -> int:
        """What was collected goes to the connection, as if each had been taken by itself: so many
        bytes."""
        self.key = b""
        pieces = self.pieces
        if not pieces:
            return 0
        conn = self.conn
        assert conn is not None
        self.pieces = []
        count = len(pieces) + self.merged
        self.merged = 0
        length = self.seq - conn.rcv_nxt & MASK
        size = self.gso_size
        segments = count
        if size:
            segments = sum([-(-len(piece) // size) for piece in pieces])
        conn.segs_in += segments
        conn.data_segs_in += segments
        conn.received += pieces
        conn.unsettled += len(pieces)
        conn.rcv_nxt += length
        conn.snd_wl1 = conn.rcv_nxt - len(pieces[-1])
        conn.received_bytes += length
        conn.acks.on_text(length, size or self.longest, now)
        return length
