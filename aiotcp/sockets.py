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


class _Acting(NamedTuple):
    """An option of the connection itself."""

    get: Callable[[Connection], int]
    set: Callable[[Connection, int], None]


def _set_nodelay(connection: Connection, value: int) -> None:
    connection.nodelay = bool(value)


_ACTING = {
    (socket.IPPROTO_TCP, socket.TCP_NODELAY): _Acting(lambda c: int(c.nodelay), _set_nodelay),
}

_REMEMBERED: dict[tuple[int, int], int | bytes] = {
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 0,
    (socket.SOL_SOCKET, socket.SO_LINGER): struct.pack("@ii", 0, 0),
    (socket.SOL_SOCKET, socket.SO_RCVBUF): 0,
    (socket.SOL_SOCKET, socket.SO_SNDBUF): 0,
    (socket.SOL_SOCKET, socket.SO_REUSEADDR): 1,
    (socket.SOL_SOCKET, socket.SO_REUSEPORT): 0,
    (socket.IPPROTO_TCP, socket.TCP_NODELAY): 1,
    (socket.IPPROTO_TCP, socket.TCP_CORK): 0,
    (socket.IPPROTO_TCP, socket.TCP_QUICKACK): 1,
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): 7200,
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 75,
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 9,
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT): 0,
    (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY): 1,
}
"""Options that can be set to no effect, with what they read as until then (Linux's defaults)."""

_FIXED: dict[tuple[int, int], int] = {
    (socket.SOL_SOCKET, socket.SO_TYPE): socket.SOCK_STREAM,
    (socket.SOL_SOCKET, socket.SO_PROTOCOL): socket.IPPROTO_TCP,
    (socket.SOL_SOCKET, socket.SO_ERROR): 0,
}


class StackSocket:
    """A connection or a listener of the stack, in the shape of a socket.

    Options that the connection has act on it. Other common ones are accepted, remembered and
    given back without effect, since programs set them as a matter of habit. Anything else raises
    OSError with ENOPROTOOPT, as does the kernel.
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
        self._remembered: dict[tuple[int, int], int | bytes] = {}

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
        value = self._option(level, optname)
        if buflen:
            raw = value if isinstance(value, bytes) else struct.pack("@i", value)
            return raw[:buflen]
        return value if isinstance(value, int) else struct.unpack_from("@i", value)[0]

    def setsockopt(
        self, level: int, optname: int, value: int | bytes | None, optlen: int | None = None, /
    ) -> None:
        key = (level, optname)
        if key in _FIXED or (key not in _REMEMBERED and key not in _ACTING):
            raise os_error(errno.ENOPROTOOPT)
        if value is None:
            raise os_error(errno.EINVAL, "an option without a value")
        if key in _ACTING and self._connection is not None and self._stack is not None:
            number = value if isinstance(value, int) else struct.unpack_from("@i", value)[0]
            _ACTING[key].set(self._connection, number)
            self._stack.push(self._connection)
        else:
            self._remembered[key] = value

    @property
    def lingers_zero(self) -> bool:
        """Whether SO_LINGER is (on, 0): closing sends RST."""
        value = self._remembered.get((socket.SOL_SOCKET, socket.SO_LINGER))
        return isinstance(value, bytes) and struct.unpack_from("@ii", value) == (1, 0)

    def _option(self, level: int, optname: int) -> int | bytes:
        key = (level, optname)
        if key in self._remembered:
            return self._remembered[key]
        if key in _ACTING and self._connection is not None:
            return _ACTING[key].get(self._connection)
        for table in (_REMEMBERED, _FIXED):
            if key in table:
                return table[key]
        if key == (socket.SOL_SOCKET, socket.SO_DOMAIN):
            return int(self.family)
        if key == (socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return int(self._remote is None)
        raise os_error(errno.ENOPROTOOPT)
