"""`get_extra_info("socket")` and `Server.sockets`: asyncio's TransportSocket, in shape."""

from __future__ import annotations

import array
import copy
import errno
import pickle
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.substrate import Net, Recorder, reset_on_close

TCP, SOL = socket.IPPROTO_TCP, socket.SOL_SOCKET
NODELAY = socket.TCP_NODELAY
INT = struct.Struct("@i")

Call = Callable[[Any], object]


async def socket_of(net: Net) -> Any:
    left, _ = await net.pair(Recorder(), Recorder())
    return left.get_extra_info("socket")


MISTYPED: list[tuple[Call, str]] = [
    (lambda s: s.setsockopt(TCP, NODELAY, "1"), "a bytes-like object is required, not 'str'"),
    (lambda s: s.setsockopt(TCP, NODELAY, 1.5), "a bytes-like object is required, not 'float'"),
    (lambda s: s.setsockopt(TCP, NODELAY, [1]), "a bytes-like object is required, not 'list'"),
    (lambda s: s.setsockopt(TCP, NODELAY, None), "bytes-like object is required, not 'None"),
    (lambda s: s.setsockopt(TCP, NODELAY, 2**40), "a bytes-like object is required, not 'int'"),
    (lambda s: s.setsockopt(TCP, NODELAY, 1, 4), "takes exactly 3 arguments"),
    (lambda s: s.setsockopt(TCP, NODELAY, b"1234", 4), "takes exactly 3 arguments"),
    (lambda s: s.setsockopt(TCP, NODELAY, None, "4"), "."),
    (lambda s: s.setsockopt(TCP, NODELAY), "."),
    (lambda s: s.setsockopt("6", NODELAY, 1), "cannot be interpreted as an integer"),
    (lambda s: s.setsockopt(TCP, 1.0, 1), "cannot be interpreted as an integer"),
    (lambda s: s.setsockopt(level=TCP, optname=NODELAY, value=1), "."),
    (lambda s: s.getsockopt(TCP), "."),
    (lambda s: s.getsockopt(TCP, "1"), "cannot be interpreted as an integer"),
    (lambda s: s.getsockopt(TCP, NODELAY, None), "cannot be interpreted as an integer"),
    (lambda s: s.getsockopt(TCP, NODELAY, 4, 4), "."),
    (lambda s: s.setsockopt(TCP, socket.TCP_CONGESTION, "reno"), "a bytes-like object"),
    (lambda s: s.shutdown("1"), "."),
    (copy.copy, "Cannot serialize"),
    (pickle.dumps, "Cannot serialize"),
]


async def test_arguments_of_the_wrong_type(net: Net) -> None:
    sock = await socket_of(net)
    for call, words in MISTYPED:
        with pytest.raises(TypeError, match=words):
            call(sock)


async def test_numbers_beyond_c(net: Net) -> None:
    sock = await socket_of(net)
    calls: list[Call] = [
        lambda s: s.setsockopt(TCP, 2**40, 1),
        lambda s: s.getsockopt(-(2**40), NODELAY),
        lambda s: s.getsockopt(TCP, NODELAY, 2**40),
    ]
    for call in calls:
        with pytest.raises(OverflowError, match=r"signed integer is (greater|less) than m"):
            call(sock)


async def test_values_of_every_kind(net: Net) -> None:
    sock = await socket_of(net)

    class One:
        def __index__(self) -> int:
            return 1

    for value in (
        *(1, True, One(), b"\1\0\0\0", bytearray(b"\1\0\0\0more"), memoryview(b"\1\0\0\0")),
        array.array("i", [1]),
    ):
        sock.setsockopt(TCP, NODELAY, 0)
        sock.setsockopt(TCP, NODELAY, value)
        assert sock.getsockopt(TCP, NODELAY) == 1
    for length, expected in ((1, 1), (2, 2), (4, 4), (100, 4), (1024, 4)):
        assert sock.getsockopt(TCP, NODELAY, length) == INT.pack(1)[:length]
        assert len(sock.getsockopt(TCP, NODELAY, length)) == expected
    assert sock.getsockopt(TCP, NODELAY, 0) == 1
    for length in (-1, 1025):
        with pytest.raises(OSError, match="getsockopt buflen out of range"):
            sock.getsockopt(TCP, NODELAY, length)


REFUSED: list[tuple[Call, int]] = [
    (lambda s: s.setsockopt(TCP, NODELAY, b""), errno.EINVAL),
    (lambda s: s.setsockopt(TCP, NODELAY, b"\1\0\0"), errno.EINVAL),
    (lambda s: s.setsockopt(TCP, NODELAY, None, 0), errno.EINVAL),
    (lambda s: s.setsockopt(TCP, NODELAY, None, 4), errno.EFAULT),
    (lambda s: s.setsockopt(SOL, socket.SO_LINGER, 1), errno.EINVAL),
    (lambda s: s.setsockopt(SOL, socket.SO_LINGER, None, 8), errno.EFAULT),
    (lambda s: s.setsockopt(TCP, socket.TCP_CONGESTION, b"nobody's"), errno.ENOENT),
    (lambda s: s.setsockopt(TCP, socket.TCP_CONGESTION, b""), errno.EINVAL),
    (lambda s: s.setsockopt(TCP, socket.TCP_SYNCNT, 0), errno.EINVAL),
    (lambda s: s.setsockopt(TCP, socket.TCP_SYNCNT, 300), errno.EINVAL),
    (lambda s: s.setsockopt(TCP, socket.TCP_MAXSEG, 10), errno.EINVAL),
    (lambda s: s.setsockopt(TCP, socket.TCP_USER_TIMEOUT, -1), errno.EINVAL),
    (lambda s: s.setsockopt(TCP, socket.TCP_INFO, b"1234"), errno.ENOPROTOOPT),
    (lambda s: s.setsockopt(SOL, socket.SO_ERROR, 1), errno.ENOPROTOOPT),
    (lambda s: s.setsockopt(SOL, socket.SO_TYPE, 1), errno.ENOPROTOOPT),
    (lambda s: s.setsockopt(99, 1, 1), errno.ENOPROTOOPT),
    (lambda s: s.getsockopt(99, 1), errno.EOPNOTSUPP),
    (lambda s: s.getsockopt(SOL, 9999), errno.ENOPROTOOPT),
]


async def test_values_that_an_option_can_not_have(net: Net) -> None:
    sock = await socket_of(net)
    for call, number in REFUSED:
        with pytest.raises(OSError, match=r".") as caught:
            call(sock)
        assert caught.value.errno == number


async def test_how_options_read(net: Net) -> None:
    sock = await socket_of(net)
    for level, name, value in (
        (SOL, socket.SO_KEEPALIVE, 0),
        (SOL, socket.SO_ERROR, 0),
        (SOL, socket.SO_ACCEPTCONN, 0),
        (SOL, socket.SO_TYPE, socket.SOCK_STREAM),
        (SOL, socket.SO_DOMAIN, socket.AF_INET),
        (SOL, socket.SO_PROTOCOL, socket.IPPROTO_TCP),
        (SOL, socket.SO_LINGER, 0),
        (SOL, socket.SO_REUSEPORT, 0),
        (SOL, socket.SO_BROADCAST, 0),
        (SOL, socket.SO_PRIORITY, 0),
        (TCP, NODELAY, 1),
        (TCP, socket.TCP_CORK, 0),
        (TCP, socket.TCP_KEEPIDLE, 7200),
        (TCP, socket.TCP_KEEPINTVL, 75),
        (TCP, socket.TCP_KEEPCNT, 9),
        (TCP, socket.TCP_USER_TIMEOUT, 0),
        (TCP, socket.TCP_DEFER_ACCEPT, 0),
        (TCP, socket.TCP_LINGER2, 60),
        (TCP, socket.TCP_FASTOPEN, 0),
        (TCP, socket.TCP_NOTSENT_LOWAT, 0),
        (socket.IPPROTO_IP, socket.IP_TOS, 0),
        (socket.IPPROTO_IP, socket.IP_TTL, 64),
    ):
        assert sock.getsockopt(level, name) == value, (level, name)
    for flag in (socket.SO_KEEPALIVE, socket.SO_REUSEADDR, socket.SO_BROADCAST):
        sock.setsockopt(SOL, flag, 7)
        assert sock.getsockopt(SOL, flag) == 1
    sock.setsockopt(SOL, socket.SO_PRIORITY, 3)
    assert sock.getsockopt(SOL, socket.SO_PRIORITY) == 3
    sock.setsockopt(TCP, socket.TCP_NOTSENT_LOWAT, 16384)
    assert sock.getsockopt(TCP, socket.TCP_NOTSENT_LOWAT) == 16384
    for seconds, taken in ((-1, -1), (7, 7), (100_000, 120), (0, 60)):
        sock.setsockopt(TCP, socket.TCP_LINGER2, seconds)
        assert sock.getsockopt(TCP, socket.TCP_LINGER2) == taken
    assert len(sock.getsockopt(TCP, socket.TCP_INFO, 104)) == 104
    assert sock.getsockopt(TCP, socket.TCP_INFO, 104)[0] == 1  # ESTABLISHED
    sock.setsockopt(TCP, socket.TCP_CONGESTION, b"reno")
    assert sock.getsockopt(TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"reno"
    assert sock.getsockopt(TCP, socket.TCP_CONGESTION, 3) == b"ren"


@pytest.mark.parametrize("name", [socket.SO_SNDBUF, socket.SO_RCVBUF])
async def test_buffers_are_what_can_be_had(net: Net, name: int) -> None:
    """A size out of range is no error, and a negative one is a large one."""
    sock = await socket_of(net)

    def size(wanted: int) -> int:
        sock.setsockopt(SOL, name, wanted)
        return int(sock.getsockopt(SOL, name))

    doubled = 2 if net.kernel else 1  # the kernel counts its own overhead
    assert size(50_000) == 50_000 * doubled
    assert size(0) == (4608 if name == socket.SO_SNDBUF else 2304) // 2 * doubled
    largest = size(2**31 - 1)
    assert 100_000 < largest < 2**31 - 1
    assert size(-1) == largest


async def test_there_is_no_way_to_read_from_it(net: Net) -> None:
    sock = await socket_of(net)
    if net.kernel_uvloop:
        pytest.skip("uvloop's has the methods, and they raise TypeError")
    for name in ("close", "detach", "recv", "send", "sendall", "accept", "connect", "listen"):
        assert not hasattr(sock, name)


async def test_its_time_limit_is_none(net: Net) -> None:
    sock = await socket_of(net)
    assert sock.gettimeout() == 0
    sock.settimeout(0)
    sock.settimeout(0.0)
    sock.setblocking(0)
    for value in (None, 1.5):
        with pytest.raises(ValueError, match="only 0 timeout is allowed"):
            sock.settimeout(value)
    with pytest.raises(ValueError, match="cannot be blocking"):
        sock.setblocking(1)
    assert sock.get_inheritable() is False


async def test_shutdown(net: Net) -> None:
    if net.kernel_uvloop:
        pytest.skip("uvloop's has no shutdown()")
    client, server = Recorder(keep_open=True), Recorder(keep_open=True)
    left, right = await net.pair(client, server)
    sock = left.get_extra_info("socket")
    with pytest.raises(OSError, match="Invalid argument"):
        sock.shutdown(7)
    sock.shutdown(socket.SHUT_WR)
    await server.at_eof
    right.write(b"still open this way")
    assert await client.until(19)


async def test_a_connection_that_was_reset_is_not_connected(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    left.pause_reading()
    reset_on_close(right)
    right.close()
    await net.turns()
    sock = left.get_extra_info("socket")
    with pytest.raises(OSError, match=r".") as caught:
        sock.getpeername()
    assert caught.value.errno == errno.ENOTCONN
    assert left.get_extra_info("peername")[0] == net.host
    assert sock.getsockname() == left.get_extra_info("sockname")
    if not net.kernel_uvloop:
        with pytest.raises(OSError, match=r".") as caught:
            sock.shutdown(socket.SHUT_WR)
        assert caught.value.errno == errno.ENOTCONN


def check_closed(sock: Any) -> None:
    for call in (
        lambda: sock.getsockopt(TCP, NODELAY),
        lambda: sock.setsockopt(TCP, NODELAY, 1),
        sock.getsockname,
        sock.getpeername,
        sock.get_inheritable,
        sock.dup,
        lambda: sock.shutdown(socket.SHUT_WR),
    ):
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            call()
        assert caught.value.errno == errno.EBADF
    with pytest.raises(TypeError):
        sock.setsockopt(TCP, NODELAY, "1")
    assert sock.fileno() == -1
    assert (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_STREAM)
    assert sock.proto == socket.IPPROTO_TCP
    assert sock.gettimeout() == 0
    sock.setblocking(False)
    assert repr(sock).endswith(" fd=-1, family=2, type=1, proto=6>")


async def test_once_its_transport_is_lost_it_is_closed(net: Net) -> None:
    if net.kernel_uvloop:
        pytest.skip("uvloop's raises ValueError: negative file descriptor")
    client = Recorder()
    left, _ = await net.pair(client, Recorder())
    sock = left.get_extra_info("socket")
    names = sock.getsockname(), sock.getpeername()
    left.close()
    assert (sock.getsockname(), sock.getpeername()) == names
    await client.lost
    await net.turns(1)
    check_closed(sock)
    assert (left.get_extra_info("sockname"), left.get_extra_info("peername")) == names


async def test_once_its_server_is_closed_it_is_closed(net: Net) -> None:
    if net.kernel_uvloop:
        pytest.skip("uvloop's raises ValueError: negative file descriptor")
    server = await net.server.create_server(Recorder, net.host, 0)
    (sock,) = server.sockets
    assert sock.getsockopt(SOL, socket.SO_ACCEPTCONN) == 1
    assert sock.getsockopt(SOL, socket.SO_REUSEADDR) == 1
    server.close()
    await net.turns(1)
    check_closed(sock)
