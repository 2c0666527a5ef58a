"""What `get_extra_info("socket")` and `Server.sockets` give: a socket to look at, not to read.

There is no file descriptor behind it (`fileno()` is -1). It has the surface of asyncio's own
`TransportSocket`, because programs ask it for names and set options on it.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeAlias, overload

from aiotcp.errors import os_error
from aiotcp.options import Options

if TYPE_CHECKING:
    from aiotcp.stack import Connection, Endpoint, PacketStack

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""(host, port), and flow information and scope for IPv6."""


def family_of(host: str) -> socket.AddressFamily:
    """The address family of a literal address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def address_of(endpoint: Endpoint) -> Address:
    """An endpoint as sockets spell it."""
    host, port = endpoint
    return (host, port, 0, 0) if ":" in host else (host, port)


_INT = struct.Struct("@i")
_LINGER = struct.Struct("@ii")
_ZERO = _INT.pack(0)


def _number(raw: bytes) -> int:
    number: int = _INT.unpack_from(raw)[0]
    return number


class _Acting(NamedTuple):
    """An option of the connection itself."""

    get: Callable[[Connection], int]
    set: Callable[[Connection, int], None]
    """Raises ValueError for what is out of range."""


def _set_nodelay(connection: Connection, value: int) -> None:
    connection.nodelay = bool(value)


def _set_send_buffer(connection: Connection, value: int) -> None:
    connection.options = connection.options.replace(send_buffer=value)


def _set_user_timeout(connection: Connection, milliseconds: int) -> None:
    limit = milliseconds / 1000 if milliseconds else None
    connection.options = connection.options.replace(user_timeout_s=limit)


_ACTING = {
    (socket.IPPROTO_TCP, socket.TCP_NODELAY): _Acting(lambda c: int(c.nodelay), _set_nodelay),
    (socket.SOL_SOCKET, socket.SO_SNDBUF): _Acting(
        lambda c: c.options.send_buffer, _set_send_buffer
    ),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT): _Acting(
        lambda c: round((c.options.user_timeout_s or 0) * 1000), _set_user_timeout
    ),
}

_REMEMBERED: dict[tuple[int, int], bytes] = {
    (socket.SOL_SOCKET, socket.SO_LINGER): _LINGER.pack(0, 0),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE): _ZERO,
    (socket.SOL_SOCKET, socket.SO_SNDBUF): _INT.pack(Options().send_buffer),
    (socket.SOL_SOCKET, socket.SO_RCVBUF): _INT.pack(Options().receive_buffer),
    (socket.SOL_SOCKET, socket.SO_REUSEADDR): _INT.pack(1),
    (socket.SOL_SOCKET, socket.SO_REUSEPORT): _ZERO,
    (socket.IPPROTO_TCP, socket.TCP_NODELAY): _INT.pack(1),
    (socket.IPPROTO_TCP, socket.TCP_CORK): _ZERO,
    (socket.IPPROTO_TCP, socket.TCP_QUICKACK): _INT.pack(1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): _INT.pack(7200),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): _INT.pack(75),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): _INT.pack(9),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT): _ZERO,
    (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY): _INT.pack(1),
}
"""Options that can be set to no effect (on a listener also those of `_ACTING`), and what they read
as until then: Linux's defaults."""


class StackSocket:
    """A connection or a listener of the stack, in the shape of a socket.

    TCP_NODELAY, TCP_USER_TIMEOUT and SO_SNDBUF act on the connection, SO_LINGER (on, 0) on how it
    is closed. Other common options are accepted, remembered and given back without effect, since
    programs set them as a matter of habit. Any other raises OSError with ENOPROTOOPT, as does the
    kernel.
    """

    __slots__ = ("_connection", "_local", "_remembered", "_remote", "_stack")

    def __init__(
        self,
        local: Endpoint,
        remote: Endpoint | None = None,
        stack: PacketStack | None = None,
        connection: Connection | None = None,
    ) -> None:
        self._local = local
        self._remote = remote
        self._stack = stack
        self._connection = connection
        self._remembered: dict[tuple[int, int], bytes] = {}

    def __repr__(self) -> str:
        names = f"laddr={self.getsockname()}"
        if self._remote is not None:
            names += f", raddr={self.getpeername()}"
        return (
            f"<aiotcp.StackSocket fd=-1, family={self.family!s}, type={self.type!s}, "
            f"proto={self.proto}, {names}>"
        )

    def __getstate__(self) -> NoReturn:
        raise TypeError("Cannot serialize aiotcp.StackSocket object")

    @property
    def family(self) -> socket.AddressFamily:
        return family_of(self._local.host)

    @property
    def type(self) -> socket.SocketKind:
        return socket.SOCK_STREAM

    @property
    def proto(self) -> int:
        return socket.IPPROTO_TCP

    def fileno(self) -> int:
        return -1

    def dup(self) -> NoReturn:
        raise os_error(errno.EBADF)

    def get_inheritable(self) -> bool:
        return False

    def getsockname(self) -> Address:
        return address_of(self._local)

    def getpeername(self) -> Address:
        if self._remote is None:
            raise os_error(errno.ENOTCONN)
        return address_of(self._remote)

    def gettimeout(self) -> float:
        return 0

    def settimeout(self, value: float | None) -> None:
        if value != 0:
            raise ValueError("settimeout(): only 0 timeout is allowed on transport sockets")

    def setblocking(self, flag: bool) -> None:
        if flag:
            raise ValueError("setblocking(): transport sockets cannot be blocking")

    def shutdown(self, how: int) -> None:
        """End the sending half (SHUT_WR, SHUT_RDWR). SHUT_RD says nothing to the peer."""
        if how not in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR):
            raise os_error(errno.EINVAL)
        if self._connection is None or self._stack is None:
            raise os_error(errno.ENOTCONN)
        if how != socket.SHUT_RD:
            self._connection.shutdown()
            self._stack.push(self._connection)

    @overload
    def getsockopt(self, level: int, optname: int, /) -> int: ...
    @overload
    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...
    def getsockopt(self, level: int, optname: int, buflen: int = 0, /) -> int | bytes:
        value = self._option((level, optname))
        return value[:buflen] if buflen else _number(value)

    def setsockopt(
        self, level: int, optname: int, value: int | bytes | None, optlen: int | None = None, /
    ) -> None:
        key = (level, optname)
        if key not in _REMEMBERED and key not in _ACTING:
            raise os_error(errno.ENOPROTOOPT)
        raw = _INT.pack(value) if isinstance(value, int) else value
        if raw is None or len(raw) < len(_REMEMBERED.get(key, _ZERO)):
            raise os_error(errno.EINVAL)
        if key not in _ACTING or self._connection is None or self._stack is None:
            self._remembered[key] = raw
            return
        try:
            _ACTING[key].set(self._connection, _number(raw))
        except ValueError as exc:
            raise os_error(errno.EINVAL, str(exc)) from None
        self._stack.push(self._connection)

    def _option(self, key: tuple[int, int]) -> bytes:
        if key in self._remembered:
            return self._remembered[key]
        if key in _ACTING and self._connection is not None:
            return _INT.pack(_ACTING[key].get(self._connection))
        if key in _REMEMBERED:
            return _REMEMBERED[key]
        fixed = {
            socket.SO_TYPE: self.type,
            socket.SO_DOMAIN: self.family,
            socket.SO_PROTOCOL: self.proto,
            socket.SO_ACCEPTCONN: self._remote is None,
            socket.SO_ERROR: 0,
        }
        level, optname = key
        if level != socket.SOL_SOCKET or optname not in fixed:
            raise os_error(errno.ENOPROTOOPT)
        return _INT.pack(fixed[optname])

    @property
    def lingers_zero(self) -> bool:
        """Whether SO_LINGER is (on, 0): closing sends RST."""
        on, seconds = _LINGER.unpack_from(self._option((socket.SOL_SOCKET, socket.SO_LINGER)))
        return bool(on) and seconds == 0
