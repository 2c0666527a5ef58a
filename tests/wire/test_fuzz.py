"""Nothing that a link may deliver gets more than a named reason out of a parser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiotcp.reasons import Drop
from aiotcp.wire import icmp, ipv4, ipv6, segmentation, tcp, virtio
from aiotcp.wire.malformed import Malformed
from tests.support.examples import examples
from tests.wire.oracle import FAMILIES, V6, tcp_packet

pytestmark = pytest.mark.req("X-2", "MUST-7")

many = settings(deadline=None, max_examples=examples(1000))

OPTIONS = tcp.pack_options(mss=1460, wscale=7, sack_permitted=True, timestamps=(1, 2))


def quoting(version: int) -> bytes:
    packet = tcp_packet(version, options=OPTIONS)
    type_, code = (3, 4) if version == 4 else (2, 0)
    return icmp.error(packet, type_, code, parameter=1400).to_bytes()


def extended() -> bytes:
    inner = b"\6\0\1\4" + bytes(4) + tcp_packet(6)[40:]
    return ipv6.header(*V6, 60, len(inner)) + inner


SEEDS = [
    tcp_packet(4, options=OPTIONS, payload=b"payload"),
    tcp_packet(6, options=OPTIONS, payload=b"payload"),
    tcp_packet(4, options=tcp.pack_options(timestamps=(1, 2), sack=[(3, 4), (5, 6)])),
    quoting(4),
    quoting(6),
    extended(),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid packet with some bytes changed, perhaps cut, perhaps with something behind it."""
    packet = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 6))):
        packet[draw(st.integers(0, len(packet) - 1))] = draw(st.integers(0, 255))
    del packet[draw(st.integers(0, len(packet))) :]
    return bytes(packet) + draw(st.binary(max_size=30))


packets = st.one_of(
    st.binary(max_size=120),
    st.binary(max_size=100).map(lambda data: b"\x45" + data),
    st.binary(max_size=100).map(lambda data: b"\x60" + data),
    damaged(),
)


def outcome(call: Callable[[], object]) -> Drop | None:
    """The reason that a parser gave, if any. Whatever else it raises fails the test."""
    try:
        call()
    except Malformed as malformed:
        return malformed.reason
    return None


def read(packet: memoryview, vouched: bool) -> None:
    """What a stack does with a packet, as far as parsing goes."""
    is_ipv6 = len(packet) > 0 and packet[0] >> 4 == 6
    protocol, offset, end = (ipv6 if is_ipv6 else ipv4).parse(packet, vouched)
    assert (40 if is_ipv6 else 20) <= offset <= end <= len(packet)
    if protocol == tcp.PROTOCOL:
        tcp.verify_checksum(packet, offset, end)
        segment = tcp.parse(packet, offset, end)
        assert len(segment.payload) <= end - offset - 20
        repr(segment)
    elif protocol in (icmp.PROTOCOL_V4, icmp.PROTOCOL_V6):
        message = icmp.parse(packet, offset, end, vouched)
        if isinstance(message, icmp.EchoRequest):
            reply = icmp.echo_reply(packet, offset, end)
            assert reply.length == len(reply.to_bytes())


@many
@given(packet=packets, vouched=st.booleans())
def test_packets(packet: bytes, vouched: bool) -> None:
    from_bytes = outcome(lambda: read(memoryview(packet), vouched))
    from_ring = outcome(lambda: read(memoryview(bytearray(packet)), vouched))
    assert from_bytes is from_ring


@many
@given(data=st.binary(max_size=80), offset=st.integers(0, 20))
def test_tcp_headers(data: bytes, offset: int) -> None:
    packet = memoryview(bytes(offset) + data)
    reason = outcome(lambda: tcp.parse(packet, offset, len(packet)))
    assert reason in (None, Drop.TCP_TRUNCATED, Drop.TCP_DATA_OFFSET)


@many
@given(options=st.binary(max_size=40))
def test_tcp_options(options: bytes) -> None:
    options += bytes(-len(options) % 4)
    packet = memoryview(tcp_packet(4, options=options, payload=b"data"))
    segment = tcp.parse(packet, 20, len(packet))
    assert bytes(segment.payload) == b"data"
    assert segment.wscale is None or 0 <= segment.wscale <= tcp.MAX_WSCALE
    assert len(segment.sack) <= 4


@many
@given(version=st.sampled_from((4, 6)), message=st.binary(max_size=120))
def test_icmp_messages(version: int, message: bytes) -> None:
    protocol = icmp.PROTOCOL_V4 if version == 4 else icmp.PROTOCOL_V6
    header = (ipv4 if version == 4 else ipv6).header(*FAMILIES[version], protocol, len(message))
    packet = memoryview(header + message)
    verified = outcome(lambda: icmp.parse(packet, len(header), len(packet)))
    vouched = outcome(lambda: icmp.parse(packet, len(header), len(packet), True))
    assert verified in (Drop.ICMP_TRUNCATED, Drop.ICMP_CHECKSUM, vouched)
    assert vouched in (None, Drop.ICMP_TRUNCATED, Drop.ICMP_TYPE, Drop.ICMP_EMBEDDED)


@many
@given(data=st.binary(max_size=30))
def test_virtio_headers(data: bytes) -> None:
    reason = outcome(lambda: virtio.parse(data))
    assert reason is (Drop.LINK_HEADER if len(data) < virtio.HEADER_LENGTH else None)


@many
@given(packet=packets, gso_size=st.sampled_from((0, 1, 8, 1448)), vouched=st.booleans())
def test_segmentation(packet: bytes, gso_size: int, vouched: bool) -> None:
    found = segmentation.split(packet, gso_size, vouched)
    assert found
    assert all(isinstance(piece, bytes) for piece in found)
    if not vouched and not gso_size:
        assert found == [packet]


def test_the_seeds_are_good_packets() -> None:
    for packet in SEEDS:
        read(memoryview(packet), False)
