"""Options that a program sets on the socket of a stream: what they do to its connection."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from aiotcp import Options, Stack
from aiotcp.link import memory

HERE, THERE = "192.0.2.1", "192.0.2.2"


@pytest_asyncio.fixture
async def stacks() -> AsyncIterator[tuple[Stack, Stack]]:
    """Two hosts; the one here gives up quickly."""
    left, right = memory.pair()
    async with (
        Stack(left, addresses=[HERE], options=Options(retries2=3), seed=b"here") as here,
        Stack(right, addresses=[THERE], seed=b"there") as there,
    ):
        yield here, there


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve until the peer closes, or something else happens."""
    try:
        await reader.read()
    except OSError:
        pass
    writer.close()


async def test_options_that_act(stacks: tuple[Stack, Stack]) -> None:
    here, there = stacks
    await there.start_server(hold, THERE, 80)
    reader, writer = await here.open_connection(THERE, 80)
    sock = writer.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 256 * 1024
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 5000)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 5000
    with pytest.raises(OSError, match="user_timeout_s must be between") as caught:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, -1)
    assert caught.value.errno == errno.EINVAL
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 400)
    there.link.close()
    writer.write(bytes(6000))
    assert writer.transport.get_write_buffer_size() == 1000
    before = here.loop.time()
    with pytest.raises(TimeoutError):
        await reader.read()
    assert here.loop.time() - before == pytest.approx(0.4)


async def test_buffers_that_the_program_fixes(stacks: tuple[Stack, Stack]) -> None:
    """SO_RCVBUF and SO_SNDBUF, on a connection, and on a listener for those that it accepts."""
    here, there = stacks
    accepted: asyncio.Future[asyncio.StreamWriter] = here.loop.create_future()
    server = await there.start_server(lambda _, writer: accepted.set_result(writer), THERE, 80)
    (listening,) = server.sockets
    assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 512 * 1024
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 7000)
    _, writer = await here.open_connection(THERE, 80)
    ours, theirs = writer.get_extra_info("socket"), (await accepted).get_extra_info("socket")
    assert theirs.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 7000
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 512 * 1024
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 5000)
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 5000
    writer.write(bytes(100_000))
    await asyncio.sleep(1)
    connection = writer.get_extra_info("connection")
    assert connection.max_snd_wnd == 7000
    for value, taken in ((0, 1152), (100, 1152), (-1, 0xFFFF << 10), (2**31 - 1, 0xFFFF << 10)):
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, value)
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == taken
    for value, taken in ((0, 2304), (-1, 2**30)):
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, value)
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == taken
    writer.transport.abort()
    (await accepted).transport.abort()
