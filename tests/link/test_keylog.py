"""The TLS key log: how the file is followed, and where its secrets stand in a capture."""

from __future__ import annotations

import asyncio
import io
import os
import struct
from pathlib import Path

import pytest

from aiotcp.link import memory
from aiotcp.link.keylog import KeyLog
from aiotcp.link.memory import MemoryLink
from aiotcp.link.pcapng import Capture, decryption_secrets
from aiotcp.wire.frame import Frame
from tests.link.test_pcapng import blocks
from tests.support.recorder import Recorder


def line(number: int, label: str = "CLIENT_RANDOM") -> str:
    return f"{label} {number:064x} {number:096x}\n"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def read(log: KeyLog) -> str:
    return log.read().decode()


# The file


def test_lines_are_read_once_and_those_of_before_never(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    append(path, line(1))
    log = KeyLog(path)
    assert read(log) == ""
    append(path, line(2) + line(3, "SERVER_HANDSHAKE_TRAFFIC_SECRET"))
    assert read(log) == line(2) + line(3, "SERVER_HANDSHAKE_TRAFFIC_SECRET")
    assert read(log) == ""
    assert log.counters == {"keylog_lines": 2, "keylog_ignored": 0, "keylog_failed": 0}
    log.close()
    log.close()


def test_a_line_counts_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    log = KeyLog(path)
    append(path, line(1) + line(2)[:30])
    assert read(log) == line(1)
    append(path, line(2)[30:])
    assert read(log) == line(2)


def test_the_file_may_come_later_go_and_come_again(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    log = KeyLog(path)
    assert read(log) == ""
    append(path, line(1))
    assert read(log) == line(1)
    with path.open("a") as held_open:
        path.unlink()
        held_open.write(line(2))
        held_open.flush()
        assert read(log) == line(2)
        held_open.write(line(3))
    append(path, line(4))
    assert read(log) == line(3) + line(4)
    assert log.counters["keylog_failed"] == 0


def test_a_truncated_file_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    log = KeyLog(path)
    append(path, line(1) + line(2) + line(3)[:20])
    assert read(log) == line(1) + line(2)
    path.write_text(line(4))
    assert read(log) == line(4)


def test_what_is_no_key_log_stays_out(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    log = KeyLog(path)
    append(path, "# a comment\n\nroot:x:0:0:root\n" + "A" * 5000)
    assert read(log) == ""
    append(path, "A\n" + line(1))
    assert read(log) == line(1)
    assert log.counters["keylog_ignored"] == 5
    assert log.counters["keylog_lines"] == 1


def test_what_can_not_be_read_is_counted_and_not_raised(tmp_path: Path) -> None:
    log = KeyLog(tmp_path)
    assert read(log) == ""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    another = KeyLog(fifo)
    assert read(another) == ""
    assert log.counters["keylog_failed"] == another.counters["keylog_failed"] == 2


def test_whether_there_is_something_to_read_one_system_call_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys"
    log = KeyLog(path)
    append(path, line(1))
    assert read(log) == line(1)
    before = path.stat()
    append(path, line(2))
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda path: before)
        assert read(log) == ""
    assert read(log) == line(2)


# The capture


def tapped(file: io.BytesIO | Path, keylog: Path) -> tuple[Capture, MemoryLink, Recorder]:
    left, right = memory.pair(offload=True)
    capture = Capture(left, file, keylog=keylog, epoch_s=0.0)
    above = Recorder()
    capture.attach(above, asyncio.get_running_loop())
    right.attach(Recorder(), asyncio.get_running_loop())
    return capture, right, above


def shown(file: io.BytesIO) -> list[str]:
    """ "keys" for a block of secrets; of a packet, its first byte."""
    return [
        "keys" if kind == 10 else chr(body[20])
        for kind, body in blocks(file.getvalue())
        if kind in (6, 10)
    ]


def test_the_block_has_type_length_and_padding() -> None:
    ((kind, body),) = blocks(decryption_secrets(b"RSA 1 2\n!"))
    assert kind == 10
    assert body == struct.pack("=II", 0x544C534B, 9) + b"RSA 1 2\n!" + bytes(3)


class Deriving(Recorder):
    """A stack that finds a secret in what has arrived, once the batch is over."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def flush(self) -> None:
        super().flush()
        append(self.path, line(len(self.arrivals)))


async def test_secrets_stand_before_the_packet_that_they_come_from(tmp_path: Path) -> None:
    keylog, file = tmp_path / "keys", io.BytesIO()
    left, right = memory.pair(offload=True)
    capture = Capture(left, file, keylog=keylog, epoch_s=0.0)
    capture.attach(Deriving(keylog), asyncio.get_running_loop())
    right.attach(Recorder(), asyncio.get_running_loop())
    right.send(Frame(b"a"))
    await asyncio.sleep(3)
    assert shown(file) == ["keys", "a"]
    capture.send(Frame(b"b"))
    # More than may wait: it waits to the end of its batch all the same.
    for name in b"cdefgh":
        right.send(Frame(bytes([name]), [bytes(60_000)], gso_size=1400))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert shown(file) == ["keys", "a", "keys", *"bcdefgh"]
    assert capture.counters == {
        "captured_inbound": 7,
        "captured_outbound": 1,
        "capture_failed": 0,
        "captured_early": 0,
        "keylog_lines": 2,
        "keylog_ignored": 0,
        "keylog_failed": 0,
    }
    capture.close()


async def test_a_packet_waits_half_a_second_for_its_secrets_and_no_more_than_one(
    tmp_path: Path,
) -> None:
    keylog, file = tmp_path / "keys", io.BytesIO()
    capture, right, _ = tapped(file, keylog)
    for name in b"abcd":
        right.send(Frame(bytes([name])))
        await asyncio.sleep(0.3)
    append(keylog, line(1))
    await asyncio.sleep(0.2)
    # Now at 1.4 s: of those at 0, 0.3, 0.6 and 0.9 s
    assert shown(file) == ["a", "b"]
    await asyncio.sleep(0.2)
    assert shown(file) == ["a", "b", "keys", "c", "d"]
    capture.close()


async def test_what_waits_in_memory_is_bounded(tmp_path: Path) -> None:
    file = io.BytesIO()
    capture, right, above = tapped(file, tmp_path / "keys")
    for _ in range(5):
        capture.send(Frame(b"x", [bytes(60_000)], gso_size=1400))
    assert len(shown(file)) == 5
    for _ in range(200):
        right.send(Frame(b"y", [bytes(60_000)], gso_size=1400))
    await asyncio.sleep(0)
    assert above.batches == [200]
    assert 0 < capture.counters["captured_early"] < 200
    assert len(shown(file)) == 205
    capture.close()


async def test_the_end_of_the_capture_writes_what_waits(tmp_path: Path) -> None:
    keylog, file = tmp_path / "keys", io.BytesIO()
    capture, _, _ = tapped(file, keylog)
    capture.send(Frame(b"x"))
    append(keylog, line(1))
    capture.close()
    assert shown(file) == ["keys", "x"]
    capture.close()


class FullDisk(io.BytesIO):
    full = False

    def write(self, data: object) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(data)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 5])
async def test_a_full_disk_ends_the_capture_and_not_the_traffic(tmp_path: Path, count: int) -> None:
    file = FullDisk()
    capture, right, above = tapped(file, tmp_path / "keys")
    file.full = True
    for _ in range(count):
        capture.send(Frame(b"x", [bytes(60_000)], gso_size=1400))
    await asyncio.sleep(2)
    right.send(Frame(b"y"))
    await asyncio.sleep(2)
    capture.close()
    assert above.packets == [b"y"]
    assert right.counters["received_packets"] == count
    assert capture.counters["capture_failed"] == 1
    assert shown(file) == []
