"""loop.create_server(): hosts of the stack's and of the kernel's, and one server over both."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from typing import Any

import pytest

import aiotcp
from aiotcp import Stack
from tests.eventloop.world import HERE, PEER, LoopFactory, ask, greet, naming, turns, two


def names_of(server: Any) -> set[str]:
    return {sock.getsockname()[0] for sock in server.sockets}


def test_hosts_of_all_kinds(loop_factory: LoopFactory, loopback: None) -> None:
    stack, _ = two()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        for hosts, expected in [
            ((host for host in ["127.0.0.1"]), {"127.0.0.1"}),
            ((host for host in [HERE, "127.0.0.1", HERE]), {HERE, "127.0.0.1"}),
            (["name"], {HERE, "127.0.0.1"}),
            ("", {"0.0.0.0", "::"}),
            (["127.0.0.1", "::"], {"127.0.0.1", "::"}),
        ]:
            server = await loop.create_server(asyncio.Protocol, hosts, 0)
            assert names_of(server) == expected
            assert all(sock.getsockname()[1] for sock in server.sockets)
            assert server.is_serving()
            server.close()
            await server.wait_closed()
        server = await loop.create_server(
            asyncio.Protocol, ["127.0.0.1", None], 0, family=socket.AF_INET
        )
        assert names_of(server) == {"127.0.0.1", "0.0.0.0"}
        server.close()

    names = {"name": [HERE, "127.0.0.1"]}
    aiotcp.run(main(), stack=stack, loop_factory=naming(loop_factory, names))


def test_no_host_at_all_is_as_on_the_loop_underneath(loop_factory: LoopFactory) -> None:
    stack, _ = two()

    async def main() -> str:
        try:
            server = await asyncio.get_running_loop().create_server(asyncio.Protocol, [], 7)
        except OSError as exc:
            return str(exc)
        return str(len(server.sockets))

    usual = asyncio.Runner(loop_factory=loop_factory.__bases__[1])  # type: ignore[attr-defined]
    with usual:
        expected = usual.run(main())
    assert aiotcp.run(main(), stack=stack, loop_factory=loop_factory) == expected


@pytest.mark.parametrize("hosts", [[HERE, "127.0.0.1"], ["127.0.0.1", HERE]])
def test_where_one_fails_none_has_served(
    loop_factory: LoopFactory, loopback: None, hosts: list[str]
) -> None:
    """Nor is a port kept."""
    stack, link = two()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        other = Stack(link, addresses=[PEER])
        taken = await loop.create_server(asyncio.Protocol, hosts[1], 7)
        ringing = asyncio.ensure_future(ask(hosts[0], 7))
        with pytest.raises(OSError, match="bind on address") as caught:
            await loop.create_server(asyncio.Protocol, hosts, 7)
        assert caught.value.errno == errno.EADDRINUSE
        with pytest.raises(ConnectionRefusedError):
            await ringing
        taken.close()
        await turns()
        server = await loop.create_server(asyncio.Protocol, hosts, 7)
        server.close()
        await other.aclose()

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_a_joint_server_that_is_started_later(loop_factory: LoopFactory, loopback: None) -> None:
    stack, _ = two()

    async def main() -> None:
        server = await asyncio.start_server(greet, [HERE, "127.0.0.1"], 7, start_serving=False)
        assert not server.is_serving()
        assert names_of(server) == {HERE, "127.0.0.1"}
        for host in (HERE, "127.0.0.1"):
            with pytest.raises(ConnectionRefusedError):
                await ask(host, 7)
        async with server:
            await server.start_serving()
            await server.start_serving()
            assert await ask(HERE, 7) == b"stack hello\n"
            assert await ask("127.0.0.1", 7) == b"kernel hello\n"
            forever = asyncio.ensure_future(server.serve_forever())
            await turns()
            with pytest.raises(RuntimeError, match="already being awaited"):
                await server.serve_forever()
            forever.cancel()
            with pytest.raises(asyncio.CancelledError):
                await forever
        for late in (server.start_serving, server.serve_forever):
            with pytest.raises(RuntimeError, match="is closed"):
                await late()
        server.close()

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_clients_of_a_joint_server(loop_factory: LoopFactory, loopback: None) -> None:
    stack, _ = two()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, [HERE, "127.0.0.1"], 7)
        clients = [await asyncio.open_connection(host, 7) for host in (HERE, "127.0.0.1")]
        await turns()
        server.close()
        waiting = asyncio.ensure_future(server.wait_closed())
        await turns()
        assert not waiting.done()
        if isinstance(loop, asyncio.BaseEventLoop) and sys.version_info >= (3, 13):
            server.close_clients()
            assert await clients[1][0].read() == b""
        else:
            with pytest.raises(NotImplementedError, match="close_clients"):
                server.close_clients()
        assert await clients[0][0].read() == b""
        for _, writer in clients:
            writer.close()
        await waiting
        await turns()

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_keep_alive(loop_factory: LoopFactory, loopback: None) -> None:
    stack, _ = two()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        made: list[Any] = []

        class Kept(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                made.append(transport.get_extra_info("socket"))
                transport.write(b"!")

        server = await loop.create_server(Kept, [HERE, "127.0.0.1"], 7, keep_alive=True)
        for host in (HERE, "127.0.0.1"):
            reader, writer = await asyncio.open_connection(host, 7)
            await reader.read(1)
            assert made.pop().getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            writer.close()
        server.close()

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_every_address_is_not_one_of_several(loop_factory: LoopFactory, loopback: None) -> None:
    stack, _ = two()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        for hosts in (["*", HERE], ["*", "127.0.0.1", HERE]):
            with pytest.raises(ValueError, match=r"'\*' is every address"):
                await loop.create_server(asyncio.Protocol, hosts, 7)
        server = await loop.create_server(asyncio.Protocol, ["*"], 7)
        server.close()

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)
