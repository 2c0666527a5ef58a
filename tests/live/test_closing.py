"""Closing, against the kernel's TCP: SCENARIOS close-active, close-passive, close-half; kill."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from aiotcp import Options
from aiotcp.tcp.tcb import State
from tests.live.world import (
    SERVICE,
    Connected,
    World,
    both_versions,
    connected,
    connected_actively,
    kernel_state,
    world,
)
from tests.support.hosts import Side
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]

SHORT = Options(time_wait_s=0.05)

ACTIVE = ["ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "CLOSED"]
PASSIVE = ["ESTABLISHED", "CLOSE-WAIT", "LAST-ACK", "CLOSED"]


Connect = Callable[[World], Awaitable[Connected]]

both_openings = pytest.mark.parametrize(
    "connect", [connected, connected_actively], ids=["accepted", "opened"]
)


@both_versions
@both_openings
async def test_close_active(side: Side, connect: Connect) -> None:
    async with world(side, options=SHORT) as w:
        c = await connect(w)
        opening = len(w.wire.of(c.port))
        c.writer.close()
        await w.history.reached(State.FIN_WAIT_2, c.port)
        assert await c.kernel_reads() == b""
        assert kernel_state(c.kernel) == "CLOSE-WAIT"
        await c.writer.wait_closed()  # the program is done with it; TCP is not
        c.kernel.close()
        await w.history.reached(State.TIME_WAIT, c.port)
        assert c.port not in w.kernel_table()
        assert [each.state for each in w.stack.connections()] == ["TIME-WAIT"]
        await w.history.reached(State.CLOSED, c.port)
        assert w.history.path(c.port)[2:] == ACTIVE
        assert not w.stack.connections()
        assert w.wire.ladder(c.port)[opening:] == [
            "> FIN,ACK seq=1 ack=1",
            "< ACK seq=1 ack=2",
            "< FIN,ACK seq=1 ack=2",
            "> ACK seq=2 ack=2",
        ]


@both_versions
@both_openings
async def test_close_passive(side: Side, connect: Connect) -> None:
    async with world(side) as w:
        c = await connect(w)
        opening = len(w.wire.of(c.port))
        c.kernel.close()
        await w.history.reached(State.CLOSE_WAIT, c.port)
        assert w.kernel_table()[c.port] == ["FIN-WAIT-2"]
        assert await c.reader.read() == b""
        c.writer.close()
        await c.writer.wait_closed()
        await w.history.reached(State.CLOSED, c.port)
        assert w.history.path(c.port)[2:] == PASSIVE
        assert not w.stack.connections()  # we are gone before they are
        assert w.kernel_table()[c.port] == ["TIME-WAIT"]
        assert w.wire.ladder(c.port)[opening:] == [
            "< FIN,ACK seq=1 ack=1",
            "> ACK seq=1 ack=2",
            "> FIN,ACK seq=1 ack=2",
            "< ACK seq=2 ack=2",
        ]


@both_versions
async def test_close_half(side: Side) -> None:
    """They close; what we write in CLOSE-WAIT arrives all the same."""
    rest = bytes(range(256)) * 4096
    async with world(side) as w:
        c = await connected(w)
        await c.loop.sock_sendall(c.kernel, b"the last of theirs")
        c.kernel.shutdown(socket.SHUT_WR)
        assert await c.reader.read() == b"the last of theirs"
        await w.history.reached(State.CLOSE_WAIT, c.port)
        c.writer.write(rest)
        c.writer.close()
        got = bytearray()
        while data := await c.kernel_reads():
            got += data
        assert got == rest
        await c.writer.wait_closed()
        await w.history.reached(State.CLOSED, c.port)
        assert w.history.path(c.port)[2:] == PASSIVE


@both_versions
async def test_close_half_by_us(side: Side) -> None:
    """We close our half; what they send in their CLOSE-WAIT arrives all the same."""
    rest = bytes(range(256)) * 4096
    async with world(side, options=SHORT) as w:
        c = await connected(w)
        c.writer.write(b"the last of ours")
        c.writer.write_eof()
        assert await c.kernel_reads() == b"the last of ours"
        assert await c.kernel_reads() == b""
        assert kernel_state(c.kernel) == "CLOSE-WAIT"
        got, _ = await asyncio.gather(c.reader.readexactly(len(rest)), kernel_sends(c, rest))
        assert got == rest
        assert await c.reader.read() == b""
        c.writer.close()
        await w.history.reached(State.CLOSED, c.port)
        assert w.history.path(c.port)[2:] == ACTIVE


async def kernel_sends(c: Connected, data: bytes) -> None:
    await c.loop.sock_sendall(c.kernel, data)
    c.kernel.close()


# kill: the server process is told to end


@both_versions
async def test_kill_our_server(side: Side) -> None:
    """What a program does on SIGTERM: `Stack.aclose()`."""
    async with world(side) as w:
        c = await connected(w)
        closing = asyncio.create_task(w.stack.aclose(grace=30))
        assert await c.kernel_reads() == b""
        await w.history.reached(State.FIN_WAIT_2, c.port)
        assert kernel_state(c.kernel) == "CLOSE-WAIT"
        with pytest.raises(ConnectionRefusedError):
            await w.kernel_connects(SERVICE)
        c.kernel.close()
        await closing
        assert w.history.path(c.port)[2:6] == ACTIVE[:4]
        assert c.port not in w.kernel_table()


SERVER = """
import socket, sys
listener = socket.create_server((sys.argv[1], 0), family=int(sys.argv[2]))
print(listener.getsockname()[1], flush=True)
accepted, _ = listener.accept()
print("accepted", flush=True)
accepted.recv(1)
"""


@asynccontextmanager
async def kernel_server(side: Side) -> AsyncIterator[asyncio.subprocess.Process]:
    family = socket.AF_INET if side.version == 4 else socket.AF_INET6
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVER, side.host, str(int(family))),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@both_versions
async def test_kill_the_kernels_server(side: Side) -> None:
    async with world(side) as w, kernel_server(side) as process:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        reader, writer = await w.stack.open_connection(side.host, port)
        await process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert await reader.read() == b""
        await w.history.reached(State.CLOSE_WAIT, port)
        writer.close()
        await writer.wait_closed()
        await w.history.reached(State.CLOSED, port)
        assert w.history.path(port)[2:] == PASSIVE
