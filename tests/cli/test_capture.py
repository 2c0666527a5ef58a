"""`aiotcp capture`, of stacks that answer in the same process."""

from __future__ import annotations

import asyncio
import io
import os
import re
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aiotcp.control import stream
from aiotcp.trace import capturefile
from tests.cli.support import invoke
from tests.support.controlled import Watched, watched
from tests.support.documents import ROOT

pytestmark = pytest.mark.real_loop


@asynccontextmanager
async def capturing(
    *worlds: Watched, arguments: tuple[str, ...], preexec_fn: Callable[[], None] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`aiotcp capture` once it has begun."""
    begun = [world.control.counters["captures"] + 1 for world in worlds]
    sockets = [f"--socket={world.control.path}" for world in worlds]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aiotcp.cli", "capture", *sockets, *arguments),
        # Compiled modules, too, would be cut off where the size of files is limited.
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=preexec_fn,
    )
    for world, count in zip(worlds, begun, strict=True):
        while world.control.counters["captures"] < count:
            assert process.returncode is None
            await asyncio.sleep(0.001)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()  # to the end of its pipes, or they stay open


def interfaces_of(file: bytes) -> set[int]:
    """Those of its packets."""
    found, at = set(), 0
    while at < len(file):
        kind, length, interface = struct.unpack_from("=III", file, at)
        if kind == 6:
            found.add(interface)
        at += length
    return found


def read(file: bytes) -> list[capturefile.Packet]:
    return list(capturefile.packets(io.BytesIO(file)))


async def test_to_a_file_until_ctrl_c(tmp_path: Path) -> None:
    file = tmp_path / "all.pcapng"
    async with watched(tmp_path / "c.sock") as world:
        async with capturing(world, arguments=("-w", str(file), "port 7")) as process:
            await world.connected()
            process.send_signal(signal.SIGINT)
            told, said = await process.communicate()
            assert process.returncode == 0
        packets = read(file.read_bytes())
        assert told == b""
        assert said.decode() == f"{len(packets)} packets captured\n"
        assert "new_data" in [packet.comment for packet in packets]


async def test_to_a_pipe_until_its_reader_goes(tmp_path: Path) -> None:
    async with watched(tmp_path / "c.sock") as world:
        link = world.server.link
        async with capturing(world, arguments=("-w", "-")) as process:
            await world.connected()
            assert process.stdout is not None
            # What comes is there at once, not when a buffer is full.
            begun = await process.stdout.readuntil(b"new_data")
            assert [packet.comment for packet in read(begun)][1] == "open_reply"
            process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
            await world.connected()
            assert await process.wait() == 0
        while world.server.link is not link:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_reader_who_goes_is_noticed_though_nothing_passes(tmp_path: Path) -> None:
    async with (
        watched(tmp_path / "c.sock") as world,
        capturing(world, arguments=("-w", "-", "port 9")) as process,
    ):
        assert process.stdout is not None
        assert await process.stdout.readexactly(4) == b"\n\r\r\n"
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        assert await process.wait() == 0


async def test_what_was_dropped_is_told_though_the_reader_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "WAITING_BYTES", 100_000)
    async with (
        watched(tmp_path / "c.sock") as world,
        capturing(world, arguments=("-w", "-")) as process,
    ):
        echoed, connection = await world.connected()
        for _ in range(40):
            connection.write(bytes(50_000))
            await echoed.readexactly(50_000)
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        assert process.stderr is not None
        said = await process.stderr.read()
        assert re.fullmatch(rb"\d+ packets captured, \d+ dropped: .*\n", said)
        assert await process.wait() == 0


async def test_who_has_read_enough_lines_is_no_failure(tmp_path: Path) -> None:
    async with (
        watched(tmp_path / "c.sock") as world,
        capturing(world, arguments=()) as process,
    ):
        _, connection = await world.connected()
        assert process.stdout is not None
        assert b"SYN" in await process.stdout.readline()
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        connection.write(b"one more, for who finds out when he prints it")
        assert process.stderr is not None
        said = await process.stderr.read()
        assert re.fullmatch(rb"\d+ packets captured\n", said)
        assert await process.wait() == 0


async def test_a_full_disk_leaves_a_file_of_whole_packets(tmp_path: Path) -> None:
    def little() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    file = tmp_path / "all.pcapng"
    async with (
        watched(tmp_path / "c.sock") as world,
        capturing(world, arguments=("-w", str(file)), preexec_fn=little) as process,
    ):
        echoed, connection = await world.connected()
        while not file.exists() or b"open_reply" not in file.read_bytes():
            assert process.returncode is None
            await asyncio.sleep(0.001)
        for _ in range(20):
            connection.write(bytes(5_000))
            await echoed.readexactly(5_000)
        _, said = await process.communicate()
        count = len(read(file.read_bytes()))
        assert process.returncode == 1
        assert said.decode() == f"Error: -w: File too large, after {count} packets\n"
        assert count > 0  # how many depends on how many came at once


async def test_lines_for_people_up_to_a_number_of_packets(tmp_path: Path) -> None:
    async with (
        watched(tmp_path / "c.sock") as world,
        capturing(world, arguments=("-c", "3", "src host 192.0.2.2")) as process,
    ):
        _, writer = await world.connected()
        port = writer.get_extra_info("sockname")[1]
        writer.write(b"again")
        told, said = await process.communicate()
        first, second, third = told.decode().splitlines()
        number = r"\d\d:\d\d:\d\d\.\d{6} Out"
        assert re.fullmatch(
            rf"{number} 192\.0\.2\.2:7 > 192\.0\.2\.1:{port}: SYN,ACK seq=\d+ ack=1 .* "
            r"\[mss=1460 .*\]  open_reply",
            first,
        )
        assert second.endswith("  new_data")
        assert third
        assert said.decode() == "3 packets captured\n"
        assert process.returncode == 0


async def test_workers_are_interfaces_of_one_file(tmp_path: Path) -> None:
    file = tmp_path / "both.pcapng"
    group = {"group": 4711}
    async with (
        watched(tmp_path / "0.sock", worker=0, **group) as one,
        watched(tmp_path / "1.sock", worker=1, **group) as other,
        capturing(one, other, arguments=("-w", str(file))) as process,
    ):
        await one.connected()
        await other.connected()
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        assert process.returncode == 0
    comments = [packet.comment for packet in read(file.read_bytes())]
    assert comments.count("open_reply") == 2
    assert interfaces_of(file.read_bytes()) == {0, 1}
    interfaces = file.read_bytes().count(b"aiotcp\0\0\x09\0\1\0\x09")  # name, resolution
    assert interfaces == 2


async def test_the_end_of_the_program_is_the_end_of_the_capture(tmp_path: Path) -> None:
    file = tmp_path / "all.pcapng"
    async with (
        watched(tmp_path / "c.sock") as world,
        capturing(world, arguments=("-w", str(file))) as process,
    ):
        await world.connected()
        await world.control.close()
        await process.communicate()
        assert process.returncode == 0
    assert "open_reply" in [packet.comment for packet in read(file.read_bytes())]


async def test_what_can_not_be_captured_says_why(tmp_path: Path) -> None:
    async with watched(tmp_path / "c.sock") as world:
        at = f"--socket={world.control.path}"
        for arguments, code, why in (
            (("colour red",), 2, "not understood: 'colour red'"),
            (("host a..b or port 80",), 2, "host a..b: neither an address nor a host's name"),
            (("--secrets", "--keylog", "x"), 2, "exclude each other"),
            (("-w", str(tmp_path / "no" / "file")), 1, "No such file or directory"),
            (("-c", "0"), 2, "'-c'"),
        ):
            result = await asyncio.to_thread(invoke, "capture", at, *arguments)
            assert (result.exit_code, why in result.output) == (code, True), result.output
        nobody = await asyncio.to_thread(invoke, "capture", f"--socket={tmp_path}/none.sock")
        assert nobody.exit_code == 1
        assert f"{tmp_path}/none.sock: No such file" in nobody.output
