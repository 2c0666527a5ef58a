"""What a protocol sees of a transport."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from contextvars import ContextVar
from typing import Any

import pytest

from tests.contract.substrate import BufferedRecorder, KernelAsyncio, Net, Recorder, reset_on_close

MANY = 8 * 1024 * 1024
"""Bytes, more than both ends' buffers hold."""

pattern = bytes(range(251)) * (MANY // 251 + 1)


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
    left.write(pattern[:MANY])
    right.write(pattern[1:MANY])
    assert await server.until(MANY) == pattern[:MANY]
    assert await client.until(MANY - 1) == pattern[1:MANY]
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
    ):
        sock.setsockopt(level, name, value)
        assert sock.getsockopt(level, name) == value
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    with pytest.raises(OSError, match="rotocol not available"):
        sock.setsockopt(socket.IPPROTO_TCP, 250, 1)
    with pytest.raises(OSError, match="rotocol not available"):
        sock.getsockopt(socket.IPPROTO_TCP, 250)


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
    if not net.kernel_uvloop:  # which begins to read all the same
        assert server.calls == ["connection_made"]
    right.resume_reading()
    assert await server.until(4) == b"data"


async def test_a_reader_that_pauses_stops_the_writer(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    right.pause_reading()
    left.write(pattern[:MANY])
    await net.turns()
    assert client.calls[1:] == ["pause_writing"]
    stuck = left.get_write_buffer_size()
    assert 64 * 1024 < stuck < MANY
    await net.turns()
    assert left.get_write_buffer_size() == stuck
    right.resume_reading()
    assert await server.until(MANY) == pattern[:MANY]
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
    left.write(pattern[:MANY])
    assert client.calls[1:] == ["pause_writing"] or net.kernel_uvloop
    await client.resumed()
    assert left.get_write_buffer_size() == 0
    assert await server.until(MANY) == pattern[:MANY]


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
    left.writelines([b" and", bytearray(b" a"), memoryview(b" list"), b""])
    left.close()
    await server.lost
    assert server.data == b"bytes bytearray view read-only and a list"


@pytest.mark.stack_only
async def test_a_buffer_that_the_caller_reuses_is_copied(net: Net) -> None:
    server = Recorder()
    left, right = await net.pair(Recorder(), server)
    right.pause_reading()
    reused = bytearray(pattern[:MANY])
    left.write(reused)
    reused[:] = bytes(MANY)
    left.write(memoryview(reused).toreadonly()[:10])
    reused[:10] = b"changed it"
    left.write(memoryview(pattern[:40]).cast("I"))
    left.write(memoryview(pattern[:40])[::2])
    right.resume_reading()
    expected = pattern[:MANY] + bytes(10) + pattern[:40] + pattern[:40:2]
    assert await server.until(len(expected)) == expected


async def test_close_ends_the_transport_on_the_next_turn(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, _ = await net.pair(client, server)
    left.write(b"last words")
    left.close()
    left.close()
    assert left.is_closing()
    assert client.calls == ["connection_made"]
    await asyncio.sleep(0)
    if not net.kernel_uvloop:
        assert client.calls == ["connection_made", "connection_lost"]
    await server.lost
    assert client.calls == ["connection_made", "connection_lost"]
    assert client.exception is None
    assert server.data == b"last words"
    assert server.exception is None


async def test_close_writes_what_waits_first(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    right.pause_reading()
    left.write(pattern[:MANY])
    left.close()
    await net.turns()
    assert "connection_lost" not in client.calls
    assert left.is_closing()
    right.resume_reading()
    await server.lost
    assert server.data == pattern[:MANY]
    await client.lost
    assert client.exception is None


async def test_connection_lost_comes_once(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    left.close()
    right.close()
    left.abort()
    await client.lost
    await server.lost
    for transport in (left, right):
        transport.close()
        transport.abort()
        transport.pause_reading()
        transport.resume_reading()
        if not net.kernel_uvloop:
            transport.write_eof()
    await net.turns()
    assert client.calls.count("connection_lost") == server.calls.count("connection_lost") == 1


async def test_write_after_the_end_is_silent(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    client = Recorder()
    left, _ = await net.pair(client, Recorder())
    left.close()
    await client.lost
    if net.kernel_uvloop:
        pytest.skip("uvloop raises RuntimeError; the stack does what asyncio does")
    for _ in range(4):
        left.write(b"into the void")
    assert not caplog.records
    left.write(b"into the void")
    assert len(caplog.records) == 1
    assert caplog.records[0].name == "asyncio"


async def test_abort_with_nothing_waiting(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, _ = await net.pair(client, server)
    left.abort()
    assert left.is_closing()
    assert client.calls == ["connection_made"]
    await client.lost
    assert client.exception is None
    await server.lost
    assert server.exception is None
    assert server.calls == ["connection_made", "eof_received", "connection_lost"]


async def test_abort_drops_what_waits_to_be_written(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    right.pause_reading()
    left.write(pattern[:MANY])
    await net.turns()
    assert client.calls[1:] == ["pause_writing"]
    left.abort()
    assert left.get_write_buffer_size() == 0 or net.kernel_uvloop
    await client.lost
    assert client.exception is None
    right.resume_reading()
    await server.lost
    assert len(server.data) < MANY


async def test_abort_with_unread_bytes_resets(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    left.pause_reading()
    right.write(b"never read")
    await net.turns()
    left.abort()
    await server.lost
    assert isinstance(server.exception, ConnectionResetError)


async def test_close_with_unread_bytes_resets(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    left.pause_reading()
    right.write(b"never read")
    await net.turns()
    left.close()
    await client.lost
    assert client.exception is None
    await server.lost
    assert isinstance(server.exception, ConnectionResetError)
    assert server.exception.errno == 104
    assert server.calls == ["connection_made", "connection_lost"]


async def test_linger_zero_resets(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, _ = await net.pair(client, server)
    reset_on_close(left)
    left.close()
    await server.lost
    assert isinstance(server.exception, ConnectionResetError)


async def test_bytes_before_a_reset_are_delivered(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    right.pause_reading()
    left.write(b"before the reset")
    reset_on_close(left)
    await net.turns()
    left.close()
    await net.turns()
    assert server.calls == ["connection_made"]
    right.resume_reading()
    await server.lost
    assert server.data == b"before the reset"
    assert isinstance(server.exception, ConnectionResetError)


async def test_a_reset_while_writing_waits(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    right.pause_reading()
    left.write(pattern[:MANY])
    await net.turns()
    reset_on_close(right)
    right.close()
    await client.lost
    assert isinstance(client.exception, ConnectionResetError)
    assert left.get_write_buffer_size() == 0
    assert left.is_closing()


async def test_eof_received_false_closes(net: Net) -> None:
    client, server = Recorder(), Recorder(keep_open=False)
    left, right = await net.pair(client, server)
    left.write_eof()
    await server.lost
    assert server.calls == ["connection_made", "eof_received", "connection_lost"]
    assert right.is_closing()
    await client.lost
    assert client.calls == ["connection_made", "eof_received", "connection_lost"]


async def test_eof_received_true_keeps_writing(net: Net) -> None:
    client, server = Recorder(), Recorder(keep_open=True)
    left, right = await net.pair(client, server)
    left.write(b"request")
    left.write_eof()
    await server.at_eof
    assert server.data == b"request"
    assert not right.is_closing()
    right.write(pattern[:MANY])
    right.close()
    await client.lost
    assert client.data == pattern[:MANY]
    assert server.calls.count("eof_received") == 1


async def test_write_eof_follows_what_waits(net: Net) -> None:
    client, server = Recorder(keep_open=True), Recorder()
    left, right = await net.pair(client, server)
    right.pause_reading()
    left.write(pattern[:MANY])
    left.write_eof()
    right.resume_reading()
    await server.lost
    assert server.data == pattern[:MANY]
    await client.at_eof
    assert not left.is_closing()
    left.close()
    await client.lost


async def test_close_when_the_peer_is_long_gone(net: Net) -> None:
    client, server = Recorder(keep_open=True), Recorder()
    left, right = await net.pair(client, server)
    right.close()
    await client.at_eof
    left.write_eof()
    await net.turns()
    assert "connection_lost" not in client.calls
    left.close()
    await client.lost
    assert client.exception is None


async def test_close_when_the_peer_has_reset(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    left.pause_reading()
    reset_on_close(right)
    right.abort()
    await net.turns()
    left.close()
    await client.lost
    assert client.exception is None


async def test_second_write_to_a_closed_peer(net: Net) -> None:
    client, server = Recorder(keep_open=True), Recorder()
    left, right = await net.pair(client, server)
    right.close()
    await client.at_eof
    left.write(b"answered by a reset")
    await net.turns()
    assert "connection_lost" not in client.calls
    left.write(b"finds it")
    await client.lost
    assert isinstance(client.exception, BrokenPipeError)
    assert client.exception.errno == 32


async def test_the_protocol_can_change(net: Net) -> None:
    first, second, third = Recorder(), BufferedRecorder(1000), Recorder()
    left, right = await net.pair(Recorder(), first)
    assert right.get_protocol() is first
    left.write(b"first")
    await first.until(5)
    for protocol, data in ((second, b"second" * 1000), (third, b"third")):
        protocol.calls.append("set_protocol")
        right.set_protocol(protocol)
        left.write(data)
        assert await protocol.until(len(data)) == data
    left.close()
    await third.lost
    assert first.calls == ["connection_made", "data"]
    assert second.calls == ["set_protocol", "data"]
    assert third.calls == ["set_protocol", "data", "eof_received", "connection_lost"]


async def test_buffered_protocol(net: Net) -> None:
    client, server = Recorder(), BufferedRecorder(5000)
    left, _ = await net.pair(client, server)
    left.write(pattern[:MANY])
    left.close()
    await server.lost
    assert server.data == pattern[:MANY]
    assert server.calls == ["connection_made", "data", "eof_received", "connection_lost"]


@pytest.mark.parametrize("method", ["data_received", "eof_received"])
async def test_a_protocol_that_raises_loses_its_connection(net: Net, method: str) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("a bug in the protocol")

    client, server = Recorder(), Recorder()
    setattr(server, method, fail)
    left, right = await net.pair(client, server)
    left.write(b"data")
    left.write_eof()
    await server.lost
    assert isinstance(server.exception, RuntimeError)
    await client.lost
    report = net.reports.pop()
    assert report["exception"] is server.exception
    if not net.kernel_uvloop:
        assert report["message"] == f"Fatal error: protocol.{method}() call failed."
        assert report["transport"] is right
        assert report["protocol"] is server


async def test_a_protocol_whose_buffer_is_empty_loses_its_connection(net: Net) -> None:
    server = BufferedRecorder(0)
    left, _ = await net.pair(Recorder(), server)
    left.write(b"data")
    await server.lost
    assert isinstance(server.exception, RuntimeError)
    assert net.reports.pop()["exception"] is server.exception


@pytest.mark.parametrize("method", ["get_buffer", "buffer_updated"])
async def test_a_buffered_protocol_that_raises_loses_its_connection(net: Net, method: str) -> None:
    def fail(count: int) -> bytearray:
        raise RuntimeError("a bug in the protocol")

    server = BufferedRecorder(100)
    setattr(server, method, fail)
    left, _ = await net.pair(Recorder(), server)
    left.write(b"data")
    await server.lost
    assert isinstance(server.exception, RuntimeError)
    assert net.reports.pop()["exception"] is server.exception


async def test_callbacks_run_in_the_context_of_the_caller(net: Net) -> None:
    side: ContextVar[str] = ContextVar("side")
    seen: list[tuple[str, str]] = []

    class Curious(Recorder):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            seen.append((self.name, side.get()))

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            seen.append((self.name, side.get()))

        def connection_lost(self, exc: BaseException | None) -> None:
            seen.append((self.name, side.get()))
            super().connection_lost(exc)

    client, server = Curious("client"), Curious("server")
    side.set("server")
    listening = await net.server.create_server(lambda: server, net.host, 0)
    side.set("client")
    port = listening.sockets[0].getsockname()[1]
    left, _ = await net.client.create_connection(lambda: client, net.host, port)
    side.set("neither")
    left.write(b"question")
    await server.until(8)
    server.transport.write(b"answer")
    await client.until(6)
    left.close()
    await server.lost
    listening.close()
    await listening.wait_closed()
    assert len(seen) == 6
    if isinstance(net.loop, KernelAsyncio):  # calls connection_lost() in the context of close()
        del seen[4:]
    assert all(name == context for name, context in seen)


async def test_a_lost_transport_lets_go_of_its_protocol(net: Net) -> None:
    client = Recorder()
    left, _ = await net.pair(client, Recorder())
    gone = weakref.ref(client)
    left.close()
    await client.lost
    del client
    await net.turns()
    gc.collect()
    assert gone() is None


@pytest.mark.stack_only
async def test_repr(net: Net) -> None:
    client = Recorder()
    left, right = await net.pair(client, Recorder())
    places = f"local=192.0.2.1:{left.get_extra_info('sockname')[1]} remote=192.0.2.2:"
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
