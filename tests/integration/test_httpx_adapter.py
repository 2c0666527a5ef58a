"""`aiotcp.contrib.httpx`: httpx under a plain loop, on the stack of an `async with` block."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from aiotcp import Stack
from aiotcp.contrib.httpx import AsyncHTTPTransport
from aiotcp.link import network
from tests.integration.test_fastapi import served, url_of
from tests.integration.web_app import CHUNK, application
from tests.integration.world import HOST, STACK, Kernel, client_tls, kernel_side
from tests.support.hosts import V4

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
OPTIONS: list[tuple[int, int, int]] = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]


async def ask(kernel: Kernel, tls: bool) -> None:
    app = application()
    async with kernel.serving(served(app, HOST, tls)) as server:
        url = url_of(server)
        transport = AsyncHTTPTransport(
            verify=client_tls(), local_address=STACK, socket_options=OPTIONS
        )
        async with httpx.AsyncClient(base_url=url, transport=transport, timeout=60) as client:
            who = (await client.get("/client")).json()
            assert who["host"] == STACK
            async with client.stream("GET", "/stream/20") as reply:
                assert await reply.aread() == 20 * CHUNK
                stream = reply.extensions["network_stream"]
                sock = stream.get_extra_info("socket")
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert (await client.get("/client")).json() == who, "the connection was not kept alive"
            with pytest.raises(httpx.ReadTimeout):
                await client.get("/wait", timeout=httpx.Timeout(60, read=0.1))
            await kernel.run(release(app))
        if tls:
            async with httpx.AsyncClient(transport=AsyncHTTPTransport()) as client:
                with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                    await client.get(url)
    async with httpx.AsyncClient(transport=AsyncHTTPTransport(verify=False)) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)
        with pytest.raises(httpx.ConnectTimeout):
            await client.get("http://192.0.2.77/", timeout=0.1)


async def release(app: Any) -> None:
    app.state.leave.set()


def test_requests(loop_factory: LoopFactory, tls: bool) -> None:
    async def main(kernel: Kernel) -> None:
        async with Stack(tun, addresses=[STACK]):
            await ask(kernel, tls)

    tun, _ = network.open_tun(host_addresses=[V4.host_address])
    with kernel_side() as kernel, asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main(kernel))
