"""What a protocol sees of a transport."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from tests.contract.substrate import MANY, PATTERN, Net, Recorder


async def test_the_waiter_wakes_after_connection_made(net: Net) -> None:
    client = Recorder()
    await net.pair(client, Recorder())
    assert client.calls == ["connection_made"]


async def test_nothing_is_delivered_before_connection_made(net: Net) -> None:
    class Eager(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.write(b"at once")
            self.transport.write_eof()

    server = Recorder()
    await net.pair(Eager(), server)
    await server.lost
    assert server.calls == ["connection_made", "data", "eof_received", "connection_lost"]
    assert server.data == b"at once"


async def test_bytes_arrive_in_order_both_ways(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    left.write(PATTERN[:MANY])
    right.write(PATTERN[1:MANY])
    assert await server.until(MANY) == PATTERN[:MANY]
    assert await client.until(MANY - 1) == PATTERN[1:MANY]
    left.close()
    await server.lost
    assert server.exception is None


async def test_extra_info(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    assert left.get_extra_info("peername") == right.get_extra_info("sockname")
    assert left.get_extra_info("sockname") == right.get_extra_info("peername")
    host, port = left.get_extra_info("peername")
    assert host == net.host
    assert isinstance(port, int)
    assert left.get_extra_info("sslcontext") is None
    assert left.get_extra_info("no such key") is None
    assert left.get_extra_info("no such key", 7) == 7


async def test_the_socket_of_a_connection(net: Net) -> None:
    left, _ = await net.pair(Recorder(), Recorder())
    sock = left.get_extra_info("socket")
    assert sock.family == socket.AF_INET
    assert sock.type == socket.SOCK_STREAM
    assert sock.getsockname() == left.get_extra_info("sockname")
    assert sock.getpeername() == left.get_extra_info("peername")
    assert sock.gettimeout() == 0
    sock.setblocking(False)
    with pytest.raises(ValueError, match="blocking"):
        sock.setblocking(True)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
    for level, name, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20000),
        (socket.IPPROTO_TCP, socket.TCP_LINGER2, 7),
        (socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1),
        (socket.SOL_SOCKET, socket.SO_OOBINLINE, 1),
        (socket.IPPROTO_IP, socket.IP_TOS, 0x20),
        (socket.IPPROTO_IP, socket.IP_TTL, 9),
    ):
        sock.setsockopt(level, name, value)
        assert sock.getsockopt(level, name) == value
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    with pytest.raises(OSError, match="rotocol not available"):
        sock.setsockopt(socket.IPPROTO_TCP, 250, 1)
    with pytest.raises(OSError, match="rotocol not available"):
        sock.getsockopt(socket.IPPROTO_TCP, 250)
    for level, name, value in (
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 0),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 40_000),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 0),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 200),
        (socket.IPPROTO_IP, socket.IP_TTL, 0),
        (socket.IPPROTO_IP, socket.IP_TTL, 256),
    ):
        with pytest.raises(OSError, match=r".") as caught:
            sock.setsockopt(level, name, value)
        assert caught.value.errno == errno.EINVAL
    for name in (socket.IPV6_TCLASS, socket.IPV6_UNICAST_HOPS):
        with pytest.raises(OSError, match=r"rotocol not available|not supported"):
            sock.setsockopt(socket.IPPROTO_IPV6, name, 1)


async def test_what_is_corked_waits(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, _ = await net.pair(client, server)
    sock = left.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK) == 1
    left.write(b"head")
    await net.turns()
    assert not server.data
    left.write(b"body")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
    assert await server.until(8) == b"headbody"
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    left.write(b"more")
    assert await server.until(12) == b"headbodymore"  # within 200 ms


async def test_dscp_and_hop_limit_of_a_socket(net: Net) -> None:
    """The ECN bits are TCP's; -1 is the default hop limit."""
    left, _ = await net.pair(Recorder(), Recorder())
    sock = left.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0xFF)
    assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0xFC
    default = sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 3)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, -1)
    assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == default


async def test_the_segment_size_of_a_connection(net: Net) -> None:
    left, _ = await net.pair(Recorder(), Recorder())
    sock = left.get_extra_info("socket")
    size = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    assert size > 1000
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 500)  # too late, and no error
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) == size


async def test_reading_can_be_paused_at_any_time(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    assert right.is_reading()
    right.pause_reading()
    right.pause_reading()
    assert not right.is_reading()
    left.write(b"while paused")
    left.write_eof()
    await net.turns()
    assert server.calls == ["connection_made"]
    right.resume_reading()
    right.resume_reading()
    assert server.calls == ["connection_made"]  # never from inside a call
    assert right.is_reading()
    await server.lost
    assert server.data == b"while paused"
    right.pause_reading()
    right.resume_reading()
    assert not right.is_reading()


async def test_pausing_in_connection_made(net: Net) -> None:
    class Paused(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.pause_reading()

    server = Paused()
    left, right = await net.pair(Recorder(), server)
    left.write(b"data")
    await net.turns()
    if not (net.kernel_uvloop or net.early_asyncio):  # which begin to read all the same
        assert server.calls == ["connection_made"]
    right.resume_reading()
    assert await server.until(4) == b"data"


@pytest.mark.req("MAY-8")
async def test_a_reader_that_pauses_stops_the_writer(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    right.pause_reading()
    left.write(PATTERN[:MANY])
    await net.turns()
    assert client.calls[1:] == ["pause_writing"]
    stuck = left.get_write_buffer_size()
    assert 64 * 1024 < stuck < MANY
    await net.turns()
    assert left.get_write_buffer_size() == stuck
    right.resume_reading()
    assert await server.until(MANY) == PATTERN[:MANY]
    assert left.get_write_buffer_size() == 0
    assert client.calls[1:] == ["pause_writing", "resume_writing"]


async def test_what_fits_is_sent_before_the_high_water_mark_counts(net: Net) -> None:
    client = Recorder()
    left, _ = await net.pair(client, Recorder())
    left.write(bytes(80 * 1024))
    assert left.get_write_buffer_size() == 0 or net.kernel_uvloop
    await net.turns()
    assert client.calls == ["connection_made"] or net.kernel_uvloop


async def test_write_buffer_limits(net: Net) -> None:
    left, _ = await net.pair(Recorder(), Recorder())
    if not net.kernel_uvloop:
        assert left.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
    left.set_write_buffer_limits(high=1000, low=10)
    assert left.get_write_buffer_limits() == (10, 1000)
    left.set_write_buffer_limits(high=1000)
    assert left.get_write_buffer_limits() == (250, 1000)
    left.set_write_buffer_limits(low=1000)
    assert left.get_write_buffer_limits() == (1000, 4000)
    left.set_write_buffer_limits(high=0)
    assert left.get_write_buffer_limits() == (0, 0)
    with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\) must be >= 0"):
        left.set_write_buffer_limits(high=1, low=2)


async def test_high_water_mark_of_zero_pauses_until_all_is_handed_over(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, _ = await net.pair(client, server)
    left.set_write_buffer_limits(0)
    left.write(PATTERN[:MANY])
    assert client.calls[1:] == ["pause_writing"] or net.kernel_uvloop
    await client.resumed()
    assert left.get_write_buffer_size() == 0
    assert await server.until(MANY) == PATTERN[:MANY]


async def test_misuse_of_write(net: Net) -> None:
    client, server = Recorder(), Recorder(keep_open=True)
    left, _ = await net.pair(client, server)
    left.write(b"")
    left.writelines([])
    if not net.kernel_uvloop:
        with pytest.raises(TypeError, match="must be a bytes-like object, not 'str'"):
            left.write("text")
    with pytest.raises(TypeError):
        left.writelines(["text"])
    assert left.can_write_eof()
    left.write_eof()
    left.write_eof()
    with pytest.raises(RuntimeError, match=r"Cannot call write\(\) after write_eof\(\)"):
        left.write(b"more")
    await server.at_eof
    assert server.data == b""


async def test_all_kinds_of_bytes(net: Net) -> None:
    server = Recorder()
    left, _ = await net.pair(Recorder(), server)
    reused = bytearray(b"bytearray ")
    left.write(b"bytes ")
    left.write(reused)
    reused[:] = b"----------"
    left.write(memoryview(b"a view")[2:])
    left.write(memoryview(b" read-only"))
    left.writelines([b" and", b"", bytearray(b" a"), memoryview(b" list")])
    left.close()
    await server.lost
    assert server.data == b"bytes bytearray view read-only and a list"


@pytest.mark.stack_only
async def test_a_buffer_that_the_caller_reuses_is_copied(net: Net) -> None:
    server = Recorder()
    left, right = await net.pair(Recorder(), server)
    right.pause_reading()
    reused = bytearray(PATTERN[:MANY])
    left.write(reused)
    reused[:] = bytes(MANY)
    left.write(memoryview(reused).toreadonly()[:10])
    reused[:10] = b"changed it"
    left.write(memoryview(PATTERN[:40]).cast("I"))
    left.write(memoryview(PATTERN[:40])[::2])
    right.resume_reading()
    expected = PATTERN[:MANY] + bytes(10) + PATTERN[:40] + PATTERN[:40:2]
    assert await server.until(len(expected)) == expected


@pytest.mark.stack_only
async def test_repr(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    host, port = left.get_extra_info("sockname")
    places = f"local={host}:{port} remote=192.0.2.2:"
    text = repr(left)
    assert text.startswith(f"<Transport {places}")
    assert text.endswith(" state=ESTABLISHED read=polling write=<idle, bufsize=0>>")
    right.pause_reading()
    assert "read=idle" in repr(right)
    left.write(bytes(MANY))
    assert f"write=<polling, bufsize={left.get_write_buffer_size()}>" in repr(left)
    left.close()
    assert repr(left).startswith(f"<Transport closing {places}")
    left.abort()
    await client.lost
    await net.turns()
    assert repr(left).startswith(f"<Transport closed {places}")
    assert "state" not in repr(left)
    right.resume_reading()
    await server.lost
