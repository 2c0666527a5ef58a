"""SEGMENT ARRIVES: RFC 9293 3.10.7, in the RFC's order.

Nothing here sends. A check changes variables, asks for an acknowledgment (`conn.acks`) or lets
the life story go on (`conn.reach`, `conn.fail`); output is asked afterwards. Each function returns
the name under which the segment was discarded, or None.

    3.10.7.1  CLOSED                              stack.py, closed.py
    3.10.7.2  LISTEN                              listener.py
    3.10.7.3  SYN-SENT                            opening.arrive_syn_sent
    3.10.7.4  SYN-RECEIVED of a passive open      halfopen.py, until the handshake is complete
    3.10.7.4  the other states:
        RFC 7323 5.3 R1, before all else          _check_timestamp
        first     check sequence number           _acceptable, _unacceptable
        second    check the RST bit               _check_reset        (RFC 5961 3)
        third     check security                  left out: nobody implements it
        fourth    check the SYN bit               _check_syn          (RFC 5961 4)
        fifth     check the ACK field             _check_ack          (RFC 5961 5)
                    SYN-RECEIVED                  _check_ack_syn_received
                    new, duplicate, window        recovery.acknowledged, _update_window
                    FIN-WAIT-1, CLOSING, LAST-ACK Milestone.FIN_ACKED
        sixth     check the URG bit               _urgent
        seventh   process the segment text        _text
        eighth    check the FIN bit               _fin
    3.10.7.4  TIME-WAIT                           timewait.py

Most segments of an established connection do not come here: see `prediction`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiotcp.errors import refused, reset
from aiotcp.reasons import Drop, Why
from aiotcp.tcp import ecn_setup, usualacks
from aiotcp.tcp.buffers import tune_receive_buffer
from aiotcp.tcp.congestion import Phase
from aiotcp.tcp.fastopen_setup import on_syn_again
from aiotcp.tcp.opening import arrive_syn_sent, syn_acknowledged
from aiotcp.tcp.prediction import take_fin
from aiotcp.tcp.recovery import acknowledged
from aiotcp.tcp.seq import unwrap
from aiotcp.tcp.tcb import Milestone, State
from aiotcp.tcp.tuning import on_user_timeout
from aiotcp.wire.tcp import ACK, FIN, RST, SYN, URG, Segment

if TYPE_CHECKING:
    from aiotcp.tcp.connection import Connection

_PAWS_IDLE_S: Final = 24 * 86400.0
"""RFC 7323 5.5: an older TS.Recent is no longer valid."""

_MAX_DSACKS: Final = 16
"""How many duplicates of one batch are reported: each costs a segment."""

# Looked up once: a member of an enumeration costs as much as a call.
_SYN_SENT: Final = State.SYN_SENT
_SYN_RECEIVED: Final = State.SYN_RECEIVED
_FIN_WAIT_1: Final = State.FIN_WAIT_1
_FIN_ACKED: Final = Milestone.FIN_ACKED
_OPEN: Final = Phase.OPEN

_CLOSED_ON_BOTH_SIDES: Final = frozenset({State.CLOSING, State.LAST_ACK})
_TAKES_TEXT: Final = frozenset({State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2})


def arrive(conn: Connection, segment: Segment, now: float) -> Drop | None:
    """One segment for one connection."""
    if conn.acks_noted:
        usualacks.settle(conn, now)
    conn.segs_in += 1
    if conn.state is _SYN_SENT:
        dropped = arrive_syn_sent(conn, segment, now)
        if dropped is not None or not conn.established:
            return dropped
        # ST-6: text and FIN of the SYN+ACK are processed; the SYN took one number before them.
        segment.seq += 1
        segment.flags &= ~SYN
    else:
        segment.seq = unwrap(segment.seq, conn.rcv_nxt)
        if (
            segment.flags & (SYN | ACK) == SYN | ACK
            and conn.state is _SYN_RECEIVED
            and segment.seq == conn.irs
        ):
            # RFC 9293 figure 8: the SYN+ACK of a simultaneous open repeats the SYN that we
            # know; "segments are trimmed to the window", and so it is an ACK. Its window, not
            # scaled as in every SYN, is told in the units of those that are.
            segment.seq += 1
            ecn_setup.trim_syn(conn, segment)
            segment.window >>= conn.snd_wscale
        if conn.fast_open is not None:
            dropped = on_syn_again(conn, segment)
            if dropped is not None:
                return dropped
        if conn.ts_enabled and not segment.flags & (RST | SYN):
            dropped = _check_timestamp(conn, segment, now)
            if dropped is not None:
                return dropped
        acceptable = _acceptable(conn, segment)
        if not acceptable and not _probes_closed_window(conn, segment):
            return _unacceptable(conn, segment, now)
        if segment.flags & (RST | SYN):
            if segment.flags & RST:
                return _check_reset(conn, segment, now)
            return _check_syn(conn, segment, now)
        if not segment.flags & ACK:
            return Drop.NO_ACK  # ST-13
        segment.ack = unwrap(segment.ack, conn.snd_una)
        dropped = _check_ack(conn, segment, now)
        if dropped is not None or conn.ended:
            return dropped
        if segment.tsval is not None and conn.ts_enabled:
            _remember_timestamp(conn, segment, segment.tsval, now)
        if segment.user_timeout is not None:
            on_user_timeout(conn, segment.user_timeout)
        if not acceptable:
            # RFC 9293 3.10.7.4: with a zero window "special allowance should be made to accept
            # valid ACKs, URGs, and RSTs"; the text is what the peer probes with.
            if segment.flags & URG:
                _urgent(conn, segment)
            conn.acks.at_once(Why.WINDOW_PROBE_REPLY)
            return Drop.OUT_OF_WINDOW
        if conn.ecn is not None and ecn_setup.on_segment(conn, segment):
            conn.acks.at_once(Why.ACK_CONGESTION)
    if segment.flags & URG:
        _urgent(conn, segment)
    if segment.payload:
        if segment.gso_size:  # a frame of many
            count = -(-len(segment.payload) // segment.gso_size)
            conn.segs_in += count - 1
            conn.data_segs_in += count
        else:
            conn.data_segs_in += 1
        conn.last_data_recv_at = now
        dropped = _text(conn, segment, now)
        if dropped is not None:
            return dropped
    if segment.flags & FIN or conn.peer_fin is not None:
        _fin(conn, segment)
    return None


# -- before the RFC's first step --------------------------------------------------------------


def _check_timestamp(conn: Connection, segment: Segment, now: float) -> Drop | None:
    """PAWS (RFC 7323 5.3 R1). Not for RSTs, which are exempt, nor for SYNs: those are challenged
    whatever they carry (RFC 5961 4.2), or a peer that has restarted could never call again."""
    if segment.tsval is None:
        # RFC 7323 3.2: "If a non-<RST> segment is received without a TSopt, a TCP SHOULD
        # silently drop the segment."
        return Drop.NO_TIMESTAMP
    tsval = unwrap(segment.tsval, conn.ts_recent)
    if tsval < conn.ts_recent and now - conn.ts_recent_at <= _PAWS_IDLE_S:
        if segment.length or conn.challenges.allow_reply(now):
            conn.acks.at_once(Why.ACK_PAWS)
        # RFC 2883 4.3: "The D-SACK block can be included [...] independently of the determination
        # by PAWS"; of two copies the late one has the older timestamp.
        _note_duplicate(conn, segment.seq, min(segment.seq + segment.length, conn.rcv_nxt))
        return Drop.PAWS
    return None


def _remember_timestamp(conn: Connection, segment: Segment, tsval: int, now: float) -> None:
    """RFC 7323 5.3 R3, in 4.3's form: only of the segment that holds the left edge, and, so that
    nobody can poison it blindly, only if its ACK field was valid."""
    if segment.seq <= conn.last_ack_sent:
        unwrapped = unwrap(tsval, conn.ts_recent)
        # A lower one passed PAWS only because 24 idle days have voided what was recent.
        conn.ts_recent = unwrapped if unwrapped >= conn.ts_recent else tsval
        conn.ts_recent_at = now


# -- first: sequence number -------------------------------------------------------------------


def _acceptable(conn: Connection, segment: Segment) -> bool:
    """The four cases of RFC 9293 3.4, table 6."""
    seq, length = segment.seq, segment.length
    if conn.rcv_adv == conn.rcv_nxt:
        return length == 0 and seq == conn.rcv_nxt
    if length == 0:
        return conn.rcv_nxt <= seq < conn.rcv_adv
    return seq < conn.rcv_adv and seq + length > conn.rcv_nxt


def _probes_closed_window(conn: Connection, segment: Segment) -> bool:
    """At the left edge of a closed window: its ACK, URG and RST count (ST-8, MUST-66)."""
    return segment.seq == conn.rcv_nxt == conn.rcv_adv and not segment.flags & SYN


def _unacceptable(conn: Connection, segment: Segment, now: float) -> Drop:
    """ "If an incoming segment is not acceptable, an acknowledgment should be sent in reply
    (unless the RST bit is set)" """
    if segment.flags & RST:
        return Drop.RST_OUT_OF_WINDOW
    if segment.flags & SYN:  # RFC 5961 4.2: whatever the sequence number
        return _check_syn(conn, segment, now)
    length = segment.length
    if not length and segment.flags & ACK and segment.seq == conn.rcv_nxt - 1:
        return _one_behind(conn, segment, now)
    duplicate = length > 0 and segment.seq + length <= conn.rcv_nxt
    if duplicate and conn.ecn is not None:
        conn.ecn.duplicate()
    if length or conn.challenges.allow_reply(now):
        conn.acks.at_once(Why.ACK_DUPLICATE if duplicate else Why.ACK_UNACCEPTABLE)
    _note_duplicate(conn, segment.seq, min(segment.seq + length, conn.rcv_nxt))
    return Drop.DUPLICATE_DATA if duplicate else Drop.OUT_OF_WINDOW


def _one_behind(conn: Connection, segment: Segment, now: float) -> Drop:
    """Empty, and one before the window: a keep-alive (RFC 9293 3.8.4), or from a peer that does
    not know yet that we took the octet of its window probe.

    While we probe as well its ACK counts, as at a closed window: when both ends have taken a probe
    of each other, all that either sends looks like this, and nothing else could tell them that the
    windows are open.
    """
    dropped: Drop | None = None
    conn.heard_at = now
    if conn.probes:
        segment.ack = unwrap(segment.ack, conn.snd_una)
        dropped = _check_ack(conn, segment, now)
    if dropped is None and conn.challenges.allow_reply(now, keep_alive=True):
        conn.acks.at_once(Why.ACK_UNACCEPTABLE)
    return dropped or Drop.OUT_OF_WINDOW


# -- second and fourth: RST and SYN -----------------------------------------------------------


def _check_reset(conn: Connection, segment: Segment, now: float) -> Drop | None:
    """RFC 5961 3.2: exactly at `rcv_nxt` it resets, elsewhere in the window it is challenged."""
    if segment.seq != conn.rcv_nxt:
        return _challenge(conn, now, Drop.RST_CHALLENGED)
    if conn.state in _CLOSED_ON_BOTH_SIDES and not conn.sending:
        # "CLOSING STATE, LAST-ACK STATE [...] enter the CLOSED state, delete the TCB, and return":
        # unlike in the states before, nobody is told, since nothing is lost. Here, as in sockets,
        # a closing state begins with the call, so data may still be on its way; then it is.
        conn.delete()
        return None
    # MUST-11: this SYN-RECEIVED came from an active open; a passive one is a half-open entry,
    # unless by Fast Open, and then its program is at work.
    crossing = conn.state is State.SYN_RECEIVED and conn.fast_open is None
    conn.fail(refused() if crossing else reset())
    return None


def _check_syn(conn: Connection, segment: Segment, now: float) -> Drop:
    _challenge(conn, now, Drop.SYN_CHALLENGED)
    if conn.ecn is not None and conn.acks.due is Why.CHALLENGE_ACK:
        ecn_setup.on_syn(conn, segment)
    return Drop.SYN_CHALLENGED


def _challenge(conn: Connection, now: float, dropped: Drop) -> Drop:
    if conn.challenges.allow_challenge(now):
        conn.acks.at_once(Why.CHALLENGE_ACK)
    return dropped


# -- fifth: ACK -------------------------------------------------------------------------------


def _check_ack(conn: Connection, segment: Segment, now: float) -> Drop | None:
    ack = segment.ack
    opening = conn.state is _SYN_RECEIVED
    if opening:
        # ST-12: "If the segment acknowledgment is not acceptable, form a reset segment"
        if not conn.iss < ack <= conn.snd_max:
            conn.answer_with_reset(ack)
            return Drop.HALF_OPEN_BAD_ACK
        window = segment.window << (0 if segment.flags & SYN else conn.snd_wscale)
        syn_acknowledged(conn, segment.seq, ack, window, now)
    if ack > conn.snd_max:
        # ST-14: "If the ACK acks something not yet sent, then send an ACK, drop the segment"
        if segment.length or conn.challenges.allow_reply(now):
            conn.acks.at_once(Why.ACK_UNACCEPTABLE)
        return Drop.ACK_TOO_NEW
    if ack < conn.snd_una - conn.max_snd_wnd:
        # RFC 5961 5.2: acceptable only in [SND.UNA - MAX.SND.WND, SND.NXT]
        return _challenge(conn, now, Drop.ACK_TOO_OLD)
    conn.heard_at = now
    if conn.fin_seq == ack - 1 and _ends_quietly(conn, segment):
        conn.snd_una = ack
        conn.reach(_FIN_ACKED)
        return None
    if conn.probes:
        if not conn.closed_by_user:
            conn.retransmissions = 0  # MUST-37: a peer that answers probes is alive
        conn.soft_error = None
    if conn.ecn is not None:
        ecn_setup.on_ack(conn, segment, now)
    if ack > conn.snd_una or (
        ack == conn.snd_una
        and ((conn.scoreboard and not opening) or segment.sack or conn.recovery.tlp_end is not None)
    ):
        acknowledged(conn, segment, now)
    _update_window(conn, segment, now)
    if conn.fin_acked and conn.state in _AWAITS_FIN_ACK:
        conn.reach(_FIN_ACKED)
    return None


def _ends_quietly(conn: Connection, segment: Segment) -> bool:
    """Whether this acknowledgment of our FIN is the last one of a connection, since the peer's FIN
    was there before or comes with it; and nothing that it tells of losses or probes is to be
    counted. What it tells of the path is for nobody any more."""
    recovery = conn.recovery
    return (
        (
            conn.state in _CLOSED_ON_BOTH_SIDES
            if not segment.flags & FIN
            else conn.state is _FIN_WAIT_1
            and segment.seq == conn.rcv_nxt < conn.rcv_adv
            and conn.peer_fin is None
            and not segment.payload
            and not conn.reassembly.cost
        )
        and segment.ack == conn.snd_nxt  # below, if the FIN left as a window probe
        and not segment.sack
        and recovery.phase is _OPEN
        and recovery.tlp_end is None
        and not conn.scoreboard.sacked_bytes
        and conn.ecn is None
    )


_AWAITS_FIN_ACK: Final = frozenset({State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK})


def _update_window(conn: Connection, segment: Segment, now: float) -> None:
    """ "If SND.UNA =< SEG.ACK =< SND.NXT, the send window should be updated", unless the segment
    is older than the last that did (ST-15).

    One that acknowledges more is never older, even if it repeats old text (SEG.SEQ < SND.WL1):
    "SND.WND is an offset from SND.UNA", and what was offered from a lower one is not valid here.
    """
    seq, ack = segment.seq, segment.ack
    if ack < conn.snd_una:
        return
    if ack > conn.snd_wl2 or seq >= conn.snd_wl1:
        conn.snd_wnd = segment.window << conn.snd_wscale
        conn.snd_wl1 = max(seq, conn.snd_wl1)
        conn.snd_wl2 = ack
        if conn.snd_wnd > conn.max_snd_wnd:
            conn.max_snd_wnd = conn.snd_wnd
        if conn.probes and conn.snd_wnd:
            # It opens: what was in flight when it closed waits no longer than for a timeout.
            conn.probes = 0
            conn.rexmt_at = min(conn.rexmt_at, now + conn.rto.rto)


# -- sixth: URG -------------------------------------------------------------------------------


def _urgent(conn: Connection, segment: Segment) -> None:
    """ "RCV.UP <- max(RCV.UP,SEG.UP)"; MUST-32: the user is told when the pointer advances."""
    if conn.state not in _TAKES_TEXT:
        return
    pointer = segment.seq + segment.urgent
    if pointer > conn.rcv_nxt and (conn.rcv_up is None or pointer > conn.rcv_up):
        conn.rcv_up = pointer
        conn.urgent_news = True


# -- seventh: text ----------------------------------------------------------------------------


def _text(conn: Connection, segment: Segment, now: float) -> Drop | None:
    if conn.state not in _TAKES_TEXT:
        # "This should not occur since a FIN has been received from the remote side."
        return Drop.DATA_AFTER_FIN
    payload = segment.payload
    start = segment.seq
    end = start + len(payload)
    if conn.closed_by_user and end > conn.rcv_nxt:
        # SHLD-3: nobody will read this, and the peer must learn that it is lost.
        conn.refuse_data()
        return Drop.DATA_AFTER_CLOSE
    limit = conn.rcv_adv if conn.peer_fin is None else min(conn.rcv_adv, conn.peer_fin)
    if end > limit:  # ST-19: trimmed to the window, and to a FIN that is known
        if start >= limit:
            return Drop.DATA_AFTER_FIN
        payload = payload[: limit - start]
        end = limit
        segment.flags &= ~FIN
    rcv_nxt = conn.rcv_nxt
    if end <= rcv_nxt:
        _note_duplicate(conn, start, end)
        return None  # an old segment that brings nothing but its FIN
    if start <= rcv_nxt:
        if conn.received_bytes and conn.memory.exhausted:
            return Drop.MEMORY  # the peer repeats it; where programs read, nothing waits
        if start < rcv_nxt:
            _note_duplicate(conn, start, rcv_nxt)
            payload = payload[rcv_nxt - start :]
        elif conn.reassembly and (held := conn.reassembly.first_held(start, end)):
            _note_duplicate(conn, *held)
        if now >= conn.rcv_tune_at:
            tune_receive_buffer(conn, segment.tsecr, now)
        pieces = len(conn.received)
        conn.received.append(payload)
        conn.rcv_nxt = end
        conn.acks.on_text(end - rcv_nxt, segment.gso_size or len(segment.payload), now)
        if conn.reassembly:
            # RFC 5681 4.2: "a TCP receiver SHOULD send an immediate ACK when the incoming
            # segment fills in all or part of a gap".
            conn.rcv_nxt = conn.reassembly.pop_ready(end, conn.received.append)
            conn.acks.at_once(Why.ACK_OUT_OF_ORDER)
        conn.unsettled += len(conn.received) - pieces
        conn.received_bytes += conn.rcv_nxt - rcv_nxt
        return None
    conn.acks.on_out_of_order()
    conn.rcv_ooopack += 1
    if held := conn.reassembly.first_held(start, end):
        _note_duplicate(conn, *held)
    if conn.memory.pressure:
        return Drop.MEMORY
    kept = conn.hold(start, payload)
    if kept is None:
        return Drop.REASSEMBLY_FULL
    # A copy is no news, except for a FIN that the first one did not have.
    return None if kept or segment.flags & FIN else Drop.DUPLICATE_DATA


def _note_duplicate(conn: Connection, start: int, end: int) -> None:
    """Report [start, end), which arrived again, in the acknowledgment of it alone (RFC 2883 4).

    One that continues the last of the same batch is reported with it, as if they were one segment.
    """
    start = max(start, conn.irs + 1)
    if start >= end or not (conn.sack_enabled and conn.options.dsack):
        return
    dsacks = conn.dsacks
    if dsacks and dsacks[-1][1] == start:
        conn.dsacks = (*dsacks[:-1], (dsacks[-1][0], end))
    elif len(dsacks) < _MAX_DSACKS:
        conn.dsacks = (*dsacks, (start, end))
    conn.acks.at_once(Why.ACK_DUPLICATE)


# -- eighth: FIN ------------------------------------------------------------------------------


def _fin(conn: Connection, segment: Segment) -> None:
    """Only in its turn (ST-20): a FIN beyond a hole is remembered, not acted on."""
    if segment.flags & FIN:
        seq = segment.seq + len(segment.payload)
        if conn.peer_fin is None and seq >= conn.reassembly.end:
            conn.peer_fin = seq
            if seq > conn.rcv_nxt and not segment.payload:
                conn.acks.on_out_of_order()  # text before it has been counted
        elif seq < conn.rcv_nxt:
            conn.acks.at_once(Why.ACK_DUPLICATE)
    if conn.peer_fin == conn.rcv_nxt and not conn.fin_reached:
        take_fin(conn)
