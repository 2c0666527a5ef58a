"""TLS through asyncio's own SSLProtocol: over kernel sockets and over the stack."""

from __future__ import annotations

import asyncio
import gc
import ssl
import weakref
from pathlib import Path

import pytest

from tests.contract.substrate import MANY, PATTERN, Net, Recorder

# Plain uvloop's start_tls() takes no foreign transport, and so `aiotcp` has its own.
pytestmark = pytest.mark.substrates(
    *("kernel-asyncio", "kernel-uvloop", "aiotcp-virtual", "aiotcp-uvloop"),
    *("loop-asyncio", "loop-uvloop"),
)

PEM = Path(__file__).parents[1] / "support" / "tls" / "self-signed.pem"
NAME = "stack.test"


@pytest.fixture
def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    return context


@pytest.fixture
def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=PEM)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(100_000):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def test_echo(
    net: Net, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    server = await net.server.start_server(echo, net.host, 0, ssl=server_context)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await net.client.open_connection(
        net.host, port, ssl=client_context, server_hostname=NAME
    )
    assert writer.get_extra_info("sslcontext") is client_context
    assert writer.get_extra_info("cipher") is not None
    assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
    assert ("DNS", NAME) in writer.get_extra_info("peercert")["subjectAltName"]
    assert writer.get_extra_info("peername") == (net.host, port)
    assert writer.get_extra_info("socket") is not None

    async def send() -> None:
        for start in range(0, MANY, 500_000):
            writer.write(PATTERN[start : min(start + 500_000, MANY)])
            await writer.drain()

    _, received = await asyncio.gather(send(), reader.readexactly(MANY))
    assert received == PATTERN[:MANY]
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def test_the_host_is_whom_the_certificate_must_name(
    net: Net, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    server = await net.server.create_server(Recorder, net.host, 0, ssl=server_context)
    port = server.sockets[0].getsockname()[1]
    _, protocol = await net.client.create_connection(Recorder, net.host, port, ssl=client_context)
    protocol.transport.close()
    await protocol.lost
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        await net.client.create_connection(
            Recorder, net.host, port, ssl=client_context, server_hostname="other.test"
        )
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed certificate"):
        await net.client.create_connection(Recorder, net.host, port, ssl=True, server_hostname=NAME)
    server.close()
    await server.wait_closed()


async def test_start_tls_of_streams(
    net: Net, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go ahead\n")
        await writer.start_tls(server_context)
        await echo(reader, writer)

    server = await net.server.start_server(upgrade, net.host, 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await net.client.open_connection(net.host, port)
    writer.write(b"STARTTLS\n")
    assert await reader.readline() == b"go ahead\n"
    await writer.start_tls(client_context, server_hostname=NAME)
    assert writer.get_extra_info("sslcontext") is client_context
    writer.write(b"secret\n")
    assert await reader.readline() == b"secret\n"
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def test_a_handshake_that_takes_too_long(net: Net, client_context: ssl.SSLContext) -> None:
    server = await net.server.create_server(Recorder, net.host, 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer"):
        await net.client.create_connection(
            Recorder,
            net.host,
            port,
            ssl=client_context,
            server_hostname=NAME,
            ssl_handshake_timeout=0.05,
        )
    server.close()
    await server.wait_closed()


async def test_a_lost_connection_lets_go_of_its_context(
    net: Net, server_context: ssl.SSLContext
) -> None:
    context = ssl.create_default_context(cafile=PEM)
    freed = weakref.ref(context)
    async with await net.server.create_server(Recorder, net.host, 0, ssl=server_context) as server:
        port = server.sockets[0].getsockname()[1]
        transport, protocol = await net.client.create_connection(
            Recorder, net.host, port, ssl=context, server_hostname=NAME
        )
        transport.close()
        await protocol.lost
        with pytest.raises(ssl.SSLCertVerificationError):
            await net.client.create_connection(
                Recorder, net.host, port, ssl=context, server_hostname="other.test"
            )
    del context, transport, protocol
    await net.turns()
    gc.collect()
    assert freed() is None
