"""TLS: asyncio's own SSLProtocol between a transport of the stack and an application's protocol.

The stack knows nothing of TLS. `SSLProtocol` is an ordinary buffered protocol below, which it feeds
from its buffer, and gives the application a transport above.

The environment variable SSLKEYLOGFILE is honoured as by `ssl.create_default_context()`, for every
context: one that has no `keylog_filename` yet gets it at its first use here, and keeps it.
"""

from __future__ import annotations

import asyncio
import os
import ssl as ssl_module
import sys
from asyncio import sslproto
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar
from warnings import warn

from aiotcp import client, server

if TYPE_CHECKING:
    from aiotcp.stack import PacketStack

_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)

_SSLProtocol: Any = sslproto.SSLProtocol  # private to asyncio: its stubs lag behind
_SSLTransport: Any = sslproto._SSLProtocolTransport


class SSLTransport(_SSLTransport):  # type: ignore[misc]
    """asyncio's, but closing from when the connection below is, not from when that is told, as in
    later releases of 3.12 and 3.13: a program that writes and drains for ever yields to the loop
    only where `drain()` finds a closing transport, and so would never hear of it."""

    def is_closing(self) -> bool:
        tls = self._ssl_protocol
        below = tls._transport if tls is not None else None
        return self._closed or (below is not None and below.is_closing())


class SSLProtocol(_SSLProtocol):  # type: ignore[misc]
    """asyncio's, which reads into slices of the buffer that a BufferedProtocol gives it: those of
    a bytearray are copies, and what is read into them would be lost."""

    _app_protocol_get_buffer: Callable[[int], Any]

    def _get_app_transport(self) -> Any:
        upper = super()._get_app_transport()
        upper.__class__ = SSLTransport
        return upper

    def _set_app_protocol(self, app_protocol: asyncio.BaseProtocol) -> None:
        super()._set_app_protocol(app_protocol)
        if self._app_protocol_is_buffer:
            get_buffer = self._app_protocol_get_buffer
            self._app_protocol_get_buffer = lambda sizehint: memoryview(get_buffer(sizehint))


def _require_ssl(ssl: object, **meaningless: object) -> None:
    if not ssl:
        for name, value in meaningless.items():
            if value is not None:
                raise ValueError(f"{name} is only meaningful with ssl")


def client_arguments(
    ssl: bool | ssl_module.SSLContext | None,
    host: str | bytes | None,
    server_hostname: str | None,
    ssl_handshake_timeout: float | None,
    ssl_shutdown_timeout: float | None,
) -> dict[str, Any]:
    """The arguments of a client, as keywords, with the server's name if `host` says it. Raises
    ValueError for those that do not go together."""
    _require_ssl(
        ssl,
        server_hostname=server_hostname,
        ssl_handshake_timeout=ssl_handshake_timeout,
        ssl_shutdown_timeout=ssl_shutdown_timeout,
    )
    if ssl and server_hostname is None:
        if not host:
            raise ValueError("You must set server_hostname when using ssl without a host")
        server_hostname = host.decode("idna") if isinstance(host, bytes) else host
    return {
        "ssl": ssl,
        "server_hostname": server_hostname,
        "ssl_handshake_timeout": ssl_handshake_timeout,
        "ssl_shutdown_timeout": ssl_shutdown_timeout,
    }


def check_server_arguments(
    ssl: object, ssl_handshake_timeout: float | None, ssl_shutdown_timeout: float | None
) -> None:
    """Raise TypeError or ValueError for those that do not go together."""
    if isinstance(ssl, bool):
        raise TypeError("ssl argument must be an SSLContext or None")
    _require_ssl(
        ssl is not None,
        ssl_handshake_timeout=ssl_handshake_timeout,
        ssl_shutdown_timeout=ssl_shutdown_timeout,
    )


async def create_connection(
    stack: PacketStack,
    protocol_factory: Callable[[], _ProtocolT],
    host: str | bytes | None = None,
    port: str | int | None = None,
    *,
    ssl: bool | ssl_module.SSLContext | None = None,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    **kwds: Any,
) -> tuple[asyncio.Transport, _ProtocolT]:
    """`client.create_connection()`, to which `kwds` go, and with `ssl` a TLS handshake on top.

    ssl: a context, or True for `ssl.create_default_context()`.
    server_hostname: whom the certificate must name; by default `host`.

    Raises also ssl.SSLError if the handshake fails, ConnectionAbortedError if it takes longer than
    `ssl_handshake_timeout` seconds (60).
    """
    over = client_arguments(ssl, host, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
    if not ssl:
        return await client.create_connection(stack, protocol_factory, host, port, **kwds)
    log_keys(ssl)
    waiter = stack.loop.create_future()
    made: list[tuple[asyncio.Transport, _ProtocolT]] = []

    def factory() -> asyncio.BufferedProtocol:
        protocol = protocol_factory()
        tls: asyncio.BufferedProtocol = SSLProtocol(
            stack.loop,
            protocol,
            None if ssl is True else ssl,  # None makes the default context
            waiter,
            server_hostname=over["server_hostname"],
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        made.append((_upper(tls), protocol))
        return tls

    transport, _ = await client.create_connection(stack, factory, host, port, **kwds)
    await _handshake(waiter, transport)
    return made[0]


async def create_server(
    stack: PacketStack,
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    host: str | bytes | Iterable[str | None] | None = None,
    port: str | int | None = None,
    *,
    ssl: ssl_module.SSLContext | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    **kwds: Any,
) -> server.Server:
    """`server.create_server()`, to which `kwds` go, with TLS if `ssl` is a context."""
    check_server_arguments(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
    if ssl is None:
        return await server.create_server(stack, protocol_factory, host, port, **kwds)
    log_keys(ssl)

    def factory() -> asyncio.BufferedProtocol:
        tls: asyncio.BufferedProtocol = SSLProtocol(
            stack.loop,
            protocol_factory(),
            ssl,
            None,  # nobody waits for the handshake
            server_side=True,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        return tls

    return await server.create_server(stack, factory, host, port, **kwds)


async def start_tls(
    loop: asyncio.AbstractEventLoop,
    transport: asyncio.Transport,
    protocol: asyncio.BaseProtocol,
    sslcontext: ssl_module.SSLContext,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
) -> asyncio.Transport:
    """Upgrade a transport to TLS; returns the one that `protocol` uses from now on.

    As `loop.start_tls()`, but on every loop: uvloop's refuses transports that are not its own.
    """
    if not isinstance(sslcontext, ssl_module.SSLContext):
        raise TypeError(
            f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}"
        )
    if not getattr(transport, "_start_tls_compatible", False):
        raise TypeError(f"transport {transport!r} is not supported by start_tls()")
    log_keys(sslcontext)
    waiter = loop.create_future()
    tls = SSLProtocol(
        loop,
        protocol,
        sslcontext,
        waiter,
        server_side,
        server_hostname,
        call_connection_made=False,
        ssl_handshake_timeout=ssl_handshake_timeout,
        ssl_shutdown_timeout=ssl_shutdown_timeout,
    )
    upper = _upper(tls)
    transport.pause_reading()  # nothing may reach `tls` before its connection_made()
    transport.set_protocol(tls)
    made = loop.call_soon(tls.connection_made, transport)
    resumed = loop.call_soon(transport.resume_reading)
    try:
        await _handshake(waiter, transport)
    except BaseException:
        made.cancel()
        resumed.cancel()
        raise
    return upper


def log_keys(context: object) -> None:
    """Let `context` write its connections' secrets where SSLKEYLOGFILE says, if it does not yet.

    A file that can't be opened is a RuntimeWarning: the connection works without.
    """
    path = None if sys.flags.ignore_environment else os.environ.get("SSLKEYLOGFILE")
    if path and getattr(context, "keylog_filename", path) is None:
        assert isinstance(context, ssl_module.SSLContext)
        try:
            context.keylog_filename = path
        except OSError as exc:
            warn(f"SSLKEYLOGFILE {path}: {exc.strerror}", RuntimeWarning, stacklevel=3)


def _upper(tls: Any) -> asyncio.Transport:
    """The application's transport."""
    transport: asyncio.Transport = tls._get_app_transport()
    return transport


async def _handshake(waiter: asyncio.Future[Any], transport: asyncio.Transport) -> None:
    try:
        await waiter
    except BaseException:
        transport.close()
        raise
