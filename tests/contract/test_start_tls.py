"""Connections that begin in the clear and go on in TLS; and TLS in TLS."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from tests.contract.substrate import MANY, PATTERN, Calls, Net, Recorder
from tests.contract.tls_support import NAME, V1_2, V1_3, Hand, client_side, server_side

# Plain uvloop refuses to upgrade what is not its own: the stack's writers must not ask it.
pytestmark = pytest.mark.substrates(
    *("kernel-asyncio", "kernel-uvloop", "aiotcp-virtual", "aiotcp-alone"),
    *("loop-asyncio", "loop-uvloop", "aiotcp-uvloop"),
)


async def upgraded(
    net: Net, client: Calls, server: Calls, version: ssl.TLSVersion = V1_3, **kwds: Any
) -> tuple[Any, Any]:
    """The two protocols' transports, upgraded; the client's first."""
    below = await net.pair(client, server)
    return await again(net, client, server, below, version, **kwds)


async def again(
    net: Net,
    client: Calls,
    server: Calls,
    below: tuple[Any, Any],
    version: ssl.TLSVersion = V1_3,
    **kwds: Any,
) -> tuple[Any, Any]:
    ours, theirs = await asyncio.gather(
        net.start_tls(below[0], client, client_side(), server_hostname=NAME, **kwds),
        net.start_tls(below[1], server, server_side(version), server_side=True, **kwds),
    )
    client.transport, server.transport = ours, theirs
    return ours, theirs


@pytest.mark.parametrize("version", [V1_2, V1_3])
async def test_both_sides_go_on_in_tls(net: Net, version: ssl.TLSVersion) -> None:
    client, server = Recorder(), Recorder()
    ours, theirs = await net.pair(client, server)
    ours.write(b"in the clear")
    assert await server.until(12) == b"in the clear"
    ours, theirs = await again(net, client, server, (ours, theirs), version)
    for protocol in (client, server):
        info = protocol.transport.get_extra_info
        assert info("ssl_object").version() == version.name.replace("_", ".")
        assert None not in (info("cipher"), info("socket"), info("sslcontext"))
    assert ours.get_extra_info("peername") == theirs.get_extra_info("sockname")
    assert ("DNS", NAME) in ours.get_extra_info("peercert")["subjectAltName"]
    ours.write(b"secret")
    theirs.write(b"answer")
    assert await server.until(18) == b"in the clearsecret"
    assert await client.until(6) == b"answer"
    ours.close()
    await client.lost
    await server.lost
    # connection_made() is not called again
    assert client.calls == ["connection_made", "data", "eof_received", "connection_lost"]
    assert client.exception is server.exception is None


async def test_large_transfers_after_the_upgrade(net: Net) -> None:
    client, server = Recorder(), Recorder()
    ours, theirs = await upgraded(net, client, server)
    ours.write(PATTERN[:MANY])
    theirs.write(PATTERN[1:MANY])
    await asyncio.gather(client.until(MANY - 1), server.until(MANY))
    assert server.data == PATTERN[:MANY]
    assert client.data == PATTERN[1:MANY]
    theirs.close()
    await server.lost
    await client.lost


async def test_tls_in_tls(net: Net) -> None:
    """As through a proxy that speaks TLS itself."""
    client, server = Recorder(), Recorder()
    outer = await upgraded(net, client, server)
    ours, theirs = await again(net, client, server, outer)
    assert ours is not outer[0]
    ours.write(PATTERN[:1_000_000])
    theirs.write(b"answer")
    assert await server.until(1_000_000) == PATTERN[:1_000_000]
    assert await client.until(6) == b"answer"
    assert ours.get_extra_info("peername") == outer[0].get_extra_info("peername")
    ours.close()
    await client.lost
    await server.lost
    assert client.exception is server.exception is None


async def test_a_client_that_talks_at_once(net: Net) -> None:
    """Its hello may be there before the server's side is ready for it: not if the server reads it
    as data, which is why protocols say when to begin."""
    server = Recorder()
    listening = await net.server.create_server(lambda: server, net.host, 0)
    port = listening.sockets[0].getsockname()[1]
    streams = await net.client.open_connection(net.host, port)
    await server.made
    server.transport.pause_reading()
    hand = Hand(streams, client_side())
    handshake = asyncio.ensure_future(hand.handshake())
    await net.turns()
    assert not server.data
    upper = await net.start_tls(server.transport, server, server_side(), server_side=True)
    await handshake
    await hand.write(b"hello")
    assert await server.until(5) == b"hello"
    upper.abort()
    await server.lost
    hand.writer.close()
    listening.close()


@pytest.mark.substrates("aiotcp-virtual", "aiotcp-alone", "loop-asyncio", "loop-uvloop")
async def test_a_connection_that_is_lost_is_closing_before_that_is_told(net: Net) -> None:
    """Else who writes and drains for ever keeps the loop from telling him."""
    client, server = Recorder(), Recorder()
    below = await net.pair(client, server)
    ours, theirs = await again(net, client, server, below)
    assert not ours.is_closing()
    below[0].abort()
    assert ours.is_closing()
    await client.lost
    await server.lost
    assert ours.is_closing()
    theirs.close()


async def test_a_certificate_that_does_not_verify(net: Net) -> None:
    client, server = Recorder(), Recorder()
    ours, theirs = await net.pair(client, server)
    results: Any = await asyncio.gather(
        net.start_tls(ours, client, client_side(), server_hostname="other.test"),
        net.start_tls(theirs, server, server_side(), server_side=True),
        return_exceptions=True,
    )
    assert isinstance(results[0], ssl.SSLCertVerificationError)
    # The server's handshake, of TLS 1.3, may have been over
    if isinstance(results[1], Exception):
        assert isinstance(results[1], ssl.SSLError | ConnectionResetError)
    assert ours.is_closing()
    theirs.abort()
    await net.turns()


async def test_a_peer_that_never_answers(net: Net) -> None:
    client, server = Recorder(), Recorder()
    ours, _ = await net.pair(client, server)
    with pytest.raises(ConnectionAbortedError, match=r"longer than 0\.05 seconds"):
        await net.start_tls(
            ours, client, client_side(), server_hostname=NAME, ssl_handshake_timeout=0.05
        )
    assert ours.is_closing()
    await server.lost


async def test_a_peer_that_hangs_up(net: Net) -> None:
    client, server = Recorder(), Recorder()
    ours, theirs = await net.pair(client, server)
    upgrade = asyncio.ensure_future(
        net.start_tls(ours, client, client_side(), server_hostname=NAME)
    )
    await server.until(1)
    theirs.close()
    with pytest.raises(ConnectionResetError):
        await upgrade
    await server.lost


async def test_cancelled_in_the_handshake(net: Net) -> None:
    client, server = Recorder(), Recorder()
    ours, _ = await net.pair(client, server)
    upgrade = asyncio.ensure_future(
        net.start_tls(ours, client, client_side(), server_hostname=NAME)
    )
    await server.until(1)
    upgrade.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upgrade
    assert ours.is_closing()
    await server.lost


async def test_what_can_not_be_upgraded(net: Net) -> None:
    client, server = Recorder(), Recorder()
    ours, _ = await net.pair(client, server)
    for context in (None, True, object()):
        with pytest.raises(TypeError, match="sslcontext is expected to be an instance of ssl"):
            await net.start_tls(ours, client, context)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"is not supported by start_tls\(\)"):
        await net.start_tls(asyncio.Transport(), client, client_side(), server_hostname=NAME)
    ours.write(b"still here")
    assert await server.until(10) == b"still here"


async def test_streams_in_both_directions(net: Net) -> None:
    """The writer of either side upgrades; which is the server's is known to it."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go ahead\n")
        await writer.start_tls(server_side(), ssl_handshake_timeout=10.0)
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        done.set()

    server = await net.server.start_server(serve, net.host, 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await net.client.open_connection(net.host, port)
    plain = writer.transport
    writer.write(b"STARTTLS\n")
    assert await reader.readline() == b"go ahead\n"
    await writer.start_tls(client_side(), server_hostname=NAME)
    assert writer.transport is not plain
    for line in (b"one\n", b"x" * 60_000 + b"\n"):
        writer.write(line)
        await writer.drain()
        assert await reader.readline() == line.upper()
    writer.close()
    await writer.wait_closed()
    await done.wait()
    server.close()
    await server.wait_closed()
