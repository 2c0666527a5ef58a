"""The tail loss probe (RFC 8985 7): what no later segment can tell of is asked for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from aiotcp.tcp import pathmtu
from aiotcp.tcp.congestion import Phase

if TYPE_CHECKING:
    from aiotcp.tcp.connection import Connection
    from aiotcp.wire.tcp import Segment

_NEVER: Final = math.inf
_OPEN: Final = Phase.OPEN
_MAX_ACK_DELAY_S: Final = 0.2
"""TLP.max_ack_delay: peers delay the acknowledgment of a single segment by as much."""
_LEAST_PTO_S: Final = 0.01
"""Below this, what is late is a program and not a packet."""
_SURELY_LATER_S: Final = 0.205
"""Of both together; what is in between is left to the complete comparison."""


def schedule(conn: Connection, now: float) -> None:
    """7.2: after new data was sent, or acknowledged. The probe comes in place of the
    retransmission timer, and never after it."""
    board = conn.scoreboard
    if (
        not conn.sack_enabled
        or not board
        or conn.recovery.phase is not _OPEN
        or board.sacked_bytes
        or conn.snd_una == conn.iss  # it is the SYN+ACK's turn (RFC 7413)
    ):
        conn.tlp_at = math.inf
    else:
        schedule_usual(conn, now)


def schedule_usual(conn: Connection, now: float) -> None:
    """The same on an established connection with SACK that repairs nothing, and for which something
    is in flight and nothing out of order."""
    recovery = conn.recovery
    rexmt_at = conn.rexmt_at
    if (
        recovery.tlp_end is not None
        or not recovery.tlp_rtt_taken  # it would only put off the retransmission timer
        or rexmt_at == _NEVER
    ):
        conn.tlp_at = math.inf
        return
    alone = conn.scoreboard.in_flight <= conn.mss
    if alone and rexmt_at - now < _SURELY_LATER_S:
        conn.tlp_at = rexmt_at
        return
    srtt = conn.rto.srtt
    pto = 1.0 if srtt is None else 2 * srtt
    if pto < _LEAST_PTO_S:
        pto = _LEAST_PTO_S
    if alone:
        pto += _MAX_ACK_DELAY_S
    at = now + pto
    conn.tlp_at = at if at < rexmt_at else rexmt_at


def on_timer(conn: Connection, now: float) -> None:
    """7.3: at most one probe, and only if a round trip was measured since the last one."""
    conn.tlp_at = math.inf
    recovery = conn.recovery
    if not conn.scoreboard:
        return
    if pathmtu.on_probe_timeout(conn, now):
        return
    if recovery.tlp_end is None and recovery.tlp_rtt_taken and recovery.phase is _OPEN:
        conn.tlp_due = True
    # "MUST re-arm the RTO timer, not the PTO timer"
    conn.rexmt_at = now + conn.rto.rto


def sent(conn: Connection, *, retransmitted: bool) -> None:
    """The probe left."""
    recovery = conn.recovery
    recovery.tlp_end = conn.snd_nxt
    recovery.tlp_retransmitted = retransmitted
    recovery.tlp_rtt_taken = False


def on_ack(conn: Connection, segment: Segment, advanced: bool, dsack: int | None) -> bool:
    """7.4.2, with the end of the D-SACK block if there was one. True: a loss was repaired by the
    probe alone, to which nothing else responds."""
    recovery = conn.recovery
    end = recovery.tlp_end
    if end is None or segment.ack < end:
        return False
    if not recovery.tlp_retransmitted or dsack == end:
        recovery.tlp_end = None  # it was new data, or arrived beside what it repeated
    elif segment.ack > end:
        recovery.tlp_end = None
        return recovery.phase is _OPEN
    elif not (advanced or segment.length or segment.sack):
        recovery.tlp_end = None  # a duplicate: both arrived
    return False
