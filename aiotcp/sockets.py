"""What `get_extra_info("socket")` and `Server.sockets` give: a socket to look at, not to read.

It has the surface of asyncio's own `TransportSocket`, because programs ask it for names and set
options on it. The descriptor that a connection's gives is good for one thing, to ask poll(2)
whether the connection is readable (`readiness`); a listener has none.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from operator import index
from typing import TYPE_CHECKING, NoReturn, overload

from aiotcp.addresses import Address, address_of, family_of
from aiotcp.errors import os_error
from aiotcp.readiness import Readiness
from aiotcp.sockopts import (
    FLAGS,
    INT,
    LINGER,
    REMEMBERED,
    STRUCTURED,
    ZERO,
    Detached,
    Key,
    Target,
    Value,
    acting,
    key_arguments,
    length_argument,
    numbered,
    value_argument,
)
from aiotcp.tcp.tcb import State

if TYPE_CHECKING:
    from aiotcp.stack import Connection, Endpoint, Listener, PacketStack

_PROTOCOLS = (socket.IPPROTO_TCP, socket.IPPROTO_IP, socket.IPPROTO_IPV6)


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

    Once its transport is lost, or its server closed, it is as a closed socket: OSError with EBADF.
    """

    __slots__ = (
        "_closed",
        "_connection",
        "_local",
        "_readiness",
        "_remembered",
        "_remote",
        "_stack",
        "_target",
    )

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
        self._closed = False
        self._readiness: Readiness | None = None

    def __repr__(self) -> str:
        names = ""
        if not self._closed:
            names += f", laddr={self.getsockname()}"
            if self._remote is not None:
                names += f", raddr={address_of(self._remote)}"
        fd = -1 if self._readiness is None else self._readiness.fileno()
        return (
            f"<aiotcp.StackSocket fd={fd}, family={self.family!s}, type={self.type!s}, "
            f"proto={self.proto}{names}>"
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
        """A descriptor that is readable when the connection is, made when first asked for; -1 where
        there is no connection, or no descriptor left to have."""
        if self._readiness is None and not self._closed and self._connection is not None:
            try:
                self._readiness = Readiness.of(self._connection)
            except OSError:
                pass
        return -1 if self._readiness is None else self._readiness.fileno()

    def dup(self) -> NoReturn:
        raise os_error(errno.EBADF)

    def get_inheritable(self) -> bool:
        self._check_open()
        return False

    def getsockname(self) -> Address:
        self._check_open()
        return address_of(self._local)

    def getpeername(self) -> Address:
        self._check_open()
        if self._remote is None or self._is_reset():
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
        how = index(how)
        self._check_open()
        if how not in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR):
            raise os_error(errno.EINVAL)
        if self._connection is None or self._stack is None or self._is_reset():
            raise os_error(errno.ENOTCONN)
        if how != socket.SHUT_RD:
            self._connection.shutdown()
            self._stack.push(self._connection)

    @overload
    def getsockopt(self, level: int, optname: int, /) -> int: ...
    @overload
    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...
    def getsockopt(self, level: int, optname: int, buflen: int = 0, /) -> int | bytes:
        """As of a socket: an int, or with `buflen`, 1 to 1024, so many bytes at most.

        Raises OSError: ENOPROTOOPT for an option that there is not, EBADF.
        """
        key = key_arguments(level, optname)
        buflen = length_argument(buflen)
        self._check_open()
        structured = STRUCTURED.get(key)
        if structured is not None:
            now = self._stack.clock() if self._stack is not None else 0.0
            value = structured.get(self._target, now, buflen or INT.size)
            return value[:buflen] if buflen else _int(value)
        option = acting(self._supported(key), self._target, self.family)
        value = INT.pack(option.get(self._target)) if option else self._plain(key)
        return value[:buflen] if buflen else _int(value)

    @overload
    def setsockopt(self, level: int, optname: int, value: Value, /) -> None: ...
    @overload
    def setsockopt(self, level: int, optname: int, value: None, optlen: int, /) -> None: ...
    def setsockopt(self, level: int, optname: int, value: Value | None, /, *optlen: int) -> None:
        """As of a socket: an int, or bytes that hold at least what the option needs.

        Raises OSError: ENOPROTOOPT for an option that there is not, EINVAL for a value that it can
        not have, EFAULT for no value, EBADF; TypeError for what is neither int nor bytes.
        """
        key = key_arguments(level, optname)
        raw = value_argument(value, optlen)
        self._check_open()
        structured = STRUCTURED.get(key)
        option = None
        if structured is None:
            option = acting(self._supported(key), self._target, self.family)
        if option is None and key not in REMEMBERED and (structured is None or not structured.set):
            raise os_error(errno.ENOPROTOOPT)
        needed = len(REMEMBERED.get(key, b"." if structured else ZERO))
        if raw is None:
            raise os_error(errno.EINVAL if optlen[0] < needed else errno.EFAULT)
        if len(raw) < needed:
            raise os_error(errno.EINVAL)
        try:
            if structured is not None and structured.set is not None:
                structured.set(self._target, raw)
            elif option is not None:
                option.set(self._target, INT.unpack_from(raw)[0])
            else:
                self._remembered[key] = INT.pack(any(raw)) if key in FLAGS else raw
                return
        except ValueError as exc:
            raise os_error(errno.EINVAL, str(exc)) from None
        if self._connection is not None and self._stack is not None:
            self._stack.push(self._connection)

    def _check_open(self) -> None:
        if self._closed:
            raise os_error(errno.EBADF)

    def _is_reset(self) -> bool:
        """Its connection is over, and not by closing on both sides."""
        return self._connection is not None and self._connection.state is State.CLOSED

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
        fixed = _FIXED.get(key)
        if fixed is None:
            known = key[0] in (socket.SOL_SOCKET, *_PROTOCOLS)
            raise os_error(errno.ENOPROTOOPT if known else errno.EOPNOTSUPP)
        return INT.pack(fixed(self))

    @property
    def lingers_zero(self) -> bool:
        """Whether SO_LINGER is (on, 0): closing sends RST."""
        on, seconds = LINGER.unpack_from(self._plain((socket.SOL_SOCKET, socket.SO_LINGER)))
        return bool(on) and seconds == 0

    # What transports and servers do with the sockets that they gave out

    def invalidate(self) -> None:
        """It is the socket of nobody any more."""
        self._closed = True
        if self._readiness is not None:
            self._readiness.close_descriptor()
            self._readiness = None


_FIXED: dict[Key, Callable[[StackSocket], int]] = numbered(
    {
        ("SOL_SOCKET", "SO_TYPE"): lambda sock: sock.type,
        ("SOL_SOCKET", "SO_DOMAIN"): lambda sock: sock.family,
        ("SOL_SOCKET", "SO_PROTOCOL"): lambda sock: sock.proto,
        ("SOL_SOCKET", "SO_ACCEPTCONN"): lambda sock: sock._remote is None,
        ("SOL_SOCKET", "SO_ERROR"): lambda _: 0,
    }
)
"""What can be asked and not be set."""
