"""The counters of a stack under the names that Linux's `nstat` shows (/proc/net/snmp, netstat).

A row is here where the meaning is Linux's. What Linux counts in segments is counted in frames, of
which one may be many segments, except for what is sent again. The names of this stack, `Why` for
what was sent, `Drop` for what was discarded and `Event`, tell more: each is in
`Counters.as_dict()`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from aiotcp.counters import Counters
from aiotcp.reasons import Drop, Event, Why

_ICMP_SENT = frozenset({Why.ICMP_ECHO_REPLY, Why.ICMP_UNREACHABLE})
_RESETS = tuple(why for why in Why if why.startswith("rst_"))
_MALFORMED = (Drop.TCP_TRUNCATED, Drop.TCP_DATA_OFFSET, Drop.TCP_CHECKSUM)
_NO_TCP = tuple(drop for drop in Drop if drop.startswith(("link_", "ip_", "icmp_")))
_ICMP_DROPPED = tuple(drop for drop in Drop if drop.startswith("icmp_"))
_HEADERS = (
    *(Drop.IP_EMPTY, Drop.IP_VERSION, Drop.IP_TRUNCATED, Drop.IP_HEADER_LENGTH, Drop.IP_CHECKSUM),
    *(Drop.IP_OPTION, Drop.IP_EXTENSION_HEADER, Drop.IP_ROUTING_HEADER),
)


class Row(NamedTuple):
    """One counter of Linux's."""

    name: str
    text: str
    """What it is made of, or means here."""
    count: Callable[[Counters], int]


def _sent(*reasons: Why) -> Callable[[Counters], int]:
    return lambda counters: sum(counters.sent[why] for why in reasons)


def _dropped(*reasons: Drop) -> Callable[[Counters], int]:
    return lambda counters: sum(counters.dropped[drop] for drop in reasons)


def _events(*events: Event) -> Callable[[Counters], int]:
    return lambda counters: sum(counters.events[event] for event in events)


def _tcp_received(counters: Counters) -> int:
    others = counters.sent[Why.ICMP_ECHO_REPLY] + counters.events[Event.ICMP_ERROR]
    return counters.packets_received - others - _dropped(*_NO_TCP)(counters)


def _tcp_sent(counters: Counters) -> int:
    return counters.packets_sent - _sent(*_ICMP_SENT)(counters)


def _retransmitted(counters: Counters) -> int:
    syns = _sent(Why.OPEN_RETRANSMIT, Why.OPEN_REPLY_RETRANSMIT)(counters)
    return counters.events[Event.RETRANSMITTED_SEGMENTS] + syns


def _timeouts(counters: Counters) -> int:
    return counters.events[Event.TIMEOUT] + counters.sent[Why.OPEN_RETRANSMIT]


def _icmp_received(counters: Counters) -> int:
    taken = counters.sent[Why.ICMP_ECHO_REPLY] + counters.events[Event.ICMP_ERROR]
    return taken + _dropped(*_ICMP_DROPPED)(counters)


ROWS = (
    Row("IpInReceives", "frames from the link, IPv6 included", lambda c: c.packets_received),
    Row("IpInHdrErrors", "headers that make no sense, or are not for a host", _dropped(*_HEADERS)),
    Row("IpInAddrErrors", "not for us", _dropped(Drop.IP_NOT_FOR_US)),
    Row("IpInUnknownProtos", "neither TCP nor ICMP", _dropped(Drop.IP_PROTOCOL)),
    Row("IpReasmFails", "fragments", _dropped(Drop.IP_FRAGMENT)),
    Row("IpOutRequests", "frames to the link, IPv6 included", lambda c: c.packets_sent),
    Row("IcmpInMsgs", "ICMP and ICMPv6", _icmp_received),
    Row("IcmpInErrors", "malformed", _dropped(Drop.ICMP_TRUNCATED, Drop.ICMP_EMBEDDED)),
    Row("IcmpInCsumErrors", "", _dropped(Drop.ICMP_CHECKSUM)),
    Row("IcmpOutMsgs", "", _sent(*_ICMP_SENT)),
    Row("IcmpOutRateLimitHost", "`icmp_rate`", _dropped(Drop.ICMP_RATE_LIMIT)),
    Row("TcpActiveOpens", "", lambda c: c.connections_opened),
    Row("TcpPassiveOpens", "handshakes completed", lambda c: c.connections_accepted),
    Row("TcpAttemptFails", "handshakes that came to nothing", lambda c: c.attempts_failed),
    Row("TcpEstabResets", "to CLOSED from the next row's", lambda c: c.established_resets),
    Row("TcpCurrEstab", "now in ESTABLISHED or CLOSE-WAIT", lambda c: c.established),
    Row("TcpInSegs", "frames", _tcp_received),
    Row("TcpOutSegs", "frames", _tcp_sent),
    Row("TcpRetransSegs", "segments; SYNs included", _retransmitted),
    Row("TcpInErrs", "malformed", _dropped(*_MALFORMED)),
    Row("TcpOutRsts", "`sent_rst_…`", _sent(*_RESETS)),
    Row("TcpInCsumErrors", "", _dropped(Drop.TCP_CHECKSUM)),
    Row("TcpExtSyncookiesSent", "", _sent(Why.SYN_COOKIE)),
    Row("TcpExtSyncookiesRecv", "", lambda c: c.syn_cookies_accepted),
    Row("TcpExtSyncookiesFailed", "", _dropped(Drop.LISTEN_BAD_COOKIE)),
    Row(
        "TcpExtListenOverflows",
        "no room for one more connection",
        _dropped(Drop.LISTEN_MAX_CONNECTIONS),
    ),
    Row(
        "TcpExtListenDrops",
        "that, or the backlog was full and cookies off",
        _dropped(Drop.LISTEN_MAX_CONNECTIONS, Drop.LISTEN_BACKLOG),
    ),
    Row("TcpExtTCPReqQFullDoCookies", "", _sent(Why.SYN_COOKIE)),
    Row("TcpExtTCPReqQFullDrop", "", _dropped(Drop.LISTEN_BACKLOG)),
    Row("TcpExtTCPTimeWaitOverflow", "`max_time_wait`", lambda c: c.time_wait_evicted),
    Row("TcpExtPAWSEstab", "", _dropped(Drop.PAWS)),
    Row("TcpExtDelayedACKs", "", _sent(Why.ACK_DELAYED)),
    Row("TcpExtTCPSackRecovery", "", _events(Event.SACK_RECOVERY)),
    Row("TcpExtTCPRenoRecovery", "", _events(Event.RENO_RECOVERY)),
    Row("TcpExtTCPSACKReneging", "", _events(Event.RENEGING)),
    Row("TcpExtTCPSACKReorder", "", _events(Event.REORDERING)),
    Row("TcpExtTCPFullUndo", "by timestamps (Eifel)", _events(Event.UNDO_TIMESTAMP)),
    Row("TcpExtTCPDSACKUndo", "", _events(Event.UNDO_DSACK)),
    Row("TcpExtTCPSpuriousRTOs", "by F-RTO", _events(Event.UNDO_TIMEOUT)),
    Row(
        "TcpExtTCPFastRetrans",
        "frames",
        _sent(Why.FAST_RETRANSMIT, Why.PARTIAL_ACK_RETRANSMIT),
    ),
    Row("TcpExtTCPSlowStartRetrans", "frames", _sent(Why.RTO_RETRANSMIT)),
    Row("TcpExtTCPTimeouts", "of data, and of our SYNs", _timeouts),
    Row("TcpExtTCPLossProbes", "", _sent(Why.TAIL_LOSS_PROBE)),
    Row("TcpExtTCPLossProbeRecovery", "", _events(Event.LOSS_PROBE_RECOVERY)),
    Row("TcpExtTCPSynRetrans", "", _sent(Why.OPEN_RETRANSMIT, Why.OPEN_REPLY_RETRANSMIT)),
    Row("TcpExtTCPDSACKRecv", "", _events(Event.DSACK_RECEIVED)),
    Row("TcpExtTCPOFODrop", "ahead of their turn", _dropped(Drop.REASSEMBLY_FULL)),
    Row("TcpExtTCPRcvQDrop", "`memory_limit`", _dropped(Drop.MEMORY)),
    Row("TcpExtTCPMemoryPressures", "", lambda c: c.memory_pressures),
    Row("TcpExtTCPAbortOnData", "data after close", _sent(Why.RST_DATA_AFTER_CLOSE)),
    Row("TcpExtTCPAbortOnClose", "unread data", _sent(Why.RST_UNREAD_DATA)),
    Row("TcpExtTCPAbortOnMemory", "`max_orphans`", lambda c: c.orphans_reset),
    Row("TcpExtTCPAbortOnTimeout", "", _events(Event.ABORT_ON_TIMEOUT)),
    Row("TcpExtTCPKeepAlive", "", _sent(Why.KEEPALIVE)),
    Row("TcpExtTCPWinProbe", "", _sent(Why.WINDOW_PROBE)),
    Row("TcpExtTCPChallengeACK", "", _sent(Why.CHALLENGE_ACK)),
    Row("TcpExtTCPSYNChallenge", "", _dropped(Drop.SYN_CHALLENGED)),
    Row(
        "TcpExtTCPACKSkippedChallenge",
        "`challenge_ack_rate`",
        lambda c: c.challenge_acks_withheld,
    ),
    Row("TcpExtTCPFastOpenActive", "data on our SYN was taken", _events(Event.FAST_OPEN)),
    Row("TcpExtTCPFastOpenPassive", "", lambda c: c.fast_opens_accepted),
    Row("TcpExtTCPFastOpenListenOverflow", "`tfo_queue`", lambda c: c.fast_opens_overflowed),
    Row("IpExtInOctets", "", lambda c: c.bytes_received),
    Row("IpExtOutOctets", "", lambda c: c.bytes_sent),
)


def nstat(counters: Counters, reorderings: int = 0) -> dict[str, int]:
    """All of them by name. `reorderings`: of the connections that are there now."""
    table = {row.name: row.count(counters) for row in ROWS}
    table["TcpExtTCPSACKReorder"] += reorderings
    return table
