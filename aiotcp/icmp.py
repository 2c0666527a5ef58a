"""ICMP errors in the terms of sockets: which connection, which errno, hard or soft."""

from __future__ import annotations

import errno

from aiotcp.addresses import flow_key
from aiotcp.errors import os_error
from aiotcp.tcp.icmp import IcmpNews
from aiotcp.wire.icmp import IcmpError, Kind

_ERRNO = {
    Kind.NET_UNREACHABLE: errno.ENETUNREACH,
    Kind.HOST_UNREACHABLE: errno.EHOSTUNREACH,
    Kind.PROTOCOL_UNREACHABLE: errno.ENOPROTOOPT,
    Kind.PORT_UNREACHABLE: errno.ECONNREFUSED,
    Kind.PACKET_TOO_BIG: errno.EMSGSIZE,
    Kind.SOURCE_ROUTE_FAILED: errno.EOPNOTSUPP,
    Kind.ADMIN_PROHIBITED: errno.EACCES,
    Kind.TIME_EXCEEDED: errno.EHOSTUNREACH,
    Kind.PARAMETER_PROBLEM: errno.EPROTO,
    Kind.OTHER: errno.EHOSTUNREACH,
}
"""As Linux maps them (icmp(7))."""


def flow_of(error: IcmpError) -> bytes:
    """The key of the connection that sent the quoted packet."""
    return flow_key(error.source, error.source_port, error.destination, error.destination_port)


def news_of(error: IcmpError) -> IcmpNews:
    """What the connection needs to know of it."""
    # RFC 9293 3.9.2.2, SHLD-26: IPv4 codes 2 to 4, IPv6 codes 1 and 4; 4 of IPv4 tells the MTU.
    hard = error.kind in (Kind.PROTOCOL_UNREACHABLE, Kind.PORT_UNREACHABLE) or (
        error.kind is Kind.ADMIN_PROHIBITED and len(error.source) == 16
    )
    too_big = error.kind is Kind.PACKET_TOO_BIG
    return IcmpNews(
        seq=error.sequence,
        error=os_error(_ERRNO[error.kind]),
        hard=hard,
        mtu=error.mtu if too_big else None,
    )
