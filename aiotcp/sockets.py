"""What `get_extra_info("socket")` and `Server.sockets` give: a socket to look at, not to read.

There is no file descriptor behind it (`fileno()` is -1). It has the surface of asyncio's own
`TransportSocket`, because programs ask it for names and set options on it.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, NoReturn, TypeAlias, overload

from aiotcp.errors import os_error
from aiotcp.sockopts import (
    INT,
    LINGER,
    REMEMBERED,
    STRUCTURED,
    ZERO,
    Detached,
    Key,
    Target,
    acting,
)

if TYPE_CHECKING:
    from aiotcp.options import Options
    from aiotcp.stack import Connection, Endpoint, Listener, PacketStack

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""(host, port), and flow information and scope for IPv6."""


def family_of(host: str) -> socket.AddressFamily:
    """The address family of a literal address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def address_of(endpoint: Endpoint) -> Address:
    """An endpoint as sockets spell it."""
    host, port = endpoint
    return (host, port, 0, 0) if ":" in host else (host, port)


def _int(value: bytes) -> int:
    """What getsockopt(2) makes of it for a caller who asks for an int."""
    number: int = INT.unpack_from(value.ljust(INT.size, b"\0"))[0]
    return number


class StackSocket:
    """A connection or a listener of the stack, in the shape of a socket.

    The options of `sockopts.ACTING` act on the connection or, set on a listener, on those that it
    accepts from then on. SO_LINGER (on, 0) makes closing send RST; (on, n) changes nothing, as on
    Linux nothing but that close(2) waits up to n seconds for what was written to be acknowledged,
    which here must not hold up the loop: afterwards the connection goes on in the background, and
    no data is lost. Other common options are accepted, remembered and given back without effect,
    since programs set them as a matter of habit. Any other raises OSError with ENOPROTOOPT, as does
    the kernel.
    """

    __slots__ = ("_connection", "_local", "_remembered", "_remote", "_stack", "_target")

    def __init__(
        self,
        local: Endpoint,
        remote: Endpoint | None = None,
        stack: PacketStack | None = None,
        connection: Connection | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._local = local
        self._remote = remote
        self._stack = stack
        self._connection = connection
        self._target: Target = connection or listener or Detached()
        self._remembered: dict[Key, bytes] = {}

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
        key = (level, optname)
        structured = STRUCTURED.get(key)
        if structured is not None:
            now = self._stack.clock() if self._stack is not None else 0.0
            value = structured.get(self._target, now, buflen or INT.size)
            return value[:buflen] if buflen else _int(value)
        option = acting(self._supported(key), self._target, self.family)
        value = INT.pack(option.get(self._target)) if option else self._plain(key)
        return value[:buflen] if buflen else _int(value)

    def setsockopt(
        self, level: int, optname: int, value: int | bytes | None, optlen: int | None = None, /
    ) -> None:
        key = (level, optname)
        structured = STRUCTURED.get(key)
        option = None
        if structured is None:
            option = acting(self._supported(key), self._target, self.family)
        if option is None and key not in REMEMBERED and (structured is None or not structured.set):
            raise os_error(errno.ENOPROTOOPT)
        try:
            raw = INT.pack(value) if isinstance(value, int) else value
        except struct.error:
            raise OverflowError("Python int too large to convert to C int") from None
        if raw is None or len(raw) < len(REMEMBERED.get(key, b"." if structured else ZERO)):
            raise os_error(errno.EINVAL)
        try:
            if structured is not None and structured.set is not None:
                structured.set(self._target, raw)
            elif option is not None:
                option.set(self._target, INT.unpack_from(raw)[0])
            else:
                self._remembered[key] = raw
                return
        except ValueError as exc:
            raise os_error(errno.EINVAL, str(exc)) from None
        if self._connection is not None and self._stack is not None:
            self._stack.push(self._connection)

    def _supported(self, key: Key) -> Key:
        """`key`, unless it is one of IPv6's and this is IPv4."""
        if key[0] == socket.IPPROTO_IPV6 and self.family != socket.AF_INET6:
            raise os_error(errno.ENOPROTOOPT)
        return key

    def _plain(self, key: Key) -> bytes:
        """An option that does not act."""
        if key in self._remembered:
            return self._remembered[key]
        if key in REMEMBERED:
            return REMEMBERED[key]
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
        return INT.pack(fixed[optname])

    @property
    def lingers_zero(self) -> bool:
        """Whether SO_LINGER is (on, 0): closing sends RST."""
        on, seconds = LINGER.unpack_from(self._plain((socket.SOL_SOCKET, socket.SO_LINGER)))
        return bool(on) and seconds == 0

    # What servers do with the sockets of their listeners

    @property
    def options(self) -> Options:
        """Those in force."""
        return self._target.options

    def speak_for(self, listener: Listener) -> None:
        """From now on it is the socket of `listener`, which has taken the place of another."""
        self._target = listener
