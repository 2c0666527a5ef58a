"""What a transport tells about itself, made when it is asked for: most connections never are."""

from __future__ import annotations

from asyncio import transports
from typing import TYPE_CHECKING, Any

from aiotcp.addresses import address_of

if TYPE_CHECKING:
    import asyncio

    from aiotcp.pump import Pump

_TOLD = frozenset({"peername", "sockname", "socket", "connection", "tcp_info"})


class Described(transports._FlowControlMixin):
    """The part of a transport that answers questions. Its attributes are set by `Transport`."""

    __slots__ = ("_pump",)

    if TYPE_CHECKING:
        _loop: asyncio.AbstractEventLoop
        _pump: Pump

        # What _FlowControlMixin has and the stubs leave out.
        _extra: dict[str, Any]
        _protocol_paused: bool
        _high_water: int
        _low_water: int

        def _maybe_pause_protocol(self) -> None: ...
        def _maybe_resume_protocol(self) -> None: ...

    def __repr__(self) -> str:
        pump = self._pump
        info = [type(self).__name__]
        if self._loop is None:
            info.append("closed")
        elif pump.closing:
            info.append("closing")
        connection = pump.connection
        info.append(f"local={connection.local} remote={connection.remote}")
        if self._loop is not None:
            info.append(f"state={connection.state.value}")
            info.append(f"read={'polling' if pump.wants_input() else 'idle'}")
            writing = "polling" if pump.overflow else "idle"
            info.append(f"write=<{writing}, bufsize={pump.overflow_bytes}>")
        return f"<{' '.join(info)}>"

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As asyncio; "connection", TCP's own side of it; and "tcp_info": how the connection is at
        this moment (`TcpInfo`)."""
        if name not in _TOLD:
            return default
        pump = self._pump
        connection = pump.connection
        if name == "peername":
            return address_of(connection.remote)
        if name == "sockname":
            return address_of(connection.local)
        if name == "socket":
            if pump.socket is None:
                from aiotcp.sockets import StackSocket

                pump.socket = StackSocket(
                    connection.local, connection.remote, pump.stack, connection
                )
                if self._loop is None:
                    pump.socket.invalidate()
            return pump.socket
        if name == "connection":
            return connection
        from aiotcp.tcpinfo import tcp_info

        return tcp_info(connection, pump.stack.clock())

    def get_write_buffer_size(self) -> int:
        """Bytes that the connection has not accepted yet."""
        return self._pump.overflow_bytes

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self._pump.closing
