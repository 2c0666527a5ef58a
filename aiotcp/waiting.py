"""What a connection waits for, and until when: the one thing that no other TCP tells.

A connection has a dozen deadlines and needs to look at the earliest only (`tcp.timeouts`). This
module says which one that is, in words; and where there is none, whose turn it is.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from aiotcp.tcp.connection import Connection
from aiotcp.tcp.halfopen import HalfOpen
from aiotcp.tcp.tcb import State
from aiotcp.tcp.timewait import TimeWait


class Waiting(NamedTuple):
    """`until` is a time of the loop's clock; None: for as long as it takes."""

    what: str
    until: float | None


_TURNS = {
    State.ESTABLISHED: "either side to send",
    State.FIN_WAIT_1: "acknowledgment of our FIN",
    State.FIN_WAIT_2: "the peer to close",
    State.CLOSE_WAIT: "our program to close",
}


def waiting(entry: Connection | HalfOpen | TimeWait) -> Waiting:
    """What comes next if nobody sends anything and no program does anything."""
    if isinstance(entry, TimeWait):
        return Waiting("end of 2MSL", entry.deadline)
    if isinstance(entry, HalfOpen):
        return Waiting("ACK of our SYN", entry.deadline)
    what, until = _earliest(entry)
    if until == math.inf or entry.ended:
        if entry.received_bytes:
            return Waiting(f"our program to read {entry.received_bytes} bytes", None)
        return Waiting(_TURNS.get(entry.state, "nothing"), None)
    return Waiting(what, until)


def _earliest(conn: Connection) -> tuple[str, float]:
    options = conn.options
    found = (_send_timer(conn), conn.rexmt_at)
    for what, until in (
        ("delayed ACK to leave", conn.acks.deadline),
        ("ACK, or tail loss probe", conn.tlp_at),
        ("what was overtaken, or it counts as lost", conn.reo_at),
        ("pacing", conn.pace_at),
        ("the peer to close, as an orphan", conn.orphan_until),
        ("user timeout", conn.stalled_since + (options.user_timeout_s or math.inf)),
        ("cork to be pulled", conn.cork.deadline if conn.cork is not None else math.inf),
        ("data for the SYN", conn.fast_open.deadline if conn.fast_open is not None else math.inf),
    ):
        if until < found[1]:
            found = (what, until)
    keepalive = conn.keepalive
    idle = conn.established and not conn.scoreboard and conn.unsent <= 0
    if keepalive is not None and idle and keepalive.deadline(conn.heard_at) < found[1]:
        found = ("keep-alive", keepalive.deadline(conn.heard_at))
    return found


def _send_timer(conn: Connection) -> str:
    """What the retransmission timer stands for at the moment."""
    if conn.state in (State.SYN_SENT, State.SYN_RECEIVED):
        return "answer to our SYN"
    if conn.scoreboard:
        return f"ACK of {conn.snd_nxt - conn.snd_una} bytes"
    return "the peer's window to open"
