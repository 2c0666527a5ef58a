from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.wire import checksum, ipv4, ipv6, segmentation, tcp
from aiotcp.wire.tcp import ACK, CWR, ECE, FIN, PSH, SYN, URG
from tests.wire.oracle import (
    FAMILIES,
    V4,
    V6,
    dissect,
    rebuilt,
    relaxed,
    tcp_frame,
    tcp_layer,
    tcp_packet,
)

TIMESTAMPS = tcp.pack_options(timestamps=(1, 2))


def cut(version: int, payload: bytes, gso_size: int, **fields: int) -> list[bytes]:
    frame = tcp_frame(
        version, payload=payload, options=TIMESTAMPS, gso_size=gso_size, offload=True, **fields
    )
    return segmentation.split(frame.to_bytes(), gso_size, True)


@pytest.mark.req("MUST-2", "ST-21")
@pytest.mark.parametrize("version", [4, 6])
@relaxed
@given(
    payload=st.binary(max_size=400),
    gso_size=st.integers(1, 150),
    seq=st.sampled_from((0, 1000, (1 << 31) - 100, (1 << 32) - 100, (1 << 32) - 1)),
    flags=st.integers(0, 255),
    identification=st.sampled_from((0, 1, 0xFFFE, 0xFFFF)),
)
def test_cutting_gives_what_single_packets_would_have_been(
    version: int, payload: bytes, gso_size: int, seq: int, flags: int, identification: int
) -> None:
    pieces = [payload[i : i + gso_size] for i in range(0, len(payload), gso_size)] or [b""]
    expected = []
    for i, piece in enumerate(pieces):
        kept = flags
        if i > 0:
            kept &= ~CWR
        if i < len(pieces) - 1:
            kept &= ~(FIN | PSH)
        single = tcp_frame(
            version,
            payload=piece,
            options=TIMESTAMPS,
            seq=seq + i * gso_size,
            flags=kept,
            identification=(identification + i) & 0xFFFF,
        )
        expected.append(single.to_bytes())
    found = cut(version, payload, gso_size, seq=seq, flags=flags, identification=identification)
    assert found == expected
    assert [rebuilt(packet) for packet in found] == found


@pytest.mark.parametrize("version", [4, 6])
def test_flags_of_the_first_the_middle_and_the_last(version: int) -> None:
    flags = FIN | PSH | ACK | CWR | ECE | URG
    found = [tcp_layer(p) for p in cut(version, bytes(3000), 1000, flags=flags)]
    assert [int(s.flags) for s in found] == [
        ACK | CWR | ECE | URG,
        ACK | ECE | URG,
        ACK | ECE | URG | PSH | FIN,
    ]
    assert [s.seq for s in found] == [1000, 2000, 3000]


def test_ipv4_identifications_count_up_and_wrap() -> None:
    found = cut(4, bytes(3000), 1000, identification=0xFFFF)
    assert [dissect(packet).id for packet in found] == [0xFFFF, 0, 1]


@pytest.mark.parametrize("version", [4, 6])
def test_a_payload_that_is_no_multiple_and_one_that_fits(version: int) -> None:
    sizes = [len(tcp_layer(p).payload) for p in cut(version, bytes(2500), 1000)]
    assert sizes == [1000, 1000, 500]
    assert cut(version, bytes(1000), 1000) == [
        tcp_packet(version, payload=bytes(1000), options=TIMESTAMPS)
    ]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("payload", [b"", b"x", b"odd", bytes(1448)])
def test_completing_one_packet(version: int, payload: bytes) -> None:
    partial = tcp_frame(version, payload=payload, flags=SYN, offload=True).to_bytes()
    complete = tcp_packet(version, payload=payload, flags=SYN)
    assert segmentation.split(partial, 0, True) == [complete]
    # Completing what is complete changes nothing.
    assert segmentation.split(complete, 0, True) == [complete]


@pytest.mark.req("MUST-3")
def test_a_wrong_checksum_is_not_mended_unless_the_link_says_it_is_partial() -> None:
    damaged = bytearray(tcp_packet(4, payload=b"abc"))
    damaged[-1] ^= 1
    assert segmentation.split(damaged, 0, False) == [bytes(damaged)]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_comes_back_as_bytes_of_its_own(kind: type) -> None:
    packet = tcp_packet(4, payload=b"abc")
    for gso_size, vouched in ((0, False), (0, True), (2, True)):
        assert {type(p) for p in segmentation.split(kind(packet), gso_size, vouched)} == {bytes}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("payload", [b"x" * 5, bytes(100)])
def test_udp_is_completed_too(version: int, payload: bytes) -> None:
    src, dst = FAMILIES[version]
    length = 8 + len(payload)
    udp = struct.pack("!HHHH", 53, 4000, length, checksum.pseudo_header_sum(src, dst, 17, length))
    header = (ipv4 if version == 4 else ipv6).header(src, dst, 17, length)
    (packet,) = segmentation.split(header + udp + payload, 0, True)
    assert packet == rebuilt(header + udp + payload)


def test_a_udp_checksum_is_never_zero() -> None:
    src, dst = V6
    zero = 0xFFFF - checksum.pseudo_header_sum(src, dst, 17, 10)
    # The payload makes up for all the rest of the sum.
    rest = (zero - 53 - 54 - 10) % 0xFFFF
    packet = ipv6.header(src, dst, 17, 10) + struct.pack("!HHHHH", 53, 54, 10, 0, rest)
    (found,) = segmentation.split(packet, 0, True)
    assert found[46:48] == b"\xff\xff"


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x45",
        bytes(40),
        b"\xff" * 60,
        ipv4.header(*V4, 6, 10) + bytes(10),
        ipv4.header(*V4, 17, 7) + bytes(7),
        ipv4.header(*V4, 1, 30) + bytes(30),
        ipv6.header(*V6, 44, 30) + bytes(30),
    ],
    ids=lambda packet: packet[:12].hex(),
)
@pytest.mark.parametrize("gso_size", [0, 5])
def test_what_is_neither_tcp_nor_udp_stays_as_it_is(packet: bytes, gso_size: int) -> None:
    assert segmentation.split(packet, gso_size, True) == [packet]


@pytest.mark.req("MUST-50")
def test_ip_options_are_repeated_in_every_packet() -> None:
    plain = tcp_frame(4, payload=bytes(250), offload=True, gso_size=100).to_bytes()
    header = bytearray(plain[:20] + b"\7\4\4\0")
    header[0] = 0x46
    struct.pack_into("!H", header, 2, len(plain) + 4)
    found = segmentation.split(bytes(header) + plain[20:], 100, True)
    assert [rebuilt(packet) for packet in found] == found
    assert [packet[20:24] for packet in found] == [b"\7\4\4\0"] * 3
    assert [len(packet) for packet in found] == [144, 144, 94]
