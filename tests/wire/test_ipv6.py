from __future__ import annotations

import warnings
from ipaddress import IPv6Address

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.reasons import Drop
from aiotcp.wire import ipv6
from aiotcp.wire.frame import Buffer
from aiotcp.wire.malformed import Malformed
from tests.wire.oracle import V6, dissect, octets, relaxed

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import TCP
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, PadN, RouterAlert

SRC, DST = V6
TCP_HEADER = b"x" * 20

PAD1, PADN2, PADN6 = b"\0", b"\1\0", b"\1\4\0\0\0\0"
ROUTER_ALERT = b"\5\2\0\0"
JUMBO = b"\xc2\4\0\1\0\0"


def extension(following: int, options: bytes = PADN6) -> bytes:
    """An options header; `options` brings it to a multiple of 8 bytes."""
    assert (2 + len(options)) % 8 == 0
    return bytes((following, (2 + len(options)) // 8 - 1)) + options


def packet(first: int, *parts: bytes) -> bytes:
    payload = b"".join(parts)
    return ipv6.header(SRC, DST, first, len(payload)) + payload


def refused(data: Buffer) -> Drop:
    with pytest.raises(Malformed) as caught:
        ipv6.parse(memoryview(data))
    return caught.value.reason


def test_protocol_and_where_the_transport_begins_and_ends() -> None:
    assert ipv6.parse(memoryview(packet(6, b"abcd"))) == (6, 40, 44)
    assert ipv6.parse(memoryview(packet(58))) == (58, 40, 40)


def test_bytes_after_the_payload_length_are_no_part_of_the_packet() -> None:
    assert ipv6.parse(memoryview(packet(6, b"abcd") + b"padding")) == (6, 40, 44)


@pytest.mark.req("X-2")
def test_each_broken_header_has_its_reason() -> None:
    good = packet(6, TCP_HEADER)
    assert refused(b"") is Drop.IP_EMPTY
    assert refused(good[:39]) is Drop.IP_TRUNCATED
    assert refused(good[:-1]) is Drop.IP_TRUNCATED
    assert refused(b"\x45" + good[1:]) is Drop.IP_VERSION


@pytest.mark.req("MUST-50")
@pytest.mark.parametrize(
    "options",
    [
        PADN6,
        PAD1 * 6,
        PADN2 * 3,
        ROUTER_ALERT + PADN2,
        b"\x1e\4abcd",  # an experiment of RFC 4727, of the kind to be skipped if unknown
        b"\1\x0c" + bytes(12),
    ],
    ids=lambda options: options.hex(),
)
def test_hop_by_hop_and_destination_options_are_skipped(options: bytes) -> None:
    header = extension(6, options)
    end = 40 + len(header) + 20
    for kind in (ipv6.HOP_BY_HOP, ipv6.DESTINATION_OPTIONS):
        data = packet(kind, header, TCP_HEADER)
        assert ipv6.parse(memoryview(data)) == (6, end - 20, end)


def test_a_chain_of_options_headers() -> None:
    data = packet(0, extension(60), extension(60), extension(6), TCP_HEADER)
    assert ipv6.parse(memoryview(data)) == (6, 64, 84)


@pytest.mark.parametrize("kind", [0x40, 0x80, 0xC0, JUMBO[0]])
def test_an_option_that_may_not_be_skipped_ends_the_packet(kind: int) -> None:
    options = bytes((kind, 4, 0, 0, 0, 0))
    assert refused(packet(60, extension(6, options), TCP_HEADER)) is Drop.IP_OPTION


@pytest.mark.parametrize(
    "options",
    [b"\0\0\0\0\0\1", b"\1\5\0\0\0\0", b"\1\xff\0\0\0\0", b"\0\1\4\0\0\0"],
    ids=lambda options: options.hex(),
)
def test_an_option_that_leaves_its_header_ends_the_packet(options: bytes) -> None:
    assert refused(packet(60, extension(6, options), bytes(300))) is Drop.IP_OPTION


@pytest.mark.parametrize(
    ("protocol", "reason"),
    [
        (ipv6.ROUTING, Drop.IP_ROUTING_HEADER),
        (ipv6.FRAGMENT, Drop.IP_FRAGMENT),
        (ipv6.ENCAPSULATING_SECURITY_PAYLOAD, Drop.IP_ENCRYPTED),
        (ipv6.AUTHENTICATION, Drop.IP_AUTHENTICATION_HEADER),
        (ipv6.NO_NEXT_HEADER, Drop.IP_NO_NEXT_HEADER),
        (ipv6.MOBILITY, Drop.IP_EXTENSION_HEADER),
        (ipv6.HOST_IDENTITY, Drop.IP_EXTENSION_HEADER),
        (ipv6.SHIM6, Drop.IP_EXTENSION_HEADER),
    ],
)
def test_every_other_extension_header_is_refused_by_name(protocol: int, reason: Drop) -> None:
    assert refused(packet(protocol, extension(6), TCP_HEADER)) is reason
    assert refused(packet(60, extension(protocol), extension(6), TCP_HEADER)) is reason


def test_hop_by_hop_options_stand_first_or_not_at_all() -> None:
    data = packet(60, extension(0), extension(6), TCP_HEADER)
    assert refused(data) is Drop.IP_EXTENSION_HEADER


@pytest.mark.parametrize("missing", range(1, 17))
def test_extension_headers_that_end_early(missing: int) -> None:
    whole = extension(6, b"\1\x0c" + bytes(12))
    assert refused(packet(60, whole[:-missing])) is Drop.IP_TRUNCATED


@pytest.mark.req("X-5")
def test_work_on_one_packet_is_bounded() -> None:
    most = [extension(60)] * (ipv6.MAX_EXTENSION_HEADERS - 1)
    data = packet(60, *most, extension(6), TCP_HEADER)
    assert ipv6.parse(memoryview(data))[0] == 6
    data = packet(60, *most, extension(60), extension(6), TCP_HEADER)
    assert refused(data) is Drop.IP_EXTENSION_HEADER
    paddings = PAD1 * (ipv6.MAX_OPTIONS - 2) + b"\1\6" + bytes(6)
    assert ipv6.parse(memoryview(packet(60, extension(6, paddings), TCP_HEADER)))[0] == 6
    paddings = PAD1 * (ipv6.MAX_OPTIONS + 6)
    assert refused(packet(60, extension(6, paddings), TCP_HEADER)) is Drop.IP_OPTION


@relaxed
@given(
    src=st.binary(min_size=16, max_size=16),
    dst=st.binary(min_size=16, max_size=16),
    # Numbers that neither oracle takes for an extension header.
    protocol=st.sampled_from((6, 17, 58, 200)),
    length=st.integers(0, 40),
    hop_limit=octets,
    traffic_class=octets,
    flow_label=st.integers(0, 0xFFFFF),
)
def test_headers_read_alike_everywhere(
    src: bytes,
    dst: bytes,
    protocol: int,
    length: int,
    hop_limit: int,
    traffic_class: int,
    flow_label: int,
) -> None:
    header = ipv6.header(
        src,
        dst,
        protocol,
        length,
        hop_limit=hop_limit,
        traffic_class=traffic_class,
        flow_label=flow_label,
    )
    assert ipv6.parse(memoryview(header + bytes(length))) == (protocol, 40, 40 + length)

    scapy = dissect(header)
    assert (scapy.src, scapy.dst) == (str(IPv6Address(src)), str(IPv6Address(dst)))
    assert (scapy.nh, scapy.hlim, scapy.tc, scapy.fl, scapy.plen) == (
        protocol,
        hop_limit,
        traffic_class,
        flow_label,
        length,
    )
    other = dpkt.ip6.IP6(src=src, dst=dst, nxt=protocol, hlim=hop_limit, plen=length)
    other.fc, other.flow = traffic_class, flow_label
    assert other.pack_hdr() == header


def test_scapys_extension_headers_are_skipped() -> None:
    chain = IPv6ExtHdrHopByHop(options=[RouterAlert()]) / IPv6ExtHdrDestOpt(
        options=[PadN(optdata=bytes(12))]
    )
    data = bytes(IPv6(src="2001:db8::1", dst="2001:db8::2") / chain / TCP())
    assert ipv6.parse(memoryview(data)) == (6, len(data) - 20, len(data))


def test_addresses_of_the_wrong_size_are_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        ipv6.header(SRC, bytes(4), 6, 0)
