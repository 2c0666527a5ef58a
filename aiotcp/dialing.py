"""The connections of an event loop that has stacks: by address, and by socket."""

from __future__ import annotations

import asyncio
import socket
import ssl as ssl_module
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from aiotcp import tls
from aiotcp.addresses import is_wildcard, pack, unpack
from aiotcp.anywhere import Reached, connect_anywhere, scoped
from aiotcp.client import Resolved, interleaved, resolve
from aiotcp.opened import StandIns, options_of, set_options
from aiotcp.options import Options
from aiotcp.residents import Residents
from aiotcp.streams import Stack

_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)
_Made = tuple[asyncio.Transport, _ProtocolT]
_Connect = Callable[..., Awaitable[_Made[_ProtocolT]]]
StackOptions = Options | Mapping[str, Any] | None


class Dialing(Residents):
    """The part of `aiotcp.routing.StackLoop` that connects."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self._stand_ins = StandIns()
        super().__init__(*args, **kwds)

    async def create_connection(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        host: str | bytes | None = None,
        port: str | int | None = None,
        *,
        ssl: bool | ssl_module.SSLContext | None = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: socket.socket | None = None,
        local_addr: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
        options: StackOptions = None,
    ) -> _Made[_ProtocolT]:
        """As asyncio's, with all of its arguments on every loop and Python, and with `options` for
        connections of a stack (see `aiotcp.create_connection`).

        Where a name has addresses of both, they are tried in the order in which they were found. A
        `local_addr` that is a stack's says which way to go, whatever the routes are.
        """
        over = tls.client_arguments(
            ssl, host, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout
        )
        connect: _Connect[_ProtocolT] = super().create_connection
        looked_up: dict[str, Any] = {"family": family, "proto": proto, "flags": flags}
        if host is None and port is None and self._stand_ins.get(sock) is not None:
            assert sock is not None
            return await self._adopt(sock, protocol_factory, options, over)
        if sock is not None or (host is None and port is None):
            no_options(options)
            return await connect(protocol_factory, host, port, sock=sock, **looked_up, **over)
        targets = await resolve(self, host, port, **looked_up)
        sources = None
        if local_addr is not None:
            sources = await resolve(self, *local_addr, **looked_up)
        owners = self._owners(targets, sources)
        targets = list(owners)
        stack = owners[targets[0]]
        if None in owners.values():
            no_options(options)
        if len(targets) == 1 and stack is None and not all_errors:
            (target,) = targets
            looked_up["family"] = target.family
            return await connect(
                protocol_factory,
                scoped(target),
                target.address[1],
                local_addr=local_addr,
                **looked_up,
                **over,
            )
        eyeballs: dict[str, Any] = {
            "happy_eyeballs_delay": happy_eyeballs_delay,
            "interleave": interleave,
            "all_errors": all_errors,
        }
        if stack is not None and len(set(owners.values())) == 1:
            return await tls.create_connection(
                stack,
                protocol_factory,
                host,
                port,
                targets=targets,
                local_addr=local_addr,
                options=options,
                **looked_up,
                **over,
                **eyeballs,
            )
        if happy_eyeballs_delay is not None and interleave is None:
            interleave = 1
        reached = await connect_anywhere(
            owners,
            interleaved(targets, interleave) if interleave else targets,
            sock_connect=super().sock_connect,
            sources=sources,
            options=lambda stack: stack.options.variant(options),
            delay=happy_eyeballs_delay,
            all_errors=all_errors,
        )
        return await self._take(reached, protocol_factory, over)

    def _owners(
        self, targets: Iterable[Resolved], sources: Iterable[Resolved] | None
    ) -> dict[Resolved, Stack | None]:
        """The targets, in the same order and each once, and whose they are."""
        via = [self._owner(source.endpoint.host) for source in sources or ()]
        chosen = next((stack for stack in via if stack is not None), None)
        owners = {}
        for target in targets:
            owner = chosen or self._towards(target.endpoint.host)
            owners[_reachable(target, owner)] = owner
        return owners

    async def _take(
        self, reached: Reached, protocol_factory: Callable[[], _ProtocolT], over: dict[str, Any]
    ) -> _Made[_ProtocolT]:
        """A transport for what is open already."""
        connect: _Connect[_ProtocolT] = super().create_connection
        if not isinstance(reached, socket.socket):
            stack, opened = reached
            return await tls.create_connection(stack, protocol_factory, opened=opened, **over)
        try:
            protocol = protocol_factory()
        except BaseException:
            reached.close()
            raise
        try:
            return await connect(lambda: protocol, sock=reached, **over)
        except BaseException:
            if not isinstance(self, asyncio.BaseEventLoop):
                reached.detach()  # uvloop has closed the descriptor itself
            raise

    async def _adopt(
        self,
        sock: socket.socket,
        protocol_factory: Callable[[], _ProtocolT],
        options: StackOptions,
        over: dict[str, Any],
    ) -> _Made[_ProtocolT]:
        """The connection that `sock` stands for gets a transport. The socket has done its work."""
        opened = self._stand_ins.get(sock)
        assert opened is not None
        if options is not None:
            raise ValueError("options come too late for a connection that is open already")
        chosen = options_of(sock)
        connection = self._stand_ins.release(sock)
        transport, protocol = await self._take((opened.stack, connection), protocol_factory, over)
        set_options(transport, chosen)
        return transport, protocol

    # Sockets

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """As asyncio's. Where `address` is a stack's, `sock` then stands for the connection:
        `create_connection(sock=sock)`, `sock_recv`, `sock_recv_into`, `sock_sendall` and
        `sock_sendfile` take it. It has the connection's names, and closes it."""
        if (
            sock.family in (socket.AF_INET, socket.AF_INET6)
            and sock.type == socket.SOCK_STREAM
            and not isinstance(sock, ssl_module.SSLSocket)
        ):
            self._check_non_blocking(sock)
            host, port = address[:2]
            (target, *_) = await resolve(self, host, port, family=sock.family)
            stack = self._towards(target.endpoint.host)
            if stack is not None:
                await self._stand_ins.connect(stack, sock, _reachable(target, stack))
                return
            if target.address[0] != host:
                address = target.address
        await super().sock_connect(sock, address)

    async def sock_recv(self, sock: socket.socket, nbytes: int) -> bytes:
        opened = self._stand_ins.get(sock)
        if opened is None:
            return await super().sock_recv(sock, nbytes)
        self._check_non_blocking(sock)
        return await opened.recv(nbytes)

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        opened = self._stand_ins.get(sock)
        if opened is None:
            return await super().sock_recv_into(sock, buf)
        self._check_non_blocking(sock)
        with memoryview(buf).cast("B") as room:
            data = await opened.recv(len(room))
            room[: len(data)] = data
        return len(data)

    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        opened = self._stand_ins.get(sock)
        if opened is None:
            return await super().sock_sendall(sock, data)
        self._check_non_blocking(sock)
        await opened.sendall(data)

    async def sock_sendfile(
        self,
        sock: socket.socket,
        file: Any,
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool | None = True,
    ) -> int:
        opened = self._stand_ins.get(sock)
        if opened is None:
            return await super().sock_sendfile(sock, file, offset, count, fallback=fallback)
        self._check_non_blocking(sock)
        self._check_sendfile_params(sock, file, offset, count)
        if not fallback:
            raise asyncio.SendfileNotAvailableError("a stack has no sendfile syscall")
        rewind(file, offset)
        sent: int = await self._sock_sendfile_fallback(sock, file, offset, count)
        return sent

    # What it is made of: uvloop has none.
    _sock_sendfile_fallback: Any = getattr(  # noqa: B009
        asyncio.BaseEventLoop, "_sock_sendfile_fallback"
    )
    _check_sendfile_params: Any = getattr(  # noqa: B009
        asyncio.BaseEventLoop, "_check_sendfile_params"
    )

    def _check_non_blocking(self, sock: socket.socket) -> None:
        if self.get_debug() and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")


def _reachable(target: Resolved, owner: Stack | None) -> Resolved:
    """As on Linux, a wildcard as destination is this host: what listens there is meant."""
    packed = pack(target.endpoint.host)
    if owner is None or not is_wildcard(packed):
        return target
    own = owner.addresses.source_for(packed)
    if own is None:
        return target
    return Resolved(target.family, (unpack(own), *target.address[1:]))


def no_options(options: StackOptions) -> None:
    """Raises ValueError if there are any."""
    if options is not None:
        raise ValueError("options is for connections of a stack; these are the kernel's")


def rewind(file: Any, offset: int) -> None:
    """As sendfile(2), which is told where to begin; asyncio's fallback believes the file's position
    where `offset` is 0. What is no file of the system's keeps it there, too."""
    with suppress(AttributeError, OSError):
        file.fileno()
        file.seek(offset)
