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
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from functools import partial
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from warnings import warn
from weakref import ReferenceType, ref

from aiotcp import tls
from aiotcp.server import Server
from aiotcp.stack import PacketStack
from aiotcp.streamreader import StreamReader

_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)
_ClientConnected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]
_Hosts = str | Iterable[str | None] | None

_LIMIT = 64 * 1024
"""Bytes that a StreamReader may hold before it pauses reading are twice this, as in asyncio."""

_KEEPS_WRITER = sys.version_info < (3, 13)
"""A protocol of asyncio's streams does, for `start_tls()`."""

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

    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: asyncio.BaseProtocol,
        reader: asyncio.StreamReader | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        # Without asyncio's future that is done, one for each writer, which nobody asks for.
        self._transport = transport
        self._protocol = protocol
        self._reader = reader
        self._loop = loop

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
        loop = self.loop
        tasks: _Tasks = {}
        finish = partial(_finish, tasks)

        def factory() -> asyncio.StreamReaderProtocol:
            return _Accepted(StreamReader(limit, loop), client_connected_cb, loop, tasks, finish)

        return await self.create_server(factory, host, port, **kwds)


_Tasks = dict[asyncio.Task[None], asyncio.StreamWriter]
"""Those of a server's connections, which the loop holds weakly."""


class _Accepted(asyncio.StreamReaderProtocol):
    """asyncio's own, but for how a server's connection begins: with a `StreamWriter` of ours, and a
    task whose failure closes the connection, which older Pythons forget.

    asyncio's `__init__` is not called. Most of what it sets stays as it is, and is here once for
    all connections; what few need is made when it is asked for.
    """

    _over_ssl = False
    _reject_connection = False
    _task = None
    _stream_writer: asyncio.StreamWriter | None = None
    _transport: asyncio.BaseTransport | None = None
    _closed: asyncio.Future[None] | None = None
    """None until somebody waits for the end of the connection."""
    _lost_by: Exception | None = None
    _drain_waiters: deque[asyncio.Future[None]] | tuple[()] = ()

    def __init__(
        self,
        reader: StreamReader,
        client_connected_cb: _ClientConnected,
        loop: asyncio.AbstractEventLoop,
        tasks: _Tasks,
        finish: Callable[[asyncio.Task[None]], None],
    ) -> None:
        """`finish` is called with each of `tasks` that is over."""
        self._loop = loop
        self._paused = False
        self._connection_lost = False
        self._stream_reader_wr: ReferenceType[StreamReader] | None = ref(reader)
        self._strong_reader: StreamReader | None = reader
        self._client_connected_cb = client_connected_cb
        self._tasks = tasks
        self._finish = finish

    def __del__(self) -> None:
        if self._closed is not None:
            super().__del__()

    def connection_made(self, transport: Any) -> None:
        reader, loop = self._strong_reader, self._loop
        assert reader is not None
        self._transport = transport
        reader.set_transport(transport)
        if transport.get_extra_info("sslcontext") is not None:
            self._over_ssl = True
        writer = StreamWriter(transport, self, reader, loop)
        if _KEEPS_WRITER:
            self._stream_writer = writer
        outcome = self._client_connected_cb(reader, writer)
        if type(outcome) is CoroutineType or asyncio.iscoroutine(outcome):
            task = loop.create_task(outcome)
            self._tasks[task] = writer
            task.add_done_callback(self._finish)
        self._strong_reader = None  # whoever wants to read has it now

    def data_received(self, data: bytes) -> None:
        get_reader = self._stream_reader_wr
        if get_reader is not None and (reader := get_reader()) is not None:
            reader.feed_data(data)

    def pause_writing(self) -> None:
        if not self._drain_waiters:
            self._drain_waiters = deque()
        super().pause_writing()

    def _get_close_waiter(self, stream: asyncio.StreamWriter) -> asyncio.Future[None]:
        if self._closed is None:
            self._closed = self._loop.create_future()
            if self._connection_lost:
                _settle(self._closed, self._lost_by)
        return self._closed

    def connection_lost(self, exc: Exception | None) -> None:
        get_reader = self._stream_reader_wr
        if get_reader is not None and (reader := get_reader()) is not None:
            if exc is None:
                reader.feed_eof()
            else:
                reader.set_exception(exc)
        self._lost_by = exc
        if self._closed is not None:
            _settle(self._closed, exc)
        self._connection_lost = True
        if self._paused:
            for waiter in self._drain_waiters:
                _settle(waiter, exc)
        self._stream_reader_wr = self._stream_writer = self._transport = None


def _settle(future: asyncio.Future[None], exc: Exception | None) -> None:
    if future.done():
        return
    if exc is None:
        future.set_result(None)
    else:
        future.set_exception(exc)


def _finish(tasks: _Tasks, task: asyncio.Task[None]) -> None:
    """What becomes of a connection whose callback's `task`, one of `tasks`, is over."""
    writer = tasks.pop(task)
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
