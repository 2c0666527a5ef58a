"""Building TCP headers: options and frames."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.wire import checksum, ipv4, ipv6, tcp
from aiotcp.wire.alike import frames, run
from aiotcp.wire.frame import Buffer, Frame
from aiotcp.wire.tcp import ACK, FIN, PSH, SYN, URG, HeaderTemplate, pack_options
from tests.wire.oracle import (
    FAMILIES,
    addresses,
    dissect,
    octets,
    rebuilt,
    relaxed,
    tcp_frame,
    tcp_layer,
    words16,
    words32,
)

TS = (5, 6)
TS_BYTES = "080a 00000005 00000006"


@pytest.mark.req("MUST-14", "MUST-64")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ""),
        ({"mss": 1460}, "020405b4"),
        ({"timestamps": TS}, "0101" + TS_BYTES),
        ({"sack_permitted": True}, "01010402"),
        ({"wscale": 7}, "01030307"),
        ({"mss": 1460, "wscale": 7}, "020405b4 01030307"),
        ({"mss": 1460, "sack_permitted": True}, "020405b4 01010402"),
        # The SYN that Linux sends.
        (
            {"mss": 1460, "wscale": 7, "sack_permitted": True, "timestamps": TS},
            "020405b4 0402" + TS_BYTES + "01030307",
        ),
        ({"mss": 1460, "wscale": 7, "timestamps": TS}, "020405b4 0101" + TS_BYTES + "01030307"),
        ({"sack": [(1, 2)]}, "0101050a 00000001 00000002"),
        (
            {"timestamps": TS, "sack": [(1, 2), (3, 4)]},
            "0101" + TS_BYTES + "01010512 00000001 00000002 00000003 00000004",
        ),
    ],
    ids=str,
)
def test_options_lie_as_linux_lays_them(options: dict[str, Any], expected: str) -> None:
    assert pack_options(**options).hex() == expected.replace(" ", "")


@pytest.mark.req("2018-4")
def test_as_many_sack_blocks_as_fit() -> None:
    blocks = [(i, i + 1) for i in range(0, 20, 2)]
    assert len(pack_options(sack=blocks)) == 4 + 4 * 8
    assert len(pack_options(sack=blocks, timestamps=TS)) == 12 + 4 + 3 * 8
    assert pack_options(sack=blocks)[4:8] == bytes(4)


@pytest.mark.req("ST-21")
def test_numbers_beyond_32_bits_wrap() -> None:
    above = 1 << 32
    assert pack_options(timestamps=(above + 1, above + 2)) == pack_options(timestamps=(1, 2))
    assert pack_options(sack=[(above - 1, above + 9)])[-8:].hex() == "ffffffff00000009"
    assert pack_options(timestamps=(above + 1, 0), sack=[(0, 1)])[4:8].hex() == "00000001"


@pytest.mark.req("MUST-69", "MUST-64")
@relaxed
@given(
    mss=st.none() | words16,
    wscale=st.none() | st.integers(0, 14),
    sack_permitted=st.booleans(),
    timestamps=st.none() | st.tuples(words32, words32),
    sack=st.lists(st.tuples(words32, words32), max_size=5),
)
def test_options_are_whole_words_and_read_back(
    mss: int | None,
    wscale: int | None,
    sack_permitted: bool,
    timestamps: tuple[int, int] | None,
    sack: list[tuple[int, int]],
) -> None:
    packed = pack_options(
        mss=mss, wscale=wscale, sack_permitted=sack_permitted, timestamps=timestamps, sack=sack
    )
    assert len(packed) % 4 == 0
    assert len(packed) <= tcp.MAX_OPTIONS_LENGTH
    packet = memoryview(tcp_frame(4, options=packed).to_bytes())
    found = tcp.parse(packet, 20, len(packet))
    assert (found.mss, found.wscale, found.sack_permitted) == (mss, wscale, sack_permitted)
    assert (found.tsval, found.tsecr) == (timestamps or (None, 0))
    assert found.sack == tuple(sack[: len(found.sack)])
    assert len(found.sack) == len(sack) or len(packed) + 8 > tcp.MAX_OPTIONS_LENGTH
    # Padding is by NOPs in front, so there is no end-of-options mark to fill up after.
    assert len(packet) == 40 + len(packed)


@pytest.mark.req("MUST-2", "ST-27", "MUST-49", "MUST-48", "SHLD-22")
@relaxed
@given(
    ends=addresses,
    ports=st.tuples(words16, words16),
    seq=st.integers(0, 1 << 40),
    ack=st.integers(0, 1 << 40),
    flags=st.integers(0, 0x1FF),
    window=words16,
    urgent=words16,
    options=st.sampled_from((b"", pack_options(timestamps=TS), pack_options(mss=9, wscale=1))),
    payload=st.lists(st.binary(max_size=70), max_size=4),
    hop_limit=octets,
    traffic_class=octets,
    identification=words16,
    ect=st.booleans(),
)
def test_frames_are_what_scapy_builds(
    ends: tuple[bytes, bytes],
    ports: tuple[int, int],
    seq: int,
    ack: int,
    flags: int,
    window: int,
    urgent: int,
    options: bytes,
    payload: list[bytes],
    hop_limit: int,
    traffic_class: int,
    identification: int,
    ect: bool,
) -> None:
    template = HeaderTemplate(
        ends[0], ports[0], ends[1], ports[1], hop_limit=hop_limit, traffic_class=traffic_class
    )
    frame = template.frame(
        seq,
        ack,
        flags,
        window,
        options=options,
        payload=payload,
        payload_length=sum(map(len, payload)),
        urgent=urgent,
        offload=False,
        identification=identification,
        ect=ect,
    )
    if ect:
        traffic_class = traffic_class & 0xFC | 2
    packet = frame.to_bytes()
    assert frame.length == len(packet)
    assert frame.checksum_start == 0
    assert rebuilt(packet) == packet
    ip, segment = dissect(packet), tcp_layer(packet)
    if len(ends[0]) == 4:
        assert (ip.ttl, ip.tos, ip.id, str(ip.flags)) == (
            hop_limit,
            traffic_class,
            identification,
            "DF",
        )
    else:
        assert (ip.hlim, ip.tc, ip.fl) == (hop_limit, traffic_class, 0)
    assert (segment.sport, segment.dport) == ports
    assert (segment.seq, segment.ack) == (seq % (1 << 32), ack % (1 << 32))
    assert (int(segment.flags), segment.window, segment.urgptr) == (flags, window, urgent)
    assert segment.reserved == 0
    assert bytes(segment.payload) == b"".join(payload)


@relaxed
@given(
    ends=addresses,
    seq=words32,
    ack=words32,
    window=words16,
    options=st.sampled_from((b"", pack_options(timestamps=TS))),
    payload=st.binary(min_size=1, max_size=90),
    cut=st.integers(1, 89),
    gso_size=st.sampled_from((0, 10)),
    offload=st.booleans(),
)
def test_frames_made_at_once_are_those_made_one_by_one(
    ends: tuple[bytes, bytes],
    seq: int,
    ack: int,
    window: int,
    options: bytes,
    payload: bytes,
    cut: int,
    gso_size: int,
    offload: bool,
) -> None:
    template = HeaderTemplate(ends[0], 1, ends[1], 2)
    length = len(payload)
    payloads: list[list[Buffer]] = [[payload], [payload[:cut], payload[cut:]], [payload[::-1]]]
    same: dict[str, Any] = {"options": options, "offload": offload, "reason": "why"}
    same["gso_size"] = gso_size
    found = frames(template, seq, ack, ACK, window, payloads, length, **same)
    for number, (frame, parts) in enumerate(zip(found, payloads, strict=True)):
        alone = template.frame(
            seq + number * length,
            ack,
            ACK,
            window,
            payload=parts,
            payload_length=length,
            **same,
        )
        # Not Frame.__slots__, which a compiled class does not have.
        for name in ("checksum_start", "gso_size", "header", "length", "payload", "reason"):
            assert getattr(frame, name) == getattr(alone, name)


@relaxed
@given(
    ends=addresses,
    seq=st.integers(0, 1 << 33),
    text=st.binary(min_size=11, max_size=200),
    size=st.integers(1, 10),
    flags=st.sampled_from((ACK, ACK | PSH)),
)
def test_the_frames_of_a_run_are_made_as_if_each_were_alone(
    ends: tuple[bytes, bytes], seq: int, text: bytes, size: int, flags: int
) -> None:
    template = HeaderTemplate(ends[0], 1, ends[1], 2)
    found = run(template, seq, 5, flags, 6, 7, 8, memoryview(text), size, "why")
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert len(found) == len(list(found)) == len(pieces)
    assert found.length == sum(frame.length for frame in found)
    for number, (frame, piece) in enumerate(zip(found, pieces, strict=True)):
        alone = template.plain(
            seq + number * size,
            5,
            flags if number == len(pieces) - 1 else ACK,
            6,
            7,
            8,
            [piece],
            len(piece),
            True,
            "why",
        )
        for name in ("checksum_start", "gso_size", "header", "length", "payload", "reason"):
            assert getattr(frame, name) == getattr(alone, name)
        assert found[number].to_bytes() == frame.to_bytes()


@pytest.mark.req("ST-21")
@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("number", [0, 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 3 << 32])
def test_sequence_numbers_around_the_edges(number: int, offload: bool) -> None:
    for version, header_length in ((4, 20), (6, 40)):
        frame = tcp_frame(version, seq=number, ack=number + 1, flags=ACK, offload=offload)
        found = tcp.parse(memoryview(frame.header), header_length, len(frame.header))
        assert found.seq == number & 0xFFFFFFFF
        assert found.ack == (number + 1) & 0xFFFFFFFF


@relaxed
@given(ends=addresses, payload=st.binary(max_size=200), gso_size=st.sampled_from((0, 10, 1448)))
def test_an_offloaded_checksum_is_the_pseudo_header_over_the_whole_length(
    ends: tuple[bytes, bytes], payload: bytes, gso_size: int
) -> None:
    frame = HeaderTemplate(ends[0], 1, ends[1], 2).frame(
        1,
        2,
        ACK,
        3,
        payload=[payload],
        payload_length=len(payload),
        gso_size=gso_size,
        offload=True,
    )
    assert frame.checksum_start == (20 if len(ends[0]) == 4 else 40)
    assert frame.gso_size == gso_size
    start = frame.checksum_start + tcp.CHECKSUM_OFFSET
    field = int.from_bytes(frame.header[start : start + 2], "big")
    expected = checksum.pseudo_header_sum(*ends, tcp.PROTOCOL, 20 + len(payload))
    assert field % 0xFFFF == expected % 0xFFFF


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("offload", [False, True])
@relaxed
@given(
    numbers=st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 40)),
    terms=st.tuples(st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 14)),
    stamps=st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 40)),
)
def test_the_usual_syn_ack_is_what_the_general_way_makes(
    version: int,
    offload: bool,
    numbers: tuple[int, int],
    terms: tuple[int, int, int],
    stamps: tuple[int, int],
) -> None:
    template = HeaderTemplate(FAMILIES[version][0], 80, FAMILIES[version][1], 50000)
    window, mss, wscale = terms
    usual = template.usual_syn_ack(*numbers, window, mss, wscale, *stamps, offload, "open_reply")
    options = tcp.pack_usual_syn(mss, wscale, stamps)
    general = template.frame(
        *numbers, SYN | ACK, window, options=options, offload=offload, reason="open_reply"
    )
    for name in ("header", "payload", "length", "gso_size", "checksum_start", "reason"):
        assert getattr(usual, name) == getattr(general, name), name


@pytest.mark.parametrize("version", [4, 6])
@relaxed
@given(payload=st.binary(max_size=200))
def test_completing_an_offloaded_checksum_gives_the_plain_one(version: int, payload: bytes) -> None:
    partial = tcp_frame(version, payload=payload, offload=True)
    packet = bytearray(partial.to_bytes())
    start = partial.checksum_start
    # What a network card does: sum from checksum_start, the field included, and store it there.
    field = checksum.finish(checksum.ones_complement_sum(packet[start:]))
    packet[start + 16 : start + 18] = field.to_bytes(2, "big")
    assert bytes(packet) == tcp_frame(version, payload=payload).to_bytes()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("offload", [False, True])
def test_payload_is_carried_and_not_copied(version: int, offload: bool) -> None:
    payload: list[Buffer] = [memoryview(b"abc"), bytearray(b"de"), b"f"]
    frame = HeaderTemplate(FAMILIES[version][0], 1, FAMILIES[version][1], 2).frame(
        1, 2, PSH | ACK, 3, payload=payload, payload_length=6, offload=offload, reason="new_data"
    )
    assert frame.payload is payload
    assert frame.reason == "new_data"
    assert frame.to_bytes() == frame.header + b"abcdef"


def test_the_largest_frames() -> None:
    for version, most in ((4, 65535 - 40), (6, 65535 - 20)):
        payload = bytes(most)
        packet = tcp_frame(version, payload=payload, offload=True, gso_size=1448).to_bytes()
        parse = ipv4.parse if version == 4 else ipv6.parse
        assert parse(memoryview(packet))[2] == len(packet)


def test_urgent_and_flags_pass_through() -> None:
    local, remote = FAMILIES[4]
    frame = HeaderTemplate(local, 1, remote, 2).frame(
        1, 2, URG | ACK | FIN | SYN, 3, urgent=99, offload=False
    )
    segment = tcp_layer(frame.to_bytes())
    assert (segment.urgptr, str(segment.flags)) == (99, "FSAU")


def test_flow_labels() -> None:
    local, remote = FAMILIES[6]
    template = HeaderTemplate(local, 1, remote, 2, flow_label=0xABCDE, traffic_class=0xFF)
    ip = dissect(template.frame(1, 2, ACK, 3, offload=False).to_bytes())
    assert (ip.fl, ip.tc) == (0xABCDE, 0xFF)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("offload", [False, True])
def test_hop_limit_and_dscp_can_be_changed(family: int, offload: bool) -> None:
    """To the same packets as if they had been so from the beginning; the ECN bits stay."""
    local, remote = FAMILIES[family]
    changed = HeaderTemplate(local, 1, remote, 2, flow_label=0xABCDE, traffic_class=0x25)
    changed.set_ip(hop_limit=9, traffic_class=0xFC)
    made = HeaderTemplate(local, 1, remote, 2, flow_label=0xABCDE, hop_limit=9, traffic_class=0xFD)
    for ect in (False, True):
        packets = [
            template.frame(
                1, 2, ACK, 3, payload=[b"hello"], payload_length=5, ect=ect, offload=offload
            )
            for template in (changed, made)
        ]
        assert packets[0].to_bytes() == packets[1].to_bytes()


def test_addresses_of_two_families_are_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="families"):
        HeaderTemplate(bytes(4), 1, bytes(16), 2)


def test_frames_show_what_is_left_to_do() -> None:
    assert repr(Frame(b"abc", [b"de"], reason="close")) == "<Frame 5 bytes close>"
    assert repr(tcp_frame(4, payload=bytes(9), gso_size=3, offload=True)) == (
        "<Frame 49 bytes gso=3 checksum_start=20 unlabelled>"
    )
