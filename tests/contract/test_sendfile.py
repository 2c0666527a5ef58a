"""loop.sendfile(): over kernel sockets by sendfile(2), over the stack by asyncio's fallback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.contract.substrate import MANY, PATTERN, Net, Recorder, reset_on_close

# Plain uvloop has no sendfile(), and virtual time no threads to read files in.
pytestmark = pytest.mark.substrates(
    "kernel-asyncio", "aiotcp-asyncio", "loop-asyncio", "loop-uvloop"
)


class Stopping(Recorder):
    """Reads no more once something has come."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.pause_reading()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(PATTERN[:MANY])
    return path


@pytest_asyncio.fixture(autouse=True)
async def executor(net: Net) -> AsyncIterator[None]:
    """That of the fallback ends with the test."""
    yield
    await net.loop.shutdown_default_executor()


async def test_a_file_and_what_is_written_around_it(net: Net, path: Path) -> None:
    client, server = Recorder(keep_open=True), Recorder()
    left, right = await net.pair(client, server)
    left.write(b"header")
    with path.open("rb") as file:
        sent = net.loop.sendfile(left, file)
        assert await sent == MANY
        assert file.tell() == MANY
    assert left.get_protocol() is client
    left.write(b"trailer")
    left.write_eof()
    await server.lost
    assert server.data == b"header" + PATTERN[:MANY] + b"trailer"
    await client.at_eof
    right.close()
    left.close()
    await client.lost


async def test_a_part_of_a_file(net: Net, path: Path) -> None:
    server = Recorder()
    left, _ = await net.pair(Recorder(), server)
    with path.open("rb") as file:
        assert await net.loop.sendfile(left, file, 1000, 70_000) == 70_000
        assert file.tell() == 71_000
        assert await net.loop.sendfile(left, file, MANY - 10, 70_000) == 10
        assert await net.loop.sendfile(left, file, MANY) == 0
    assert await server.until(70_010) == PATTERN[1000:71_000] + PATTERN[MANY - 10 : MANY]


async def test_reading_goes_on_afterwards(net: Net, path: Path) -> None:
    client = Recorder()
    left, right = await net.pair(client, Recorder())
    right.write(b"while the file is sent")
    with path.open("rb") as file:
        await net.loop.sendfile(left, file)
    assert left.is_reading()
    assert await client.until(22) == b"while the file is sent"


async def test_a_reader_that_pauses_holds_up_the_file(net: Net, path: Path) -> None:
    server = Stopping()
    left, right = await net.pair(Recorder(), server)
    with path.open("rb") as file:
        sending = asyncio.ensure_future(net.loop.sendfile(left, file))
        await server.until(1)
        await net.turns()
        assert not sending.done()
        assert left.get_write_buffer_size() < MANY // 2
        while not sending.done():
            right.resume_reading()
            await asyncio.sleep(0)
        assert await sending == MANY


async def test_a_connection_that_is_lost_meanwhile(net: Net, path: Path) -> None:
    client, server = Recorder(), Stopping()
    left, right = await net.pair(client, server)
    with path.open("rb") as file:
        sending = asyncio.ensure_future(net.loop.sendfile(left, file))
        await server.until(1)
        reset_on_close(right)
        right.abort()
        with pytest.raises(ConnectionError):
            await sending
    await client.lost


async def test_a_transport_that_is_closing(net: Net, path: Path) -> None:
    client = Recorder()
    left, _ = await net.pair(client, Recorder())
    left.close()
    with path.open("rb") as file, pytest.raises(RuntimeError, match="Transport is closing"):
        await net.loop.sendfile(left, file)
    await client.lost


@pytest.mark.stack_only
async def test_there_is_no_native_way(net: Net, path: Path) -> None:
    left, _ = await net.pair(Recorder(), Recorder())
    with (
        path.open("rb") as file,
        pytest.raises(RuntimeError, match="native sendfile is not supported"),
    ):
        await net.loop.sendfile(left, file, fallback=False)
