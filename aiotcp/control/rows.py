"""What a control socket tells of each connection: a row as `ss` shows it, ready for JSON."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from aiotcp.addresses import endpoints
from aiotcp.tcp.buffers import send_limit
from aiotcp.tcp.connection import Connection
from aiotcp.tcp.flow import Endpoint
from aiotcp.tcp.halfopen import HalfOpen
from aiotcp.tcp.listener import Listener
from aiotcp.tcp.tcb import State
from aiotcp.tcp.timewait import TimeWait
from aiotcp.tcpinfo import TcpInfo, TcpOptions, listener_info, tcp_info
from aiotcp.waiting import waiting

STATES = {
    State.ESTABLISHED: "ESTAB",
    State.SYN_SENT: "SYN-SENT",
    State.SYN_RECEIVED: "SYN-RECV",
    State.FIN_WAIT_1: "FIN-WAIT-1",
    State.FIN_WAIT_2: "FIN-WAIT-2",
    State.TIME_WAIT: "TIME-WAIT",
    State.CLOSED: "UNCONN",
    State.CLOSE_WAIT: "CLOSE-WAIT",
    State.LAST_ACK: "LAST-ACK",
    State.LISTEN: "LISTEN",
    State.CLOSING: "CLOSING",
}
"""As `ss` spells them."""


def state_of(entry: Connection | HalfOpen | TimeWait) -> str:
    if isinstance(entry, Connection):
        return STATES[entry.state]
    return STATES[State.SYN_RECEIVED if isinstance(entry, HalfOpen) else State.TIME_WAIT]


def row(entry: Connection | HalfOpen | TimeWait, now: float, *, info: bool) -> dict[str, Any]:
    """info: with `tcp_info`, which takes its time. Times to come and gone by are in seconds."""
    what, until = waiting(entry)
    made: dict[str, Any] = {"state": state_of(entry), "recv_q": 0, "send_q": 0}
    if isinstance(entry, Connection):
        local, remote = entry.local, entry.remote
        made["recv_q"] = entry.received_bytes
        made["send_q"] = len(entry.sending)
        made["orphan"] = entry.closed_by_user
        made["age_s"] = round(now - entry.opened_at, 6)
    else:
        local, remote = endpoints(entry.flow)
    made |= {
        "local": _endpoint(local),
        "peer": _endpoint(remote),
        "timer": _timer(entry, now),
        "waits": {"for": what, "in_s": None if until is None else _in(until, now)},
    }
    if info and isinstance(entry, Connection):
        made["tcp_info"] = _plain(tcp_info(entry, now))
        made["mem"] = {
            "rmem": entry.received_bytes + entry.reassembly.held_bytes,
            "rcvbuf": entry.rcv_buffer,
            "wmem": len(entry.sending),
            "sndbuf": send_limit(entry),
        }
    return made


def listener_row(listener: Listener, *, info: bool) -> dict[str, Any]:
    """Recv-Q of a listener is how many wait to be accepted, which here nobody does; Send-Q is how
    many handshakes may be under way."""
    host, port = listener.local
    if listener.transparent:
        host = "*"
    made = {
        "state": "LISTEN",
        "recv_q": 0,
        "send_q": listener.backlog,
        "local": {"address": host, "port": port},
        "peer": {"address": "::" if ":" in host else "0.0.0.0", "port": 0},
        "timer": None,
        "waits": {"for": "a SYN", "in_s": None},
    }
    if info:
        made["tcp_info"] = _plain(listener_info(listener))
    return made


_FIELDS = tuple(each.name for each in dataclasses.fields(TcpInfo))


def _timer(entry: Connection | HalfOpen | TimeWait, now: float) -> dict[str, Any] | None:
    """The timer that runs, under Linux's names for them."""
    if isinstance(entry, TimeWait):
        return {"name": "timewait", "in_s": _in(entry.deadline, now), "retrans": 0}
    if isinstance(entry, HalfOpen):
        return {"name": "on", "in_s": _in(entry.deadline, now), "retrans": entry.retransmissions}
    sending = min(entry.rexmt_at, entry.tlp_at, entry.reo_at)
    if sending < math.inf:
        if entry.probes or not (entry.scoreboard or entry.state is State.SYN_SENT):
            return {"name": "persist", "in_s": _in(sending, now), "retrans": entry.probes}
        return {"name": "on", "in_s": _in(sending, now), "retrans": entry.retransmissions}
    if entry.orphan_until < math.inf:
        return {"name": "timewait", "in_s": _in(entry.orphan_until, now), "retrans": 0}
    if entry.keepalive is not None and entry.established:
        due = entry.keepalive.deadline(entry.heard_at)
        return {"name": "keepalive", "in_s": _in(due, now), "retrans": entry.keepalive.unanswered}
    return None


def _in(until: float, now: float) -> float:
    return round(max(until - now, 0.0), 6)


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {"address": endpoint.host, "port": endpoint.port}


def _plain(info: TcpInfo) -> dict[str, Any]:
    """tcp_info with names for what are numbers in Linux, and no infinity, which JSON has not."""
    # Not asdict(), which copies deep and takes three times as long.
    made: dict[str, Any] = {name: getattr(info, name) for name in _FIELDS}
    made["state"] = info.state.name
    made["ca_state"] = info.ca_state.name.lower()
    made["options"] = [str(each.name).lower() for each in TcpOptions if each & info.options]
    made["cc_info"] = {name: value for name, value in info.cc_info.items() if not _endless(value)}
    return made


def _endless(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
