"""Kernel sockets that stand for a connection of the stack.

Libraries that race addresses themselves make a socket, connect it by `loop.sock_connect()`, and
give it to `loop.create_connection(sock=...)`. Where the address is a stack's, the socket is only
the name under which that connection is kept; it carries no byte.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from aiotcp.addresses import Address, address_of
from aiotcp.client import Resolved, connect
from aiotcp.errors import broken_pipe, os_error
from aiotcp.sockets import StackSocket
from aiotcp.sockopts import ACTING, INT, LINGER, STRUCTURED, Detached, Key, acting
from aiotcp.views import view_of

if TYPE_CHECKING:
    from aiotcp.options import Options
    from aiotcp.stack import Connection, PacketStack

_Socket = TypeVar("_Socket", bound=socket.socket)

_LINGER: Key = (socket.SOL_SOCKET, socket.SO_LINGER)
_BUFFERS = ((socket.SOL_SOCKET, socket.SO_SNDBUF), (socket.SOL_SOCKET, socket.SO_RCVBUF))
_SIZES = {_LINGER: LINGER.size} | {key: 16 for key, option in STRUCTURED.items() if option.set}


class Opened:
    """A connection that no transport has yet: its user until then.

    It can be read and written as `loop.sock_recv()` and `sock_sendall()` do. Forgotten, it closes.
    """

    def __init__(self, stack: PacketStack, connection: Connection, sock: socket.socket) -> None:
        self.stack = stack
        self.connection = connection
        self._closed = False
        self._news: set[asyncio.Future[None]] = set()
        connection.user = self
        self._forgotten = weakref.finalize(sock, self.let_go)
        self._forgotten.atexit = False  # a forked child, too, comes to its end

    def release(self) -> Connection:
        """The connection, for somebody else from now on."""
        self._forgotten.detach()
        self.connection.user = None
        return self.connection

    def let_go(self) -> None:
        """The socket is closed, or gone: known on any thread, and in the middle of anything."""
        self._forgotten.detach()
        with suppress(RuntimeError):  # that loop is closed
            self.stack.loop.call_soon_threadsafe(self.close)

    def progress(self) -> None:
        for waiter in self._news:
            if not waiter.done():
                waiter.set_result(None)
        self._news.clear()

    def close(self) -> None:
        """Called by the stack when it closes, and when the socket is gone."""
        self._closed = True
        self.connection.close()
        self.stack.push(self.connection)
        self.progress()

    def shutdown(self) -> None:
        self.connection.shutdown()
        self.stack.push(self.connection)

    async def _more(self) -> None:
        waiter = self.stack.loop.create_future()
        self._news.add(waiter)
        try:
            await waiter
        finally:
            self._news.discard(waiter)
        if self._closed and not self.connection.ended:
            raise os_error(errno.EBADF)

    async def recv(self, nbytes: int) -> bytes:
        """Up to `nbytes` bytes as soon as there are any; b"" at the end of the stream."""
        if nbytes < 0:
            raise ValueError("negative buffersize in recv")
        connection = self.connection
        while nbytes and not (connection.readable or connection.eof or connection.ended):
            await self._more()
        if connection.readable:
            data = b"".join(connection.take(nbytes))
            self.stack.push(connection)
            return data
        if connection.error is not None and not connection.eof:
            raise connection.error.with_traceback(None)
        return b""

    async def sendall(self, data: bytes | bytearray | memoryview) -> None:
        view = view_of(data)
        connection = self.connection
        while view:
            try:
                sent = connection.send(view)
            except ConnectionResetError:
                if connection.eof:  # as send(2): a reset is no surprise once the peer has closed
                    raise broken_pipe() from None
                raise
            self.stack.push(connection)
            view = view[sent:]
            if not sent:
                await self._more()


class StandIns:
    """The sockets of one loop that stand for connections.

    Such a socket answers for its connection where programs ask: for its names, and to be closed.
    """

    def __init__(self) -> None:
        self._opened: WeakKeyDictionary[socket.socket, Opened] = WeakKeyDictionary()
        self._kinds: dict[type[socket.socket], type[socket.socket]] = {}

    def get(self, sock: Any) -> Opened | None:
        """The connection that `sock` stands for, if it does."""
        try:
            return self._opened.get(sock)
        except TypeError:  # nothing that can be kept here
            return None

    async def connect(self, stack: PacketStack, sock: socket.socket, target: Resolved) -> None:
        """Connect to `target`, from the local address that `sock` is bound to, if it is, and with
        the options that it has; from then on it stands for the connection. Raises OSError."""
        if self.get(sock) is not None or _is_connected(sock):
            raise os_error(errno.EISCONN)
        local = sock.getsockname()
        bound = any(local[1:2]) or local[0] not in ("0.0.0.0", "::")
        connection = await connect(
            stack,
            [target],
            options=_with_options_of(sock, stack.options),
            sources=[Resolved(sock.family, local)] if bound else None,
        )
        if sock.fileno() < 0:  # closed meanwhile
            connection.abort()
            stack.push(connection)
            raise os_error(errno.EBADF)
        kind = type(sock)
        if kind not in self._kinds:
            self._kinds[kind] = _standing(kind, self._opened)
        sock.__class__ = self._kinds[kind]
        self._opened[sock] = Opened(stack, connection, sock)

    def release(self, sock: socket.socket) -> Connection:
        """The connection that `sock` stands for, which now is done with."""
        connection = self._opened.pop(sock).release()
        sock.close()
        return connection


def _standing(kind: type[_Socket], table: WeakKeyDictionary[Any, Opened]) -> type[_Socket]:
    """A class that sockets of class `kind` can become."""

    class StandIn(kind):  # type: ignore[valid-type,misc]
        __slots__ = ()

        def getpeername(self) -> Address:
            opened = table.get(self)
            return address_of(opened.connection.remote) if opened else super().getpeername()

        def getsockname(self) -> Address:
            opened = table.get(self)
            return address_of(opened.connection.local) if opened else super().getsockname()

        def shutdown(self, how: int) -> None:
            opened = table.get(self)
            if opened is None:
                super().shutdown(how)
            elif how != socket.SHUT_RD:
                opened.shutdown()

        def close(self) -> None:
            self._let_go()
            super().close()

        def detach(self) -> int:
            self._let_go()  # a bare descriptor can not stand for it
            descriptor: int = super().detach()
            return descriptor

        def _let_go(self) -> None:
            opened = table.pop(self, None)
            if opened is not None:
                opened.let_go()

    StandIn.__name__ = StandIn.__qualname__ = kind.__name__
    return StandIn


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


# Options


def options_of(sock: socket.socket) -> dict[Key, bytes]:
    """What the program has set on `sock`: the options that differ from a new one's."""
    with socket.socket(sock.family, sock.type) as fresh:
        usual = _all_of(fresh)
    chosen = {key: value for key, value in _all_of(sock).items() if value != usual.get(key)}
    if sys.platform == "linux":  # which doubles them for its own overhead
        for key in _BUFFERS:
            if key in chosen:
                chosen[key] = INT.pack(INT.unpack(chosen[key])[0] // 2)
    return chosen


def _all_of(sock: socket.socket) -> dict[Key, bytes]:
    values = {}
    for level, name in (*ACTING, *_SIZES):
        if (level == socket.IPPROTO_IPV6) > (sock.family == socket.AF_INET6):
            continue
        with suppress(OSError):
            values[level, name] = sock.getsockopt(level, name, _SIZES.get((level, name), INT.size))
    return values


def _with_options_of(sock: socket.socket, options: Options) -> Options:
    """`options` changed by what is set on `sock` and matters while connecting."""
    target = Detached()
    target.options = options
    for key, value in options_of(sock).items():
        option, structured = acting(key, target, sock.family), STRUCTURED.get(key)
        # The kernel has controls and values that a stack has not: they are no reason to fail.
        with suppress(ValueError, OSError):
            if option is not None:
                option.set(target, INT.unpack(value)[0])
            elif structured is not None and structured.set is not None:
                structured.set(target, value)
    return target.options


def set_options(transport: asyncio.BaseTransport, chosen: dict[Key, bytes]) -> None:
    """Set on `transport` what was `chosen` on a socket, as far as a stack has it."""
    facade: StackSocket = transport.get_extra_info("socket")
    for (level, name), value in chosen.items():
        with suppress(OSError):
            facade.setsockopt(level, name, value)
