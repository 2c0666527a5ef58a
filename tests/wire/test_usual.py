"""The usual packet read in one go agrees with the parsers that read it step by step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.wire import ipv4, ipv6, tcp, usual
from aiotcp.wire.malformed import Malformed
from aiotcp.wire.tcp import ACK, PSH, HeaderTemplate

u32 = st.integers(0, (1 << 32) - 1)
payloads = st.integers(0, 1500).flatmap(lambda size: st.binary(min_size=size, max_size=size))


def packet_of(
    width: int, seq: int, ack: int, stamps: tuple[int, int], flags: int, payload: bytes
) -> bytes:
    template = HeaderTemplate(bytes(range(10, 10 + width)), 80, bytes(range(40, 40 + width)), 49152)
    return template.frame(
        seq,
        ack,
        flags,
        777,
        options=tcp.pack_options(timestamps=stamps),
        payload=(payload,),
        payload_length=len(payload),
        offload=False,
    ).to_bytes()


@pytest.mark.parametrize("width", [4, 16])
@given(u32, u32, st.tuples(u32, u32), st.sampled_from((ACK, ACK | PSH)), payloads)
def test_the_fields(
    width: int, seq: int, ack: int, stamps: tuple[int, int], flags: int, payload: bytes
) -> None:
    packet = packet_of(width, seq, ack, stamps, flags, payload)
    if width == 4:
        octets, protocol, found, number, words, layout, both = usual.ipv4(packet)
        assert octets == len(packet) == usual.IPV4_BYTES + len(payload)
        assert protocol == 0x4000_4006  # DF, a hop limit of 64, TCP
        protocol &= usual.IPV4_KIND
        key = packet[12:24]
    else:
        octets, protocol, found, number, words, layout, both = usual.ipv6(packet)
        assert octets + 40 == len(packet) == usual.IPV6_BYTES + len(payload)
        key = packet[8:44]
    assert (protocol, found, number) == (usual.PROTOCOL, key, seq)
    assert words >> 32 == ack
    assert words & usual.FLAGS == usual.ONLY_ACK
    assert bool(words & usual.PSH) == (flags == ACK | PSH)
    assert words & 0xFFFF == 777
    assert layout == usual.TIMESTAMPS_FIRST
    assert (both >> 32, both & 0xFFFFFFFF) == stamps


@pytest.mark.parametrize("width", [4, 16])
@given(payloads, st.integers(0, 1600), st.integers(0, 255))
def test_the_checksums(width: int, payload: bytes, at: int, change: int) -> None:
    packet = bytearray(packet_of(width, 5, 6, (7, 8), ACK, payload))
    packet[at % len(packet)] ^= change
    key = bytes(packet[12:24] if width == 4 else packet[8:44])
    offset = 20 if width == 4 else 40
    packet[0] = 0x45 if width == 4 else 0x60  # else it would not be a packet of this kind
    try:
        (ipv4 if width == 4 else ipv6).parse(memoryview(packet))
        right = tcp.verify_checksum(packet, offset, len(packet))
    except Malformed as malformed:
        if malformed.reason.startswith("ip_") and malformed.reason != "ip_checksum":
            return
        right = False
    assert usual.right_checksums(memoryview(packet), key) == right
