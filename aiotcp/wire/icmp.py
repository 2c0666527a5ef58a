"""ICMP (RFC 792) and ICMPv6 (RFC 4443): echo answered, errors read and built.

Of an error a transport needs what happened and which of its segments it happened to, which the
start of the packet that the error quotes tells.
"""

# No `from __future__ import annotations`: NamedTuple compiles each annotation that is a string.
import struct
from enum import StrEnum
from typing import Final, NamedTuple

from aiotcp.reasons import Drop, Why
from aiotcp.wire import checksum, ipv4, ipv6
from aiotcp.wire.frame import Buffer, Frame
from aiotcp.wire.malformed import Malformed

PROTOCOL_V4: Final = 1
PROTOCOL_V6: Final = 58

HEADER_LENGTH: Final = 8

V4_ECHO_REPLY: Final = 0
V4_UNREACHABLE: Final = 3
V4_SOURCE_QUENCH: Final = 4
V4_ECHO_REQUEST: Final = 8
V4_TIME_EXCEEDED: Final = 11
V4_PARAMETER_PROBLEM: Final = 12

V6_UNREACHABLE: Final = 1
V6_PACKET_TOO_BIG: Final = 2
V6_TIME_EXCEEDED: Final = 3
V6_PARAMETER_PROBLEM: Final = 4
V6_ECHO_REQUEST: Final = 128
V6_ECHO_REPLY: Final = 129

# The whole error packet: RFC 1812 section 4.3.2.3 and RFC 4443 section 2.4(c).
_MAX_ERROR_V4: Final = 576
_MAX_ERROR_V6: Final = 1280

_u16_pair: Final = struct.Struct("!HH").unpack_from
_u32: Final = struct.Struct("!I").unpack_from


class Kind(StrEnum):
    """What an error says, the same words for both families."""

    NET_UNREACHABLE = "net_unreachable"
    HOST_UNREACHABLE = "host_unreachable"
    PROTOCOL_UNREACHABLE = "protocol_unreachable"
    PORT_UNREACHABLE = "port_unreachable"
    PACKET_TOO_BIG = "packet_too_big"
    SOURCE_ROUTE_FAILED = "source_route_failed"
    ADMIN_PROHIBITED = "admin_prohibited"
    SOURCE_QUENCH = "source_quench"
    TIME_EXCEEDED = "time_exceeded"
    PARAMETER_PROBLEM = "parameter_problem"
    OTHER = "other"


_V4_UNREACHABLE_KINDS: Final = (
    Kind.NET_UNREACHABLE,
    Kind.HOST_UNREACHABLE,
    Kind.PROTOCOL_UNREACHABLE,
    Kind.PORT_UNREACHABLE,
    Kind.PACKET_TOO_BIG,  # RFC 1191: fragmentation needed and DF set
    Kind.SOURCE_ROUTE_FAILED,
    Kind.NET_UNREACHABLE,  # from here RFC 1122 section 3.2.2.1: network unknown
    Kind.HOST_UNREACHABLE,  # host unknown
    Kind.HOST_UNREACHABLE,  # source host isolated
    Kind.ADMIN_PROHIBITED,  # network
    Kind.ADMIN_PROHIBITED,  # host
    Kind.NET_UNREACHABLE,  # for this type of service
    Kind.HOST_UNREACHABLE,  # for this type of service
    Kind.ADMIN_PROHIBITED,  # from here RFC 1812 section 5.2.7.1: by filtering
    Kind.HOST_UNREACHABLE,  # host precedence violation
    Kind.HOST_UNREACHABLE,  # precedence cutoff
)
_V4_KINDS: Final = {
    V4_SOURCE_QUENCH: Kind.SOURCE_QUENCH,
    V4_TIME_EXCEEDED: Kind.TIME_EXCEEDED,
    V4_PARAMETER_PROBLEM: Kind.PARAMETER_PROBLEM,
}

_V6_UNREACHABLE_KINDS: Final = (  # RFC 4443 section 3.1
    Kind.NET_UNREACHABLE,
    Kind.ADMIN_PROHIBITED,
    Kind.HOST_UNREACHABLE,  # beyond the scope of the source address
    Kind.HOST_UNREACHABLE,
    Kind.PORT_UNREACHABLE,
    Kind.ADMIN_PROHIBITED,  # source address failed policy
    Kind.ADMIN_PROHIBITED,  # reject route
)
_V6_KINDS: Final = {
    V6_PACKET_TOO_BIG: Kind.PACKET_TOO_BIG,
    V6_TIME_EXCEEDED: Kind.TIME_EXCEEDED,
    V6_PARAMETER_PROBLEM: Kind.PARAMETER_PROBLEM,
}


class EchoRequest(NamedTuple):
    """A request that `echo_reply` answers; `payload` is a view of the packet."""

    identifier: int
    sequence: int
    payload: Buffer


class IcmpError(NamedTuple):
    """An error about a packet that was sent from here.

    type, code   as received; the meaning depends on the family
    kind         the same for both families
    mtu          of PACKET_TOO_BIG, in bytes of IP packet: the claim as it stands, unchecked; 0 if
                 not told (RFC 1191 section 5), and with every other kind
    source, destination, protocol, source_port, destination_port
                 of the quoted packet, so the source is ours. The ports are the first four bytes
                 after the IP headers, which are ports if the protocol has any
    sequence     of the quoted TCP header, modulo 2³²; None if the quotation ends before it
    """

    type: int
    code: int
    kind: Kind
    mtu: int
    source: bytes
    destination: bytes
    protocol: int
    source_port: int
    destination_port: int
    sequence: int | None


def _pseudo_header_sum(packet: Buffer, length: int) -> int:
    """ICMPv6 counts a pseudo-header (RFC 4443 section 2.3), ICMP does not."""
    if packet[0] >> 4 == 4:
        return 0
    return checksum.pseudo_header_sum(packet[8:24], packet[24:40], PROTOCOL_V6, length)


def parse(
    packet: memoryview, offset: int, end: int, vouched: bool = False
) -> EchoRequest | IcmpError:
    """The message in `packet[offset:end]`, of the family that the packet's version nibble says.

    Everything else (replies, redirects, neighbour and router discovery, which a point-to-point
    link does without) is Malformed with Drop.ICMP_TYPE. Error types that ICMPv6 may yet define are
    Kind.OTHER, as RFC 4443 section 2.4(a) wants them passed on. Raises Malformed.
    """
    length = end - offset
    if length < HEADER_LENGTH:
        raise Malformed(Drop.ICMP_TRUNCATED)
    if not vouched:
        total = checksum.ones_complement_sum(packet[offset:end])
        if checksum.fold(total + _pseudo_header_sum(packet, length)) != 0xFFFF:
            raise Malformed(Drop.ICMP_CHECKSUM)
    type_, code = packet[offset], packet[offset + 1]
    is_ipv4 = packet[0] >> 4 == 4
    if type_ == (V4_ECHO_REQUEST if is_ipv4 else V6_ECHO_REQUEST):
        identifier, sequence = _u16_pair(packet, offset + 4)
        return EchoRequest(identifier, sequence, packet[offset + HEADER_LENGTH : end])
    kind = _v4_kind(type_, code) if is_ipv4 else _v6_kind(type_, code)
    if kind is None:
        raise Malformed(Drop.ICMP_TYPE)
    mtu = 0
    if kind is Kind.PACKET_TOO_BIG:
        # ICMP: the low half (RFC 1191 section 4); the high one may hold RFC 4884's length.
        mtu = _u32(packet, offset + 4)[0] & (0xFFFF if is_ipv4 else 0xFFFFFFFF)
    # The extensions of RFC 4884 stand behind at least 128 bytes of quotation, and what is read
    # here comes before that: its length attribute need not be looked at.
    quoted = packet[offset + HEADER_LENGTH : end]
    return IcmpError(type_, code, kind, mtu, *_parse_quoted(quoted, is_ipv4))


def _v4_kind(type_: int, code: int) -> Kind | None:
    if type_ == V4_UNREACHABLE:
        known = code < len(_V4_UNREACHABLE_KINDS)
        return _V4_UNREACHABLE_KINDS[code] if known else Kind.OTHER
    return _V4_KINDS.get(type_)


def _v6_kind(type_: int, code: int) -> Kind | None:
    if type_ == V6_UNREACHABLE:
        known = code < len(_V6_UNREACHABLE_KINDS)
        return _V6_UNREACHABLE_KINDS[code] if known else Kind.OTHER
    # Types below 128 are errors, known ones or not (RFC 4443 section 2.1).
    return _V6_KINDS.get(type_, Kind.OTHER) if 0 < type_ < 128 else None


def _parse_quoted(
    quoted: memoryview, is_ipv4: bool
) -> tuple[bytes, bytes, int, int, int, int | None]:
    """Addresses, protocol, ports and sequence number of the packet that an error quotes.

    The quotation may end anywhere and its lengths are those of the whole packet, so neither they
    nor checksums are checked; without the ports, though, there is nobody to tell.
    """
    if len(quoted) < (ipv4.HEADER_LENGTH if is_ipv4 else ipv6.HEADER_LENGTH):
        raise Malformed(Drop.ICMP_TRUNCATED)
    if quoted[0] >> 4 != (4 if is_ipv4 else 6):
        raise Malformed(Drop.ICMP_EMBEDDED)
    if is_ipv4:
        source, destination = bytes(quoted[12:16]), bytes(quoted[16:20])
        protocol, offset = quoted[9], (quoted[0] & 15) * 4
        if offset < ipv4.HEADER_LENGTH or _u16_pair(quoted, 4)[1] & 0x1FFF:
            raise Malformed(Drop.ICMP_EMBEDDED)
    else:
        source, destination = bytes(quoted[8:24]), bytes(quoted[24:40])
        protocol, offset = _skip_quoted_extensions(quoted)
    if offset + 4 > len(quoted):
        raise Malformed(Drop.ICMP_TRUNCATED)
    source_port, destination_port = _u16_pair(quoted, offset)
    sequence = _u32(quoted, offset + 4)[0] if offset + 8 <= len(quoted) else None
    return source, destination, protocol, source_port, destination_port, sequence


def _skip_quoted_extensions(quoted: memoryview) -> tuple[int, int]:
    """(upper protocol, its offset) behind the extension headers that a path may have added."""
    protocol, offset = quoted[6], ipv6.HEADER_LENGTH
    for _ in range(ipv6.MAX_EXTENSION_HEADERS):
        if protocol not in (
            ipv6.HOP_BY_HOP,
            ipv6.ROUTING,
            ipv6.FRAGMENT,
            ipv6.DESTINATION_OPTIONS,
        ):
            return protocol, offset
        if offset + 8 > len(quoted):
            raise Malformed(Drop.ICMP_TRUNCATED)
        if protocol == ipv6.FRAGMENT:
            # Only a first fragment begins with the transport header.
            if _u16_pair(quoted, offset)[1] & 0xFFF8:
                raise Malformed(Drop.ICMP_EMBEDDED)
            following = offset + 8
        else:
            following = offset + 8 + quoted[offset + 1] * 8
        protocol, offset = quoted[offset], following
    raise Malformed(Drop.ICMP_EMBEDDED)


def echo_reply(packet: Buffer, offset: int, end: int, *, hop_limit: int = 64) -> Frame:
    """The reply to the echo request in `packet[offset:end]`, with all of its data.

    RFC 1122 section 3.2.2.6, RFC 4443 section 4.2. It goes from the address that was asked, so the
    caller answers only requests to an address of its own. The traffic class is that of the request.
    """
    packet = memoryview(packet)
    message = bytes(packet[offset + 4 : end])
    if packet[0] >> 4 == 4:
        source, destination = bytes(packet[16:20]), bytes(packet[12:16])
        traffic_class, type_ = packet[1], V4_ECHO_REPLY
    else:
        source, destination = bytes(packet[24:40]), bytes(packet[8:24])
        traffic_class, type_ = (_u32(packet)[0] >> 20) & 0xFF, V6_ECHO_REPLY
    return _frame(
        type_,
        0,
        message,
        source,
        destination,
        hop_limit=hop_limit,
        traffic_class=traffic_class,
        reason=Why.ICMP_ECHO_REPLY,
    )


def error(
    packet: Buffer,
    type_: int,
    code: int,
    *,
    source: bytes | None = None,
    parameter: int = 0,
    hop_limit: int = 64,
) -> Frame:
    """An error of `type_` about `packet`, to its sender, quoting as much of it as may be.

    `source` is the address of the one that complains: by default the destination of `packet`.
    `parameter` is the word behind the checksum, such as the MTU of "packet too big". Whether an
    error may be sent at all (RFC 1122 section 3.2.2: never about an ICMP error, a fragment, or what
    came to more than one host) is for the caller to know.
    """
    packet = memoryview(packet)
    if packet[0] >> 4 == 4:
        addressee, destination = bytes(packet[12:16]), bytes(packet[16:20])
        room = _MAX_ERROR_V4 - ipv4.HEADER_LENGTH - HEADER_LENGTH
    else:
        addressee, destination = bytes(packet[8:24]), bytes(packet[24:40])
        room = _MAX_ERROR_V6 - ipv6.HEADER_LENGTH - HEADER_LENGTH
    return _frame(
        type_,
        code,
        parameter.to_bytes(4, "big") + packet[:room],
        source or destination,
        addressee,
        hop_limit=hop_limit,
        traffic_class=0,
        reason=Why.ICMP_UNREACHABLE,
    )


def port_unreachable(packet: Buffer, *, hop_limit: int = 64) -> Frame:
    """The answer to `packet`, whose transport has nobody at its port (RFC 1122 section 3.2.2.1)."""
    is_ipv4 = packet[0] >> 4 == 4
    type_, code = (V4_UNREACHABLE, 3) if is_ipv4 else (V6_UNREACHABLE, 4)
    return error(packet, type_, code, hop_limit=hop_limit)


def _frame(
    type_: int,
    code: int,
    rest: bytes,
    source: bytes,
    destination: bytes,
    *,
    hop_limit: int,
    traffic_class: int,
    reason: str,
) -> Frame:
    """A whole packet; `rest` is the message behind the checksum field."""
    length = 4 + len(rest)
    total = (type_ << 8 | code) + checksum.ones_complement_sum(rest)
    if len(source) == 4:
        header = ipv4.header(
            source,
            destination,
            PROTOCOL_V4,
            length,
            hop_limit=hop_limit,
            traffic_class=traffic_class,
        )
    else:
        total += checksum.pseudo_header_sum(source, destination, PROTOCOL_V6, length)
        header = ipv6.header(
            source,
            destination,
            PROTOCOL_V6,
            length,
            hop_limit=hop_limit,
            traffic_class=traffic_class,
        )
    message = struct.pack("!BBH", type_, code, checksum.finish(total)) + rest
    return Frame(header + message, reason=reason)
