from __future__ import annotations

import struct
from ipaddress import IPv4Address

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.reasons import Drop
from aiotcp.wire import checksum, ipv4
from aiotcp.wire.frame import Buffer
from aiotcp.wire.malformed import Malformed
from tests.wire.oracle import V4, dissect, octets, relaxed, words16

SRC, DST = V4


def packet(payload: bytes = b"x" * 20, *, options: bytes = b"", **changes: int) -> memoryview:
    """A valid packet with some fields overwritten, its header checksum right in the end."""
    fields = {"version_ihl": 0x45 + len(options) // 4, "flags": 0x4000, "protocol": 6}
    fields["length"] = 20 + len(options) + len(payload)
    fields |= changes
    header = bytearray(
        struct.pack(
            "!BBHHHBBH4s4s",
            fields["version_ihl"],
            0,
            fields["length"],
            0,
            fields["flags"],
            64,
            fields["protocol"],
            0,
            SRC,
            DST,
        )
        + options
    )
    struct.pack_into("!H", header, 10, checksum.finish(checksum.ones_complement_sum(header)))
    return memoryview(header + payload)


def refused(data: Buffer, *, vouched: bool = False) -> Drop:
    with pytest.raises(Malformed) as caught:
        ipv4.parse(memoryview(data), vouched)
    return caught.value.reason


def test_protocol_and_where_the_transport_begins_and_ends() -> None:
    assert ipv4.parse(packet(b"abcd")) == (6, 20, 24)
    assert ipv4.parse(packet(b"", protocol=1)) == (1, 20, 20)


def test_bytes_after_the_total_length_are_no_part_of_the_packet() -> None:
    assert ipv4.parse(memoryview(bytes(packet(b"abcd")) + b"padding")) == (6, 20, 24)


@pytest.mark.req("MUST-50")
@pytest.mark.parametrize("words", range(1, 11))
def test_options_are_skipped(words: int) -> None:
    options = b"\x07\x04\x04\x00" + b"\x99" * (4 * words - 4)  # record route, then nonsense
    assert ipv4.parse(packet(b"abcd", options=options)) == (6, 20 + 4 * words, 24 + 4 * words)


@pytest.mark.parametrize("flags", [0x0000, 0x4000, 0x8000])
def test_flags_that_make_no_fragment_are_taken(flags: int) -> None:
    assert ipv4.parse(packet(flags=flags))[0] == 6


@pytest.mark.parametrize("flags", [0x2000, 0x0001, 0x1FFF, 0x6000])
def test_fragments_are_refused(flags: int) -> None:
    assert refused(packet(flags=flags)) is Drop.IP_FRAGMENT


@pytest.mark.req("X-2")
def test_each_broken_header_has_its_reason() -> None:
    good = bytes(packet())
    assert refused(b"") is Drop.IP_EMPTY
    assert refused(good[:19]) is Drop.IP_TRUNCATED
    assert refused(good[:-1]) is Drop.IP_TRUNCATED
    assert refused(packet(version_ihl=0x65)) is Drop.IP_VERSION
    assert refused(packet(version_ihl=0x44)) is Drop.IP_HEADER_LENGTH
    assert refused(packet(b"", version_ihl=0x46)) is Drop.IP_HEADER_LENGTH
    assert refused(packet(length=19)) is Drop.IP_HEADER_LENGTH
    assert refused(packet(b"", version_ihl=0x46, length=24)) is Drop.IP_TRUNCATED


@relaxed
@given(position=st.integers(0, 19), bit=st.integers(0, 7))
def test_one_flipped_bit_in_the_header_is_noticed(position: int, bit: int) -> None:
    damaged = bytearray(packet())
    damaged[position] ^= 1 << bit
    with pytest.raises(Malformed):
        ipv4.parse(memoryview(damaged))


def test_a_vouched_packet_is_not_summed_but_its_lengths_are_checked() -> None:
    damaged = bytearray(packet())
    damaged[10] ^= 1
    assert refused(damaged) is Drop.IP_CHECKSUM
    assert ipv4.parse(memoryview(damaged), True) == (6, 20, 40)
    assert refused(damaged[:30], vouched=True) is Drop.IP_TRUNCATED


@relaxed
@given(
    src=st.binary(min_size=4, max_size=4),
    dst=st.binary(min_size=4, max_size=4),
    protocol=octets,
    payload=st.binary(max_size=40),
    hop_limit=octets,
    traffic_class=octets,
    identification=words16,
    dont_fragment=st.booleans(),
)
def test_headers_read_alike_everywhere(
    src: bytes,
    dst: bytes,
    protocol: int,
    payload: bytes,
    hop_limit: int,
    traffic_class: int,
    identification: int,
    dont_fragment: bool,
) -> None:
    header = ipv4.header(
        src,
        dst,
        protocol,
        len(payload),
        hop_limit=hop_limit,
        traffic_class=traffic_class,
        identification=identification,
        dont_fragment=dont_fragment,
    )
    assert ipv4.parse(memoryview(header + payload)) == (protocol, 20, 20 + len(payload))

    scapy = dissect(header)
    assert (scapy.src, scapy.dst) == (str(IPv4Address(src)), str(IPv4Address(dst)))
    assert (scapy.proto, scapy.ttl, scapy.tos) == (protocol, hop_limit, traffic_class)
    assert (scapy.id, scapy.len) == (identification, 20 + len(payload))
    assert bool(scapy.flags.DF) is dont_fragment
    assert not scapy.flags.MF
    # Without its payload, which for some protocols scapy would dissect and write as it should be.
    scapy.remove_payload()
    del scapy.chksum
    assert bytes(scapy) == header

    other = dpkt.ip.IP(
        src=src,
        dst=dst,
        p=protocol,
        ttl=hop_limit,
        tos=traffic_class,
        id=identification,
        len=20 + len(payload),
    )
    other.df = dont_fragment
    assert other.pack_hdr()[:10] == header[:10]
    assert dpkt.ip.IP(header).sum == int.from_bytes(header[10:12], "big")


def test_addresses_of_the_wrong_size_are_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="4 bytes"):
        ipv4.header(SRC, bytes(16), 6, 0)
