"""What is not TCP: echo answered, UDP refused, and ICMP errors in the terms of sockets."""

from __future__ import annotations

import errno
from typing import Final

from aiotcp.addresses import LocalAddresses, flow_key, is_unicast
from aiotcp.errors import os_error
from aiotcp.limits import TokenBucket
from aiotcp.reasons import Drop
from aiotcp.tcp.icmp import IcmpNews
from aiotcp.wire import icmp, tcp
from aiotcp.wire.frame import Frame
from aiotcp.wire.icmp import IcmpError, Kind

_UDP: Final = 17

_ERRNO: Final = {
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


class Answer:
    """What becomes of a packet that is no TCP."""

    __slots__ = ("dropped", "key", "news", "reply")

    def __init__(
        self,
        dropped: Drop | None,
        reply: Frame | None = None,
        *,
        key: bytes = b"",
        news: IcmpNews | None = None,
    ) -> None:
        self.dropped = dropped
        self.reply = reply
        self.key = key
        """Of the connection that is to hear of `news`; empty where it is none of TCP."""
        self.news = news


class IcmpHost:
    """The host behind the addresses of a stack, as far as `ping` and `nc -u` can tell."""

    def __init__(self, addresses: LocalAddresses, hop_limit: int, limit: TokenBucket) -> None:
        """`limit` is on replies of all kinds together."""
        self._addresses = addresses
        self._hop_limit = hop_limit
        self._limit = limit

    def receive(
        self,
        packet: memoryview,
        protocol: int,
        offset: int,
        end: int,
        vouched: bool,
        now: float,
        transparent: bool = False,
    ) -> Answer:
        """An IP packet of another protocol than TCP. `transparent`: there may be connections at
        addresses that are not the stack's. Raises Malformed."""
        is_ipv4 = packet[0] >> 4 == 4
        destination = bytes(packet[16:20] if is_ipv4 else packet[24:40])
        is_icmp = protocol == (icmp.PROTOCOL_V4 if is_ipv4 else icmp.PROTOCOL_V6)
        own = destination in self._addresses
        if not own and not (transparent and is_icmp):
            return Answer(Drop.IP_NOT_FOR_US)
        source = bytes(packet[12:16] if is_ipv4 else packet[8:24])
        if not is_unicast(source) or source in self._addresses:
            return Answer(Drop.IP_BAD_SOURCE)
        if is_icmp:
            message = icmp.parse(packet, offset, end, vouched)
            if not own and not (isinstance(message, IcmpError) and message.source == destination):
                return Answer(Drop.IP_NOT_FOR_US)
            if isinstance(message, IcmpError):
                if message.kind is Kind.SOURCE_QUENCH:
                    return Answer(Drop.ICMP_SOURCE_QUENCH)  # MUST-55, RFC 6633
                key = flow_of(message) if message.protocol == tcp.PROTOCOL else b""
                return Answer(None, key=key, news=news_of(message))
            if not self._limit.take(now):
                return Answer(Drop.ICMP_RATE_LIMIT)
            return Answer(None, icmp.echo_reply(packet, offset, end, hop_limit=self._hop_limit))
        if protocol != _UDP or not self._limit.take(now):
            return Answer(Drop.IP_PROTOCOL)
        # RFC 1122 4.1.3.1: nobody listens on a UDP port here.
        return Answer(
            Drop.IP_PROTOCOL, icmp.port_unreachable(packet[:end], hop_limit=self._hop_limit)
        )
