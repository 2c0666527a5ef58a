"""The websockets library, server and client: each on the stack, the other on kernel sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

from tests.integration.world import Net, client_tls, server_tls, stack_asks, stack_serves

BIG = bytes(range(256)) * 20_000
"""5 MB."""


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        if message == "close":
            await connection.close(4321, "as you wish")
        elif message == "fragments":
            await connection.send("part " for _ in range(1000))
        else:
            await connection.send(message)


@asynccontextmanager
async def served(handler: Any, host: str, tls: bool) -> AsyncIterator[str]:
    """Its URL."""
    async with serve(
        handler, host, 0, ssl=server_tls() if tls else None, max_size=2 * len(BIG), compression=None
    ) as server:
        _, port = server.sockets[0].getsockname()
        yield f"{'wss' if tls else 'ws'}://{host}:{port}"


def client(url: str) -> connect:
    tls = client_tls() if url.startswith("wss") else None
    return connect(url, ssl=tls, max_size=2 * len(BIG), proxy=None)


async def test_messages(net: Net, tls: bool) -> None:
    async def ask(url: str) -> None:
        async with client(url) as connection:
            assert connection.remote_address[0] == net.host
            for message in ("short", b"bytes", BIG):
                await connection.send(message)
                assert await connection.recv() == message
            await connection.send("fragments")
            assert await connection.recv() == "part " * 1000
            assert await (await connection.ping()) >= 0
            await connection.send("close")
            with pytest.raises(ConnectionClosedError) as caught:
                await connection.recv()
            assert caught.value.rcvd is not None
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4321, "as you wish")

    async with net.serving(served(echo, net.host, tls)) as url:
        await net.asking(ask(url))


async def test_many_at_once(net: Net, tls: bool) -> None:
    async def one(url: str, number: int) -> None:
        async with client(url) as connection:
            for turn in range(5):
                await connection.send(f"{number} {turn}")
                assert await connection.recv() == f"{number} {turn}"

    async def ask(url: str) -> None:
        await asyncio.gather(*(one(url, number) for number in range(20)))

    async with net.serving(served(echo, net.host, tls)) as url:
        await net.asking(ask(url))


async def test_a_server_that_closes_says_goodbye(net: Net, tls: bool) -> None:
    async def ask(url: str, connected: Any) -> int:
        async with client(url) as connection:
            await connection.send("here")
            await connection.recv()
            connected()
            with pytest.raises(ConnectionClosedOK) as caught:
                await connection.recv()
            assert caught.value.rcvd is not None
            return caught.value.rcvd.code

    loop, connected = asyncio.get_running_loop(), asyncio.Event()
    async with net.serving(served(echo, net.host, tls)) as url:
        work = net.asking(ask(url, lambda: loop.call_soon_threadsafe(connected.set)))
        asked = asyncio.create_task(work)
        await connected.wait()
    assert await asked == 1001


@stack_serves
async def test_a_client_that_vanishes(net: Net, tls: bool) -> None:
    """Its transport is aborted, without a word of WebSocket's."""
    ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def handler(connection: ServerConnection) -> None:
        assert await connection.recv() == "here"
        with pytest.raises(ConnectionClosedError):
            await connection.recv()
        ended.set_result(connection.close_code)

    async def ask(url: str) -> None:
        connection: ClientConnection
        async with client(url) as connection:
            await connection.send("here")
            connection.transport.abort()

    async with served(handler, net.host, tls) as url:
        await net.asking(ask(url))
        assert await ended == 1006


@stack_asks
async def test_nobody_listens(net: Net, tls: bool) -> None:
    async with net.kernel.serving(served(echo, net.host, tls)) as url:
        pass
    with pytest.raises(ConnectionRefusedError):
        await client(url)
