"""TLS connections in use, and how they end."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from aiotcp.sim import VirtualLoop
from tests.contract.substrate import (
    MANY,
    PATTERN,
    BufferedRecorder,
    Calls,
    Net,
    Recorder,
    reset_on_close,
)
from tests.contract.tls_support import NAME, V1_2, V1_3, Hand, client_side, server_side


async def secure_pair(
    net: Net, client: Calls, server: Calls, version: ssl.TLSVersion = V1_3, **kwds: Any
) -> None:
    """Connect the two protocols. `kwds` go to both sides."""
    listening = await net.server.create_server(
        lambda: server, net.host, 0, ssl=server_side(version), **kwds
    )
    port = listening.sockets[0].getsockname()[1]
    await net.client.create_connection(
        lambda: client, net.host, port, ssl=client_side(), server_hostname=NAME, **kwds
    )
    await server.made
    listening.close()


async def hand_and_server(
    net: Net, server: Calls, version: ssl.TLSVersion = V1_3, **kwds: Any
) -> Hand:
    """A client by hand, connected to a protocol."""
    listening = await net.server.create_server(
        lambda: server, net.host, 0, ssl=server_side(version), **kwds
    )
    port = listening.sockets[0].getsockname()[1]
    hand = Hand(await net.client.open_connection(net.host, port), client_side())
    await hand.handshake()
    await hand.write(b"x")
    await server.until(1)
    listening.close()
    return hand


@pytest.mark.parametrize(("version", "buffered"), [(V1_2, False), (V1_3, False), (V1_3, True)])
async def test_large_transfers_both_ways_at_once(
    net: Net, version: ssl.TLSVersion, buffered: bool
) -> None:
    if buffered and net.kernel and not net.kernel_uvloop:
        pytest.skip("asyncio loses what it reads into a copy of a slice of a bytearray (3.11-3.13)")
    client = BufferedRecorder(100_000) if buffered else Recorder()
    server = BufferedRecorder(70_000) if buffered else Recorder()
    await secure_pair(net, client, server, version)

    async def send(protocol: Calls) -> None:
        for start in range(0, MANY, 300_000):
            protocol.transport.write(PATTERN[start : min(start + 300_000, MANY)])
            await protocol.resumed()

    await asyncio.gather(send(client), send(server), client.until(MANY), server.until(MANY))
    assert client.data == server.data == PATTERN[:MANY]
    client.transport.close()
    await client.lost
    await server.lost
    assert client.exception is server.exception is None


async def test_a_receiver_that_pauses_stops_the_sender_and_loses_nothing(net: Net) -> None:
    client, server = Recorder(), Recorder()
    await secure_pair(net, client, server)
    server.transport.pause_reading()
    assert not server.transport.is_reading()
    chunk, sent = PATTERN[:500_000], 0
    while "pause_writing" not in client.calls:  # kernels let some MB wait
        client.transport.write(chunk)
        sent += len(chunk)
        await net.turns(5)
        assert sent < 8 * MANY, "nothing stops it"
    assert not server.data
    assert client.transport.get_write_buffer_size() > 0
    server.transport.resume_reading()
    assert server.transport.is_reading()
    await client.resumed()
    assert await server.until(sent) == chunk * (sent // len(chunk))
    client.transport.close()
    await client.lost


async def test_limits_of_the_write_buffer(net: Net) -> None:
    client, server = Recorder(), Recorder()
    await secure_pair(net, client, server)
    transport = client.transport
    assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
    transport.set_write_buffer_limits(high=1000, low=10)
    assert transport.get_write_buffer_limits() == (10, 1000)
    assert transport.get_write_buffer_size() == 0
    assert transport.get_protocol() is client
    transport.writelines([b"several ", bytearray(b"kinds "), memoryview(b"of bytes")])
    assert await server.until(22) == b"several kinds of bytes"
    transport.close()
    await client.lost


async def test_half_closing_is_not_for_tls(net: Net) -> None:
    client, server = Recorder(), Recorder()
    await secure_pair(net, client, server)
    assert not client.transport.can_write_eof()
    with pytest.raises(NotImplementedError):
        client.transport.write_eof()
    with pytest.raises(TypeError):
        client.transport.write("text")
    client.transport.close()
    await client.lost


async def test_another_protocol_takes_over(net: Net) -> None:
    client, server = Recorder(), Recorder()
    await secure_pair(net, client, server)
    client.transport.write(b"first")
    await server.until(5)
    later = BufferedRecorder(100)
    later.connection_made(server.transport)
    server.transport.set_protocol(later)
    assert server.transport.get_protocol() is later
    client.transport.write(b"second")
    assert await later.until(6) == b"second"
    client.transport.close()
    await later.lost
    await client.lost
    assert "connection_lost" not in server.calls


# The end


@pytest.mark.parametrize("version", [V1_2, V1_3])
async def test_what_was_written_before_close_arrives(net: Net, version: ssl.TLSVersion) -> None:
    client, server = Recorder(), Recorder()
    await secure_pair(net, client, server, version)
    client.transport.write(PATTERN[:1_000_000])
    client.transport.close()
    assert client.transport.is_closing()
    client.transport.write(b"into the void")
    await client.lost
    await server.lost
    assert server.data == PATTERN[:1_000_000]
    assert client.exception is server.exception is None


async def test_who_closes_says_so_and_waits_for_the_answer(net: Net) -> None:
    server = Recorder()
    hand = await hand_and_server(net, server)
    server.transport.write(b"last words")
    server.transport.close()
    assert await hand.read() == b"last words"
    assert await hand.read() == b""
    await net.turns()
    assert not server.lost.done()
    await hand.unwrap()
    await server.lost
    assert server.exception is None
    assert await hand.reader.read() == b""
    hand.writer.close()


async def test_a_peer_that_says_so_gets_an_answer(net: Net) -> None:
    server = Recorder()
    hand = await hand_and_server(net, server)
    await hand.unwrap()
    await server.lost
    assert server.calls == ["connection_made", "data", "eof_received", "connection_lost"]
    assert server.exception is None
    hand.writer.close()


async def test_an_end_of_file_without_a_word(net: Net) -> None:
    """Only the end of the TCP connection: to asyncio, it ends all the same."""
    server = Recorder()
    hand = await hand_and_server(net, server)
    hand.writer.write_eof()
    await server.lost
    assert server.exception is None
    assert server.calls[-1] == "connection_lost"
    assert server.transport.is_closing()
    hand.writer.close()


async def test_a_reset(net: Net) -> None:
    server = Recorder()
    hand = await hand_and_server(net, server)
    reset_on_close(hand.writer)
    hand.writer.close()
    await server.lost
    assert isinstance(server.exception, ConnectionResetError)


async def test_a_peer_that_never_answers_the_end(net: Net) -> None:
    server = Recorder()
    hand = await hand_and_server(net, server, ssl_shutdown_timeout=0.05)
    began = net.loop.time()
    server.transport.close()
    await server.lost
    assert isinstance(server.exception, TimeoutError)
    if isinstance(net.loop, VirtualLoop):
        assert net.loop.time() - began < 1
    assert str(server.exception) == "SSL shutdown timed out"
    hand.writer.transport.abort()


@pytest.mark.parametrize("upgrade", [False, True])
async def test_a_server_that_never_answers_the_end(net: Net, upgrade: bool) -> None:
    hands: list[Hand] = []

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hands.append(Hand((reader, writer), server_side(), server_side=True))
        await hands[0].handshake()

    server = await net.server.start_server(ignore, net.host, 0)
    port = server.sockets[0].getsockname()[1]
    kwds: dict[str, Any] = {"server_hostname": NAME, "ssl_shutdown_timeout": 0.05}
    client = Recorder()
    if upgrade:
        below, _ = await net.client.create_connection(lambda: client, net.host, port)
        transport = await net.start_tls(below, client, client_side(), **kwds)
    else:
        transport, _ = await net.client.create_connection(
            lambda: client, net.host, port, ssl=client_side(), **kwds
        )
    began = net.loop.time()
    transport.close()
    await client.lost
    assert isinstance(client.exception, TimeoutError)
    if isinstance(net.loop, VirtualLoop):
        assert net.loop.time() - began < 1
    assert str(client.exception) == "SSL shutdown timed out"
    hands[0].writer.transport.abort()
    server.close()
    await net.turns()


async def test_abort_does_not_wait(net: Net) -> None:
    server = Recorder()
    hand = await hand_and_server(net, server)
    server.transport.abort()
    await server.lost
    assert server.exception is None
    try:
        while await hand.reader.read():
            pass
    except ConnectionResetError:
        pass
    hand.writer.close()


async def test_a_record_that_is_no_tls(net: Net) -> None:
    server = Recorder()
    hand = await hand_and_server(net, server)
    hand.writer.write(b"\x17\x03\x03\x00\x20" + bytes(32))
    await server.lost
    assert isinstance(server.exception, ssl.SSLError)
    hand.writer.close()


async def test_streams_read_to_the_end_and_wait_closed(net: Net) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()

    server = await net.server.start_server(answer, net.host, 0, ssl=server_side())
    port = server.sockets[0].getsockname()[1]
    for _ in range(3):
        reader, writer = await net.client.open_connection(
            net.host, port, ssl=client_side(), server_hostname=NAME
        )
        assert not writer.can_write_eof()
        writer.write(b"a line\n")
        assert await reader.read() == b"a line\n"
        assert reader.at_eof()
        writer.close()
        await writer.wait_closed()
    server.close()
    await server.wait_closed()
