"""uvicorn with a FastAPI application, and httpx: each on the stack, the other on kernel sockets."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from tests.integration.web_app import CHUNK, application, streamed
from tests.integration.world import PEM, Net, client_tls, stack_asks, stack_serves, until

UPLOAD = bytes(range(256)) * 20_000
"""5 MB."""


@asynccontextmanager
async def served(
    app: FastAPI, host: str, tls: bool = False, **config: Any
) -> AsyncIterator[uvicorn.Server]:
    if tls:
        config |= {"ssl_certfile": str(PEM), "ssl_keyfile": str(PEM)}
    server = uvicorn.Server(uvicorn.Config(app, host=host, port=0, log_config=None, **config))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started or serving.done())
    yield server
    server.should_exit = True
    await serving


def url_of(server: uvicorn.Server, path: str = "", scheme: str = "http") -> str:
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    return f"{scheme}{'s' if server.config.is_ssl else ''}://{host}:{port}{path}"


def client_of(server: uvicorn.Server, **options: Any) -> httpx.AsyncClient:
    options = {"verify": client_tls(), "timeout": 60, "trust_env": False} | options
    return httpx.AsyncClient(base_url=url_of(server), **options)


@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_requests(net: Net, tls: bool, http: str) -> None:
    async def ask(server: uvicorn.Server) -> None:
        async with client_of(server) as client:
            who = (await client.get("/client")).json()
            assert who["host"] == net.client_host
            assert who["server"] == net.host
            assert who["scheme"] == ("https" if tls else "http")

            assert (await client.get("/square/12")).json() == 144
            assert (await client.get("/square/twelve")).status_code == 422
            assert (await client.get("/nowhere")).status_code == 404

            reply = await client.post("/digest", content=UPLOAD)
            assert reply.json() == hashlib.sha256(UPLOAD).hexdigest()

            sha256, pieces = hashlib.sha256(), 0
            async with client.stream("GET", "/stream/100") as reply:
                async for piece in reply.aiter_bytes():
                    sha256.update(piece)
                    pieces += 1
            assert sha256.hexdigest() == streamed(100)
            assert pieces > 10

            again = (await client.get("/client")).json()
            assert again["port"] == who["port"], "the connection was not kept alive"

    app = application()
    async with net.serving(served(app, net.host, tls, http=http)) as server:
        await net.asking(ask(server))
    assert app.state.lifespan == ["startup", "shutdown"]


async def test_fifty_requests_at_once(net: Net, tls: bool) -> None:
    async def ask(server: uvicorn.Server) -> None:
        async with client_of(server) as client:
            replies = await asyncio.gather(*(client.get(f"/square/{n}") for n in range(50)))
            assert [reply.json() for reply in replies] == [n * n for n in range(50)]

    async with net.serving(served(application(), net.host, tls)) as server:
        await net.asking(ask(server))


async def test_websocket(net: Net, tls: bool) -> None:
    async def ask(server: uvicorn.Server) -> None:
        url = url_of(server, "/echo", "ws")
        async with connect(url, ssl=client_tls() if tls else None, proxy=None) as websocket:
            for text in ("short", "long " * 100_000):
                await websocket.send(text)
                assert await websocket.recv() == text
            await websocket.send("close")
            with pytest.raises(ConnectionClosedError) as caught:
                await websocket.recv()
            assert caught.value.rcvd is not None
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4321, "as you wish")

    async with net.serving(served(application(), net.host, tls)) as server:
        await net.asking(ask(server))


# The server's part


@stack_serves
async def test_a_client_that_leaves_in_the_middle_ends_the_response(net: Net, tls: bool) -> None:
    async def ask(server: uvicorn.Server) -> None:
        async with client_of(server) as client, client.stream("GET", "/endless") as reply:
            async for piece in reply.aiter_bytes(len(CHUNK)):
                assert piece == CHUNK
                break

    app = application()
    async with served(app, net.host, tls) as server:
        await net.asking(ask(server))
        await app.state.left.wait()
        await until(lambda: not server.server_state.connections)


@stack_serves
async def test_graceful_shutdown_lets_a_request_finish(net: Net, tls: bool) -> None:
    async def ask(server: uvicorn.Server) -> Any:
        async with client_of(server) as client:
            assert (await client.get("/square/2")).json() == 4  # leaves an idle connection behind
            return (await client.get("/wait")).json()

    async def refused(server: uvicorn.Server, url: str) -> None:
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(url)

    app = application()
    async with served(app, net.host, tls) as server:
        url = url_of(server)
        asked = asyncio.create_task(net.asking(ask(server)))
        await app.state.entered.wait()
        listening = server.servers[0]
        server.should_exit = True
        await until(lambda: not listening.sockets)
        await net.kernel.run(refused(server, url))
        assert app.state.lifespan == ["startup"]
        app.state.leave.set()
        assert await asked == "waited"
    assert app.state.lifespan == ["startup", "shutdown"]


# The client's part


@stack_asks
async def test_errors_of_httpx(net: Net) -> None:
    app = application()
    async with net.kernel.serving(served(app, net.host, True)) as server:
        async with client_of(server, verify=True) as client:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get("/client")
        async with client_of(server, timeout=httpx.Timeout(60, read=0.1)) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get("/wait")
        url = url_of(server)
        await net.kernel.run(_release(app))
    async with httpx.AsyncClient(trust_env=False, timeout=0.1, verify=False) as client:
        with pytest.raises(httpx.ConnectTimeout):
            await client.get("http://192.0.2.77/")  # nobody there
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)  # nobody listens any more


async def _release(app: FastAPI) -> None:
    app.state.leave.set()
