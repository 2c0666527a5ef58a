"""The stack for programs: asyncio's streams and transports on it, and how to find it.

    async with Stack(link, addresses=["192.0.2.2"]):
        reader, writer = await aiotcp.open_connection("192.0.2.1", 80)

Readers and writers are the standard library's own, or behave as they do. `Stack` has the functions
as methods; those of the module do the same on the stack given as `stack=`, or else on the one whose
`async with` block the caller is in.
"""

from __future__ import annotations

import asyncio
import ssl as ssl_module
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from functools import partial
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from warnings import warn

from aiotcp import tls
from aiotcp.server import Server
from aiotcp.stack import PacketStack
from aiotcp.streamreader import StreamReader

_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)
_ClientConnected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]
_Hosts = str | Iterable[str | None] | None

_LIMIT = 64 * 1024
"""Bytes that a StreamReader may hold before it pauses reading are twice this, as in asyncio."""

_current: ContextVar[Stack | None] = ContextVar("aiotcp_stack", default=None)


class StreamWriter(asyncio.StreamWriter):
    """asyncio's own, except that `start_tls()` works on every loop.

    One that is forgotten closes its connection, with a ResourceWarning, on every Python; in
    asyncio, only later releases of 3.11 began to do so.
    """

    if TYPE_CHECKING:  # what the stubs leave out
        _transport: asyncio.Transport
        _protocol: Any
        _reader: Any
        _loop: asyncio.AbstractEventLoop

    def __del__(self, warn: Callable[..., None] = warn) -> None:
        # The default is there still when the interpreter is on its way out.
        if self._transport.is_closing():
            return
        if self._loop.is_closed():
            warn("loop is closed", ResourceWarning, source=self)
        else:
            self.close()
            warn(f"unclosed {self!r}", ResourceWarning, source=self)

    async def drain(self) -> None:
        protocol, reader = self._protocol, self._reader
        if (
            protocol._paused
            or protocol._connection_lost
            or self._transport.is_closing()
            or (reader is not None and reader._exception is not None)
        ):
            await super().drain()

    async def start_tls(
        self,
        sslcontext: ssl_module.SSLContext,
        *,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        """Upgrade the connection to TLS; the server's side is the one that was accepted."""
        protocol = self._protocol
        await self.drain()
        self._transport = await tls.start_tls(
            self._loop,
            self._transport,
            protocol,
            sslcontext,
            server_side=protocol._client_connected_cb is not None,
            server_hostname=server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        if sys.version_info >= (3, 13):
            protocol._replace_transport(self._transport)
        else:
            protocol._replace_writer(self)


class Stack(PacketStack):
    """A packet stack with asyncio's functions; as an `async with` block, the current one in it."""

    _outer: Stack | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {' '.join(self.addresses)}>"

    async def __aenter__(self) -> Self:
        self.bind(asyncio.get_running_loop())
        self._check_open()
        self._outer = _current.get()
        _current.set(self)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # No token: fixtures of test frameworks leave the block in another context.
        if _current.get() is self:
            _current.set(self._outer)
        self._outer = None
        await self.aclose()

    create_connection = tls.create_connection
    create_server = tls.create_server

    async def open_connection(
        self,
        host: str | None = None,
        port: str | int | None = None,
        *,
        limit: int = _LIMIT,
        **kwds: Any,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, and read and write as streams. `kwds` go to `create_connection()`: ssl, options
        and so on."""
        reader = StreamReader(limit=limit, loop=self.loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self.loop)
        transport, _ = await self.create_connection(lambda: protocol, host, port, **kwds)
        return reader, StreamWriter(transport, protocol, reader, self.loop)

    async def start_server(
        self,
        client_connected_cb: _ClientConnected,
        host: _Hosts = None,
        port: str | int | None = None,
        *,
        limit: int = _LIMIT,
        **kwds: Any,
    ) -> Server:
        """Serve: `client_connected_cb(reader, writer)` is called for each connection; if it is a
        coroutine function, as a task. If that fails, the loop's exception handler hears of it, and
        the connection is closed; so it is if the task is cancelled. `kwds` go to `create_server()`.

        With `host="*"` for every address that the link delivers, at `port` or without one at every
        port: `writer.get_extra_info("sockname")` is the original destination (see
        `server.create_server`).
        """
        tasks: set[asyncio.Task[None]] = set()  # the loop holds them weakly

        def factory() -> asyncio.StreamReaderProtocol:
            reader = StreamReader(limit=limit, loop=self.loop)
            protocol = _Accepted(reader, client_connected_cb, loop=self.loop)
            protocol.tasks = tasks
            return protocol

        return await self.create_server(factory, host, port, **kwds)


class _Accepted(asyncio.StreamReaderProtocol):
    """asyncio's own, but for how a server's connection begins: with a `StreamWriter` of ours, and a
    task whose failure closes the connection, which older Pythons forget."""

    tasks: set[asyncio.Task[None]]

    if TYPE_CHECKING:  # what the stubs leave out
        _client_connected_cb: _ClientConnected
        _loop: asyncio.AbstractEventLoop
        _over_ssl: bool
        _stream_reader: StreamReader
        _stream_writer: asyncio.StreamWriter
        _strong_reader: StreamReader | None
        _transport: asyncio.BaseTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        reader, loop = self._stream_reader, self._loop
        self._transport = transport
        reader.set_transport(transport)
        self._over_ssl = transport.get_extra_info("sslcontext") is not None
        writer = StreamWriter(cast("asyncio.Transport", transport), self, reader, loop)
        if sys.version_info < (3, 13):
            self._stream_writer = writer
        outcome = self._client_connected_cb(reader, writer)
        if type(outcome) is CoroutineType or asyncio.iscoroutine(outcome):
            task = loop.create_task(outcome)
            self.tasks.add(task)
            task.add_done_callback(partial(_finish, self.tasks, writer))
        self._strong_reader = None  # whoever wants to read has it now


def _finish(
    tasks: set[asyncio.Task[None]], writer: asyncio.StreamWriter, task: asyncio.Task[None]
) -> None:
    """What becomes of a connection whose callback's `task`, one of `tasks`, is over."""
    tasks.discard(task)
    if task.cancelled():
        writer.close()
        return
    exc = task.exception()
    if exc is not None:
        task.get_loop().call_exception_handler(
            {
                "message": "Unhandled exception in client_connected_cb",
                "exception": exc,
                "transport": writer.transport,
            }
        )
        writer.close()


def use(stack: Stack | None) -> None:
    """Make `stack` the current one in this context (`contextvars`), for as long as that lasts;
    None: there is none. A block `async with stack` also closes it at its end."""
    _current.set(stack)


def current_stack_or_none() -> Stack | None:
    """The stack whose `async with` block the caller is in."""
    return _current.get()


def current_stack() -> Stack:
    """The stack whose `async with` block the caller is in, or else that of the running loop, if it
    has one (`aiotcp.EventLoop`). Raises RuntimeError without any, and in another loop than that of
    the block (a thread has its starter's context with `asyncio.to_thread()`)."""
    stack = _current.get()
    running = asyncio._get_running_loop()
    if stack is None:
        stack = getattr(running, "stack", None)
    if stack is None:
        raise RuntimeError(
            "no current stack: pass stack=, be inside 'async with Stack(...)', or use aiotcp.run"
        )
    if running is not None and stack.bound and stack.loop is not running:
        raise RuntimeError("the current stack lives on another event loop")
    return stack


async def open_connection(
    host: str | None = None,
    port: str | int | None = None,
    *,
    stack: Stack | None = None,
    limit: int = _LIMIT,
    **kwds: Any,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """`asyncio.open_connection()` on `stack`, or on the current one."""
    return await (stack or current_stack()).open_connection(host, port, limit=limit, **kwds)


async def start_server(
    client_connected_cb: _ClientConnected,
    host: _Hosts = None,
    port: str | int | None = None,
    *,
    stack: Stack | None = None,
    limit: int = _LIMIT,
    **kwds: Any,
) -> Server:
    """`asyncio.start_server()` on `stack`, or on the current one."""
    stack = stack or current_stack()
    return await stack.start_server(client_connected_cb, host, port, limit=limit, **kwds)


async def create_connection(
    protocol_factory: Callable[[], _ProtocolT],
    host: str | None = None,
    port: str | int | None = None,
    *,
    stack: Stack | None = None,
    **kwds: Any,
) -> tuple[asyncio.Transport, _ProtocolT]:
    """`loop.create_connection()` on `stack`, or on the current one."""
    stack = stack or current_stack()
    return await stack.create_connection(protocol_factory, host, port, **kwds)


async def create_server(
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    host: _Hosts = None,
    port: str | int | None = None,
    *,
    stack: Stack | None = None,
    **kwds: Any,
) -> Server:
    """`loop.create_server()` on `stack`, or on the current one."""
    stack = stack or current_stack()
    return await stack.create_server(protocol_factory, host, port, **kwds)
