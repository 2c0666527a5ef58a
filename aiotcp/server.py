"""create_server: listeners of the stack behind asyncio's Server, in its 3.13 form on every Python.

That form differs from older ones in two ways: `wait_closed()` waits until every connection is gone,
and `close_clients()` and `abort_clients()` exist.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from aiotcp.addresses import family_of
from aiotcp.client import Resolved, bind_error, resolve
from aiotcp.forever import ForeverServer
from aiotcp.tcp.flow import Endpoint
from aiotcp.threadcheck import transport_type
from aiotcp.transport import Transport

if TYPE_CHECKING:
    from aiotcp.options import Options
    from aiotcp.sockets import StackSocket
    from aiotcp.stack import Connection, Listener, PacketStack


class Server(ForeverServer):
    """What `create_server()` gives. Protocols run in the context of its caller, a copy for each."""

    def __init__(
        self,
        stack: PacketStack,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        backlog: int,
        reuse_port: bool,
    ) -> None:
        super().__init__()
        self._stack = stack
        self._protocol_factory = protocol_factory
        self._backlog = backlog
        self._reuse_port = reuse_port
        self._context = contextvars.copy_context()
        self._sockets: tuple[StackSocket, ...] | None = ()  # None: closed
        self._listeners: list[Listener] = []
        self._serving = False
        self._clients: dict[Transport, None] = {}  # a set in the order of arrival
        self._waiters: list[asyncio.Future[None]] | None = []  # None: closed, and the last one gone

    def __repr__(self) -> str:
        return f"<{type(self).__name__} sockets={self.sockets!r}>"

    @property
    def sockets(self) -> tuple[StackSocket, ...]:
        """A socket to look at for each address; none once the server is closed."""
        return self._sockets or ()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._stack.loop

    def is_serving(self) -> bool:
        return self._serving

    # Listening

    def _bind(
        self, targets: Iterable[Resolved], options: Options, *, transparent: bool = False
    ) -> None:
        """Take the port of each address. Addresses that are not the stack's are passed over, unless
        none remains. Raises OSError, and then holds none."""
        targets = list(targets)
        try:
            for target in targets:
                try:
                    self._hold(target.endpoint, options, transparent)
                except OSError as exc:
                    if exc.errno != errno.EADDRNOTAVAIL:
                        raise bind_error(exc, target.address) from None
            if not self._listeners:
                addresses = [target.address for target in targets]
                raise OSError(
                    errno.EADDRNOTAVAIL, f"could not bind on any address out of {addresses!r}"
                )
        except BaseException:
            self._stop_listening()
            raise
        from aiotcp.sockets import StackSocket

        self._sockets = tuple(
            StackSocket(listener.local, listener=listener) for listener in self._listeners
        )
        if self._reuse_port and hasattr(socket, "SO_REUSEPORT"):
            for sock in self._sockets:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._stack.closers[self.close] = None

    def _hold(self, local: Endpoint, options: Options, transparent: bool) -> None:
        listener = self._stack.listen(
            local,
            self._accept,
            backlog=self._backlog,
            reuse_port=self._reuse_port,
            options=options,
            held=True,
            transparent=transparent,
        )
        self._listeners.append(listener)

    def _stop_listening(self) -> None:
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.close()

    def _accept(self, connection: Connection) -> None:
        context = self._context.copy()
        try:
            protocol = context.run(self._protocol_factory)
        except BaseException as exc:
            connection.abort()
            self._stack.push(connection)
            if isinstance(exc, SystemExit | KeyboardInterrupt):
                raise
            self._stack.loop.call_exception_handler(
                {
                    "message": "Error on transport creation for incoming connection",
                    "exception": exc,
                }
            )
            return
        made = transport_type(self._stack.loop)
        transport = made(self._stack, connection, protocol, context, None, self)
        self._clients[transport] = None
        transport.begin()

    def _detach(self, transport: Transport) -> None:
        self._clients.pop(transport, None)
        if self._closed:
            self._wake_if_gone()

    def _wake_if_gone(self) -> None:
        if self._closed and not self._clients and self._waiters is not None:
            waiters, self._waiters = self._waiters, None
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    # What asyncio's servers do

    def _start_serving(self) -> None:
        if self._serving or self._closed:
            return
        for listener in self._listeners:
            self._stack.start_listening(listener)
        self._serving = True

    async def start_serving(self) -> None:
        """Accept connections from now on; harmless when repeated."""
        if self._closed:
            raise RuntimeError(f"server {self!r} is closed")
        self._start_serving()
        await asyncio.sleep(0)

    def close(self) -> None:
        """Stop listening. Open connections live on."""
        if self._closed:
            return
        self._closed = True
        self._stack.closers.pop(self.close, None)
        self._serving = False
        for sock in self.sockets:
            sock.invalidate()
        self._sockets = None
        self._stop_listening()
        self._end_forever()
        self._wake_if_gone()

    def close_clients(self) -> None:
        """Close every open connection, after what is written."""
        for transport in list(self._clients):
            transport.close()

    def abort_clients(self) -> None:
        """Close every open connection at once."""
        for transport in list(self._clients):
            transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the server is closed and its last connection is gone."""
        if self._waiters is not None:
            waiter = self._stack.loop.create_future()
            self._waiters.append(waiter)
            await waiter


async def create_server(
    stack: PacketStack,
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    host: str | bytes | Iterable[str | None] | None = None,
    port: str | int | None = None,
    *,
    family: int = socket.AF_UNSPEC,
    flags: int = socket.AI_PASSIVE,
    sock: socket.socket | None = None,
    backlog: int = 100,
    reuse_address: bool | None = None,
    reuse_port: bool | None = None,
    keep_alive: bool | None = None,
    start_serving: bool = True,
    options: Options | Mapping[str, Any] | None = None,
) -> Server:
    """Listen, and give each connection to a new protocol, as `loop.create_server()` does
    without ssl.

    host: an address of the stack, a name, a sequence of those; None or "" means all addresses of
        the stack. Port 0 picks a free port for each address. "*": every unicast address that the
        link delivers, the stack's or not, at `port`, or without one at every port: what a tunnel or
        a transparent proxy needs, which finds the original destination in "sockname". Servers at
        addresses of the stack come first, then one at "*" and the port, then one at "*" alone.
        There is a socket for each family, at the wildcard address and `port` or 0.
    backlog: how many handshakes may be under way at once.
    keep_alive: if true, connections have keep-alive on (`Options.keepalive`).
    reuse_address: no effect; a listener is never kept out by old connections.
    start_serving: if false, the ports are taken now, but refuse connections until
        `start_serving()`.
    options: `Options` for the connections, or a mapping of changes to those of the stack, as in
        options={"cc": "bbr"} (see `Options.variant`).

    Raises ValueError or TypeError for arguments that do not go together, socket.gaierror for a bad
    name, OSError with EADDRINUSE or EADDRNOTAVAIL for an address that can't be had.
    """
    if sock is not None:
        if host is not None or port is not None:
            raise ValueError("host/port and sock can not be specified at the same time")
        raise ValueError("a stack can not use a kernel socket: give host and port, not sock")
    if host is None and port is None:
        raise ValueError("Neither host/port nor sock were specified")
    chosen = stack.options.variant(options)
    if keep_alive:
        chosen = chosen.replace(keepalive=True)
    hosts: list[str | bytes | None]
    if host == "":
        hosts = [None]
    elif host is None or isinstance(host, str | bytes):
        hosts = [host]
    else:
        hosts = list(host)
    transparent = "*" in hosts or b"*" in hosts
    targets: dict[Resolved, None] = {}  # a set in the order of finding
    if transparent:
        if len(hosts) > 1:
            raise ValueError(f"host '*' is every address, it can not be one of several: {hosts!r}")
        if port is not None and port in (0, "0"):
            raise ValueError("host '*' has no free port to pick: give a port, or None for every")
        targets.update(dict.fromkeys(await _wildcards(stack, port, family, flags)))
    else:
        for name in hosts:
            targets.update(dict.fromkeys(await _passive(stack, name, port, family, flags)))
    server = Server(stack, protocol_factory, backlog, bool(reuse_port))
    server._bind(targets, chosen, transparent=transparent)
    if start_serving:
        server._start_serving()
        await asyncio.sleep(0)
    return server


async def _passive(
    stack: PacketStack, host: str | bytes | None, port: str | int | None, family: int, flags: int
) -> list[Resolved]:
    """What to listen on for `host`: for None the wildcard of each family that the stack has."""
    if host is not None:
        return await resolve(stack.loop, host, port, family=family, flags=flags, told=repr(host))
    families = {family_of(address) for address in stack.addresses}
    wildcards = await _wildcards(stack, port, family, flags)
    return [wildcard for wildcard in wildcards if wildcard.family in families]


async def _wildcards(
    stack: PacketStack, port: str | int | None, family: int, flags: int
) -> list[Resolved]:
    found = []
    for known, wildcard in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        if family in (socket.AF_UNSPEC, known):
            found += await resolve(stack.loop, wildcard, port, family=known, flags=flags)
    return found
