"""The socket facade: what it answers by itself. (`contract` has what kernel sockets do, too.)"""

from __future__ import annotations

import errno
import pickle
import socket
import struct
from collections.abc import Callable

import pytest

from aiotcp import Endpoint
from aiotcp.sockets import StackSocket

CONNECTED = StackSocket(Endpoint("192.0.2.2", 80), Endpoint("192.0.2.1", 40000))
LISTENING = StackSocket(Endpoint("fd61::2", 80))


def test_names() -> None:
    assert CONNECTED.getsockname() == ("192.0.2.2", 80)
    assert CONNECTED.getpeername() == ("192.0.2.1", 40000)
    assert LISTENING.getsockname() == ("fd61::2", 80, 0, 0)
    assert (CONNECTED.family, LISTENING.family) == (socket.AF_INET, socket.AF_INET6)
    assert CONNECTED.proto == socket.IPPROTO_TCP
    assert repr(CONNECTED) == (
        "<aiotcp.StackSocket fd=-1, family=2, type=1, proto=6, "
        "laddr=('192.0.2.2', 80), raddr=('192.0.2.1', 40000)>"
    )
    assert repr(LISTENING).endswith("laddr=('fd61::2', 80, 0, 0)>")


def test_there_is_no_descriptor() -> None:
    assert CONNECTED.fileno() == -1
    assert not CONNECTED.get_inheritable()
    with pytest.raises(OSError, match="Bad file descriptor"):
        CONNECTED.dup()
    with pytest.raises(TypeError, match="Cannot serialize"):
        pickle.dumps(CONNECTED)


def test_it_never_blocks() -> None:
    assert CONNECTED.gettimeout() == 0
    CONNECTED.settimeout(0)
    CONNECTED.setblocking(False)
    with pytest.raises(ValueError, match="only 0 timeout"):
        CONNECTED.settimeout(1.5)
    with pytest.raises(ValueError, match="cannot be blocking"):
        CONNECTED.setblocking(True)


@pytest.mark.parametrize(
    ("level", "option", "value"),
    [
        (socket.SOL_SOCKET, socket.SO_TYPE, socket.SOCK_STREAM),
        (socket.SOL_SOCKET, socket.SO_DOMAIN, socket.AF_INET),
        (socket.SOL_SOCKET, socket.SO_PROTOCOL, socket.IPPROTO_TCP),
        (socket.SOL_SOCKET, socket.SO_ACCEPTCONN, 0),
        (socket.SOL_SOCKET, socket.SO_ERROR, 0),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0),
        (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 7200),
    ],
)
def test_options_read_as_on_linux(level: int, option: int, value: int) -> None:
    assert CONNECTED.getsockopt(level, option) == value
    assert CONNECTED.getsockopt(level, option, 4) == struct.pack("@i", value)


@pytest.mark.req("SHLD-13")
def test_urgent_data_is_always_inline() -> None:
    assert CONNECTED.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE) == 1


def test_a_listener_says_so() -> None:
    assert LISTENING.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    assert LISTENING.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    with pytest.raises(OSError, match="not connected") as caught:
        LISTENING.getpeername()
    assert caught.value.errno == errno.ENOTCONN


def test_options_are_remembered() -> None:
    sock = StackSocket(Endpoint("192.0.2.2", 80))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, struct.pack("@i", 1))
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
    linger = struct.pack("@ii", 1, 5)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == linger
    assert not sock.lingers_zero


@pytest.mark.parametrize(
    ("call", "number"),
    [
        (lambda s: s.getsockopt(socket.SOL_SOCKET, 9999), errno.ENOPROTOOPT),
        (lambda s: s.setsockopt(socket.SOL_SOCKET, 9999, 1), errno.ENOPROTOOPT),
        (lambda s: s.setsockopt(socket.SOL_SOCKET, socket.SO_ERROR, 1), errno.ENOPROTOOPT),
        (lambda s: s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, None, 8), errno.EFAULT),
        (lambda s: s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, None, 7), errno.EINVAL),
        (lambda s: s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"1"), errno.EINVAL),
        (lambda s: s.shutdown(7), errno.EINVAL),
        (lambda s: s.shutdown(socket.SHUT_WR), errno.ENOTCONN),
    ],
)
def test_misuse(call: Callable[[StackSocket], object], number: int) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        call(StackSocket(Endpoint("192.0.2.2", 80)))
    assert caught.value.errno == number
