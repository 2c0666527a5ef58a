"""What makes an event loop of asyncio's put TCP on stacks: `StackLoop`, mixed into one.

Programs and libraries ask their loop for connections and servers, by whatever name: a destination
that belongs to a stack goes there, any other to the loop underneath and so to the kernel.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from asyncio import sslproto
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from aiotcp import tls
from aiotcp.addresses import pack
from aiotcp.client import Resolved, combined, resolve
from aiotcp.errors import os_error
from aiotcp.jointserver import JointServer
from aiotcp.opened import Opened, open_for, options_of
from aiotcp.routes import Routes
from aiotcp.streams import Stack, current_stack_or_none
from aiotcp.transport import Transport

_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)
_Connect = Callable[..., Awaitable[tuple[asyncio.Transport, _ProtocolT]]]
_Hosts = str | bytes | Iterable[str | None] | None

ANY = "*"
"""The host that stands for every address that a link delivers."""

_UPPER: Any = sslproto._SSLProtocolTransport

if TYPE_CHECKING:
    _Base = asyncio.BaseEventLoop
else:
    _Base = object


class StackLoop(_Base):
    """The part of an event loop that knows stacks; comes before the loop's class in a subclass.

    A stack that is current in the caller's context (`async with Stack(...)`) takes the place of the
    loop's own: so several hosts can live on one loop, each in tasks of its own.
    """

    stack: Stack | None = None
    """The first stack of the loop, which listens where no address says otherwise."""

    def __init__(
        self,
        stack: Stack | None = None,
        *,
        routes: Iterable[str] | Mapping[str, Stack | None] | None = None,
        grace: float = 1.0,
    ) -> None:
        """See `add_stack`. `grace`: seconds that connections have to finish when the program ends
        (`Stack.aclose`)."""
        super().__init__()
        self.routes: Routes[Stack] = Routes()
        """Where connections go."""
        self.stacks: list[Stack] = []
        self._grace = grace
        self._everything: Routes[bool] = Routes()  # for a current stack on a loop without any
        self._everything.update(True, None)
        self._opened: WeakKeyDictionary[socket.socket, Opened] = WeakKeyDictionary()
        if stack is not None:
            try:
                self.add_stack(stack, routes)
            except BaseException:
                self.close()
                raise

    def add_stack(
        self,
        stack: Stack,
        routes: Iterable[str] | Mapping[str, Stack | None] | None = None,
    ) -> None:
        """Let a stack live on this loop, which closes it at its own end.

        routes: what goes through it: prefixes such as "10.0.0.0/8", or a mapping from prefixes to
            stacks, None there meaning the kernel. The longest prefix decides. By default
            everything but loopback and IPv6's link-local addresses; for a second stack nothing. Its
            own addresses are always its.

        Raises ValueError for what is no prefix, RuntimeError for the stack of another loop.
        """
        if routes is not None or self.stack is None:
            self.routes.update(stack, routes)
        stack.bind(self)
        for address in stack.addresses:
            self.routes.add(address, stack)
        self.stacks.append(stack)
        if self.stack is None:
            self.stack = stack

    def _current(self) -> Stack | None:
        current = current_stack_or_none()
        return current if current is not None and current.loop is self else None

    def _towards(self, address: str) -> Stack | None:
        """The stack that connections to `address` use; None: the kernel."""
        current = self._current()
        if self.stack is not None:
            owner = self.routes.lookup(address)
            return current if current is not None and owner is not None else owner
        return current if current is not None and self._everything.lookup(address) else None

    def _at(self, address: str) -> Stack | None:
        """The stack that listens on `address`; None: the kernel."""
        if address == ANY:
            return self._current() or self.stack
        if address in ("0.0.0.0", "::"):
            return self._towards(address)
        stacks = [*self.stacks]
        current = self._current()
        if current is not None:
            stacks.insert(0, current)
        packed = pack(address)
        return next((stack for stack in stacks if packed in stack.addresses), None)

    # Connections

    async def create_connection(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        host: str | bytes | None = None,
        port: str | int | None = None,
        *,
        sock: socket.socket | None = None,
        **kwds: Any,
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        """As asyncio's, with all of its arguments on every loop and Python, and with `options` for
        connections of a stack (see `aiotcp.create_connection`).

        Where a name has addresses of both, they are tried in the order in which they were found.
        """
        connect: _Connect[_ProtocolT] = super().create_connection
        if sock is not None:
            opened = self._opened.get(sock)
            if opened is None or host is not None or port is not None:
                return await connect(
                    protocol_factory, host, port, sock=sock, **self._for_kernel(kwds)
                )
            return await self._adopt(sock, opened, protocol_factory, kwds)
        if host is None and port is None:
            return await connect(protocol_factory, **self._for_kernel(kwds))
        tls.check_arguments(kwds)  # before names are asked for
        targets = await resolve(
            self,
            host,
            port,
            family=kwds.get("family", 0),
            proto=kwds.get("proto", 0),
            flags=kwds.get("flags", 0),
        )
        groups = [
            (owner, list(group))
            for owner, group in groupby(targets, lambda target: self._towards(target.endpoint.host))
        ]
        if [owner for owner, _ in groups] == [None]:
            return await connect(protocol_factory, host, port, **self._for_kernel(kwds))
        if kwds.get("ssl") and kwds.get("server_hostname") is None and host:
            kwds["server_hostname"] = host.decode("idna") if isinstance(host, bytes) else host
        return await self._try_groups(groups, protocol_factory, kwds)

    async def _try_groups(
        self,
        groups: Sequence[tuple[Stack | None, list[Resolved]]],
        protocol_factory: Callable[[], _ProtocolT],
        kwds: dict[str, Any],
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        errors: list[OSError] = []
        try:
            for owner, targets in groups:
                try:
                    if owner is not None:
                        host, port = targets[0].endpoint
                        return await tls.create_connection(
                            owner, protocol_factory, host, port, targets=targets, **kwds
                        )
                    return await self._try_kernel(targets, protocol_factory, kwds)
                except OSError as exc:
                    if len(groups) == 1:
                        raise
                    errors.append(exc)
            raise combined(errors, kwds.get("all_errors", False))
        finally:
            errors.clear()  # each holds a traceback, and so the frame that holds this list

    async def _try_kernel(
        self,
        targets: Sequence[Resolved],
        protocol_factory: Callable[[], _ProtocolT],
        kwds: dict[str, Any],
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        errors: list[OSError] = []
        connect: _Connect[_ProtocolT] = super().create_connection
        kwds = self._for_kernel(kwds)
        kwds.pop("all_errors", None)
        try:
            for target in targets:
                try:
                    return await connect(protocol_factory, *target.address[:2], **kwds)
                except OSError as exc:
                    errors.append(exc)
            raise combined(errors, False)
        finally:
            errors.clear()

    async def _adopt(
        self,
        sock: socket.socket,
        opened: Opened,
        protocol_factory: Callable[[], _ProtocolT],
        kwds: dict[str, Any],
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        """`opened` gets a transport. The socket has done its work."""
        connection = opened.release()
        del self._opened[sock]
        chosen = options_of(sock)
        sock.close()
        transport, protocol = await tls.create_connection(
            opened.stack, protocol_factory, opened=connection, **kwds
        )
        facade = transport.get_extra_info("socket")
        for (level, name), value in chosen.items():
            facade.setsockopt(level, name, value)
        return transport, protocol

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """As asyncio's. Where `address` is a stack's, `sock` then stands for the connection:
        `create_connection(sock=sock)`, `sock_recv`, `sock_recv_into` and `sock_sendall` take it."""
        self._check_nonblocking(sock)
        if sock in self._opened:
            raise os_error(errno.EISCONN)
        if sock.type == socket.SOCK_STREAM and sock.family in (socket.AF_INET, socket.AF_INET6):
            (target, *_) = await resolve(self, *address[:2], family=sock.family)
            stack = self._towards(target.endpoint.host)
            if stack is not None:
                self._opened[sock] = await open_for(stack, sock, target)
                return
        await super().sock_connect(sock, address)

    def _check_nonblocking(self, sock: socket.socket) -> None:
        if self.get_debug() and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")

    async def sock_recv(self, sock: socket.socket, nbytes: int) -> bytes:
        self._check_nonblocking(sock)
        opened = self._opened.get(sock)
        return await (opened.recv(nbytes) if opened else super().sock_recv(sock, nbytes))

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        self._check_nonblocking(sock)
        opened = self._opened.get(sock)
        if opened is None:
            return await super().sock_recv_into(sock, buf)
        with memoryview(buf).cast("B") as room:
            data = await opened.recv(len(room))
            room[: len(data)] = data
        return len(data)

    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        self._check_nonblocking(sock)
        opened = self._opened.get(sock)
        await (opened.sendall(data) if opened else super().sock_sendall(sock, data))

    # Servers

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: _Hosts = None,
        port: str | int | None = None,
        **kwds: Any,
    ) -> asyncio.AbstractServer:
        """As asyncio's, with all of its arguments on every loop and Python, and with `options` for
        connections of a stack (see `aiotcp.create_server`).

        host: an address of a stack is served by that stack; the wildcards ("0.0.0.0", "::", "",
            None) by the one that the default route points to, if any; "*" (see
            `aiotcp.create_server`) by the loop's stack; everything else by the kernel. A list of
            both kinds makes one server over both.
        """
        serve: Callable[..., Awaitable[asyncio.AbstractServer]] = super().create_server
        if kwds.get("sock") is not None or (host is None and port is None and host != ANY):
            return await serve(protocol_factory, host, port, **self._for_kernel(kwds))
        tls.check_arguments(kwds)
        hosts = [host] if host is None or isinstance(host, str | bytes) else list(host)
        places: dict[Stack | None, dict[str | None, None]] = {}
        for name in hosts:
            for owner, address in await self._places(name, port, kwds):
                places.setdefault(owner, {})[address] = None
        if list(places) == [None]:
            return await serve(protocol_factory, host, port, **self._for_kernel(kwds))
        servers: list[Any] = []
        try:
            for owner, addresses in places.items():
                if owner is None:
                    server: Any = await serve(
                        protocol_factory, list(addresses), port, **self._for_kernel(kwds)
                    )
                else:
                    at: Any = ANY if ANY in addresses else list(addresses)
                    server = await tls.create_server(owner, protocol_factory, at, port, **kwds)
                servers.append(server)
        except BaseException:
            for server in servers:
                server.close()
            raise
        return servers[0] if len(servers) == 1 else JointServer(servers)

    async def _places(
        self, host: str | bytes | None, port: str | int | None, kwds: Mapping[str, Any]
    ) -> list[tuple[Stack | None, str]]:
        """The addresses of `host`, and whose they are."""
        if host == ANY:
            return [(self._at(ANY), ANY)]
        found = await resolve(
            self,
            host or None,
            port,
            family=kwds.get("family", socket.AF_UNSPEC),
            flags=kwds.get("flags", socket.AI_PASSIVE),
            told=repr(host),
        )
        return [(self._at(target.endpoint.host), target.address[0]) for target in found]

    # What both have

    def _for_kernel(self, kwds: Mapping[str, Any]) -> dict[str, Any]:
        """`kwds` as the loop underneath understands them."""
        if kwds.get("options") is not None:
            raise ValueError("options is for connections of a stack; these are the kernel's")
        dropped = {"options"}
        if not isinstance(self, asyncio.BaseEventLoop):  # uvloop
            dropped |= {"happy_eyeballs_delay", "interleave", "all_errors", "keep_alive"}
        return {name: value for name, value in kwds.items() if name not in dropped}

    async def start_tls(  # type: ignore[override]
        self,
        transport: asyncio.Transport,
        protocol: asyncio.BaseProtocol,
        sslcontext: Any,
        **kwds: Any,
    ) -> asyncio.Transport | None:
        """As asyncio's; TLS within TLS included."""
        if isinstance(transport, Transport | _UPPER):
            return await tls.start_tls(self, transport, protocol, sslcontext, **kwds)
        return await super().start_tls(transport, protocol, sslcontext, **kwds)

    async def sendfile(  # type: ignore[override]
        self,
        transport: asyncio.Transport,
        file: Any,
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool = True,
    ) -> int:
        """As asyncio's: on a stack the file is read and written, there is no system call for it."""
        if isinstance(transport, Transport | _UPPER):
            send = asyncio.BaseEventLoop.sendfile
            return await send(self, transport, file, offset, count, fallback=fallback)
        return await super().sendfile(transport, file, offset, count, fallback=fallback)

    # What its fallback is made of: uvloop has none.
    _sendfile_fallback = getattr(asyncio.BaseEventLoop, "_sendfile_fallback")  # noqa: B009

    # The end

    async def shutdown_asyncgens(self) -> None:
        """As asyncio's, and closes the stacks: `asyncio.run()` calls it when all tasks are over."""
        await super().shutdown_asyncgens()
        for stack in self.stacks:
            await stack.aclose(self._grace)

    def close(self) -> None:
        if not self.is_closed() and not self.is_running():  # else the loop underneath says what is
            for stack in self.stacks:
                stack.abort()
        super().close()
