"""Programs that know nothing of aiotcp, on a loop that does: stacks and the kernel side by side."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import ssl
from typing import Any

import pytest

import aiotcp
from aiotcp import Options, Stack, sim
from aiotcp.link import memory
from tests.eventloop.world import HERE, PEER, LoopFactory, ask, greet, turns, two


def test_a_program_runs_on_the_stack_by_choosing_the_loop(loop_factory: LoopFactory) -> None:
    stack, link = two()

    async def main() -> bytes:
        server = await asyncio.start_server(greet, HERE, 7)
        async with server, Stack(link, addresses=[PEER]):
            return await ask(HERE, 7)

    assert aiotcp.run(main(), stack=stack, loop_factory=loop_factory) == b"stack hello\n"
    assert stack.closed


def test_loopback_stays_with_the_kernel(loop_factory: LoopFactory, loopback: None) -> None:
    stack, _ = two()

    async def main() -> bytes:
        async with await asyncio.start_server(greet, "127.0.0.1", 7):
            return await ask("127.0.0.1", 7)

    assert aiotcp.run(main(), stack=stack, loop_factory=loop_factory) == b"kernel hello\n"
    assert stack.counters.packets_sent == 0


def test_one_server_on_both(loop_factory: LoopFactory, loopback: None) -> None:
    stack, link = two()

    async def main() -> None:
        server = await asyncio.start_server(greet, [HERE, "127.0.0.1"], 7)
        assert server.is_serving()
        assert {sock.getsockname() for sock in server.sockets} == {(HERE, 7), ("127.0.0.1", 7)}
        assert await ask("127.0.0.1", 7) == b"kernel hello\n"
        async with Stack(link, addresses=[PEER]):
            assert await ask(HERE, 7) == b"stack hello\n"
        forever = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0)
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await forever
        await server.wait_closed()
        assert not server.is_serving()
        assert not server.sockets
        for method in (server.start_serving, server.serve_forever):
            with pytest.raises(RuntimeError, match="is closed"):
                await method()
        with pytest.raises(ConnectionRefusedError):
            await ask("127.0.0.1", 7)

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_routes_leave_the_rest_to_the_kernel(loop_factory: LoopFactory, loopback: None) -> None:
    stack, _ = two()

    async def main() -> None:
        async with await asyncio.start_server(greet, None, 7) as server:
            assert server.sockets[0].fileno() >= 0
        with pytest.raises(OSError, match="nreachable") as caught:
            await ask("203.0.113.1", 7)  # nobody in this namespace knows the way
        assert caught.value.errno == errno.ENETUNREACH
        assert stack.counters.packets_sent == 0
        attempt = asyncio.ensure_future(ask("198.51.100.1", 7))
        await turns()
        assert stack.counters.packets_sent == 1
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt

    routes = ["198.51.100.0/24"]
    aiotcp.run(main(), stack=stack, routes=routes, loop_factory=loop_factory)


def test_addresses_of_a_name_are_tried_wherever_they_belong(
    loop_factory: LoopFactory, loopback: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, link = two()

    look_up = socket.getaddrinfo

    def resolver(host: str, port: int, *args: Any, **kwds: Any) -> list[Any]:
        if host != "service.example":
            return look_up(host, port, *args, **kwds)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in (PEER, "127.0.0.1")
        ]

    async def fail() -> None:
        other = Stack(link, addresses=[PEER])
        monkeypatch.setattr(socket, "getaddrinfo", resolver)
        with pytest.raises(OSError, match=r"Multiple exceptions: .*192\.0\.2\.1.*, .*Errno 111"):
            await ask("service.example", 8)
        await other.aclose()

    async def fetch() -> bytes:
        async with await asyncio.start_server(greet, "127.0.0.1", 7):
            monkeypatch.setattr(socket, "getaddrinfo", resolver)
            return await ask("service.example", 7)

    class Loop(loop_factory):  # type: ignore[valid-type,misc]
        """Resolves in its own thread, which is in this test's namespace."""

        async def getaddrinfo(self, host: Any, port: Any, **kwds: Any) -> Any:
            return socket.getaddrinfo(host, port, **kwds)

    aiotcp.run(fail(), stack=stack, loop_factory=Loop)
    monkeypatch.undo()
    stack, _ = two(options=Options(syn_retries=1, rto_initial_s=0.2))
    assert aiotcp.run(fetch(), stack=stack, loop_factory=Loop) == b"kernel hello\n"


def test_a_connected_socket_becomes_a_transport(loop_factory: LoopFactory) -> None:
    stack, link = two()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        other = Stack(link, addresses=[PEER])
        await other.start_server(greet, PEER, 7)
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            await loop.sock_connect(sock, (PEER, 7))
            reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(b"hello\n")
        assert await reader.read() == b"stack hello\n"
        assert writer.get_extra_info("peername") == (PEER, 7)
        facade = writer.get_extra_info("socket")
        assert facade.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        writer.close()
        await writer.wait_closed()
        await other.aclose()

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_a_connected_socket_can_be_read_and_written(loop_factory: LoopFactory) -> None:
    stack, link = two()
    size = 5_000_000

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = await reader.readexactly(size)
        writer.write(received)
        writer.close()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        other = Stack(link, addresses=[PEER])
        await other.start_server(count, PEER, 7)
        sent = bytes(range(250)) * (size // 250)
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, (PEER, 7))
            await loop.sock_sendall(sock, sent)
            buffer = bytearray(1000)
            assert await loop.sock_recv_into(sock, buffer) == 1000
            received = bytes(buffer)
            while data := await loop.sock_recv(sock, 2**16):
                received += data
            assert received == sent
        await other.aclose()

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_a_connected_socket_that_is_forgotten_closes_its_connection(
    loop_factory: LoopFactory,
) -> None:
    stack, link = two()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.read() == b""
            writer.close()
            ended.set()

        other = Stack(link, addresses=[PEER])
        await other.start_server(wait, PEER, 7)
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, (PEER, 7))
        sock.close()
        del sock
        gc.collect()
        await ended.wait()
        await other.aclose()

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_a_cancelled_sock_connect_leaves_nothing(loop_factory: LoopFactory) -> None:
    stack, link = two()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        silent = Stack(link, addresses=[PEER])
        await silent.aclose()
        with socket.socket() as sock:
            sock.setblocking(False)
            connecting = asyncio.ensure_future(loop.sock_connect(sock, (PEER, 7)))
            await turns()
            assert stack.connections()
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
        assert not stack.connections()

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_sock_connect_fails_as_the_kernels(loop_factory: LoopFactory) -> None:
    stack, link = two()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        other = Stack(link, addresses=[PEER])
        with socket.socket() as sock:
            loop.set_debug(True)
            with pytest.raises(ValueError, match="must be non-blocking"):
                await loop.sock_connect(sock, (PEER, 7))
            loop.set_debug(False)
            sock.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await loop.sock_connect(sock, (PEER, 7))
            await other.create_server(asyncio.Protocol, PEER, 7)
            await loop.sock_connect(sock, (PEER, 7))
            with pytest.raises(OSError, match="already connected") as caught:
                await loop.sock_connect(sock, (PEER, 7))
            assert caught.value.errno == errno.EISCONN
        await other.aclose()

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_in_debug_mode_a_blocking_socket_is_refused(loop_factory: LoopFactory) -> None:
    stack, link = two()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with Stack(link, addresses=[PEER]) as other:
            await other.create_server(asyncio.Protocol, PEER, 7)
            with socket.socket() as sock:
                with pytest.raises(ValueError, match="the socket must be non-blocking"):
                    await loop.sock_connect(sock, (PEER, 7))
                sock.setblocking(False)
                await loop.sock_connect(sock, (PEER, 7))
                sock.setblocking(True)
                with pytest.raises(ValueError, match="the socket must be non-blocking"):
                    await loop.sock_sendall(sock, b"x")
                with pytest.raises(ValueError, match="the socket must be non-blocking"):
                    await loop.sock_recv(sock, 1)
                with pytest.raises(ValueError, match="the socket must be non-blocking"):
                    await loop.sock_recv_into(sock, bytearray(1))

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory, debug=True)


def test_connections_finish_when_the_program_ends(loop_factory: LoopFactory) -> None:
    """As the kernel sends on what a program that has exited has written."""
    stack, link = two()
    received: list[int] = []

    async def main() -> None:
        other = Stack(link, addresses=[PEER])

        def factory() -> asyncio.Protocol:
            return Collector(received)

        await other.create_server(factory, PEER, 7)
        _, writer = await asyncio.open_connection(PEER, 7)
        writer.write(bytes(3_000_000))
        writer.close()

    aiotcp.run(main(), stack=stack, grace=60, loop_factory=loop_factory)
    assert sum(received) == 3_000_000


class Collector(asyncio.Protocol):
    def __init__(self, received: list[int]) -> None:
        self.received = received

    def data_received(self, data: bytes) -> None:
        self.received.append(len(data))


def test_a_stack_belongs_to_one_loop(loop_factory: LoopFactory) -> None:
    stack, _ = two()
    first, second = loop_factory(stack), loop_factory()
    try:
        with pytest.raises(RuntimeError, match="another event loop"):
            second.add_stack(stack)
    finally:
        first.close()
        second.close()
    assert stack.closed


def test_a_stack_without_a_loop_says_so() -> None:
    stack, _ = two()

    async def main() -> None:
        with pytest.raises(RuntimeError, match="no event loop yet"):
            await stack.open_connection(PEER, 7)
        await stack.aclose()

    sim.run(main())


def test_the_functions_of_the_module_find_the_loops_stack(loop_factory: LoopFactory) -> None:
    stack, _ = two()

    async def main() -> Stack:
        await aiotcp.start_server(greet, HERE, 7)
        return aiotcp.current_stack()

    assert aiotcp.run(main(), stack=stack, loop_factory=loop_factory) is stack


def test_a_loop_with_bad_routes_is_not_left_open(loop_factory: LoopFactory) -> None:
    stack, _ = two()
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8"):
        loop_factory(stack, routes=["10.0.0.1/8"])
    assert not stack.bound


def test_options_are_for_stacks(loop_factory: LoopFactory, loopback: None) -> None:
    stack, _ = two()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="options"):
            await loop.create_connection(asyncio.Protocol, "127.0.0.1", 7, options={"cc": "bbr"})
        server = await loop.create_server(asyncio.Protocol, HERE, 7, options={"cc": "bbr"})
        server.close()

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_misuse_is_told_in_asyncios_words(loop_factory: LoopFactory) -> None:
    stack, _ = two()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        for call in (loop.create_connection, loop.create_server):
            with pytest.raises(ValueError, match="sock"):
                await call(asyncio.Protocol)
        with socket.socket() as sock, pytest.raises(ValueError, match="same time"):
            await loop.create_connection(asyncio.Protocol, PEER, 7, sock=sock)
        with pytest.raises(ValueError, match="server_hostname is only meaningful with ssl"):
            await loop.create_connection(asyncio.Protocol, PEER, 7, server_hostname="x")
        with pytest.raises(TypeError, match="SSLContext"):
            await loop.create_server(asyncio.Protocol, HERE, 7, ssl=True)
        await loop.create_server(asyncio.Protocol, HERE, 7)
        with pytest.raises(OSError, match="bind") as caught:
            await loop.create_server(asyncio.Protocol, HERE, 7)
        assert caught.value.errno == errno.EADDRINUSE

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_virtual_time_has_the_current_stack() -> None:
    """Two hosts on one loop: each task has the stack of its own context."""

    async def main() -> tuple[bytes, float]:
        left, right = memory.pair()
        async with Stack(right, addresses=[HERE]):
            server = await asyncio.start_server(greet, HERE, 7)
            serving = asyncio.create_task(server.serve_forever())
            async with Stack(left, addresses=[PEER]):
                await asyncio.sleep(3600)
                answer = await ask(HERE, 7)
            serving.cancel()
            return answer, asyncio.get_running_loop().time()

    answer, now = sim.run(main())
    assert answer == b"stack hello\n"
    assert now >= 3600


def test_ssl_context_defaults_to_the_hosts_name(loop_factory: LoopFactory) -> None:
    stack, link = two()

    async def main() -> None:
        other = Stack(link, addresses=[PEER])
        await other.start_server(greet, PEER, 7)
        with pytest.raises(ssl.SSLError):  # the other end does not speak it
            await asyncio.open_connection(PEER, 7, ssl=True)
        await other.aclose()

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)
