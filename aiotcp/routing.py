"""What makes an event loop of asyncio's put TCP on stacks: `StackLoop`, mixed into one.

Programs and libraries ask their loop for connections and servers, by whatever name: a destination
that belongs to a stack goes there, any other to the loop underneath and so to the kernel.
"""

from __future__ import annotations

import asyncio
import socket
import ssl as ssl_module
from asyncio import sslproto
from collections.abc import Callable, Iterable
from typing import Any

from aiotcp import tls
from aiotcp.anywhere import scoped
from aiotcp.client import resolve
from aiotcp.dialing import Dialing, StackOptions, no_options, rewind
from aiotcp.jointserver import JointServer
from aiotcp.residents import ANY
from aiotcp.streams import Stack
from aiotcp.transport import Transport

_Hosts = str | bytes | Iterable[str | None] | None

_UPPER: Any = sslproto._SSLProtocolTransport


class StackLoop(Dialing):
    """The part of an event loop that knows stacks; comes before the loop's class in a subclass.

    A stack that is current in the caller's context (`async with Stack(...)`) takes the place of the
    loop's own: so several hosts can live on one loop, each in tasks of its own.
    """

    # Servers

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: _Hosts = None,
        port: str | int | None = None,
        *,
        family: int = socket.AF_UNSPEC,
        flags: int = socket.AI_PASSIVE,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: ssl_module.SSLContext | None = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
        options: StackOptions = None,
    ) -> Any:
        """As asyncio's, with all of its arguments on every loop and Python, and with `options` for
        connections of a stack (see `aiotcp.create_server`).

        host: an address of a stack is served by that stack; the wildcards ("0.0.0.0", "::", "",
            None) by the one that the default route points to, if any; "*" (see
            `aiotcp.create_server`) by the loop's stack; everything else by the kernel. A list of
            both kinds makes one server over both.
        """
        tls.check_server_arguments(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        kwds: dict[str, Any] = {
            "family": family,
            "flags": flags,
            "backlog": backlog,
            "ssl": ssl,
            "reuse_address": reuse_address,
            "reuse_port": reuse_port,
            "ssl_handshake_timeout": ssl_handshake_timeout,
            "ssl_shutdown_timeout": ssl_shutdown_timeout,
        }
        several = isinstance(host, Iterable) and not isinstance(host, str | bytes)
        hosts: Any = list(host) if several else [host]  # type: ignore[arg-type]
        places: dict[Stack | None, dict[str, None]] = {}
        if sock is None and not (host is None and port is None):
            for name in hosts:
                for owner, address in await self._places(name, port, family, flags):
                    places.setdefault(owner, {})[address] = None

        async def serve(owner: Stack | None, at: Any, *, start: bool) -> Any:
            if owner is not None:
                at = ANY if at == [ANY] else at
                return await tls.create_server(
                    owner,
                    protocol_factory,
                    at,
                    port,
                    keep_alive=keep_alive,
                    options=options,
                    start_serving=start,
                    **kwds,
                )
            no_options(options)
            return await self._kernel_server(
                protocol_factory, at, port, keep_alive, sock=sock, start_serving=start, **kwds
            )

        if None in places or not places:
            no_options(options)
        if not places or list(places) == [None]:
            return await serve(None, hosts if several else host, start=start_serving)
        if len(places) == 1:
            ((owner, addresses),) = places.items()
            return await serve(owner, list(addresses), start=start_serving)
        servers: list[Any] = []
        try:
            for owner, addresses in places.items():
                servers.append(await serve(owner, list(addresses), start=False))
            server = JointServer(servers)
            if start_serving:
                await server.start_serving()
        except BaseException:
            for one in servers:
                one.close()
            raise
        return server

    async def _kernel_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: Any,
        port: Any,
        keep_alive: bool | None,
        **kwds: Any,
    ) -> Any:
        server = await super().create_server(protocol_factory, host, port, **kwds)
        if keep_alive:  # of asyncio's loops since 3.13; connections have it from their listener
            for sock in server.sockets:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return server

    async def _places(
        self, host: str | bytes | None, port: str | int | None, family: int, flags: int
    ) -> list[tuple[Stack | None, str]]:
        """The addresses of `host`, and whose they are."""
        if host == ANY:
            return [(self._at(ANY), ANY)]
        found = await resolve(self, host or None, port, family=family, flags=flags, told=repr(host))
        return [(self._at(target.endpoint.host), scoped(target)) for target in found]

    # What both have

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
        if isinstance(transport, Transport) and not transport.is_closing():
            # As the kernel's transports, whose way is through here.
            self._check_sendfile_params(transport.get_extra_info("socket"), file, offset, count)
            rewind(file, offset)
        if isinstance(transport, Transport | _UPPER):
            send = asyncio.BaseEventLoop.sendfile
            return await send(self, transport, file, offset, count, fallback=fallback)
        return await super().sendfile(transport, file, offset, count, fallback=fallback)

    # What it is made of: uvloop has none.
    _sendfile_fallback: Any = getattr(asyncio.BaseEventLoop, "_sendfile_fallback")  # noqa: B009
