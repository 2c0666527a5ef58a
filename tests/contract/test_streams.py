"""What a program sees that uses streams, and the table of exceptions."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.substrate import Net, reset_on_close

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
BIG = 4 * 1024 * 1024


class Accepting:
    """A server of streams whose connections a test takes one by one."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.accepted: asyncio.Queue[Streams] = asyncio.Queue()
        self.opened: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Accepting:
        self.server = await self.net.server.start_server(self._keep, self.net.host, 0)
        self.port: int = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.server.close()
        for writer in self.opened:
            writer.close()
            try:
                await writer.wait_closed()
            except OSError:
                pass
        await self.server.wait_closed()

    def _keep(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.put_nowait((reader, writer))

    async def connect(self, **kwds: Any) -> tuple[Streams, Streams]:
        """The client's and the server's ends of a new connection."""
        ours = await self.net.client.open_connection(self.net.host, self.port, **kwds)
        theirs = await self.accepted.get()
        self.opened += [ours[1], theirs[1]]
        return ours, theirs


async def test_conversation(net: Net) -> None:
    async with Accepting(net) as accepting:
        (reader, writer), (their_reader, their_writer) = await accepting.connect()
        writer.write(b"one\ntwo\n")
        assert await their_reader.readline() == b"one\n"
        assert await their_reader.readexactly(4) == b"two\n"
        their_writer.writelines([b"three", b"|", b"four"])
        assert await reader.readuntil(b"|") == b"three|"
        their_writer.close()
        await their_writer.wait_closed()
        assert await reader.read() == b"four"
        writer.close()
        await writer.wait_closed()


async def test_two_readers_at_once(net: Net) -> None:
    async with Accepting(net) as accepting:
        (reader, _), (_, their_writer) = await accepting.connect()
        reading = asyncio.ensure_future(reader.read(5))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match=r"read\(\) called while another coroutine is"):
            await reader.read(5)
        their_writer.write(b"hello")
        assert await reading == b"hello"


async def test_repr(net: Net) -> None:
    async with Accepting(net) as accepting:
        (reader, writer), _ = await accepting.connect()
        assert repr(writer).startswith("<StreamWriter transport=<")
        assert "transport=<" in repr(reader)


async def test_big_echo(net: Net) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100_000):
            writer.write(data)
            await writer.drain()
        writer.close()

    sent = bytes(range(256)) * (BIG // 256)
    async with await net.server.start_server(echo, net.host, 0) as server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await net.client.open_connection(net.host, port)

        async def send() -> None:
            for start in range(0, BIG, 300_000):
                writer.write(sent[start : start + 300_000])
                await writer.drain()
            writer.write_eof()

        _, received = await asyncio.gather(send(), reader.read())
        assert received == sent
        writer.close()
        await writer.wait_closed()


@pytest.mark.req("MUST-12", "ST-17")
async def test_the_end_of_the_stream_leaves_it_half_open(net: Net) -> None:
    async with Accepting(net) as accepting:
        (reader, writer), (their_reader, their_writer) = await accepting.connect()
        their_writer.write_eof()
        assert await reader.read() == b""
        assert reader.at_eof()
        assert not writer.is_closing()
        writer.write(b"still")
        assert await their_reader.readexactly(5) == b"still"
        with pytest.raises(RuntimeError, match=r"Cannot call write\(\) after write_eof\(\)"):
            their_writer.write(b"no")


either_end = pytest.mark.parametrize("accepted", [False, True])


@either_end
async def test_drain_waits_until_there_is_room(net: Net, accepted: bool) -> None:
    async with Accepting(net) as accepting:
        ends = await accepting.connect()
        (_, writer), (their_reader, _) = ends[::-1] if accepted else ends
        for _ in range(2):
            writer.write(bytes(2 * BIG))
            drains = [asyncio.ensure_future(writer.drain()) for _ in range(3)]
            await net.turns()
            assert not any(drain.done() for drain in drains)
            await their_reader.readexactly(2 * BIG)
            await asyncio.gather(*drains)


async def test_a_reader_holds_no_more_than_its_limit_and_a_batch(net: Net) -> None:
    async with Accepting(net) as accepting:
        (reader, _), (_, their_writer) = await accepting.connect(limit=1000)
        their_writer.write(bytes(BIG))
        await net.turns()
        assert len(await reader.read(BIG)) <= 2000 + 256 * 1024
        their_writer.transport.abort()


async def test_connection_refused(net: Net) -> None:
    port = await net.unused_port()
    with pytest.raises(ConnectionRefusedError) as caught:
        await net.client.open_connection(net.host, port)
    assert caught.value.errno == errno.ECONNREFUSED
    if not net.kernel_uvloop:
        assert caught.value.strerror == f"Connect call failed ('{net.host}', {port})"


async def test_a_bad_name(net: Net) -> None:
    with pytest.raises(socket.gaierror) as caught:
        await net.client.open_connection("a name", 80, flags=socket.AI_NUMERICHOST)
    assert caught.value.errno == socket.EAI_NONAME


@pytest.mark.req("MUST-41")
async def test_an_address_in_use(net: Net) -> None:
    async with Accepting(net) as accepting:
        with pytest.raises(OSError, match="error while attempting to bind on address") as caught:
            await net.server.start_server(print, net.host, accepting.port)
    assert caught.value.errno == errno.EADDRINUSE
    assert str(caught.value).lower().endswith("address already in use")
    assert f"('{net.host}', {accepting.port})" in str(caught.value)


async def test_an_address_of_somebody_else(net: Net) -> None:
    with pytest.raises(OSError, match="bind on a") as caught:
        await net.server.start_server(print, "198.51.100.1", 0)
    if not (net.kernel or net.loops) or sys.version_info < (3, 13):
        assert caught.value.errno == errno.EADDRNOTAVAIL
    with pytest.raises(OSError, match="annot assign requested address") as caught:
        await net.client.open_connection(net.host, 80, local_addr=("198.51.100.1", 0))
    assert caught.value.errno == errno.EADDRNOTAVAIL


async def test_a_local_address_of_the_other_family(net: Net) -> None:
    message = "Invalid argument" if net.kernel_uvloop else "no matching local address"
    with pytest.raises(OSError, match=message):
        await net.client.open_connection(net.host, 80, local_addr=("::1", 0))


@pytest.mark.req("MUST-43")
async def test_a_local_address(net: Net) -> None:
    async with Accepting(net) as accepting:
        (_, first), _ = await accepting.connect()
        host, _port = first.get_extra_info("sockname")
        first.transport.abort()
        await first.wait_closed()
        (_, second), (_, theirs) = await accepting.connect(local_addr=(host, 0))
        assert second.get_extra_info("sockname")[0] == host
        assert theirs.get_extra_info("peername") == second.get_extra_info("sockname")
        taken = second.get_extra_info("sockname")[1]
        with pytest.raises(OSError, match="address") as caught:
            await accepting.connect(local_addr=(host, taken))
        if not net.kernel_uvloop:  # which binds with SO_REUSEADDR, and fails to connect
            assert caught.value.errno == errno.EADDRINUSE


@either_end
async def test_an_end_that_was_awaited(net: Net, accepted: bool) -> None:
    async with Accepting(net) as accepting:
        ends = await accepting.connect()
        (_, writer), (_, their_writer) = ends[::-1] if accepted else ends
        writer.write(bytes(2 * BIG))
        drain = asyncio.ensure_future(writer.drain())
        closed = asyncio.ensure_future(writer.wait_closed())
        await net.turns()
        assert not drain.done()
        assert not closed.done()
        reset_on_close(their_writer.transport)
        their_writer.close()
        for waiting in (drain, closed):
            with pytest.raises(ConnectionResetError):
                await waiting


@pytest.mark.req("MUST-12")
@either_end
async def test_reset_by_the_peer(net: Net, accepted: bool) -> None:
    async with Accepting(net) as accepting:
        ends = await accepting.connect()
        (reader, writer), (_, their_writer) = ends[::-1] if accepted else ends
        reading = asyncio.ensure_future(reader.read())
        reset_on_close(their_writer.transport)
        their_writer.close()
        with pytest.raises(ConnectionResetError) as caught:
            await reading
        assert caught.value.errno == errno.ECONNRESET
        assert reader.exception() is caught.value
        assert writer.is_closing()
        for again in (reader.read(), writer.drain(), writer.wait_closed()):
            with pytest.raises(ConnectionResetError) as other:
                await again
            assert other.value is caught.value


async def test_writing_to_a_peer_that_has_closed(net: Net) -> None:
    async with Accepting(net) as accepting:
        (reader, writer), (_, their_writer) = await accepting.connect()
        their_writer.close()
        assert await reader.read() == b""
        writer.write(b"first")
        await writer.drain()
        await net.turns()
        assert not writer.is_closing()
        writer.write(b"second")
        await net.turns()
        for operation in (writer.drain, writer.wait_closed):
            with pytest.raises(BrokenPipeError) as caught:
                await operation()
            assert caught.value.errno == errno.EPIPE


async def test_drain_after_close(net: Net) -> None:
    async with Accepting(net) as accepting:
        (_, writer), _ = await accepting.connect()
        writer.close()
        if net.kernel_uvloop:
            await writer.wait_closed()
        with pytest.raises(ConnectionResetError, match="Connection lost") as caught:
            await writer.drain()
        assert caught.value.errno is None


async def test_wait_closed_after_abort(net: Net) -> None:
    async with Accepting(net) as accepting:
        (_, writer), _ = await accepting.connect()
        writer.write(bytes(2 * BIG))
        writer.transport.abort()
        await writer.wait_closed()


async def test_a_callback_that_fails_closes_its_connection(net: Net) -> None:
    if net.early_asyncio:
        pytest.skip("asyncio of this Python forgets the connection")

    async def fail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise RuntimeError("a bug in the program")

    async with await net.server.start_server(fail, net.host, 0) as server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await net.client.open_connection(net.host, port)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    report = net.reports.pop()
    assert report["message"] == "Unhandled exception in client_connected_cb"
    assert str(report["exception"]) == "a bug in the program"


async def test_a_callback_that_is_cancelled_closes_its_connection(net: Net) -> None:
    if (net.kernel or net.loops) and sys.version_info < (3, 13):
        pytest.skip("asyncio of this Python reports the cancellation and forgets the connection")
    tasks: asyncio.Queue[asyncio.Task[None] | None] = asyncio.Queue()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.put_nowait(asyncio.current_task())
        await net.loop.create_future()

    async with await net.server.start_server(hang, net.host, 0) as server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await net.client.open_connection(net.host, port)
        task = await tasks.get()
        assert task is not None
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_a_forgotten_writer_warns_and_closes(net: Net) -> None:
    if net.early_asyncio:
        pytest.skip("asyncio of this Python leaves the connection open, in silence")
    async with Accepting(net) as accepting:
        reader, writer = await net.client.open_connection(net.host, accepting.port)
        their_reader, their_writer = await accepting.accepted.get()
        accepting.opened.append(their_writer)
        await net.turns(5)
        with pytest.warns(ResourceWarning, match="unclosed <StreamWriter"):
            del reader, writer
        assert await their_reader.read() == b""


async def test_cancelled_while_connecting(net: Net) -> None:
    async with Accepting(net) as accepting:
        attempt = asyncio.ensure_future(net.client.open_connection(net.host, accepting.port))
        await asyncio.sleep(0)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        await net.turns()
        while not accepting.accepted.empty():
            their_reader, their_writer = accepting.accepted.get_nowait()
            accepting.opened.append(their_writer)
            try:
                assert await their_reader.read() == b""
            except ConnectionResetError:
                pass


@pytest.mark.parametrize(
    ("kwds", "message"),
    [
        ({"host": "h", "port": 1, "server_hostname": "h"}, "is only meaningful with ssl"),
        ({"host": "h", "port": 1, "ssl_handshake_timeout": 1}, "is only meaningful with ssl"),
        ({"host": "h", "port": 1, "ssl_shutdown_timeout": 1}, "is only meaningful with ssl"),
        ({"port": 1, "ssl": True}, "You must set server_hostname when using ssl without a host"),
        ({}, "host and port was not specified and no sock specified"),
    ],
)
async def test_misuse_of_create_connection(net: Net, kwds: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        await net.client.create_connection(asyncio.Protocol, **kwds)


@pytest.mark.parametrize(
    ("kwds", "message"),
    [
        ({"host": "h", "port": 1, "ssl_handshake_timeout": 1}, "is only meaningful with ssl"),
        ({"host": "h", "port": 1, "ssl_shutdown_timeout": 1}, "is only meaningful with ssl"),
        ({}, "Neither host/port nor sock were specified"),
    ],
)
async def test_misuse_of_create_server(net: Net, kwds: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        await net.server.create_server(asyncio.Protocol, **kwds)


async def test_ssl_of_a_server_is_a_context(net: Net) -> None:
    with pytest.raises(TypeError, match="ssl argument must be an SSLContext or None"):
        await net.server.start_server(print, net.host, 0, ssl=True)


@pytest.mark.parametrize("side", ["create_connection", "create_server"])
async def test_a_socket_and_a_host_together(net: Net, side: str) -> None:
    function: Callable[..., Any] = getattr(net.client, side)
    with (
        socket.socket() as sock,
        pytest.raises(ValueError, match="host/port and sock can not be specified at the same time"),
    ):
        await function(asyncio.Protocol, net.host, 80, sock=sock)


@pytest.mark.substrates("aiotcp-virtual")  # a loop gives it to the kernel
@pytest.mark.parametrize("side", ["create_connection", "create_server"])
async def test_a_kernel_socket_is_refused(net: Net, side: str) -> None:
    function: Callable[..., Any] = getattr(net.client, side)
    with socket.socket() as sock, pytest.raises(ValueError, match="kernel socket"):
        await function(asyncio.Protocol, sock=sock)
