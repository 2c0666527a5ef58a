"""Kernel sockets that stand for a connection of the stack.

Libraries that race addresses themselves make a socket, connect it by `loop.sock_connect()`, and
give it to `loop.create_connection(sock=...)`. Where the address is a stack's, the socket is only
the name under which that connection is kept; it carries no byte.
"""

from __future__ import annotations

import asyncio
import socket
import weakref
from typing import TYPE_CHECKING

from aiotcp.client import Resolved, connect
from aiotcp.sockopts import ACTING, INT, LINGER, Key

if TYPE_CHECKING:
    from aiotcp.stack import Connection, PacketStack

_LINGER: Key = (socket.SOL_SOCKET, socket.SO_LINGER)


class Opened:
    """A connection that no transport has yet: its user until then.

    It can be read and written as `loop.sock_recv()` and `sock_sendall()` do. Forgotten, it closes.
    """

    def __init__(self, stack: PacketStack, connection: Connection, sock: socket.socket) -> None:
        self.stack = stack
        self.connection = connection
        self._news: set[asyncio.Future[None]] = set()
        connection.user = self
        # Sockets may be collected in any thread, and while the interpreter ends.
        self._forgotten = weakref.finalize(sock, _close_soon, self)
        self._forgotten.atexit = False

    def release(self) -> Connection:
        """The connection, for somebody else from now on."""
        self._forgotten.detach()
        self.connection.user = None
        return self.connection

    def progress(self) -> None:
        for waiter in self._news:
            if not waiter.done():
                waiter.set_result(None)
        self._news.clear()

    def close(self) -> None:
        """Called by the stack when it closes, and when the socket is gone."""
        self.connection.close()
        self.stack.push(self.connection)
        self.progress()

    async def _more(self) -> None:
        waiter = self.stack.loop.create_future()
        self._news.add(waiter)
        try:
            await waiter
        finally:
            self._news.discard(waiter)

    async def recv(self, nbytes: int) -> bytes:
        """Up to `nbytes` bytes as soon as there are any; b"" at the end of the stream."""
        connection = self.connection
        while not (connection.readable or connection.eof or connection.ended):
            await self._more()
        if connection.readable:
            data = b"".join(connection.take(nbytes))
            self.stack.push(connection)
            return data
        if connection.error is not None and not connection.eof:
            raise connection.error.with_traceback(None)
        return b""

    async def sendall(self, data: bytes) -> None:
        view = memoryview(bytes(data))
        while view:
            sent = self.connection.send(view)
            self.stack.push(self.connection)
            view = view[sent:]
            if not sent:
                await self._more()


def _close_soon(opened: Opened) -> None:
    loop = opened.stack.loop
    if not loop.is_closed():
        loop.call_soon_threadsafe(opened.close)


async def open_for(stack: PacketStack, sock: socket.socket, target: Resolved) -> Opened:
    """Connect from the local address that `sock` is bound to, if it is. Raises OSError."""
    local = sock.getsockname()
    sources = [Resolved(sock.family, local)] if any(local[1:2]) or _is_bound(local[0]) else None
    connection = await connect(stack, [target], options=stack.options, sources=sources)
    return Opened(stack, connection, sock)


def _is_bound(host: str) -> bool:
    return host not in ("0.0.0.0", "::")


def options_of(sock: socket.socket) -> dict[Key, bytes]:
    """What the program has set on `sock`: the options that differ from a new one's."""
    chosen = {}
    with socket.socket(sock.family, sock.type) as fresh:
        for key in (*ACTING, _LINGER):
            size = LINGER.size if key == _LINGER else INT.size
            try:
                value, usual = sock.getsockopt(*key, size), fresh.getsockopt(*key, size)
            except OSError:
                continue
            if value != usual:
                chosen[key] = value
    return chosen
