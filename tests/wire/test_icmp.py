from __future__ import annotations

import struct
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.reasons import Drop, Why
from aiotcp.wire import checksum, icmp, ipv4, ipv6, tcp
from aiotcp.wire.frame import Buffer
from aiotcp.wire.icmp import EchoRequest, IcmpError, Kind
from aiotcp.wire.malformed import Malformed
from tests.wire.oracle import (
    FAMILIES,
    V4,
    V6,
    dissect,
    octets,
    rebuilt,
    relaxed,
    tcp_frame,
    tcp_packet,
    words16,
    words32,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import ICMP, IP
    from scapy.layers.inet6 import (
        ICMPv6DestUnreach,
        ICMPv6EchoReply,
        ICMPv6EchoRequest,
        ICMPv6PacketTooBig,
        ICMPv6ParamProblem,
        ICMPv6TimeExceeded,
        IPv6,
    )

# The type of an unreachable of each family: the simplest error.
UNREACHABLE = {4: icmp.V4_UNREACHABLE, 6: icmp.V6_UNREACHABLE}


def parse(packet: Buffer, *, vouched: bool = False) -> EchoRequest | IcmpError:
    view = memoryview(packet)
    protocol, offset, end = (ipv4 if view[0] >> 4 == 4 else ipv6).parse(view)
    assert protocol == (icmp.PROTOCOL_V4 if view[0] >> 4 == 4 else icmp.PROTOCOL_V6)
    return icmp.parse(view, offset, end, vouched)


def parse_error(packet: Buffer) -> IcmpError:
    found = parse(packet)
    assert isinstance(found, IcmpError)
    return found


def refused(packet: Buffer, *, vouched: bool = False) -> Drop:
    with pytest.raises(Malformed) as caught:
        parse(packet, vouched=vouched)
    return caught.value.reason


def message(
    version: int, type_: int, code: int, rest: bytes = bytes(4), quoted: bytes = b""
) -> bytes:
    """A packet that holds any ICMP message, checksum right, from the far end to us."""
    ours, far = FAMILIES[version]
    body = bytes((type_, code, 0, 0)) + rest + quoted
    if version == 4:
        total, protocol = 0, icmp.PROTOCOL_V4
        header = ipv4.header(far, ours, protocol, len(body))
    else:
        protocol = icmp.PROTOCOL_V6
        total = checksum.pseudo_header_sum(far, ours, protocol, len(body))
        header = ipv6.header(far, ours, protocol, len(body))
    field = checksum.finish(total + checksum.ones_complement_sum(body))
    return header + body[:2] + field.to_bytes(2, "big") + body[4:]


def of_scapy(layers: Any, version: int) -> bytes:
    """A packet of scapy's from the far end to us, everything that it can compute computed."""
    if version == 4:
        return bytes(IP(src="192.0.2.2", dst="192.0.2.1") / layers)
    return bytes(IPv6(src="2001:db8::2", dst="2001:db8::1") / layers)


# Echo.


@pytest.mark.parametrize("version", [4, 6])
@relaxed
@given(identifier=words16, sequence=words16, data=st.binary(max_size=100), traffic_class=octets)
def test_an_echo_request_is_answered_in_full(
    version: int, identifier: int, sequence: int, data: bytes, traffic_class: int
) -> None:
    if version == 4:
        ip = IP(src="192.0.2.2", dst="192.0.2.1", tos=traffic_class)
        request = bytes(ip / ICMP(type=8, id=identifier, seq=sequence) / data)
    else:
        ip6 = IPv6(src="2001:db8::2", dst="2001:db8::1", tc=traffic_class)
        request = bytes(ip6 / ICMPv6EchoRequest(id=identifier, seq=sequence, data=data))
    header_length = 20 if version == 4 else 40
    found = parse(request)
    assert isinstance(found, EchoRequest)
    assert (found.identifier, found.sequence, bytes(found.payload)) == (identifier, sequence, data)

    frame = icmp.echo_reply(request, header_length, len(request), hop_limit=33)
    assert (frame.reason, frame.checksum_start, frame.gso_size) == (Why.ICMP_ECHO_REPLY, 0, 0)
    packet = frame.to_bytes()
    assert frame.length == len(packet)
    assert rebuilt(packet) == packet
    reply = dissect(packet)
    if version == 4:
        assert (reply.src, reply.dst, reply.ttl) == ("192.0.2.1", "192.0.2.2", 33)
        assert (reply.tos, reply[ICMP].type, reply[ICMP].code) == (traffic_class, 0, 0)
        assert (reply[ICMP].id, reply[ICMP].seq) == (identifier, sequence)
        assert bytes(reply[ICMP].payload) == data
    else:
        assert (reply.src, reply.dst, reply.hlim) == ("2001:db8::1", "2001:db8::2", 33)
        answer = reply[ICMPv6EchoReply]
        assert (reply.tc, answer.id, answer.seq, answer.data) == (
            traffic_class,
            identifier,
            sequence,
            data,
        )


def test_an_echo_reply_of_zeros_only_has_a_checksum_that_is_not_zero() -> None:
    request = message(4, icmp.V4_ECHO_REQUEST, 0, bytes(4), bytes(8))
    reply = icmp.echo_reply(request, 20, len(request)).to_bytes()
    assert reply[20:] == b"\0\0\xff\xff" + bytes(12)


def test_link_padding_and_ip_options_are_not_echoed() -> None:
    request = message(4, icmp.V4_ECHO_REQUEST, 0, b"\0\1\0\2", b"data")
    padded = request + b"#" * 10
    assert icmp.echo_reply(padded, 20, len(request)).to_bytes()[28:] == b"data"


# What happened.


def v4_errors() -> list[tuple[int, int, Kind]]:
    net, host, admin = Kind.NET_UNREACHABLE, Kind.HOST_UNREACHABLE, Kind.ADMIN_PROHIBITED
    unreachable = [net, host, Kind.PROTOCOL_UNREACHABLE, Kind.PORT_UNREACHABLE]
    unreachable += [Kind.PACKET_TOO_BIG, Kind.SOURCE_ROUTE_FAILED, net, host, host, admin, admin]
    unreachable += [net, host, admin, host, host, Kind.OTHER]
    return [
        *((3, code, kind) for code, kind in enumerate(unreachable)),
        (3, 255, Kind.OTHER),
        (4, 0, Kind.SOURCE_QUENCH),
        (11, 0, Kind.TIME_EXCEEDED),
        (11, 1, Kind.TIME_EXCEEDED),
        (12, 0, Kind.PARAMETER_PROBLEM),
        (12, 1, Kind.PARAMETER_PROBLEM),
    ]


def v6_errors() -> list[tuple[int, int, Kind]]:
    net, host, admin = Kind.NET_UNREACHABLE, Kind.HOST_UNREACHABLE, Kind.ADMIN_PROHIBITED
    unreachable = [net, admin, host, host, Kind.PORT_UNREACHABLE, admin, admin, Kind.OTHER]
    return [
        *((1, code, kind) for code, kind in enumerate(unreachable)),
        (2, 0, Kind.PACKET_TOO_BIG),
        (3, 0, Kind.TIME_EXCEEDED),
        (3, 1, Kind.TIME_EXCEEDED),
        *((4, code, Kind.PARAMETER_PROBLEM) for code in range(3)),
        # RFC 4443 section 2.4(a): errors of unknown types are passed on.
        (5, 0, Kind.OTHER),
        (100, 0, Kind.OTHER),
        (127, 255, Kind.OTHER),
    ]


@pytest.mark.req("MUST-54", "MUST-55", "MUST-56")
@pytest.mark.parametrize(
    ("version", "type_", "code", "kind"),
    [(4, *row) for row in v4_errors()] + [(6, *row) for row in v6_errors()],
)
def test_each_type_and_code(version: int, type_: int, code: int, kind: Kind) -> None:
    quoted = tcp_frame(version, seq=0xFFFFFFF0).to_bytes()
    found = parse_error(message(version, type_, code, quoted=quoted))
    assert (found.type, found.code, found.kind, found.mtu) == (type_, code, kind, 0)
    assert (found.source, found.destination) == FAMILIES[version]
    assert (found.protocol, found.source_port, found.destination_port) == (6, 5000, 80)
    assert found.sequence == 0xFFFFFFF0


@pytest.mark.req("X-2")
@pytest.mark.parametrize(
    ("version", "type_"),
    [(4, t) for t in (0, 1, 2, 5, 6, 7, 9, 10, 13, 14, 17, 30, 128, 255)]
    + [(6, t) for t in (0, 129, 130, 131, 133, 134, 135, 136, 137, 143, 255)],
)
def test_other_types_are_dropped_by_name(version: int, type_: int) -> None:
    quoted = tcp_packet(version)
    assert refused(message(version, type_, 0, quoted=quoted)) is Drop.ICMP_TYPE


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("length", range(8))
def test_messages_shorter_than_their_header(version: int, length: int) -> None:
    ours, far = FAMILIES[version]
    protocol = icmp.PROTOCOL_V4 if version == 4 else icmp.PROTOCOL_V6
    header = (ipv4 if version == 4 else ipv6).header(far, ours, protocol, length)
    assert refused(header + bytes(length)) is Drop.ICMP_TRUNCATED


@pytest.mark.parametrize("version", [4, 6])
@relaxed
@given(data=st.data())
def test_checksums_are_verified_unless_vouched(version: int, data: st.DataObject) -> None:
    packet = bytearray(message(version, UNREACHABLE[version], 0, quoted=tcp_packet(version)))
    start = 20 if version == 4 else 40
    # Bits of the IP header of the quotation that are not read below.
    position = data.draw(st.sampled_from((start + 2, start + 3, start + 4, start + 8 + 1)))
    packet[position] ^= 1 << data.draw(st.integers(0, 7))
    assert refused(packet) is Drop.ICMP_CHECKSUM
    assert isinstance(parse(packet, vouched=True), IcmpError)


@pytest.mark.req("1191-1", "1191-2")
@pytest.mark.parametrize("mtu", [0, 20, 68, 576, 1280, 1500, 65535])
def test_the_mtu_of_packet_too_big(mtu: int) -> None:
    # The third byte may be RFC 4884's length; the MTU is what follows.
    for unused in (0, 32):
        rest = struct.pack("!BBH", 0, unused, mtu)
        found = parse_error(message(4, 3, 4, rest, tcp_packet(4)))
        assert (found.kind, found.mtu) == (Kind.PACKET_TOO_BIG, mtu)
    found = parse_error(message(6, 2, 0, struct.pack("!I", mtu), tcp_packet(6)))
    assert (found.kind, found.mtu) == (Kind.PACKET_TOO_BIG, mtu)


def test_an_ipv6_mtu_has_32_bits() -> None:
    found = parse_error(message(6, 2, 0, b"\xff\xff\xff\xff", tcp_packet(6)))
    assert found.mtu == 0xFFFFFFFF


# Which segment it happened to.


@pytest.mark.req("MUST-54")
@pytest.mark.parametrize("version", [4, 6])
def test_a_quotation_may_end_anywhere_behind_the_ports(version: int) -> None:
    whole = tcp_packet(version, payload=b"payload")
    header_length = 20 if version == 4 else 40
    for length in range(len(whole) + 1):
        packet = message(version, UNREACHABLE[version], 0, quoted=whole[:length])
        if length < header_length + 4:
            assert refused(packet) is Drop.ICMP_TRUNCATED
            continue
        found = parse_error(packet)
        assert (found.source_port, found.destination_port) == (5000, 80)
        assert found.sequence == (1000 if length >= header_length + 8 else None)


@pytest.mark.req("MUST-50")
@pytest.mark.parametrize("words", range(1, 11))
def test_a_quoted_ipv4_header_with_options(words: int) -> None:
    plain = tcp_packet(4)
    quoted = bytes((0x45 + words,)) + plain[1:20] + b"\1" * (4 * words) + plain[20:]
    found = parse_error(message(4, 11, 0, quoted=quoted))
    assert (found.source, found.destination) == V4
    assert (found.source_port, found.destination_port, found.sequence) == (5000, 80, 1000)


@pytest.mark.parametrize("first", [0, 60, 43])
def test_quoted_ipv6_extension_headers(first: int) -> None:
    plain = tcp_packet(6)
    chain = bytes((60, 1)) + bytes(14) + bytes((44, 0)) + bytes(6) + bytes((6, 0, 0, 1)) + bytes(4)
    quoted = plain[:6] + bytes((first,)) + plain[7:40] + chain + plain[40:]
    found = parse_error(message(6, 1, 0, quoted=quoted))
    assert (found.source, found.destination) == V6
    assert (found.protocol, found.source_port, found.destination_port) == (6, 5000, 80)
    for length in range(40, 40 + len(chain) + 4):
        assert refused(message(6, 1, 0, quoted=quoted[:length])) is Drop.ICMP_TRUNCATED


def test_quotations_that_lead_to_no_transport_header() -> None:
    v4, v6 = tcp_packet(4), tcp_packet(6)
    for broken in (
        b"\x44" + v4[1:],  # a header of 16 bytes
        v4[:6] + b"\x00\x01" + v4[8:],  # not the first fragment
        v6,  # the other family
    ):
        assert refused(message(4, 3, 1, quoted=broken)) is Drop.ICMP_EMBEDDED
    later_fragment = v6[:6] + b"\x2c" + v6[7:40] + b"\6\0\0\x08" + bytes(4) + v6[40:]
    endless = v6[:6] + b"\x3c" + v6[7:40] + b"\x3c\0\1\4\0\0\0\0" * 30
    for broken in (later_fragment, endless, v4 + bytes(20)):
        assert refused(message(6, 1, 0, quoted=broken)) is Drop.ICMP_EMBEDDED


def test_the_first_fragment_holds_the_transport_header() -> None:
    v4 = tcp_packet(4)
    found = parse_error(message(4, 11, 1, quoted=v4[:6] + b"\x20\x00" + v4[8:]))
    assert found.sequence == 1000


def test_the_lengths_and_checksums_of_a_quotation_are_not_believed() -> None:
    quoted = bytearray(tcp_packet(4))
    quoted[2:4] = b"\xff\xff"  # some routers swap these
    quoted[10:12] = b"\0\0"
    assert parse_error(message(4, 3, 1, quoted=bytes(quoted))).sequence == 1000


@pytest.mark.parametrize("version", [4, 6])
def test_extensions_of_rfc_4884_are_tolerated(version: int) -> None:
    quoted = tcp_packet(version).ljust(128, b"\0")
    extension = b"\x20\0\0\0" + struct.pack("!HBBI", 8, 1, 1, 0x12345678)  # a label of MPLS
    length = b"\0\x20\0\0" if version == 4 else b"\x10\0\0\0"
    type_ = icmp.V4_TIME_EXCEEDED if version == 4 else icmp.V6_TIME_EXCEEDED
    for rest in (length, b"\xff\xff\xff\xff", bytes(4)):
        found = parse_error(message(version, type_, 0, rest, quoted + extension))
        assert (found.kind, found.sequence, found.mtu) == (Kind.TIME_EXCEEDED, 1000, 0)


def test_a_quotation_of_another_protocol() -> None:
    udp = ipv4.header(*V4, 17, 8) + struct.pack("!HHHH", 53, 54, 8, 0)
    found = parse_error(message(4, 3, 3, quoted=udp))
    assert (found.protocol, found.source_port, found.destination_port) == (17, 53, 54)


# Against scapy, both ways.


@relaxed
@given(seq=words32, mtu=words16)
def test_errors_that_scapy_builds(seq: int, mtu: int) -> None:
    v4, v6 = tcp_frame(4, seq=seq).to_bytes(), tcp_frame(6, seq=seq).to_bytes()
    for layers, version, kind in (
        (ICMP(type=3, code=4, nexthopmtu=mtu) / IP(v4), 4, Kind.PACKET_TOO_BIG),
        (ICMP(type=3, code=3) / IP(v4), 4, Kind.PORT_UNREACHABLE),
        (ICMP(type=11, code=0) / IP(v4), 4, Kind.TIME_EXCEEDED),
        (ICMP(type=12, code=0, ptr=9) / IP(v4), 4, Kind.PARAMETER_PROBLEM),
        (ICMPv6PacketTooBig(mtu=mtu) / IPv6(v6), 6, Kind.PACKET_TOO_BIG),
        (ICMPv6DestUnreach(code=4) / IPv6(v6), 6, Kind.PORT_UNREACHABLE),
        (ICMPv6TimeExceeded(code=0) / IPv6(v6), 6, Kind.TIME_EXCEEDED),
        (ICMPv6ParamProblem(code=1, ptr=9) / IPv6(v6), 6, Kind.PARAMETER_PROBLEM),
    ):
        found = parse_error(of_scapy(layers, version))
        assert (found.kind, found.sequence) == (kind, seq)
        assert found.mtu == (mtu if kind is Kind.PACKET_TOO_BIG else 0)
        assert (found.source, found.destination) == FAMILIES[version]


@pytest.mark.parametrize("version", [4, 6])
@relaxed
@given(
    type_=st.sampled_from((1, 3, 4)),
    code=st.integers(0, 15),
    parameter=words32,
    payload=st.binary(max_size=100),
    hop_limit=octets,
)
def test_errors_that_are_built_here(
    version: int, type_: int, code: int, parameter: int, payload: bytes, hop_limit: int
) -> None:
    quoted = tcp_packet(version, payload=payload)
    frame = icmp.error(quoted, type_, code, parameter=parameter, hop_limit=hop_limit)
    packet = frame.to_bytes()
    assert frame.length == len(packet)
    start = 20 if version == 4 else 40
    assert packet[start] == type_
    assert packet[start + 1] == code
    assert packet[start + 4 : start + 8] == parameter.to_bytes(4, "big")
    assert packet[start + 8 :] == quoted
    ip = dissect(packet)
    ours, far = ("192.0.2.1", "192.0.2.2") if version == 4 else ("2001:db8::1", "2001:db8::2")
    assert (ip.src, ip.dst) == (far, ours)
    assert (ip.ttl if version == 4 else ip.hlim) == hop_limit
    if (version, type_) != (4, 1):
        assert parse_error(packet).sequence == 1000
    assert rebuilt(packet)[start + 2 : start + 4] == packet[start + 2 : start + 4]


@pytest.mark.parametrize(("version", "most"), [(4, 576), (6, 1280)])
def test_an_error_quotes_no_more_than_the_smallest_mtu_carries(version: int, most: int) -> None:
    quoted = tcp_packet(version, payload=bytes(1400))
    packet = icmp.port_unreachable(quoted).to_bytes()
    assert len(packet) == most
    found = parse_error(packet)
    assert (found.kind, found.sequence) == (Kind.PORT_UNREACHABLE, 1000)


@pytest.mark.parametrize("version", [4, 6])
def test_a_router_on_the_path_may_be_the_one_that_complains(version: int) -> None:
    ours, far = FAMILIES[version]
    router = ours[:-1] + b"\xfe"
    frame = icmp.error(tcp_packet(version), 3, 0, source=router)
    assert frame.header.find(router) == (12 if version == 4 else 8)
    assert frame.reason == Why.ICMP_UNREACHABLE
    found = parse_error(frame.header)
    assert (found.source, found.destination) == (ours, far)
    assert found.protocol == tcp.PROTOCOL
