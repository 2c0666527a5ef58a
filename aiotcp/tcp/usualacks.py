"""The usual acknowledgment: it advances, nothing is being repaired, and it tells of no loss.

`recovery.acknowledged` has the whole story, of which most concerns the others. Here is what of it
is left for these, with the same effects.

Several that arrive in one batch count as the last of them. They are what a peer sends who answers
each second segment of a long train, and arrive in one moment as far as anybody here can tell, which
gives them all one time. To the sender it is as if the peer had answered the train once, or as if
all but the last had been lost, which it has to cope with anyhow; an acknowledgment is cumulative.
What grows does so by bytes and not by the number of acknowledgments (`lossbased`, RFC 9438), so it
grows as much. Of the round trips the last one's is the shortest, and the one without the time that
acknowledgments wait for each other; where their number counts, in HyStart++'s samples, it is told
(`Ack.merged`). And nothing leaves between them, since output is asked after the batch. Linux merges
acknowledgments in the backlog of a socket in the same way (tcp_add_to_backlog).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from aiotcp.tcp import pathmtu, tlp
from aiotcp.tcp.congestion import Ack, Phase

if TYPE_CHECKING:
    from aiotcp.tcp.connection import Connection

_OPEN: Final = Phase.OPEN
_MASK: Final = 0xFFFF_FFFF
_NEVER: Final = math.inf


def note(conn: Connection, number: int) -> bool:
    """An acknowledgment of `number`, as on the wire, arrived on a segment that is in order and has
    no options but timestamps. True: it is one of the usual ones, and `settle` will do the rest.
    False: nothing has changed."""
    merged = conn.acks_noted
    base = conn.ack_noted if merged else conn.snd_una
    ahead = number - base & _MASK
    if not 0 < ahead <= conn.snd_nxt - base:
        return False
    if not merged and not (conn.calm and conn.cc.pacing_rate is None) and not is_usual(conn):
        return False
    conn.acks_noted = merged + 1
    conn.ack_noted = base + ahead
    return True


def is_usual(conn: Connection) -> bool:
    """Whether there is nothing that other acknowledgments would have to do with. While some are
    noted, that does not change: whatever else arrives has them settled first."""
    recovery, board = conn.recovery, conn.scoreboard
    una = conn.snd_una
    return (
        recovery.phase is _OPEN
        and conn.sack_enabled
        and not board.sacked_bytes
        and not board.lost_bytes
        and board.repeated_end <= una  # else it may be ambiguous (RFC 6298 3)
        and conn.fin_seq is None
        and recovery.rack.fack == una
        # Nothing overtook it (RFC 8985 6.2).
        and (not board or board.oldest_sent_at >= recovery.rack.xmit_ts)
        and (recovery.tlp_end is None or not recovery.tlp_retransmitted)  # it was new data
        and conn.snd_up is None
        and conn.ecn is None
        and conn.cc.pacing_rate is None  # a model of the path may want to see each by itself
        and not conn.probes
        and not recovery.repetitions.all_for_nothing
    )


def settle(conn: Connection, now: float) -> None:
    """Those that were noted have arrived `now`: SND.UNA <- SEG.ACK, and all that follows."""
    merged, ack = conn.acks_noted, conn.ack_noted
    conn.acks_noted = conn.ack_noted = 0
    if conn.ended:
        return
    board = conn.scoreboard
    recovery = conn.recovery
    rates = conn.rates
    rto = conn.rto
    prior_flight = board.in_flight
    acked = ack - conn.snd_una
    stamp = board.acknowledge_usual(ack).stamp
    sent_at = stamp.sent_at
    rtt = now - sent_at
    # RACK (RFC 8985 6.2): it arrived in its turn.
    rack = recovery.rack
    rack.rtt = rack.steady_rtt = rtt
    if sent_at > rack.xmit_ts or (sent_at == rack.xmit_ts and ack > rack.end_seq):
        rack.xmit_ts = sent_at
        rack.end_seq = ack
    rack.fack = ack
    conn.reo_at = _NEVER
    # As in `recovery`, when SND.UNA advances.
    if ack > conn.rtt_seq or rto.backoff:
        rto.sample(rtt)
        conn.rtt_seq = conn.snd_nxt
        recovery.tlp_rtt_taken = True
    if recovery.tlp_end is not None and ack >= recovery.tlp_end:
        recovery.tlp_end = None  # the probe arrived, and nothing before it is missing
    conn.snd_una = ack
    conn.sending.discard_to(ack)
    if ack >= conn.mtu_mark:
        pathmtu.on_ack(conn, ack, now)
    conn.retransmissions = 0
    conn.soft_error = None
    if ack < conn.snd_nxt:
        conn.rexmt_at = now + rto.rto
        conn.stalled_since = now
        tlp.schedule_usual(conn, now)
    else:
        conn.rexmt_at = conn.tlp_at = conn.stalled_since = _NEVER
    limited = recovery.cwnd_limited
    delivered = rates.delivered + acked
    cc = conn.cc
    if cc.on_usual_ack(now, acked, prior_flight, rtt, limited, delivered, merged):
        rates.on_usual(stamp, acked, now, rto.min_rtt)
    else:
        rates.on_delivered(stamp, ack, acked, now)
        cc.on_ack(
            Ack(
                now,
                acked,
                0,
                delivered,
                prior_flight,
                board.in_flight,
                rtt,
                rates.sample(now, rto.min_rtt),
                _OPEN,
                limited,
                False,
                True,
                merged,
            )
        )
