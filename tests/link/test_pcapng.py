"""The capture tap: what is in the file, read back by tshark and by a reader of our own."""

from __future__ import annotations

import asyncio
import io
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aiotcp import sim
from aiotcp.link import memory
from aiotcp.link.memory import MemoryLink
from aiotcp.link.pcapng import Capture
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import ACK, PSH, HeaderTemplate
from tests.support.recorder import Recorder

V4 = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))
V6 = (
    bytes.fromhex("fd61696f74630070" + "00" * 7 + "01"),
    bytes.fromhex("fd61696f74630070" + "00" * 7 + "02"),
)


@dataclass
class Packet:
    time_ns: int
    packet: bytes
    options: dict[int, bytes]


def blocks(file: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each block; checks lengths and alignment."""
    position = 0
    while position < len(file):
        kind, length = struct.unpack_from("=II", file, position)
        assert length % 4 == 0
        assert struct.unpack_from("=I", file, position + length - 4) == (length,)
        yield kind, file[position + 8 : position + length - 4]
        position += length
    assert position == len(file)


def options(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    position = 0
    while True:
        code, length = struct.unpack_from("=HH", data, position)
        if code == 0:
            return found
        found[code] = data[position + 4 : position + 4 + length]
        position += 4 + -(-length // 4) * 4


def packets(file: bytes) -> list[Packet]:
    found = []
    for kind, body in blocks(file):
        if kind == 6:
            interface, high, low, captured, length = struct.unpack_from("=5I", body)
            assert (interface, captured) == (0, length)
            end = 20 + -(-length // 4) * 4
            found.append(Packet(high << 32 | low, body[20 : 20 + length], options(body[end:])))
    return found


def tapped(file: io.BytesIO | Path, **kwargs: float) -> tuple[Capture, MemoryLink, Recorder]:
    loop = asyncio.get_running_loop()
    left, right = memory.pair()
    capture = Capture(left, file, epoch_s=kwargs.get("epoch_s", 0.0))
    above = Recorder()
    capture.attach(above, loop)
    right.attach(Recorder(), loop)
    return capture, right, above


async def test_the_file_begins_with_a_section_and_an_interface_of_raw_ip() -> None:
    file = io.BytesIO()
    tapped(file)
    (section, section_body), (interface, interface_body) = blocks(file.getvalue())
    assert (section, interface) == (0x0A0D0D0A, 1)
    assert struct.unpack_from("=IHHq", section_body) == (0x1A2B3C4D, 1, 0, -1)
    assert options(section_body[16:]) == {4: b"aiotcp"}
    assert struct.unpack_from("=HHI", interface_body) == (101, 0, 0)
    assert options(interface_body[8:]) == {2: b"aiotcp", 9: b"\x09"}


async def test_packets_carry_time_direction_and_the_reason_of_those_sent() -> None:
    file = io.BytesIO()
    capture, right, above = tapped(file, epoch_s=1_700_000_000.0)
    start_ns = 1_700_000_000 * 10**9 + round(asyncio.get_running_loop().time() * 1e9)
    capture.send(Frame(b"out", [b"going", b"!"], reason="new_data"))
    await asyncio.sleep(0.5)
    right.send(Frame(b"incoming"))
    await asyncio.sleep(1)
    out, incoming = packets(file.getvalue())
    assert (out.packet, out.time_ns) == (b"outgoing!", start_ns)
    assert out.options == {1: b"new_data", 2: struct.pack("=I", 2)}
    assert (incoming.packet, incoming.time_ns) == (b"incoming", start_ns + 500_000_000)
    assert incoming.options == {2: struct.pack("=I", 1)}
    assert above.packets == [b"incoming"]
    assert above.batches == [1]
    assert capture.counters == {
        "captured_inbound": 1,
        "captured_outbound": 1,
        "capture_failed": 0,
    }


async def test_it_offers_what_the_link_below_offers() -> None:
    for offload in (False, True):
        link, _ = memory.pair(mtu=9000, offload=offload, checksums=not offload)
        capture = Capture(link, io.BytesIO())
        got = (capture.mtu, capture.gso_max_bytes, capture.checksum_offload)
        assert got == (9000, link.gso_max_bytes, offload)


async def test_packets_are_in_the_file_within_a_second_and_no_timer_runs_when_idle(
    tmp_path: Path,
) -> None:
    path = tmp_path / "trace.pcapng"
    capture, _, _ = tapped(path)
    capture.send(Frame(b"x"))
    assert packets(path.read_bytes()) == []
    await asyncio.sleep(1)
    assert len(packets(path.read_bytes())) == 1
    capture.send(Frame(b"y"))
    capture.close()
    assert [p.packet for p in packets(path.read_bytes())] == [b"x", b"y"]
    capture.close()


async def test_a_file_of_the_caller_is_flushed_and_left_open() -> None:
    file = io.BytesIO()
    capture, _, _ = tapped(file)
    capture.send(Frame(b"x"))
    capture.close()
    assert not file.closed
    assert len(packets(file.getvalue())) == 1


class FullDisk(io.BytesIO):
    full = False

    def write(self, data: object) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(data)  # type: ignore[arg-type]


async def test_a_full_disk_ends_the_capture_and_not_the_traffic() -> None:
    file = FullDisk()
    capture, right, above = tapped(file)
    file.full = True
    capture.send(Frame(b"x"))
    right.send(Frame(b"y"))
    await asyncio.sleep(2)
    assert above.packets == [b"y"]
    assert right.counters["received_packets"] == 1
    assert capture.counters["capture_failed"] == 1
    assert packets(file.getvalue()) == []


async def test_the_loss_of_the_link_below_is_passed_on() -> None:
    class Losing(MemoryLink):
        def attach(self, receiver: object, loop: asyncio.AbstractEventLoop) -> None:
            loop.call_soon(receiver.link_lost, OSError(19, "gone"))  # type: ignore[attr-defined]

    above = Recorder()
    capture = Capture(Losing(1500, False, 10), io.BytesIO())
    capture.attach(above, asyncio.get_running_loop())
    assert (await above.until_lost()).errno == 19
    capture.close()


async def test_without_an_epoch_timestamps_are_the_wall_clocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wall_ns = 1_700_000_000_123_456_789
    monkeypatch.setattr("aiotcp.link.pcapng.time.time_ns", lambda: wall_ns)
    file = io.BytesIO()
    capture = Capture(memory.pair()[0], file)
    capture.attach(Recorder(), asyncio.get_running_loop())
    capture.send(Frame(b"x"))
    capture.close()
    assert packets(file.getvalue())[0].time_ns == wall_ns


async def exchange(path: Path) -> None:
    """60,000 bytes and their ACK, over IPv4 and a quarter of a second later over IPv6."""
    left, right = memory.pair(offload=True)
    capture = Capture(left, path, interface="tun7", epoch_s=1_700_000_000.0)
    capture.attach(Recorder(), asyncio.get_running_loop())
    right.attach(Recorder(), asyncio.get_running_loop())
    text = bytes(60_000)
    for ours, theirs in (V4, V6):
        out = HeaderTemplate(ours, 8080, theirs, 40000)
        capture.send(
            out.frame(
                5,
                6,
                ACK | PSH,
                100,
                payload=[text],
                payload_length=len(text),
                gso_size=1400,
                offload=True,
                reason="new_data",
            )
        )
        back = HeaderTemplate(theirs, 40000, ours, 8080)
        right.send(back.frame(6, 60_005, ACK, 50, offload=False))
        await asyncio.sleep(0.25)
    capture.close()


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "trace.pcapng"
    sim.run(exchange(path))
    fields = "frame.time_epoch frame.packet_flags_direction frame.interface_name frame.comment"
    fields += " ip.src ipv6.src tcp.seq_raw tcp.len"
    command = ["tshark", "-r", str(path), "-T", "fields", "-E", "separator=;"]
    for field in fields.split():
        command += ["-e", field]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [line.split(";") for line in shown.splitlines()]
    assert [float(line[0]) for line in lines] == [1_700_000_000] * 2 + [1_700_000_000.25] * 2
    assert [int(line[1], 0) for line in lines] == [2, 1, 2, 1]
    assert [line[2:] for line in lines] == [
        ["tun7", "new_data", "192.0.2.1", "", "5", "60000"],
        ["tun7", "", "192.0.2.2", "", "6", "0"],
        ["tun7", "new_data", "", "fd61:696f:7463:70::1", "5", "60000"],
        ["tun7", "", "", "fd61:696f:7463:70::2", "6", "0"],
    ]
