"""Probes for a larger path MTU (RFC 4821 7.4 to 7.6, 10.1).

A probe is one segment of new data, larger than the others, sent while nothing is lost. At most one
is under way; its record in the scoreboard is known by its range. If it is lost alone, its bytes are
repeated in ordinary segments, and no congestion control hears of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from aiotcp.reasons import Why
from aiotcp.tcp.congestion import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotcp.tcp.connection import Connection
    from aiotcp.tcp.timeline import Sent

_FOLLOWERS: Final = 3
"""7.4: "enough data queued and sufficient receiver window to send the probe plus at least
Tcprexmtthresh [...] additional segments", which tell that it is lost."""


def size_now(conn: Connection, options: int, cwnd: int) -> int | None:
    """Payload bytes of the probe to send now, with `options` bytes of options; 0: none. None: the
    window will have room for it soon, and nothing else is to take that."""
    found, recovery, board = conn.pmtu, conn.recovery, conn.scoreboard
    if (
        found.probing
        or recovery.phase is not Phase.OPEN
        or board.lost_bytes
        or board.sacked_bytes
        or recovery.tlp_end is not None
        or conn.snd_up is not None
    ):
        return 0
    size = found.next_probe
    payload = size - conn.path.ip_header - 20 - options
    if not size or payload <= conn.mss:
        return 0
    needed = payload + _FOLLOWERS * conn.mss
    if (
        conn.sending.end - conn.snd_nxt < needed
        or conn.send_edge - conn.snd_nxt < needed
        or cwnd < needed
    ):
        return 0
    return payload if cwnd - board.in_flight >= payload else None


def sent(conn: Connection, start: int, end: int) -> None:
    """The probe [start, end) left."""
    found = conn.pmtu
    found.probing = found.next_probe
    found.probe_start, found.probe_end = float(start), float(end)
    conn.mtu_mark = found.mark
    conn.mtu_at = math.inf


def lost_alone(conn: Connection, records: Sequence[Sent], now: float) -> bool:
    """`records` were found lost: whether that is the probe and nothing else (7.6.2).

    "In this case alone, the loss SHOULD NOT be interpreted as congestion signal."
    """
    found = conn.pmtu
    if conn.recovery.phase is not Phase.OPEN:
        return False
    size = 0
    for record in records:
        if record.start < found.probe_start or record.end > found.probe_end:
            return False
        size += record.size
    if conn.scoreboard.lost_bytes > size:
        return False
    _failed(conn, now, 1, sure=True)
    conn.rexmt_why = Why.PATH_MTU_RETRANSMIT
    conn.force_retransmit = True
    return True


def lost(conn: Connection, records: Sequence[Sent], now: float) -> None:
    """`records` were found lost, and that is a sign of congestion: 7.6.4, if the probe is among
    them. Without SACK no loss can be told to be alone; then the one at the left edge counts."""
    found = conn.pmtu
    if any(found.probe_start <= record.start < found.probe_end for record in records):
        sure = not conn.sack_enabled and conn.snd_una == found.probe_start
        _failed(conn, now, 1, sure=sure)


def timed_out(conn: Connection, now: float) -> None:
    """7.6.3: "a time interval that is five times the non-timeout failure case"."""
    _failed(conn, now, 5, sure=conn.snd_una == conn.pmtu.probe_start)


def _failed(conn: Connection, now: float, factor: int, *, sure: bool) -> None:
    """4: "a minimum headway between a suppressed congestion adjustment [...] and the next attempted
    probe, which is equal to one round-trip time for each packet permitted by the congestion
    window"."""
    found = conn.pmtu
    srtt = 1.0 if conn.rto.srtt is None else conn.rto.srtt
    wait = factor * srtt * max(conn.cc.cwnd / conn.mss, 1)
    found.on_probe_lost(now, wait, conn.options.mtu_expires_s, sure=sure)
    found.probe_start = found.probe_end = math.inf
    conn.mtu_mark = found.mark
    conn.mtu_at = found.attend_at()
