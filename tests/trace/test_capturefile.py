"""Captures read back: our own, and those of other programs in both formats and byte orders."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dpkt
import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import CookedLinux, Dot1Q, Ether
from scapy.utils import wrpcap, wrpcapng

from aiotcp.link import memory
from aiotcp.link.pcapng import Capture, enhanced_packet, interface_description, section_header
from aiotcp.streams import Stack
from aiotcp.trace.capturefile import INBOUND, OUTBOUND, NoCapture, packets
from aiotcp.trace.capturefile import read as read_file
from aiotcp.trace.events import Trace
from aiotcp.trace.ladder import text
from tests.support.chinese import left_in_english

SYN = bytes(IP(src="192.0.2.1", dst="192.0.2.2") / TCP(sport=50000, dport=80, flags="S", seq=100))
REPLY = bytes(
    IP(src="192.0.2.2", dst="192.0.2.1") / TCP(sport=80, dport=50000, flags="SA", seq=900, ack=101)
)


def read(path: Path, **options: Any) -> Trace:
    """Whatever it notes can be said in Chinese."""
    trace = read_file(path, **options)
    assert left_in_english(trace) == []
    return trace


async def test_our_own_capture_tells_as_much_as_the_stack_did(tmp_path: Path) -> None:
    left, right = memory.pair()
    file = tmp_path / "own.pcapng"
    async with (
        Stack(Capture(left, file, epoch_s=1e9), addresses=["192.0.2.1"], seed=b"a") as client,
        Stack(right, addresses=["192.0.2.2"], seed=b"b") as server,
    ):
        await server.start_server(lambda _, writer: writer.close(), "192.0.2.2", 80)
        reader, writer = await client.open_connection("192.0.2.2", 80)
        assert await reader.read() == b""
        writer.close()
    trace = read(file)
    assert trace.epoch == 1e9
    assert trace.title == "own.pcapng"
    told = [(s.sender, s.flags, s.seq, s.ack, s.why) for s in trace.segments]
    assert told == [
        ("192.0.2.1", "SYN", 0, None, "open"),
        ("192.0.2.2", "SYN,ACK", 0, 1, ""),
        ("192.0.2.1", "ACK", 1, 1, "open_ack"),
        ("192.0.2.2", "FIN,ACK", 1, 1, ""),
        ("192.0.2.1", "ACK", 1, 2, "ack_fin"),
        ("192.0.2.1", "FIN,ACK", 1, 2, "close"),
        ("192.0.2.2", "ACK", 2, 2, ""),
    ]


def test_direction_and_comment_are_read() -> None:
    file = io.BytesIO(
        section_header()
        + interface_description("x")
        + enhanced_packet(1_500_000_000, SYN, OUTBOUND, "open")
        + enhanced_packet(1_600_000_000, REPLY, INBOUND)
    )
    first, second = packets(file)
    assert (first.time_ns, first.comment, first.direction, first.data) == (
        1_500_000_000,
        "open",
        OUTBOUND,
        SYN,
    )
    assert (second.time_ns, second.comment, second.direction) == (1_600_000_000, "", INBOUND)


@pytest.mark.parametrize("write", [wrpcap, wrpcapng])
@pytest.mark.parametrize(
    "layers",
    [
        pytest.param(lambda packet: packet, id="raw"),
        pytest.param(lambda packet: Ether() / packet, id="ethernet"),
        pytest.param(lambda packet: Ether() / Dot1Q(vlan=3) / packet, id="vlan"),
        pytest.param(lambda packet: CookedLinux(proto=0x0800) / packet, id="cooked"),
        pytest.param(
            lambda packet: CookedLinux(proto=0x8100) / Dot1Q(vlan=3) / packet, id="cooked vlan"
        ),
    ],
)
def test_captures_of_others(write: object, layers: object, tmp_path: Path) -> None:
    assert callable(write)
    assert callable(layers)
    file = tmp_path / "other"
    write(str(file), [layers(IP(SYN)), layers(IP(REPLY))])
    trace = read(file)
    assert [(s.sender, s.flags, s.seq, s.ack) for s in trace.segments] == [
        ("192.0.2.1", "SYN", 0, None),
        ("192.0.2.2", "SYN,ACK", 0, 1),
    ]


@pytest.mark.parametrize("order", "<>")
def test_both_byte_orders_of_pcap(order: str, tmp_path: Path) -> None:
    head = struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    record = struct.pack(order + "IIII", 7, 250_000, len(SYN), len(SYN)) + SYN
    (packet,) = packets(io.BytesIO(head + record))
    assert (packet.time_ns, packet.data) == (7_250_000_000, SYN)


def test_dpkt_writes_what_we_read(tmp_path: Path) -> None:
    file = io.BytesIO()
    writer = dpkt.pcapng.Writer(file, linktype=101)
    writer.writepkt(SYN, ts=3.5)
    (packet,) = packets(io.BytesIO(file.getvalue()))
    assert (packet.time_ns, packet.data) == (3_500_000_000, SYN)


def test_a_file_that_is_still_being_written_ends_before_its_last_packet() -> None:
    whole = section_header() + interface_description("x")
    whole += enhanced_packet(1, SYN, OUTBOUND) + enhanced_packet(2, REPLY, INBOUND)
    counts = {len(list(packets(io.BytesIO(whole[:size])))) for size in range(4, len(whole))}
    assert counts == {0, 1}


@pytest.mark.parametrize("content", [b"", b"GIF", b"GIF89a and so on", b"\x0a\x0d\x0d\x0a" * 8])
def test_what_is_no_capture_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "picture.gif"
    file.write_bytes(content)
    with pytest.raises(NoCapture, match=r"picture\.gif: no capture"):
        read(file)


def test_what_is_no_tcp_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "f"
    wrpcap(str(file), [IP(SYN), IP(src="192.0.2.1", dst="192.0.2.2", proto=17) / b"12345678"])
    trace = read(file)
    assert trace.notes == ["1 packet is no TCP segment, or could not be read"]
    assert text(trace).splitlines()[-1].strip() == trace.notes[0]


def test_a_conversation_without_its_beginning(tmp_path: Path) -> None:
    def packet(client: bool, seq: int, ack: int, text: bytes) -> IP:
        ends = ("192.0.2.1", "192.0.2.2") if client else ("192.0.2.2", "192.0.2.1")
        ports = (50000, 80) if client else (80, 50000)
        tcp = TCP(sport=ports[0], dport=ports[1], flags="A", seq=seq, ack=ack)
        return IP(src=ends[0], dst=ends[1]) / tcp / text

    file = tmp_path / "f"
    wrpcap(
        str(file),
        [
            packet(False, 2**32 - 10, 77_000, bytes(100)),
            packet(True, 77_000, 90, b""),
            packet(False, 90, 77_000, bytes(10)),
        ],
    )
    trace = read(file)
    assert [(s.seq, s.ack, s.length) for s in trace.segments] == [
        (1, 1, 100),
        (1, 101, 0),
        (101, 1, 10),
    ]
    assert trace.flows[0].server_port == 80


def tcp(client: bool, flags: str, seq: int, options: object = None, **more: Any) -> IP:
    ends = ("192.0.2.1", "192.0.2.2") if client else ("192.0.2.2", "192.0.2.1")
    ports = (50000, 80) if client else (80, 50000)
    head = TCP(sport=ports[0], dport=ports[1], flags=flags, seq=seq, options=options or [], **more)
    return IP(src=ends[0], dst=ends[1]) / head


SCALED = [("MSS", 1460), ("SAckOK", b""), ("WScale", 7)]
UNKNOWN = (
    "window scale unknown: the handshake is not in the capture, and windows are as in the headers"
)


@pytest.mark.parametrize(
    ("captured", "window", "notes"),
    [
        pytest.param("SYN,ACK", 100 << 7, [], id="whole"),
        pytest.param("ACK", 100, [UNKNOWN], id="begins later"),
        pytest.param("server only", 100, [UNKNOWN], id="one side's"),
        pytest.param("old client", 100, [], id="no option in the one that was seen"),
        pytest.param("old server", 100, [], id="no option in the answer"),
        pytest.param("reset", None, [], id="nothing but a reset"),
    ],
)
def test_windows_of_unknown_scale_are_said_to_be(
    captured: str, window: int | None, notes: list[str], tmp_path: Path
) -> None:
    syn = tcp(True, "S", 1, None if captured == "old client" else SCALED)
    reply = tcp(False, "SA", 9, None if captured == "old server" else SCALED, ack=2)
    ack = tcp(True, "A", 2, ack=10, window=100)
    made = {
        "ACK": [ack],
        "server only": [reply, ack],
        "old client": [syn, ack],
        "reset": [syn, tcp(False, "RA", 0, ack=2)],
    }.get(captured, [syn, reply, ack])
    file = tmp_path / "f"
    wrpcap(str(file), made)
    trace = read(file)
    assert trace.notes == notes
    if window is not None:
        assert trace.segments[-1].window == window


def test_options_that_were_cut_off_are_not_known(tmp_path: Path) -> None:
    """As `tcpdump -s 44` leaves them: the SYN's first option is there, its window scale is not."""
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 44, 101)
    records = b""
    whole = [tcp(True, "S", 1, SCALED), tcp(False, "SA", 9, SCALED, ack=2)]
    whole.append(tcp(True, "A", 2, ack=10, window=100))
    whole.append(IP(src="192.0.2.1", dst="192.0.2.2", id=7) / TCP(flags="A"))
    for packet, size in zip(map(bytes, whole), (44, 44, 44, 30), strict=True):
        records += struct.pack("<IIII", 1, 0, min(size, len(packet)), len(packet)) + packet[:size]
    file = tmp_path / "f"
    file.write_bytes(head + records)
    trace = read(file)
    assert [segment.window for segment in trace.segments] == [8192, 8192, 100]
    assert trace.notes == [
        UNKNOWN,
        "1 packet is no TCP segment, or could not be read, 1 of them captured in part",
    ]


def test_several_connections_without_their_beginnings_are_named(tmp_path: Path) -> None:
    made = []
    for number in range(8):
        packet = tcp(True, "A", 2, ack=10)
        packet[TCP].sport = 50000 + number
        made.append(packet)
    file = tmp_path / "f"
    wrpcap(str(file), made)
    assert (
        read(file)
        .notes[0]
        .startswith("window scale unknown of connections 1, 2, 3, 4, 5 and 3 more: ")
    )


def captured(times_ms: list[int], made: Sequence[IP | bytes]) -> bytes:
    """A capture with these packets at these times."""
    whole = section_header() + interface_description("x")
    for time_ms, packet in zip(times_ms, made, strict=True):
        whole += enhanced_packet(10**18 + time_ms * 10**6, bytes(packet), 0)
    return whole


HANDSHAKE = [
    tcp(True, "S", 1, SCALED),
    tcp(False, "SA", 9, SCALED, ack=2),
    tcp(True, "A", 2, ack=10, window=100),
]


def test_interfaces_of_one_capture_may_be_out_of_step(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(captured([20, 0, 30], [HANDSHAKE[1], HANDSHAKE[0], HANDSHAKE[2]]))
    trace = read(file)
    told = [(segment.at, segment.flags, segment.window) for segment in trace.segments]
    assert told == [(0.0, "SYN", 8192), (0.02, "SYN,ACK", 8192), (0.03, "ACK", 12800)]
    assert (trace.epoch, trace.notes) == (1e9, [])


def test_a_file_out_of_order_is_sorted_and_says_so(tmp_path: Path) -> None:
    acks = [tcp(True, "A", 2, ack=10, window=100)] * 600
    file = tmp_path / "f"
    file.write_bytes(captured([*range(1000, 1600), 0, 1, 2], [*acks, *HANDSHAKE]))
    trace = read(file)
    times = [segment.at for segment in trace.segments]
    assert times == sorted(times)
    assert (times[0], times[-1], trace.epoch) == (0.0, 1.599, 1e9)
    assert trace.segments[0].arrived == [0.0]
    assert trace.segments[0].flags == "SYN"
    assert "the file is not in order of time: sorted" in trace.notes


def test_a_packet_without_a_time_has_that_of_the_one_before(tmp_path: Path) -> None:
    simple = struct.pack("=III", 3, 16 + len(bytes(HANDSHAKE[2])), len(bytes(HANDSHAKE[2])))
    simple += bytes(HANDSHAKE[2]) + struct.pack("=I", 16 + len(bytes(HANDSHAKE[2])))
    file = tmp_path / "f"
    file.write_bytes(captured([5, 7], HANDSHAKE[:2]) + simple)
    assert [segment.at for segment in read(file).segments] == [0.0, 0.002, 0.002]


@pytest.mark.parametrize("count", [3, 700])
def test_of_a_damaged_file_there_is_what_stands_before(count: int, tmp_path: Path) -> None:
    made = [*HANDSHAKE, *[HANDSHAKE[2]] * (count - 3)]
    file = tmp_path / "f"
    file.write_bytes(captured(list(range(count)), made) + bytes(64))
    trace = read(file)
    assert len(trace.segments) == count
    assert trace.notes == ["the file is damaged, and ends here: a block of 0 bytes"]


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(captured([0, 1, 2], HANDSHAKE))
    trace = read(file, max_events=2)
    assert len(trace.segments) == 2
    assert trace.notes == ["only the first 2 segments: 1 packet behind them was left out"]


def test_one_connection_of_many(tmp_path: Path) -> None:
    made = []
    for number in range(6):
        packet = tcp(True, "S", 1)
        packet[TCP].sport = 50000 + number % 3
        made.append(packet)
    file = tmp_path / "f"
    wrpcap(str(file), made)
    trace = read(file, flow=1, max_events=2)
    assert [segment.flow for segment in trace.segments] == [1, 1]
    assert trace.flows[1].client_port == 50001
    assert trace.notes == ["only the first 2 segments: 1 packet behind them was left out"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_ends_of_the_loopback_have_a_lane(host: str, tmp_path: Path) -> None:
    layer, server = (IPv6, f"[{host}]:8000") if ":" in host else (IP, f"{host}:8000")
    address = layer(src=host, dst=host)
    made = [
        address / TCP(sport=50000, dport=8000, flags="S", seq=1),
        address / TCP(sport=8000, dport=50000, flags="SA", seq=1, ack=2),
        address / TCP(sport=50001, dport=8000, flags="S", seq=1),
    ]
    file = tmp_path / "f"
    wrpcap(str(file), [Ether() / packet for packet in made])
    trace = read(file)
    assert trace.hosts == [host, server]
    ways = [(segment.sender, segment.receiver) for segment in trace.segments]
    assert ways == [(host, server), (server, host), (host, server)]
    assert str(trace.flows[1]) == f"{server.replace('8000', '50001')} → {server}"
    assert "├─ SYN" in text(trace)


def test_a_capture_without_a_segment_says_so(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(captured([], []))
    assert read(file).notes == ["there is no TCP segment in it"]


def test_what_was_captured_in_part_is_as_long_as_it_was(tmp_path: Path) -> None:
    whole = bytes(IP(src="192.0.2.1", dst="192.0.2.2") / TCP(flags="A", seq=7) / bytes(1000))
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 60, 101)
    file = tmp_path / "short"
    file.write_bytes(head + struct.pack("<IIII", 1, 0, 60, len(whole)) + whole[:60])
    (segment,) = read(file).segments
    assert segment.length == 1000


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_frames_of_an_unknown_kind_are_named(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "wireless"
    if kind == "pcap":
        head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 105)
        file.write_bytes(head + struct.pack("<IIII", 1, 0, len(SYN), len(SYN)) + SYN)
    else:
        interface = bytearray(interface_description("x"))
        interface[8:10] = struct.pack("=H", 105)
        file.write_bytes(section_header() + interface + enhanced_packet(1, SYN, INBOUND))
    with pytest.raises(NoCapture, match="its link type is 105"):
        read(file)


def test_of_a_packet_longer_than_any_no_more_is_held_than_a_packet_may_have() -> None:
    size = 8 << 20
    packet = bytes(tcp(True, "A", 1)).ljust(size, b"\0")
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, size, 101)
    record = struct.pack("<IIII", 0, 0, size, size) + packet
    first, second = packets(io.BytesIO(head + record + record))
    assert first.data == second.data == packet[: len(first.data)]
    assert 65575 < len(first.data) < size / 8


def test_a_head_that_is_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "cut"
    file.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)[:10])
    with pytest.raises(NoCapture, match="too short"):
        read(file)


BREAKS_OFF = "the file breaks off here, as one does that is still being written"


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_a_file_that_breaks_off_says_so(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "f"
    if kind == "pcap":
        wrpcap(str(file), HANDSHAKE)
    else:
        file.write_bytes(captured([0, 1, 2], HANDSHAKE))
    whole = file.read_bytes()
    unmarked: list[int] = []
    for size in range(24, len(whole) + 1):
        file.write_bytes(whole[:size])
        trace = read(file)
        assert trace.notes.count(BREAKS_OFF) <= 1
        if BREAKS_OFF not in trace.notes:
            unmarked.append(len(trace.segments))
    # Those that end behind a block: of pcapng, the interface's description is one, too.
    assert [count for count in unmarked if count] == [1, 2, 3]
    assert len(unmarked) <= 5


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("kind", PACKERS)
def test_a_compressed_capture_is_read(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"f.pcapng.{kind}"
    file.write_bytes(PACKERS[kind](captured([0, 1, 2], HANDSHAKE)))
    trace = read(file)
    assert [segment.flags for segment in trace.segments] == ["SYN", "SYN,ACK", "ACK"]
    assert (trace.title, trace.notes) == (file.name, [])


@pytest.mark.parametrize("kind", PACKERS)
def test_a_compressed_capture_that_breaks_off(kind: str, tmp_path: Path) -> None:
    rng = random.Random(1)  # what can't be made smaller, in blocks of bzip2 and xz
    head = bytes(tcp(True, "A", 2, ack=10) / bytes(20_000))[:40]
    made: list[IP | bytes] = [*HANDSHAKE, *[head + rng.randbytes(20_000) for _ in range(200)]]
    packed = PACKERS[kind](captured(list(range(len(made))), made))
    file = tmp_path / "f"
    file.write_bytes(packed[: len(packed) // 2])
    trace = read(file)
    assert 20 < len(trace.segments) < 150
    assert trace.notes == [BREAKS_OFF]
    file.write_bytes(packed[:-8] + bytes(8))  # where checksums are
    (note,) = read(file).notes
    assert note.startswith("the file is damaged, and ends here: it can't be unpacked: ")


@pytest.mark.parametrize(
    ("head", "command"),
    [(b"\x28\xb5\x2f\xfd", "zstd -d"), (b"\x04\x22\x4d\x18", "lz4 -d"), (b"PK\3\4", "unzip")],
)
def test_what_else_is_compressed_is_said_to_be(head: bytes, command: str, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(head + bytes(40))
    with pytest.raises(NoCapture, match=f"compressed.*first {command} .*/f$"):
        read(file)


@pytest.mark.parametrize("content", [b"\x1f\x8bno", gzip.compress(b"no capture at all", mtime=0)])
def test_what_is_no_capture_though_compressed(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "f.gz"
    file.write_bytes(content)
    with pytest.raises(NoCapture, match=r"f\.gz: (it can't be unpacked|no capture): "):
        read(file)
