"""An asyncio transport over one connection of the stack: what a program holds of a `pump.Pump`,
which does the work."""

from __future__ import annotations

import asyncio
from asyncio import constants
from collections.abc import Iterable
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol
from warnings import warn

from aiotcp.extrainfo import Described
from aiotcp.pump import Pump

if TYPE_CHECKING:
    from aiotcp.stack import Connection, PacketStack

_HIGH_WATER = 64 * 1024
"""Where writing pauses, as in asyncio, until a program says something else."""


class _Owner(Protocol):
    """Whoever counts a transport among its own: the server that accepted it."""

    def _detach(self, transport: Transport) -> None: ...


class Transport(Described):
    """One connection, as asyncio protocols and stream writers see it.

    Made by `create_connection()` and servers, never by users. All callbacks of the protocol run in
    `context`: that of the caller of `create_connection()` or `create_server()`.

    What goes beyond asyncio: `get_extra_info("connection")` is TCP's own side of it (state,
    variables, `urgent_remaining`, the last `soft_error`), `get_extra_info("tcp_info")` what Linux
    tells by TCP_INFO. `write_urgent()`. And two methods that a protocol may have, which are called
    even while reading is paused:

    `urgent_received(nbytes)`: the peer's urgent data ends `nbytes` bytes ahead of what was
    delivered; again whenever that end moves on.

    `error_received(exc)`: the connection has a problem and goes on trying: an ICMP error, or R1
    retransmissions without an answer (`Options.retries1`). As in `asyncio.DatagramProtocol`.
    """

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.FALLBACK

    __slots__ = ("__weakref__", "_owner")

    def __init__(
        self,
        stack: PacketStack,
        connection: Connection,
        protocol: asyncio.BaseProtocol,
        context: Context,
        waiter: asyncio.Future[None] | None = None,
        owner: _Owner | None = None,
    ) -> None:
        self._owner = owner
        self._extra = {}
        self._protocol_paused = False
        self._high_water = _HIGH_WATER
        self._low_water = _HIGH_WATER // 4
        self._pump = Pump(self, stack, connection, protocol, context)
        self._loop = stack.loop  # None: connection_lost() has run
        if waiter is not None:
            self._pump.begin_soon(waiter)

    def begin(self) -> None:
        """Of an accepted connection: see `Pump.begin`."""
        self._pump.begin()

    def end(self) -> None:
        """The pump has called connection_lost(), and does nothing any more."""
        owner = self._owner
        self._loop = self._owner = None  # type: ignore[assignment]
        if owner is not None:
            owner._detach(self)

    def __del__(self) -> None:
        # While the stack has the connection, it has us: so the one or the other has ended.
        if getattr(self, "_loop", None) is not None:
            warn(f"unclosed transport {self!r}", ResourceWarning, stacklevel=1, source=self)

    # The protocol

    @property
    def _protocol(self) -> Any:
        """Whom asyncio's flow control pauses."""
        return self._pump.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._pump.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._pump.protocol
        return protocol

    # Reading

    def is_reading(self) -> bool:
        pump = self._pump
        return not (pump.closing or pump.paused)

    def pause_reading(self) -> None:
        self._pump.pause_reading()

    def resume_reading(self) -> None:
        self._pump.resume_reading()

    # Writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._pump.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self._pump.write_all(list_of_data, "writelines")

    def write_urgent(self, data: bytes | bytearray | memoryview) -> None:
        """Write `data`, all of it urgent: the peer is told at once where it ends (MUST-30).

        For old protocols such as telnet: new ones should not use it (RFC 6093 6). A peer on kernel
        sockets takes the last byte of it for out-of-band data.
        """
        self._pump.write_all((data,), "write_urgent", urgent=True)

    def write_eof(self) -> None:
        self._pump.write_eof()

    # Closing

    def close(self) -> None:
        self._pump.close()

    def abort(self) -> None:
        self._force_close(None)

    def _force_close(self, exc: BaseException | None) -> None:
        self._pump.force_close(exc)
