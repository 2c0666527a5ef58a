"""Two hosts for one test body: on kernel sockets, or on two stacks joined in memory, with the
functions of a stack or those of an event loop that has them.

The kernel is the reference: a test that passes there says what asyncio promises, and the same
words hold for aiotcp. A test asks `net` for everything that has to do with the network.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import uvloop

from aiotcp import tls
from aiotcp.eventloop import AsyncioEventLoop, EventLoop
from aiotcp.routing import StackLoop
from aiotcp.streams import Stack

LINGER_RESET = struct.pack("@ii", 1, 0)
"""The value of SO_LINGER that makes closing send RST."""

MANY = 8 * 1024 * 1024
"""Bytes, more than both ends' buffers hold."""

PATTERN = bytes(range(251)) * (MANY // 251 + 1)


_EARLY = sys.version_info < (3, 11, 7) or sys.version_info[:3] == (3, 12, 0)


class OnKernel:
    """Mixed into the loops on which a test uses kernel sockets."""


class KernelAsyncio(OnKernel, asyncio.SelectorEventLoop):
    pass


class KernelUvloop(OnKernel, uvloop.Loop):  # type: ignore[misc]  # uvloop types its own way
    pass


class OnStacks(StackLoop):
    """Mixed into the loops on which a test uses asyncio's own functions, and gets stacks."""


class StacksAsyncio(OnStacks, AsyncioEventLoop):
    pass


class StacksUvloop(OnStacks, EventLoop):
    pass


class LoopSide:
    """What a `Stack` offers, from the loop and asyncio."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.create_connection: Callable[..., Any] = loop.create_connection
        self.create_server: Callable[..., Any] = loop.create_server
        self.open_connection: Callable[..., Any] = asyncio.open_connection
        self.start_server: Callable[..., Any] = asyncio.start_server


Side = LoopSide | Stack


class Net:
    """Two hosts and the loop that they run on.

    Every call of the loop's exception handler is kept in `reports`; those that a test does not
    take out fail it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: Side,
        server: Side,
        host: str,
        client_host: str,
    ) -> None:
        self.loop = loop
        self.client: Any = client
        self.server: Any = server
        self.host = host
        """The server's address."""
        self.client_host = client_host
        self.kernel = isinstance(loop, OnKernel)
        self.loops = isinstance(loop, OnStacks)
        """The functions are the loop's, which sends to the stacks what is theirs."""
        self.kernel_uvloop = isinstance(loop, KernelUvloop)
        self.early_asyncio = (self.kernel or self.loops) and _EARLY
        """The functions are those of a release of asyncio with faults that the next have not."""
        self.reports: list[dict[str, Any]] = []
        self._open: set[Calls] = set()
        loop.set_exception_handler(lambda _, context: self.reports.append(context))

    async def start_tls(
        self,
        transport: Any,
        protocol: asyncio.BaseProtocol,
        context: ssl.SSLContext,
        **kwds: Any,
    ) -> Any:
        """`loop.start_tls()`."""
        if self.kernel or self.loops:
            return await self.loop.start_tls(transport, protocol, context, **kwds)
        return await tls.start_tls(self.loop, transport, protocol, context, **kwds)

    async def turns(self, count: int = 50) -> None:
        """Let the loop go round, for what no call reports (packets that nobody waits for)."""
        for _ in range(count):
            await asyncio.sleep(0)

    async def pair(self, client: Calls, server: Calls) -> tuple[Any, Any]:
        """Connect two protocols. Returns the transports, the client's first."""
        accepted = self.loop.create_future()

        def accept() -> asyncio.BaseProtocol:
            accepted.set_result(None)
            return server

        listening = await self.server.create_server(accept, self.host, 0)
        port = listening.sockets[0].getsockname()[1]
        transport, _ = await self.client.create_connection(lambda: client, self.host, port)
        await accepted
        listening.close()
        await server.made
        for each in (client, server):
            self._open.add(each)
            each.lost.add_done_callback(partial(self._ended, each))
        return transport, server.transport

    def _ended(self, protocol: Calls, _: asyncio.Future[None]) -> None:
        self._open.discard(protocol)

    async def close(self) -> None:
        """End what tests leave open."""
        # uvloop's transports that don't read are kept by their protocols alone.
        for protocol in list(self._open):
            protocol.transport.abort()
        await self.turns()

    async def unused_port(self) -> int:
        """A port of the server on which nobody listens."""
        server = await self.server.create_server(asyncio.Protocol, self.host, 0)
        port: int = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        return port


def reset_on_close(transport: Any) -> None:
    """Make `transport.close()` send RST, as SO_LINGER (on, 0) does."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)


class Calls(asyncio.BaseProtocol):
    """Writes down what a protocol is told, in `calls`, and lets a test wait for it."""

    def __init__(self, keep_open: bool = False) -> None:
        self.keep_open = keep_open
        self.calls: list[str] = []
        self.data = bytearray()
        self.transport: Any = None
        self.exception: BaseException | None = None
        loop = asyncio.get_running_loop()
        self.made: asyncio.Future[None] = loop.create_future()
        self.at_eof: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self._wanted = 0
        self._arrived: asyncio.Future[None] = loop.create_future()
        self._resumed = asyncio.Event()
        self._resumed.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append("connection_made")
        self.transport = transport
        self.made.set_result(None)

    def arrived(self, data: bytes | bytearray | memoryview) -> None:
        if self.calls[-1] != "data":
            self.calls.append("data")
        self.data += data
        if len(self.data) >= self._wanted and not self._arrived.done():
            self._arrived.set_result(None)

    def eof_received(self) -> bool:
        self.calls.append("eof_received")
        self.at_eof.set_result(None)
        return self.keep_open

    def pause_writing(self) -> None:
        self.calls.append("pause_writing")
        self._resumed.clear()

    def resume_writing(self) -> None:
        self.calls.append("resume_writing")
        self._resumed.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.calls.append("connection_lost")
        self.exception = exc
        self.lost.set_result(None)

    async def until(self, count: int) -> bytes:
        """Wait for `count` bytes in all. Returns what has come so far."""
        self._wanted = count
        if len(self.data) < count:
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        return bytes(self.data)

    async def resumed(self) -> None:
        """Wait until writing is not paused."""
        await self._resumed.wait()


class Recorder(Calls, asyncio.Protocol):
    def data_received(self, data: bytes) -> None:
        self.arrived(data)


class BufferedRecorder(Calls, asyncio.BufferedProtocol):
    """The same, through a buffer of `size` bytes."""

    def __init__(self, size: int, keep_open: bool = False) -> None:
        super().__init__(keep_open)
        self.buffer = bytearray(size)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.arrived(memoryview(self.buffer)[:nbytes])
