"""What a transport tells about itself, made when it is asked for: most connections never are."""

from __future__ import annotations

from asyncio import transports
from typing import TYPE_CHECKING, Any

from aiotcp.addresses import address_of

if TYPE_CHECKING:
    import asyncio
    from collections import deque

    from aiotcp.sockets import StackSocket
    from aiotcp.stack import Connection, PacketStack

_TOLD = frozenset({"peername", "sockname", "socket", "connection", "tcp_info"})


class Described(transports._FlowControlMixin):
    """The part of a transport that answers questions. Its attributes are set by `Transport`."""

    __slots__ = ("_connection", "_socket", "_stack")

    if TYPE_CHECKING:
        _loop: asyncio.AbstractEventLoop
        _connection: Connection
        _stack: PacketStack
        _socket: StackSocket | None
        """None until somebody asks for it."""
        _started: bool
        _closing: bool
        _paused: bool
        _eof_received: bool
        _overflow: deque[memoryview]
        _overflow_bytes: int

        # What _FlowControlMixin has and the stubs leave out.
        _extra: dict[str, Any]
        _protocol_paused: bool
        _high_water: int
        _low_water: int

        def _maybe_pause_protocol(self) -> None: ...
        def _maybe_resume_protocol(self) -> None: ...

    def _wants_input(self) -> bool:
        return self._started and not (self._closing or self._paused or self._eof_received)

    def __repr__(self) -> str:
        info = [type(self).__name__]
        if self._loop is None:
            info.append("closed")
        elif self._closing:
            info.append("closing")
        connection = self._connection
        info.append(f"local={connection.local} remote={connection.remote}")
        if self._loop is not None:
            info.append(f"state={connection.state.value}")
            info.append(f"read={'polling' if self._wants_input() else 'idle'}")
            writing = "polling" if self._overflow else "idle"
            info.append(f"write=<{writing}, bufsize={self._overflow_bytes}>")
        return f"<{' '.join(info)}>"

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As asyncio; "connection", TCP's own side of it; and "tcp_info": how the connection is at
        this moment (`TcpInfo`)."""
        if name not in _TOLD:
            return default
        connection = self._connection
        if name == "peername":
            return address_of(connection.remote)
        if name == "sockname":
            return address_of(connection.local)
        if name == "socket":
            if self._socket is None:
                from aiotcp.sockets import StackSocket

                self._socket = StackSocket(
                    connection.local, connection.remote, self._stack, connection
                )
                if self._loop is None:
                    self._socket.invalidate()
            return self._socket
        if name == "connection":
            return connection
        from aiotcp.tcpinfo import tcp_info

        return tcp_info(connection, self._stack.clock())

    def get_write_buffer_size(self) -> int:
        """Bytes that the connection has not accepted yet."""
        return self._overflow_bytes

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self._closing

    @property
    def _lingers_zero(self) -> bool:
        return self._socket is not None and self._socket.lingers_zero
