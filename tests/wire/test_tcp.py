"""Reading TCP headers: fields, options, checksums."""

from __future__ import annotations

import struct
from typing import Any

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.reasons import Drop
from aiotcp.wire import ipv4, ipv6, tcp
from aiotcp.wire.malformed import Malformed
from aiotcp.wire.tcp import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG, Segment
from tests.wire.oracle import FAMILIES, octets, relaxed, tcp_layer, tcp_packet, words16, words32

TIMESTAMPS = b"\1\1\x08\x0a\0\0\0\5\0\0\0\6"


def segment(
    options: bytes = b"",
    payload: bytes = b"",
    *,
    seq: int = 1,
    ack: int = 2,
    flags: int = ACK,
    window: int = 3,
    urgent: int = 0,
    reserved: int = 0,
    data_offset: int | None = None,
) -> Segment:
    """A header built by hand, with the options as they are given, parsed."""
    data_offset = 5 + len(options) // 4 if data_offset is None else data_offset
    fixed = (80, 81, seq, ack, data_offset << 4 | reserved, flags, window, 0, urgent)
    data = struct.pack("!HHIIBBHHH", *fixed) + options + payload
    # Somewhere in a packet, and something else behind it.
    return tcp.parse(memoryview(b"#" * 20 + data + b"#" * 9), 20, 20 + len(data))


def padded(options: bytes) -> bytes:
    return options + bytes(-len(options) % 4)


@pytest.mark.req("MUST-1")
@pytest.mark.parametrize("options", [b"", TIMESTAMPS, b"\1\1\1\1"], ids=["none", "ts", "nops"])
def test_every_field_at_its_largest(options: bytes) -> None:
    most = 0xFFFFFFFF
    found = segment(options, b"abc", seq=most, ack=most, flags=255, window=65535, urgent=65535)
    assert (found.seq, found.ack, found.flags) == (most, most, 255)
    assert (found.window, found.urgent, bytes(found.payload)) == (65535, 65535, b"abc")
    assert (found.sack, found.mss, found.wscale, found.sack_permitted) == ((), None, None, False)
    assert found.gso_size == 0


@pytest.mark.parametrize(
    ("flags", "payload", "length"),
    [
        (ACK, b"", 0),
        (SYN, b"", 1),
        (FIN | ACK, b"", 1),
        (SYN | FIN, b"abc", 5),
        (PSH | ACK, b"abc", 3),
        (RST, b"abc", 3),
    ],
)
def test_syn_and_fin_occupy_a_sequence_number_each(flags: int, payload: bytes, length: int) -> None:
    assert segment(payload=payload, flags=flags).length == length


@pytest.mark.req("ST-27")
@pytest.mark.parametrize("options", [b"", TIMESTAMPS])
@pytest.mark.parametrize("reserved", range(2, 16, 2))
def test_reserved_bits_are_ignored(options: bytes, reserved: int) -> None:
    plain = segment(options, b"abc")
    assert repr(segment(options, b"abc", reserved=reserved)) == repr(plain)


@pytest.mark.req("X-2")
@pytest.mark.parametrize("options", [b"", TIMESTAMPS, TIMESTAMPS + b"\1\1\1\1"])
def test_headers_that_are_too_short(options: bytes) -> None:
    data = memoryview(tcp_packet(4, options=options))
    for end in range(20, 40):
        with pytest.raises(Malformed) as caught:
            tcp.parse(data, 20, end)
        assert caught.value.reason is Drop.TCP_TRUNCATED
    for end in range(40, 40 + len(options)):
        with pytest.raises(Malformed) as caught:
            tcp.parse(data, 20, end)
        assert caught.value.reason is Drop.TCP_DATA_OFFSET


@pytest.mark.req("X-2")
@pytest.mark.parametrize("data_offset", [0, 1, 4, 9, 15])
def test_data_offsets_outside_the_segment(data_offset: int) -> None:
    with pytest.raises(Malformed) as caught:
        segment(bytes(12), data_offset=data_offset)
    assert caught.value.reason is Drop.TCP_DATA_OFFSET


def test_the_payload_is_a_view_of_the_packet() -> None:
    data = bytearray(tcp_packet(4, options=TIMESTAMPS, payload=b"before"))
    payload = tcp.parse(memoryview(data), 20, len(data)).payload
    data[-6:] = b"after!"
    assert bytes(payload) == b"after!"


@pytest.mark.req("MUST-4", "MUST-5")
@pytest.mark.parametrize("flags", [SYN, SYN | ACK, ACK, PSH | ACK, FIN | ACK, RST])
def test_options_of_any_segment(flags: int) -> None:
    options = b"\2\4\5\xb4\1\3\3\7\4\2\x08\x0a\0\0\0\1\0\0\0\2\0\0"
    found = segment(padded(options), b"xyz", flags=flags)
    assert (found.mss, found.wscale, found.sack_permitted) == (1460, 7, True)
    assert (found.tsval, found.tsecr) == (1, 2)
    assert bytes(found.payload) == b"xyz"


@pytest.mark.req("MUST-64")
@pytest.mark.parametrize("before", range(4))
def test_options_on_any_byte(before: int) -> None:
    nops = b"\1" * before
    found = segment(padded(nops + b"\x08\x0a\0\0\0\5\0\0\0\6" + nops + b"\2\4\2\x18"))
    assert (found.tsval, found.tsecr, found.mss) == (5, 6, 536)


@pytest.mark.req("MUST-4")
def test_nothing_counts_after_the_end_of_options() -> None:
    found = segment(b"\1\1\0\2\2\4\5\xb4")
    assert found.mss is None


@pytest.mark.req("MUST-6", "MUST-68")
@pytest.mark.parametrize("kind", [6, 7, 9, 28, 34, 158, 172, 253, 254, 255])
@pytest.mark.parametrize("length", [2, 3, 4, 10, 33])
def test_unknown_options_are_skipped_by_their_length(kind: int, length: int) -> None:
    unknown = bytes((kind, length)) + b"\2\4\0\1" * 8
    found = segment(padded(unknown[:length] + b"\2\4\5\xb4"))
    assert found.mss == 1460


@pytest.mark.req("MUST-7")
@pytest.mark.parametrize("kind", [2, 3, 4, 5, 8, 158])
@pytest.mark.parametrize("length", [0, 1, 13, 39, 41, 255])
def test_lengths_that_cannot_be_end_the_options(kind: int, length: int) -> None:
    # The option stands where 12 bytes are left.
    options = b"\3\3\7\1" + bytes((kind, length)) + b"\2\4\5\xb4" + bytes(6)
    found = segment(options, b"data")
    assert found.wscale == 7
    assert (found.mss, found.tsval, found.sack, found.sack_permitted) == (None, None, (), False)
    assert bytes(found.payload) == b"data"


@pytest.mark.req("MUST-7")
@pytest.mark.parametrize("kind", [2, 3, 4, 5, 8, 158])
def test_a_kind_without_its_length_at_the_very_end(kind: int) -> None:
    found = segment(b"\2\4\5\xb4\1\1\1" + bytes((kind,)))
    assert found.mss == 1460
    assert (found.wscale, found.tsval, found.sack, found.sack_permitted) == (None, None, (), False)


@pytest.mark.req("MUST-7")
@pytest.mark.parametrize(
    "option",
    [
        b"\2\3\5",
        b"\2\6\5\xb4\0\0",
        b"\3\4\7\7",
        b"\4\3\0",
        b"\x08\x09" + bytes(7),
        b"\5\2",
        b"\5\x09" + bytes(7),
        b"\5\x0b" + bytes(9),
    ],
    ids=lambda option: option.hex(),
)
def test_known_options_of_a_wrong_length_say_nothing(option: bytes) -> None:
    found = segment(padded(b"\1" + option + b"\2\4\2\x18"))
    assert found.mss == 536
    assert (found.wscale, found.tsval, found.sack, found.sack_permitted) == (None, None, (), False)


@pytest.mark.req("7323-4")
@pytest.mark.parametrize(("sent", "received"), [(0, 0), (13, 13), (14, 14), (15, 14), (255, 14)])
def test_a_window_shift_above_14_is_14(sent: int, received: int) -> None:
    assert segment(bytes((3, 3, sent, 0)), flags=SYN).wscale == received


@pytest.mark.parametrize(
    ("timestamps", "blocks"),
    [(b"", 1), (b"", 2), (b"", 3), (b"", 4), (TIMESTAMPS, 1), (TIMESTAMPS, 2), (TIMESTAMPS, 3)],
)
def test_sack_blocks(timestamps: bytes, blocks: int) -> None:
    edges = [(0xFFFFFF00 + 16 * i, i) for i in range(blocks)]
    packed = b"".join(struct.pack("!II", *block) for block in edges)
    found = segment(timestamps + b"\1\1\5" + bytes((2 + len(packed),)) + packed)
    assert found.sack == tuple(edges)
    assert found.tsval == (5 if timestamps else None)


def test_of_an_option_that_comes_twice_the_last_counts() -> None:
    found = segment(TIMESTAMPS + b"\2\4\0\1\2\4\0\2" + TIMESTAMPS.replace(b"\5", b"\7"))
    assert (found.mss, found.tsval) == (2, 7)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.req("MUST-3")
@relaxed
@given(data=st.data(), payload=st.binary(max_size=600))
def test_checksums_are_verified(version: int, payload: bytes, data: st.DataObject) -> None:
    packet = bytearray(tcp_packet(version, payload=payload, options=TIMESTAMPS))
    offset = 20 if version == 4 else 40
    assert tcp.verify_checksum(memoryview(packet), offset, len(packet))
    addresses = 12 if version == 4 else 8
    packet[data.draw(st.integers(addresses, len(packet) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert not tcp.verify_checksum(memoryview(packet), offset, len(packet))


@pytest.mark.req("MUST-3", "MUST-50")
@pytest.mark.parametrize("payload", [b"", b"x", b"xy", bytes(1001)])
@pytest.mark.parametrize("version", [4, 6])
def test_checksums_behind_ip_options(version: int, payload: bytes) -> None:
    plain = tcp_packet(version, payload=payload)
    ip_length = 20 if version == 4 else 40
    # 24 bytes between the addresses and the segment, and something behind the packet's end.
    packet = bytearray(plain[:ip_length] + b"\1" * 24 + plain[ip_length:] + b"#")
    offset, end = ip_length + 24, len(packet) - 1
    assert tcp.verify_checksum(packet, offset, end)
    packet[offset + 4] ^= 1
    assert not tcp.verify_checksum(packet, offset, end)


def test_names_of_flags() -> None:
    assert tcp.flags_text(SYN) == "SYN"
    assert tcp.flags_text(SYN | ACK) == "SYN,ACK"
    assert tcp.flags_text(FIN | PSH | ACK) == "FIN,PSH,ACK"
    assert tcp.flags_text(RST | URG | ECE | CWR) == "RST,URG,ECE,CWR"
    assert tcp.flags_text(0) == "none"


def test_a_segment_shows_what_it_holds() -> None:
    assert repr(Segment(1, flags=RST)) == "<Segment RST seq=1 win=0 len=0>"
    syn = Segment(1, 2, SYN | ACK, 9, tsval=3, tsecr=4, mss=1460, wscale=0, sack_permitted=True)
    assert repr(syn) == (
        "<Segment SYN,ACK seq=1 ack=2 win=9 len=0 mss=1460 wscale=0 sack_permitted ts=3/4>"
    )
    data = Segment(5, 6, ACK | URG, 7, 8, b"abc", sack=((9, 10), (11, 12)), gso_size=2)
    assert repr(data) == "<Segment ACK,URG seq=5 ack=6 win=7 len=3 urg=8 sack=9-10,11-12 gso=2>"


options_values = st.fixed_dictionaries(
    {},
    optional={
        "mss": words16,
        "wscale": st.integers(0, 14),
        "sack_permitted": st.just(True),
        "timestamps": st.tuples(words32, words32),
        "sack": st.lists(st.tuples(words32, words32), min_size=1, max_size=2),
    },
)


@pytest.mark.req("MUST-4", "MUST-14")
@pytest.mark.parametrize("version", [4, 6])
@relaxed
@given(options=options_values, payload=st.binary(max_size=50), flags=octets)
def test_scapy_and_dpkt_read_the_same(
    version: int, options: dict[str, Any], payload: bytes, flags: int
) -> None:
    packed = tcp.pack_options(**options)
    packet = tcp_packet(version, options=packed, payload=payload, flags=flags)
    protocol, offset, end = (ipv4 if version == 4 else ipv6).parse(memoryview(packet))
    found = tcp.parse(memoryview(packet), offset, end)
    assert protocol == 6

    scapy = tcp_layer(packet)
    assert (found.seq, found.ack, found.flags) == (scapy.seq, scapy.ack, int(scapy.flags))
    assert (found.window, found.urgent) == (scapy.window, scapy.urgptr)
    assert bytes(found.payload) == bytes(scapy.payload) == payload
    theirs = {name: value for name, value in scapy.options if name not in ("NOP", "EOL")}
    assert found.mss == theirs.get("MSS")
    assert found.wscale == theirs.get("WScale")
    assert found.sack_permitted == ("SAckOK" in theirs)
    assert (found.tsval, found.tsecr) == theirs.get("Timestamp", (None, 0))
    assert sum(found.sack, ()) == theirs.get("SAck", ())

    ip = dpkt.ip.IP(packet) if version == 4 else dpkt.ip6.IP6(packet)
    other = ip.data
    assert (ip.src, ip.dst) == FAMILIES[version]
    assert (other.sport, other.dport) == (5000, 80)
    assert (other.seq, other.ack, other.flags & 0xFF) == (found.seq, found.ack, found.flags)
    assert (other.win, other.urp, other.data) == (found.window, found.urgent, payload)
    assert other.opts == packed
    known = dict(dpkt.tcp.parse_opts(other.opts))
    assert known.get(dpkt.tcp.TCP_OPT_MSS) == (
        None if found.mss is None else found.mss.to_bytes(2, "big")
    )


# -- ECN (RFC 3168, RFC 9768) -------------------------------------------------------------------


@pytest.mark.req("8311-1")
@pytest.mark.parametrize("options", [b"", TIMESTAMPS])
def test_the_ae_flag_is_the_one_beside_cwr(options: bytes) -> None:
    assert segment(options, flags=ACK | tcp.CWR, reserved=1).flags == ACK | tcp.CWR | tcp.AE


@pytest.mark.req("8311-1")
@pytest.mark.parametrize(
    ("option", "fields"),
    [
        (b"\xac\x0b\0\0\1\0\0\2\0\0\3", (1, 2, 3)),
        (b"\xac\x08\0\0\1\0\0\2", (1, 2, None)),
        (b"\xac\x05\xff\xff\xff", (0xFFFFFF, None, None)),
        (b"\xac\x02", (None, None, None)),
        (b"\xae\x0b\0\0\1\0\0\2\0\0\3", (3, 2, 1)),
        (b"\xae\x08\0\0\1\0\0\2", (None, 2, 1)),
        (b"\xae\x05\0\0\1", (None, None, 1)),
        (b"\xac\x07\0\0\1\0\0", (1, None, None)),  # whole fields, the rest is padding
        (b"\xac\x0e\0\0\1\0\0\2\0\0\3\0\0\4", (1, 2, 3)),
    ],
)
def test_accecn_options(option: bytes, fields: tuple[int | None, ...]) -> None:
    assert segment(padded(option)).accecn == fields
    assert segment(b"").accecn is None


@pytest.mark.req("8311-1")
@pytest.mark.parametrize("kind", [tcp.ACCECN0, tcp.ACCECN1])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_accecn_options_there_and_back(kind: int, count: int) -> None:
    fields = (0x1234567, 2, 3)[:count]
    packed = tcp.pack_options(timestamps=(1, 2), accecn=tcp.pack_accecn(kind, fields))
    read = segment(packed)
    expected = (0x234567, 2, 3)[:count] + (None,) * (3 - count)
    assert read.accecn == (expected if kind == tcp.ACCECN0 else expected[::-1])
    assert (read.tsval, read.tsecr) == (1, 2)


def test_accecn_options_leave_room_for_sack_blocks_that_fit() -> None:
    blocks = [(1, 2), (3, 4), (5, 6), (7, 8)]
    accecn = tcp.pack_accecn(tcp.ACCECN0, (1, 2))
    packed = tcp.pack_options(timestamps=(1, 2), accecn=accecn, sack=blocks)
    assert len(packed) == 40
    assert segment(packed).sack == ((1, 2), (3, 4))
    assert segment(packed).accecn == (1, 2, None)


@pytest.mark.req("7413-1")
@pytest.mark.parametrize("size", range(19))
def test_fast_open_cookies_there_and_back(size: int) -> None:
    """RFC 7413 4.1.1: 4 to 16 bytes, an even number, or none."""
    packed = tcp.pack_options(fast_open=bytes(range(size)))
    assert len(packed) % 4 == 0
    valid = size in (0, 4, 6, 8, 10, 12, 14, 16)
    expected = bytes(range(size)) if valid else None
    assert segment(packed, flags=SYN).fast_open == expected
    assert segment(packed, flags=SYN | ACK).fast_open == expected
    for flags in (0, ACK, RST, FIN | ACK):  # "without the SYN flag set MUST be ignored"
        assert segment(packed, flags=flags).fast_open is None
    assert segment(b"", flags=SYN).fast_open is None


@pytest.mark.req("7413-1")
def test_the_longest_fast_open_cookie_fits_beside_what_a_syn_offers() -> None:
    packed = tcp.pack_options(
        mss=1460, wscale=7, sack_permitted=True, timestamps=(1, 2), fast_open=bytes(16)
    )
    assert len(packed) == 40
    read = segment(packed, flags=SYN)
    assert (read.mss, read.wscale, read.sack_permitted) == (1460, 7, True)
    assert (read.tsval, read.tsecr, read.fast_open) == (1, 2, bytes(16))
