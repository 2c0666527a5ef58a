"""How a transport ends: close, abort, half-close, and what the peer does."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from tests.contract.substrate import MANY, PATTERN, Net, Recorder, reset_on_close


@pytest.mark.req("MAY-1")
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


@pytest.mark.req("ST-23")
async def test_close_writes_what_waits_first(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    right.pause_reading()
    left.write(PATTERN[:MANY])
    left.close()
    await net.turns()
    assert "connection_lost" not in client.calls
    assert left.is_closing()
    right.resume_reading()
    await server.lost
    assert server.data == PATTERN[:MANY]
    await client.lost
    assert client.exception is None


@pytest.mark.req("ST-23")
async def test_closing_with_a_linger_time_loses_nothing(net: Net) -> None:
    """The kernel's close(2) waits for a second here, then goes on in the background."""
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    right.pause_reading()
    sock = left.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 1, 1))
    left.write(PATTERN[: MANY // 16])  # less than a sender, more than a receiver lets wait
    left.close()
    await client.lost
    assert not server.data
    right.resume_reading()
    await server.lost
    assert server.data == PATTERN[: MANY // 16]
    assert server.exception is None


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


@pytest.mark.req("ST-24")
async def test_abort_drops_what_waits_to_be_written(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    right.pause_reading()
    left.write(PATTERN[:MANY])
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


@pytest.mark.req("MUST-12", "SHLD-3")
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
    left.write(PATTERN[:MANY])
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


@pytest.mark.req("ST-17")
async def test_eof_received_true_keeps_writing(net: Net) -> None:
    client, server = Recorder(), Recorder(keep_open=True)
    left, right = await net.pair(client, server)
    left.write(b"request")
    left.write_eof()
    await server.at_eof
    assert server.data == b"request"
    assert not right.is_closing()
    right.write(PATTERN[:MANY])
    right.close()
    await client.lost
    assert client.data == PATTERN[:MANY]
    assert server.calls.count("eof_received") == 1


async def test_write_eof_follows_what_waits(net: Net) -> None:
    client, server = Recorder(keep_open=True), Recorder()
    left, right = await net.pair(client, server)
    right.pause_reading()
    left.write(PATTERN[:MANY])
    left.write_eof()
    right.resume_reading()
    await server.lost
    assert server.data == PATTERN[:MANY]
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
