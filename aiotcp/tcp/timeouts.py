"""TIMEOUTS: RFC 9293 3.10.8, and RFC 6298's retransmission timer.

A connection has one send timer, since retransmission, window probes and the silly-window
override exclude each other; beside it the tail loss probe, RACK's reordering timer, pacing, the
delayed acknowledgment, the cork, the user timeout, keep-alive, and the wait of an orphan in
FIN-WAIT-2. `next_deadline` is the earliest; a deadline is only looked at when it has come, so
moving it costs an assignment.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from aiotcp.errors import timed_out
from aiotcp.reasons import Event, Why
from aiotcp.tcp import fastopen_setup, pathmtu, recovery, tlp
from aiotcp.tcp.tcb import State

if TYPE_CHECKING:
    from aiotcp.tcp.connection import Connection
    from aiotcp.tcp.keepalive import KeepAlive

_OPENING: Final = frozenset({State.SYN_SENT, State.SYN_RECEIVED})


def next_deadline(conn: Connection) -> float:
    """When `expire` has something to do; infinity if never."""
    if conn.ended:
        return math.inf
    deadline = conn.rexmt_at
    if conn.acks.deadline < deadline:
        deadline = conn.acks.deadline
    if conn.tlp_at < deadline:
        deadline = conn.tlp_at
    if conn.calm and conn.keepalive is None and conn.options.user_timeout_s is None:
        return deadline  # there are no others
    if conn.reo_at < deadline:
        deadline = conn.reo_at
    if conn.pace_at < deadline:
        deadline = conn.pace_at
    if conn.orphan_until < deadline:
        deadline = conn.orphan_until
    if conn.options.user_timeout_s is not None:
        deadline = min(deadline, conn.stalled_since + conn.options.user_timeout_s)
    if conn.keepalive is not None and _is_idle(conn):
        deadline = min(deadline, conn.keepalive.deadline(conn.heard_at))
    if conn.cork is not None:
        deadline = min(deadline, conn.cork.deadline)
    if conn.fast_open is not None:
        deadline = min(deadline, conn.fast_open.deadline)
    return deadline


def _is_idle(conn: Connection) -> bool:
    """MUST-26: keep-alives "MUST only be sent when no sent data is outstanding"."""
    return conn.established and not conn.scoreboard and conn.unsent <= 0


def _is_alive(conn: Connection, keepalive: KeepAlive, now: float) -> bool:
    """False if the last probe has had its time, too."""
    if not _is_idle(conn) or now < keepalive.deadline(conn.heard_at):
        return True
    return keepalive.on_timer(now, conn.heard_at, conn.options.user_timeout_s)


def expire(conn: Connection, now: float) -> None:
    """Act on the deadlines that have passed; output follows."""
    limit = conn.options.user_timeout_s
    if limit is not None and now >= conn.stalled_since + limit:
        give_up(conn)
    elif now >= conn.orphan_until:
        conn.fail(timed_out())  # nobody is left to hear it
    else:
        conn.acks.on_timer(now)
        if conn.cork is not None:
            conn.cork.on_timer(now)
        if conn.fast_open is not None:
            fastopen_setup.on_timer(conn, now)
        if conn.keepalive is not None and not _is_alive(conn, conn.keepalive, now):
            give_up(conn)
            return
        if now >= conn.pace_at:
            conn.pace_at = math.inf  # output looks
        if now >= conn.reo_at:
            recovery.on_reordering_timer(conn, now)
        if now >= conn.tlp_at:
            tlp.on_timer(conn, now)
        if now >= conn.rexmt_at:
            _send_timer(conn, now)


def give_up(conn: Connection) -> None:
    """R2, the user timeout, keep-alive: ETIMEDOUT, or the ICMP error that explains it (ST-25,
    SHLD-25)."""
    conn.events[Event.ABORT_ON_TIMEOUT] += 1
    conn.terminate(Why.RST_TIMEOUT, conn.soft_error or timed_out())


def _send_timer(conn: Connection, now: float) -> None:
    conn.rexmt_at = math.inf
    opening = conn.state in _OPENING
    if not (opening or conn.scoreboard or conn.unsent > 0):
        return
    conn.retransmissions += 1
    options = conn.options
    limit = float(options.syn_retries if opening else options.retries2)
    if isinstance(conn.fast_open, fastopen_setup.Accepted):
        limit = float(options.synack_retries)
    if options.user_timeout_s is not None and not opening:
        limit = math.inf  # as in Linux it takes the place of R2, be it shorter or longer
    if conn.closed_by_user:  # nobody waits for it, and it must not stay for long (ST-29)
        limit = min(limit, options.orphan_retries)
    if conn.retransmissions > limit:
        give_up(conn)
        return
    if conn.retransmissions == options.retries1:
        # R1 (SHLD-9): the user learns that there is a problem; trying goes on.
        conn.soft_error = conn.soft_error or timed_out()
        conn.error_news = True
    if opening:
        conn.rto.back_off()
        if conn.fast_open is None or not fastopen_setup.on_timeout(conn, now):
            conn.snd_nxt = conn.iss  # output sends the SYN again
    elif conn.send_edge <= conn.snd_una or not conn.scoreboard:
        _probe_timer(conn, now)
    else:
        _retransmission_timer(conn, now)


def _retransmission_timer(conn: Connection, now: float) -> None:
    """RFC 6298 5.4 to 5.6."""
    conn.total_rto += 1
    conn.events[Event.TIMEOUT] += 1
    pathmtu.on_timeout(conn, now)
    recovery.on_timeout(conn, now)
    conn.rto.back_off()
    conn.rexmt_at = now + conn.rto.rto


def _probe_timer(conn: Connection, now: float) -> None:
    """SHLD-29: the first probe after one RTO; SHLD-30: then at exponentially growing intervals."""
    interval = min(conn.rto.rto * (2 << conn.probes), conn.rto.maximum)
    if interval < conn.rto.maximum:
        conn.probes += 1
    conn.probes = max(conn.probes, 1)
    conn.probe_due = True
    if conn.stalled_since == math.inf:
        conn.stalled_since = now
    conn.rexmt_at = now + interval
