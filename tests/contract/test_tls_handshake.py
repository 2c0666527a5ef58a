"""How TLS connections begin: what each side learns, and how it ends when it comes to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any

import pytest

from tests.contract.substrate import BufferedRecorder, Net, Recorder, reset_on_close
from tests.contract.tls_support import NAME, PEM, V1_2, V1_3, client_side, server_side


class Served:
    """A server whose protocols are kept, in `protocols`."""

    def __init__(self, net: Net, server: Any, protocols: list[Recorder]) -> None:
        self.net, self.server, self.protocols = net, server, protocols
        self.port = server.sockets[0].getsockname()[1]

    async def connect(
        self, context: ssl.SSLContext | bool, protocol: Any = Recorder, **kwds: Any
    ) -> Any:
        """The client's protocol."""
        kwds = {"server_hostname": NAME} | kwds
        _, made = await self.net.client.create_connection(
            protocol, self.net.host, self.port, ssl=context, **kwds
        )
        return made

    async def close(self) -> None:
        self.server.close()
        for protocol in self.protocols:
            if protocol.transport is not None and not protocol.lost.done():
                protocol.transport.abort()
                await protocol.lost
        await self.net.turns()


async def serve(net: Net, context: ssl.SSLContext | None, **kwds: Any) -> Served:
    protocols: list[Recorder] = []

    def accept() -> Recorder:
        protocols.append(Recorder())
        return protocols[-1]

    return Served(
        net, await net.server.create_server(accept, net.host, 0, ssl=context, **kwds), protocols
    )


@pytest.mark.parametrize("version", [V1_2, V1_3])
async def test_protocols_hear_of_the_connection_once_it_is_secure(
    net: Net, version: ssl.TLSVersion
) -> None:
    served = await serve(net, server_side(version))
    client = await served.connect(client_side())
    client.transport.write(b"question")
    (server,) = served.protocols
    assert await server.until(8) == b"question"
    server.transport.write(b"answer")
    assert await client.until(6) == b"answer"
    client.transport.close()
    await client.lost
    await server.lost
    # Who closes hears of the other's close_notify, which is an end of file
    assert client.calls == ["connection_made", "data", "eof_received", "connection_lost"]
    assert server.calls == ["connection_made", "data", "eof_received", "connection_lost"]
    assert client.exception is server.exception is None
    await served.close()


@pytest.mark.parametrize("version", [V1_2, V1_3])
async def test_what_both_sides_know(net: Net, version: ssl.TLSVersion) -> None:
    server_context, client_context = server_side(version), client_side()
    served = await serve(net, server_context)
    client = await served.connect(client_context)
    (server,) = served.protocols
    await server.made
    ours, theirs = client.transport.get_extra_info, server.transport.get_extra_info
    assert (ours("sslcontext"), theirs("sslcontext")) == (client_context, server_context)
    assert ours("cipher") == ours("ssl_object").cipher() == theirs("cipher")
    assert (
        ours("ssl_object").version()
        == theirs("ssl_object").version()
        == version.name.replace("_", ".")
    )
    assert ours("compression", 1) is theirs("compression", 1) is None
    assert ("DNS", NAME) in ours("peercert")["subjectAltName"]
    assert ours("ssl_object").getpeercert() == ours("peercert")
    assert theirs("peercert", "default") is None
    assert ours("ssl_object").server_hostname == NAME
    assert theirs("ssl_object").server_side
    assert not ours("ssl_object").session_reused
    assert ours("peername") == theirs("sockname") == (net.host, served.port)
    assert ours("sockname") == theirs("peername")
    assert ours("unheard of", "default") == "default"
    for info in (ours, theirs):
        sock = info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert ours("socket").getpeername() == theirs("socket").getsockname()
    client.transport.close()
    await client.lost
    await server.lost
    await served.close()


async def test_a_buffered_protocol_on_top(net: Net) -> None:
    served = await serve(net, server_side())
    client = await served.connect(client_side(), lambda: BufferedRecorder(1000))
    (server,) = served.protocols
    await server.made
    server.transport.write(bytes(range(250)) * 40)
    assert await client.until(10_000) == bytes(range(250)) * 40
    client.transport.close()
    await client.lost
    await served.close()


async def test_application_protocols_are_negotiated(net: Net) -> None:
    server_context, client_context = server_side(), client_side()
    server_context.set_alpn_protocols(["h2", "http/1.1"])
    client_context.set_alpn_protocols(["spdy", "http/1.1"])
    served = await serve(net, server_context)
    client = await served.connect(client_context)
    await served.protocols[0].made
    for protocol in (client, served.protocols[0]):
        chosen = protocol.transport.get_extra_info("ssl_object").selected_alpn_protocol()
        assert chosen == "http/1.1"
    client.transport.close()
    await client.lost
    await served.close()


async def test_the_servers_callback_sees_the_name_and_may_change_the_context(net: Net) -> None:
    asked: list[str | None] = []
    another = server_side(V1_2)

    def choose(sock: Any, name: str | None, context: ssl.SSLContext) -> None:
        asked.append(name)
        sock.context = another

    server_context = server_side()
    server_context.sni_callback = choose
    served = await serve(net, server_context)
    client = await served.connect(client_side())
    assert asked == [NAME]
    await served.protocols[0].made
    assert served.protocols[0].transport.get_extra_info("ssl_object").context is another
    client.transport.close()
    await client.lost
    await served.close()


async def test_an_address_is_no_name_to_be_indicated(net: Net) -> None:
    asked: list[str | None] = []
    server_context = server_side()
    server_context.sni_callback = lambda sock, name, context: asked.append(name)
    served = await serve(net, server_context)
    client = await served.connect(client_side(), server_hostname=None)
    assert asked == [None]
    client.transport.close()
    await client.lost
    await served.close()


async def test_without_checking_any_name_will_do(net: Net) -> None:
    context = client_side()
    context.check_hostname = False
    served = await serve(net, server_side())
    for name in ("", "other.test"):
        client = await served.connect(context, server_hostname=name)
        client.transport.close()
        await client.lost
    await served.close()


# Client certificates


@pytest.mark.parametrize("version", [V1_2, V1_3])
async def test_the_server_sees_the_clients_certificate(net: Net, version: ssl.TLSVersion) -> None:
    server_context, client_context = server_side(version), client_side()
    server_context.verify_mode = ssl.CERT_REQUIRED
    server_context.load_verify_locations(PEM)
    client_context.load_cert_chain(PEM)
    served = await serve(net, server_context)
    client = await served.connect(client_context)
    (server,) = served.protocols
    await server.made
    certificate = server.transport.get_extra_info("peercert")
    assert ((("commonName", NAME),)) in certificate["subject"]
    client.transport.close()
    await client.lost
    await served.close()


@pytest.mark.parametrize("version", [V1_2, V1_3])
async def test_a_client_without_the_certificate_that_is_required(
    net: Net, version: ssl.TLSVersion
) -> None:
    """asyncio's server hangs up without an alert. In TLS 1.3 that is after the handshake of the
    client is over: it hears of the certificate's lack later."""
    server_context = server_side(version)
    server_context.verify_mode = ssl.CERT_REQUIRED
    server_context.load_verify_locations(PEM)
    served = await serve(net, server_context)
    if version is V1_2:
        with pytest.raises((ConnectionResetError, ssl.SSLError)):
            await served.connect(client_side())
    else:
        client = await served.connect(client_side())
        await client.lost
    await net.turns()
    assert served.protocols[0].calls == []
    await served.close()


# Failures


async def test_certificates_that_do_not_verify(net: Net) -> None:
    served = await serve(net, server_side())
    for context, name, message in (
        (True, NAME, "self-signed certificate"),
        (ssl.create_default_context(), NAME, "self-signed certificate"),
        (client_side(), "other.test", "Hostname mismatch"),
    ):
        with pytest.raises(ssl.SSLCertVerificationError, match=message) as caught:
            await served.connect(context, server_hostname=name)
        assert caught.value.verify_code
    await net.turns()
    assert [protocol.calls for protocol in served.protocols] == [[], [], []]
    await served.close()


async def test_no_version_in_common(net: Net) -> None:
    server_context = server_side()
    server_context.minimum_version = V1_3
    served = await serve(net, server_context)
    with pytest.raises((ConnectionResetError, ssl.SSLError)):
        await served.connect(client_side(V1_2))
    await net.turns()
    assert served.protocols[0].calls == []
    await served.close()


async def test_a_server_that_does_not_speak_tls(net: Net) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test ESMTP ready\r\n")
        with contextlib.suppress(ConnectionResetError):  # if its first words were on their way
            await reader.read()
        writer.close()

    server = await net.server.start_server(greet, net.host, 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ssl.SSLError, match="WRONG_VERSION_NUMBER") as caught:
        await net.client.create_connection(
            Recorder, net.host, port, ssl=client_side(), server_hostname=NAME
        )
    assert not isinstance(caught.value, ssl.SSLCertVerificationError)
    server.close()
    await net.turns()


async def test_a_client_that_does_not_speak_tls(net: Net) -> None:
    served = await serve(net, server_side())
    reader, writer = await net.client.open_connection(net.host, served.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    try:
        # An alert or not, that depends on when the server gives up
        await reader.read()
    except ConnectionResetError:
        pass
    writer.close()
    await net.turns()
    assert served.protocols[0].calls == []
    await served.close()


async def test_a_server_that_hangs_up_in_the_handshake(net: Net) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10_000)
        writer.close()

    server = await net.server.start_server(hang_up, net.host, 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ConnectionResetError):
        await net.client.create_connection(
            Recorder, net.host, port, ssl=client_side(), server_hostname=NAME
        )
    server.close()
    await net.turns()


async def test_a_server_that_resets_in_the_handshake(net: Net) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10_000)
        reset_on_close(writer)
        writer.close()

    server = await net.server.start_server(reset, net.host, 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ConnectionResetError):
        await net.client.create_connection(
            Recorder, net.host, port, ssl=client_side(), server_hostname=NAME
        )
    server.close()
    await net.turns()


async def test_a_client_that_gives_up_in_the_handshake(net: Net) -> None:
    """Cancelled, and by a timeout: the server hears of it and its protocol never does."""
    ended = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(10_000):
            pass
        ended.set()
        writer.close()

    server = await net.server.start_server(listen, net.host, 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(
            net.client.create_connection(
                Recorder, net.host, port, ssl=client_side(), server_hostname=NAME
            ),
            0.05,
        )
    await ended.wait()
    server.close()
    await net.turns()


async def test_a_server_does_not_wait_for_ever(net: Net) -> None:
    served = await serve(net, server_side(), ssl_handshake_timeout=0.05)
    reader, writer = await net.client.open_connection(net.host, served.port)
    try:
        assert await reader.read() == b""
    except ConnectionResetError:
        pass
    writer.close()
    await net.turns()
    assert served.protocols[0].calls == []
    await served.close()


async def test_a_handshake_that_takes_too_long_says_how_long(net: Net) -> None:
    server = await net.server.create_server(Recorder, net.host, 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ConnectionAbortedError) as caught:
        await net.client.create_connection(
            Recorder,
            net.host,
            port,
            ssl=client_side(),
            server_hostname=NAME,
            ssl_handshake_timeout=0.05,
        )
    assert str(caught.value) == (
        "SSL handshake is taking longer than 0.05 seconds: aborting the connection"
    )
    server.close()
    await net.turns()


# Misuse


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"server_hostname": NAME}, ValueError, "server_hostname is only meaningful with ssl"),
        (
            {"ssl_handshake_timeout": 1.0},
            ValueError,
            "ssl_handshake_timeout is only meaningful with ssl",
        ),
        (
            {"ssl_shutdown_timeout": 1.0},
            ValueError,
            "ssl_shutdown_timeout is only meaningful with ssl",
        ),
        (
            {"ssl": client_side(), "host": None},
            ValueError,
            "You must set server_hostname when using ssl without a host",
        ),
        (
            {"ssl": client_side(), "ssl_handshake_timeout": 0},
            ValueError,
            "ssl_handshake_timeout should be a positive number, got 0",
        ),
        (
            {"ssl": client_side(), "ssl_shutdown_timeout": -1.5},
            ValueError,
            "ssl_shutdown_timeout should be a positive number, got -1.5",
        ),
    ],
)
async def test_misuse_by_a_client(
    net: Net, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    if "positive" in message and net.kernel and not net.kernel_uvloop:
        pytest.skip(
            "asyncio leaves the socket, which is connected by then, to its garbage collector"
        )
    served = await serve(net, server_side())
    kwds: dict[str, Any] = {"host": net.host, "port": served.port} | arguments
    with pytest.raises(error, match=message):
        await net.client.create_connection(Recorder, **kwds)
    await net.turns()
    await served.close()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ssl": True}, TypeError, "ssl argument must be an SSLContext or None"),
        ({"ssl": False}, TypeError, "ssl argument must be an SSLContext or None"),
        (
            {"ssl_handshake_timeout": 1.0},
            ValueError,
            "ssl_handshake_timeout is only meaningful with ssl",
        ),
        (
            {"ssl_shutdown_timeout": 1.0},
            ValueError,
            "ssl_shutdown_timeout is only meaningful with ssl",
        ),
    ],
)
async def test_misuse_by_a_server(
    net: Net, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await net.server.create_server(Recorder, net.host, 0, **arguments)
