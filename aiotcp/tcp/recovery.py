"""What an acknowledgment says about loss, and what is done about it.

    tells of loss     RACK with SACK (RFC 8985), duplicates without (RFC 6582, `newreno`)
    repairs it        fast recovery under PRR (RFC 9937), or slow start after a timeout
    takes it back     F-RTO (RFC 5682), Eifel (RFC 3522, 4015), D-SACK (RFC 2883)
    looks for it      the tail loss probe (`tlp`), the reordering timer, the retransmission timer

The scoreboard knows the bytes, the congestion control how many may be in the network; here is the
order in which they are told. Nothing is sent: `output` asks `window` and the scoreboard.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from aiotcp.reasons import Event, Why
from aiotcp.tcp import ecn_setup, mtuprobe, pathmtu, sack, tlp
from aiotcp.tcp.congestion import Ack, Lost, Phase
from aiotcp.tcp.frto import NO_TIMEOUT, Frto
from aiotcp.tcp.newreno import NewReno, Verdict
from aiotcp.tcp.prr import ProportionalRateReduction
from aiotcp.tcp.rack import DUP_THRESH, Rack
from aiotcp.tcp.repetitions import NOTHING_REPEATED, Repetitions
from aiotcp.tcp.roundtrip import round_trip
from aiotcp.tcp.scoreboard import Delivered
from aiotcp.tcp.seq import unwrap
from aiotcp.tcp.timeline import Sent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotcp.tcp.connection import Connection
    from aiotcp.wire.tcp import Segment

_OPEN: Final = Phase.OPEN  # looked up once: a member of an Enum is not found quickly


class Recovery:
    """The state of loss recovery between two acknowledgments."""

    __slots__ = (
        "cwnd_limited",
        "frto",
        "newreno",
        "phase",
        "prr",
        "rack",
        "recover",
        "repetitions",
        "spurious",
        "tlp_end",
        "tlp_retransmitted",
        "tlp_rtt_taken",
        "undo_ts",
    )

    def __init__(self, iss: int) -> None:
        self.phase = _OPEN
        self.recover = iss
        """RecoveryPoint: one above the highest sequence sent when the latest repair began."""
        self.rack = Rack(iss)
        self.newreno: NewReno | None = None  # without SACK, once there is something to tell
        self.prr: ProportionalRateReduction | None = None
        self.frto = NO_TIMEOUT
        self.cwnd_limited = False
        """The window was what ended the latest output."""
        self.tlp_end: int | None = None
        """Where the loss probe under way ends: TLP.end_seq."""
        self.tlp_retransmitted = False
        """It repeats what was sent: TLP.is_retrans."""
        self.tlp_rtt_taken = True
        """There was a round-trip sample since the latest probe."""

        self.repetitions = NOTHING_REPEATED
        self.undo_ts: int | None = None
        """Our timestamp on the latest repair's first retransmission; None before, and once it was
        taken back."""
        self.spurious = 0
        """How many repairs were taken back."""

    def transmits_limited(self, sacked_bytes: int) -> bool:
        """New data goes out for duplicates, before they tell of a loss (RFC 3042)."""
        if self.phase is not _OPEN:
            return False
        newreno = self.newreno
        return sacked_bytes > 0 or (newreno is not None and 0 < newreno.dup_acks < DUP_THRESH)

    def begins(self, phase: Phase, snd_nxt: int) -> None:
        """A repair begins, by loss or by timeout; or goes on as another one. That is taken back
        only if it was for nothing from the first: a report of what came twice does not tell."""
        if self.phase is _OPEN:
            self.undo_ts = None
            if self.repetitions is NOTHING_REPEATED:
                self.repetitions = Repetitions()
            self.repetitions.begin()
        else:
            self.repetitions.settle()
        self.phase = phase
        self.recover = snd_nxt
        self.tlp_end = None

    def ends(self) -> None:
        """It is over, or is taken back."""
        self.phase = _OPEN
        self.prr = None
        self.frto = NO_TIMEOUT
        if self.newreno is not None:
            self.newreno.end()


def window(conn: Connection) -> int:
    """How many bytes may be in the network now."""
    recovery = conn.recovery
    if recovery.prr is not None:
        return conn.scoreboard.in_flight + recovery.prr.sndcnt
    newreno = recovery.newreno
    return conn.cc.cwnd if newreno is None else conn.cc.cwnd + newreno.inflation


# -- an acknowledgment --------------------------------------------------------------------------


def acknowledged(conn: Connection, segment: Segment, now: float) -> None:
    """SEG.ACK is at `snd_una`, with data outstanding, or above: take what it tells."""
    board, recovery, rates = conn.scoreboard, conn.recovery, conn.rates
    ack = segment.ack
    prior_flight = board.in_flight
    prior_una = conn.snd_una
    prior_phase = recovery.phase
    advanced = ack > prior_una
    oldest = board.oldest
    delivered = board.acknowledge(ack) if advanced else []
    rtt = round_trip(conn, segment, oldest, delivered, now) if advanced else None
    dsack = None
    if conn.sack_enabled:
        if segment.sack:
            dsack = sack.take(conn, segment, delivered)
        sacked_rtt = sack.tell_rack(conn, segment, delivered, now)
        if sacked_rtt is not None and rtt is None and recovery.rack.end_seq > conn.rtt_seq:
            # In a long repair nothing else says that the path has become slower.
            conn.rto.sample(sacked_rtt, in_order=False)
            conn.rtt_seq = conn.snd_nxt
    acked = 0
    for record, end, size in delivered:
        acked += size
        rates.on_delivered(record.stamp, end, size, now)
    if advanced:
        _advance(conn, ack, rtt, now)
    if dsack is not None and recovery.repetitions.got_twice(*dsack):
        recovery.rack.on_spurious(ack, conn.snd_nxt)
    spurious = _taken_back(conn, segment, delivered, advanced, oldest, now)
    if recovery.phase is not _OPEN and advanced and ack >= recovery.recover:
        _leave(conn, now)
    if conn.sack_enabled:
        lost = detect(conn, now)
    else:
        lost = 0
        _without_sack(conn, segment, ack - prior_una, now)
    if lost and recovery.phase is _OPEN:
        # A repair that was just taken back has put into the network what it had thought lost.
        in_flight = max(prior_flight, board.in_flight + lost)
        _enter(conn, conn.snd_nxt - prior_una, in_flight, acked, now)
    if recovery.tlp_end is not None and tlp.on_ack(
        conn, segment, advanced, dsack[1] if dsack is not None else None
    ):
        conn.events[Event.LOSS_PROBE_RECOVERY] += 1
        # RFC 8985 7.4.2: the loss is repaired already; only the window has to follow.
        ecn_setup.on_loss(conn, prior_flight, now)
        conn.cc.on_recovered(board.in_flight, now)
    if recovery.prr is not None:
        safe = advanced and not lost
        recovery.prr.on_ack(acked, board.in_flight, conn.mss, safe=safe)
    if acked or lost:
        conn.cc.on_ack(
            Ack(
                now,
                acked,
                lost,
                rates.delivered,
                prior_flight,
                board.in_flight,
                rtt,
                rates.sample(now, conn.rto.min_rtt),
                recovery.phase if prior_phase is _OPEN else prior_phase,
                recovery.cwnd_limited,
                conn.ecn is not None and conn.ecn.marked,
                advanced,
            )
        )
    if (advanced or board.sacked_bytes) and not spurious:
        tlp.schedule(conn, now)


def _advance(conn: Connection, ack: int, rtt: float | None, now: float) -> None:
    """SND.UNA <- SEG.ACK, and what follows from new data being acknowledged."""
    if rtt is not None and (ack > conn.rtt_seq or conn.rto.backoff):
        conn.rto.sample(rtt)
        conn.rtt_seq = conn.snd_nxt
        conn.recovery.tlp_rtt_taken = True
    conn.snd_una = ack
    if ack > conn.snd_nxt:
        conn.snd_nxt = ack  # the byte of a window probe was taken
    conn.sending.discard_to(ack)
    if ack >= conn.mtu_mark:
        pathmtu.on_ack(conn, ack, now)
    if conn.snd_up is not None and ack >= conn.snd_up:
        conn.snd_up = None
    conn.retransmissions = 0
    conn.probes = 0
    # RFC 6298 5.2, 5.3: off when all is acknowledged, anew when new data is.
    outstanding = bool(conn.scoreboard)
    conn.rexmt_at = now + conn.rto.rto if outstanding else math.inf
    conn.stalled_since = now if outstanding else math.inf
    conn.soft_error = None


# -- losses, by time -----------------------------------------------------------------------------


def _patience(conn: Connection) -> float:
    """How long after a later one's arrival a segment is still awaited, from when it was sent."""
    rto, recovery = conn.rto, conn.recovery
    return recovery.rack.patience(
        repairing=recovery.phase is not _OPEN,
        sacked_segments=conn.scoreboard.sacked_bytes / conn.mss,
        srtt=rto.srtt or 0.0,
        min_rtt=rto.min_rtt or 0.0,
    )


def detect(conn: Connection, now: float) -> int:
    """RFC 8985 6.2 step 5: how many bytes are newly believed lost. Sets the reordering timer."""
    rack, board = conn.recovery.rack, conn.scoreboard
    if not board.any_overtaken(rack.xmit_ts, rack.end_seq):
        conn.reo_at = math.inf
        return 0
    found, wait = board.overtaken(rack.xmit_ts, rack.end_seq, _patience(conn), now)
    conn.reo_at = math.inf
    if wait:
        # RFC 8985 8: "mutually exclusive"; a round trip with little variance has an RTO as short.
        conn.reo_at = now + wait
        conn.rexmt_at = max(conn.rexmt_at, conn.reo_at)
    if not found or (conn.pmtu.probing and mtuprobe.lost_alone(conn, found, now)):
        return 0
    if board.oldest is found[0]:
        # What F-RTO waits for has not arrived, and what left after it has: that loss was real.
        conn.recovery.frto = NO_TIMEOUT
    return note_lost(conn, found, now)


def note_lost(conn: Connection, found: Sequence[Sent], now: float) -> int:
    """Tell everybody of what the scoreboard has come to believe lost: how many bytes it is."""
    rates = conn.rates
    if conn.pmtu.probing:
        mtuprobe.lost(conn, found, now)
    total = 0
    for record in found:
        size = record.size
        total += size
        rates.on_lost(size)
        stamp = record.stamp
        conn.cc.on_packet_lost(
            Lost(
                now,
                size,
                stamp.in_flight,
                max(rates.lost - stamp.lost, 0),
                stamp.app_limited,
                rates.delivered,
            )
        )
    return total


# -- without SACK -------------------------------------------------------------------------------


def _newreno(conn: Connection) -> NewReno:
    if conn.recovery.newreno is None:
        conn.recovery.newreno = NewReno(conn.iss)
    return conn.recovery.newreno


def _without_sack(conn: Connection, segment: Segment, acked: int, now: float) -> None:
    """RFC 6582, with RFC 3042's limited transmit."""
    recovery, board = conn.recovery, conn.scoreboard
    newreno = _newreno(conn)
    if acked:
        verdict = newreno.on_new_ack(acked, conn.snd_una, conn.mss)
        if verdict is Verdict.RETRANSMIT_NEXT:
            note_lost(conn, board.mark_lost(conn.snd_una + conn.mss), now)
            conn.rexmt_why = Why.PARTIAL_ACK_RETRANSMIT
            conn.force_retransmit = True
        return
    # RFC 5681 2, definition: outstanding data, no text, no SYN or FIN, same ACK, same window.
    if segment.length or segment.window << conn.snd_wscale != conn.snd_wnd:
        return
    if conn.probes or not board:
        return  # the answer to a window probe tells of no departed segment
    verdict = newreno.on_duplicate(conn.snd_una, conn.snd_nxt, conn.mss)
    if verdict is Verdict.FAST_RETRANSMIT:
        recovery.begins(Phase.RECOVERY, conn.snd_nxt)
        conn.events[Event.RENO_RECOVERY] += 1
        ecn_setup.on_loss(conn, newreno.flight, now)
        note_lost(conn, board.mark_lost(conn.snd_una + conn.mss), now)
        conn.rexmt_why = Why.FAST_RETRANSMIT
        conn.force_retransmit = True


# -- phases -------------------------------------------------------------------------------------


def _enter(conn: Connection, outstanding: int, in_flight: int, acked: int, now: float) -> None:
    """Fast recovery begins (RFC 6675 5 step 4), with so many bytes sent and not acknowledged before
    what began it, and so many of them in the network."""
    recovery, board = conn.recovery, conn.scoreboard
    recovery.begins(Phase.RECOVERY, conn.snd_nxt)
    conn.events[Event.SACK_RECOVERY] += 1
    # FlightSize is what is outstanding, less what limited transmit has added to it (RFC 5681 3.2
    # step 2): that is what goes beyond the window.
    ecn_setup.on_loss(conn, min(outstanding, max(conn.cc.cwnd, in_flight)), now)
    if not conn.cc.own_recovery:
        # RFC 9937 6: bytes acknowledged by what began it are still to be seen delivered; those
        # selectively acknowledged before are not.
        known = conn.snd_nxt - conn.snd_una - board.sacked_bytes
        recovery.prr = ProportionalRateReduction(conn.cc.ssthresh, known + acked)
    conn.rexmt_why = Why.FAST_RETRANSMIT
    conn.force_retransmit = True
    conn.tlp_at = math.inf


def on_reordering_timer(conn: Connection, now: float) -> None:
    """RFC 8985 6.2 step 5: the window for what had been overtaken is over."""
    in_flight = conn.scoreboard.in_flight
    conn.reo_at = math.inf
    if not detect(conn, now):
        return
    if conn.recovery.phase is _OPEN:
        _enter(conn, conn.snd_nxt - conn.snd_una, in_flight, 0, now)
    if conn.recovery.prr is not None:
        conn.recovery.prr.on_ack(0, conn.scoreboard.in_flight, conn.mss, safe=False)
    conn.rexmt_at = max(conn.rexmt_at, now + conn.rto.rto)


def on_timeout(conn: Connection, now: float) -> None:
    """The retransmission timer expired: RFC 6298 5.4 to 5.6, RFC 5681 3.1, RFC 8985 6.3."""
    recovery, board = conn.recovery, conn.scoreboard
    flight = board.in_flight + board.lost_bytes
    oldest = board.oldest
    assert oldest is not None
    fresh = recovery.phase is _OPEN
    if oldest.sacked:
        conn.events[Event.RENEGING] += 1
        board.forget_sacked()  # RFC 2018 8: the peer has reneged, or we would not be here
    recovery.begins(Phase.LOSS, conn.snd_nxt)
    conn.cc.on_timeout(flight, now, conn.retransmissions > 1)
    if conn.ecn is not None:
        conn.ecn.timed_out(conn.snd_nxt)
    if conn.sack_enabled:
        found = board.mark_lost(min(oldest.end, conn.snd_una + conn.mss))
        found += board.overtaken(now - _patience(conn), 1 << 62, -1.0, now)[0]
    else:
        found = board.mark_lost(conn.snd_nxt)
    note_lost(conn, found, now)
    recovery.prr = None
    if not conn.sack_enabled:
        _newreno(conn).on_timeout(conn.snd_nxt)
    if fresh or recovery.frto.holds_back:
        # RFC 5682 3.1: "If the retransmission timer expires again during the execution of the [...]
        # algorithm, the TCP sender MUST re-start the algorithm processing from step 1."
        recovery.frto = Frto()
        recovery.frto.begin()
    else:
        recovery.frto = NO_TIMEOUT
    conn.reo_at = conn.tlp_at = math.inf
    conn.rexmt_why = Why.RTO_RETRANSMIT
    conn.force_retransmit = True


def _leave(conn: Connection, now: float) -> None:
    """Everything that was outstanding when the repair began has arrived."""
    recovery = conn.recovery
    flight = conn.scoreboard.in_flight
    if recovery.prr is not None:
        # RFC 9937 6: "cwnd = ssthresh", to which PRR has led without a burst.
        flight = max(flight, recovery.prr.ssthresh)
    recovery.ends()
    recovery.rack.on_recovered()
    conn.cc.on_recovered(flight, now)


# -- taking it back -----------------------------------------------------------------------------


def _taken_back(
    conn: Connection,
    segment: Segment,
    delivered: Sequence[Delivered],
    advanced: bool,
    oldest: Sent | None,
    now: float,
) -> bool:
    """Whether this acknowledgment shows that the latest repair was for nothing; then undo it."""
    recovery = conn.recovery
    if recovery.phase is Phase.LOSS and recovery.frto.on_ack(
        snd_una=conn.snd_una,
        snd_nxt=conn.snd_nxt,
        advanced=advanced,
        reached=max((end for _, end, _ in delivered), default=None),
        sack=conn.sack_enabled,
    ):
        _undo(conn, now, Event.UNDO_TIMEOUT)
        return True
    if recovery.repetitions.all_for_nothing:
        _undo(conn, now, Event.UNDO_DSACK)  # D-SACK: all that was repeated had arrived before
        return True
    if (
        advanced
        and recovery.phase is not _OPEN
        and recovery.undo_ts is not None
        and segment.tsecr
        and oldest is not None
        and oldest.transmissions > 1
        and unwrap(segment.tsecr, recovery.undo_ts)
        < recovery.undo_ts
        <= unwrap(conn.clock(oldest.stamp.sent_at), recovery.undo_ts)
    ):
        # RFC 3522 3.2 step 5: what was acknowledged, and repeated in this repair, had arrived by
        # what left before the first retransmission.
        _undo(conn, now, Event.UNDO_TIMESTAMP)
        return True
    return False


def _undo(conn: Connection, now: float, event: Event) -> None:
    """RFC 4015 3.2: as if the repair had never begun."""
    recovery = conn.recovery
    if recovery.phase is Phase.RECOVERY:
        # What RFC 8985 concludes from a D-SACK holds however it is known.
        recovery.rack.on_spurious(conn.snd_una, conn.snd_nxt)
    if recovery.phase is not _OPEN:
        conn.rates.on_found(conn.scoreboard.forgive())
        conn.force_retransmit = False
    recovery.ends()
    recovery.repetitions.settle()
    recovery.undo_ts = None
    recovery.spurious += 1
    conn.events[event] += 1
    ecn_setup.on_spurious(conn, now)
