"""Sockets that stand for a connection of the stack do what connected sockets do."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import aiotcp
from aiotcp import Stack
from aiotcp.link.memory import MemoryLink
from tests.eventloop.world import (
    HERE,
    PEER,
    LoopFactory,
    greet,
    nothing_left,
    open_descriptors,
    turns,
    two,
    unfinished,
)

LINGER_ZERO = b"\1\0\0\0\0\0\0\0"


def unconnected() -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    return sock


def with_peer(
    loop_factory: LoopFactory,
    stack: Stack,
    link: MemoryLink,
    use: Callable[[Any, Stack, socket.socket], Awaitable[None]],
    served: Callable[..., Any] = greet,
) -> None:
    """Run `use(loop, peer, sock)` with a socket that is connected to `served` at the peer."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        peer = Stack(link, addresses=[PEER])
        await peer.start_server(served, PEER, 7)
        sock = unconnected()
        await loop.sock_connect(sock, (PEER, 7))
        await use(loop, peer, sock)
        await peer.aclose(0)

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_it_has_the_names_of_the_connection(loop_factory: LoopFactory) -> None:
    stack, link = two()

    async def use(loop: Any, peer: Stack, sock: socket.socket) -> None:
        assert isinstance(sock, socket.socket)
        assert sock.getpeername() == (PEER, 7)
        host, port = sock.getsockname()
        assert host == HERE
        assert port == stack.connections()[0].local.port
        sock.close()
        with pytest.raises(OSError, match="Bad file") as caught:
            sock.getpeername()
        assert caught.value.errno == errno.EBADF

    with_peer(loop_factory, stack, link, use)


@pytest.mark.parametrize("how", ["close", "detach", "in a thread"])
def test_closing_it_closes_the_connection(loop_factory: LoopFactory, how: str) -> None:
    """At once, whoever holds the socket still."""
    stack, link = two()
    ended: list[bytes] = []

    async def until_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(await reader.read())
        writer.close()

    async def use(loop: Any, peer: Stack, sock: socket.socket) -> None:
        await loop.sock_sendall(sock, b"bye")
        if how == "close":
            sock.close()
        elif how == "detach":
            socket.close(sock.detach())
        else:
            thread = threading.Thread(target=sock.close)
            thread.start()
            thread.join()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        peer = Stack(link, addresses=[PEER])
        await peer.start_server(until_end, PEER, 7)
        before = open_descriptors()
        sock = unconnected()
        await loop.sock_connect(sock, (PEER, 7))
        await use(loop, peer, sock)
        await nothing_left(stack, before)
        assert ended == [b"bye"]
        assert sock.fileno() == -1
        await peer.aclose(0)

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_half_a_close(loop_factory: LoopFactory) -> None:
    stack, link = two()

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"%d" % len(await reader.read()))
        writer.close()

    async def use(loop: Any, peer: Stack, sock: socket.socket) -> None:
        await loop.sock_sendall(sock, memoryview(bytes(100_000)))
        sock.shutdown(socket.SHUT_WR)
        with pytest.raises(BrokenPipeError):
            await loop.sock_sendall(sock, b"more")
        assert await loop.sock_recv(sock, 100) == b"100000"
        assert await loop.sock_recv(sock, 100) == b""
        sock.close()

    with_peer(loop_factory, stack, link, use, count)


def test_a_reset(loop_factory: LoopFactory) -> None:
    stack, link = two()

    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"last words")
        await turns()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        writer.close()

    async def use(loop: Any, peer: Stack, sock: socket.socket) -> None:
        await loop.sock_sendall(sock, b"!")
        while stack.connections():
            await turns()
        assert await loop.sock_recv(sock, 4) == b"last"
        assert await loop.sock_recv(sock, 100) == b" words"
        with pytest.raises(ConnectionResetError):
            await loop.sock_recv(sock, 100)
        with pytest.raises(ConnectionResetError):
            await loop.sock_sendall(sock, b"!")
        sock.close()

    with_peer(loop_factory, stack, link, use, slam)


def test_arguments_that_sockets_refuse(loop_factory: LoopFactory) -> None:
    stack, link = two()

    async def use(loop: Any, peer: Stack, sock: socket.socket) -> None:
        for data in (5, "text", None):
            with pytest.raises(TypeError, match="bytes-like"):
                await loop.sock_sendall(sock, data)
        with pytest.raises(ValueError, match="negative buffersize in recv"):
            await loop.sock_recv(sock, -1)
        assert await loop.sock_recv(sock, 0) == b""
        with pytest.raises(OSError, match="Invalid argument"):
            await loop.sock_accept(sock)
        sock.close()

    with_peer(loop_factory, stack, link, use)


def test_it_may_be_closed_while_somebody_waits(loop_factory: LoopFactory) -> None:
    stack, link = two()

    async def use(loop: Any, peer: Stack, sock: socket.socket) -> None:
        waiting = asyncio.ensure_future(loop.sock_recv(sock, 100))
        await turns()
        sock.close()
        with pytest.raises(OSError, match="Bad file") as caught:
            await waiting
        assert caught.value.errno == errno.EBADF
        connecting = asyncio.ensure_future(loop.sock_connect(sock := unconnected(), (PEER, 7)))
        await asyncio.sleep(0)
        sock.close()
        with pytest.raises(OSError, match="Bad file"):
            await connecting
        await turns(50)
        assert unfinished(stack) in ([], ["FIN-WAIT-2"])

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await reader.read()
        writer.close()

    with_peer(loop_factory, stack, link, use, hold)


def test_a_file_through_it(loop_factory: LoopFactory, tmp_path: Path) -> None:
    stack, link = two()
    path = tmp_path / "file"
    path.write_bytes(b"hello\n" * 1000)

    async def use(loop: Any, peer: Stack, sock: socket.socket) -> None:
        with path.open("rb") as file:
            with pytest.raises(asyncio.SendfileNotAvailableError):
                await loop.sock_sendfile(sock, file, fallback=False)
            with pytest.raises(ValueError, match="positive integer"):
                await loop.sock_sendfile(sock, file, 0, 0)
            assert await loop.sock_sendfile(sock, file, 6, 6) == 6
        with path.open() as text, pytest.raises(ValueError, match="binary mode"):
            await loop.sock_sendfile(sock, text)
        assert await loop.sock_recv(sock, 100) == b"stack hello\n"
        sock.close()
        await loop.shutdown_default_executor()

    with_peer(loop_factory, stack, link, use)


def test_misuse_leaves_it_as_it_is(loop_factory: LoopFactory) -> None:
    stack, link = two()

    async def use(loop: Any, peer: Stack, sock: socket.socket) -> None:
        misuse: list[tuple[type[Exception], dict[str, Any]]] = [
            (ValueError, {"ssl": True}),
            (ValueError, {"server_hostname": "x"}),
            (ValueError, {"options": {"cc": "reno"}}),
            (ValueError, {"host": PEER, "port": 7}),
            (TypeError, {"nonsense": 1}),
        ]
        for error, kwds in misuse:
            with pytest.raises(error):
                await loop.create_connection(asyncio.Protocol, sock=sock, **kwds)
        await loop.sock_sendall(sock, b"there\n")
        assert await loop.sock_recv(sock, 100) == b"stack there\n"
        sock.close()

    with_peer(loop_factory, stack, link, use)


def test_other_sockets_are_the_loops_business(loop_factory: LoopFactory, loopback: None) -> None:
    stack, _ = two()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        left, right = socket.socketpair()
        with left, right, unconnected() as fresh:
            left.setblocking(False)
            with pytest.raises(AttributeError):
                await loop.create_connection(asyncio.Protocol, sock=5)
            with pytest.raises(OSError, match="onnect"):
                await loop.sock_connect(fresh, ("127.0.0.1", 9))
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=left)
            transport.abort()
        with socket.create_server(("127.0.0.1", 7)), unconnected() as connected:
            await loop.sock_connect(connected, ("127.0.0.1", 7))
            with pytest.raises(OSError, match="already connected"):
                await loop.sock_connect(connected, (PEER, 7))
        with pytest.raises(OSError, match="Bad file"):
            await loop.sock_connect(connected, (PEER, 7))

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_options_go_along(loop_factory: LoopFactory) -> None:
    """Those of which a stack knows nothing are no reason to fail."""
    stack, link = two()
    chosen = [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000),
        (socket.SOL_SOCKET, socket.SO_SNDBUF, 50_000),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1234),
        (socket.IPPROTO_TCP, socket.TCP_MAXSEG, 700),
        (socket.IPPROTO_IP, socket.IP_TTL, 9),
    ]

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        peer = Stack(link, addresses=[PEER])
        await peer.create_server(asyncio.Protocol, PEER, 7)
        sock = unconnected()
        for level, name, value in chosen:
            sock.setsockopt(level, name, value)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        sock.setsockopt(socket.IPPROTO_TCP, 30, 1)  # TCP_FASTOPEN_CONNECT
        await loop.sock_connect(sock, (PEER, 7))
        # Before there was a transport: it matters for the SYN.
        assert peer.connections()[0].mss < 700
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
        facade = transport.get_extra_info("socket")
        for level, name, value in chosen:
            if name == socket.TCP_MAXSEG:
                continue
            assert facade.getsockopt(level, name) == value
        assert facade.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 5
        assert facade.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)[:5] == b"reno\0"
        assert facade.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == LINGER_ZERO
        transport.abort()
        await turns()
        assert not unfinished(stack)
        await peer.aclose(0)

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)
