"""aiohttp's server and client: each on the stack, the other on kernel sockets."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.integration.world import (
    STACK,
    Net,
    client_tls,
    server_tls,
    stack_asks,
    stack_serves,
    until,
)

UPLOAD = bytes(range(256)) * 20_000
"""5 MB."""

NOBODY = "192.0.2.77"
"""An address of the device's network that nobody has."""


@dataclass
class Service:
    """What the server has, and what a test wants to know of it."""

    file: Path | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    def application(self) -> web.Application:
        app = web.Application(client_max_size=2 * len(UPLOAD))
        app.add_routes(
            [
                web.get("/client", self.client),
                web.post("/digest", self.digest),
                web.get("/file", self.get_file),
                web.get("/endless", self.endless),
                web.get("/wait", self.wait),
                web.get("/hang-up", self.hang_up),
                web.get("/echo", self.echo),
            ]
        )
        return app

    async def client(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        host, port = request.transport.get_extra_info("peername")
        return web.json_response({"host": host, "port": port, "scheme": request.scheme})

    async def digest(self, request: web.Request) -> web.Response:
        sha256 = hashlib.sha256()
        async for part in request.content.iter_any():
            sha256.update(part)
        return web.Response(text=sha256.hexdigest())

    async def get_file(self, request: web.Request) -> web.FileResponse:
        assert self.file is not None
        return web.FileResponse(self.file)

    async def endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(UPLOAD[:65536])
        finally:
            self.left.set()

    async def wait(self, request: web.Request) -> web.Response:
        self.entered.set()
        await self.leave.wait()
        return web.Response(text="waited")

    async def hang_up(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response(text="not heard")

    async def echo(self, request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(max_msg_size=0)
        await websocket.prepare(request)
        async for message in websocket:
            if message.data == "close":
                await websocket.close(code=4321, message=b"as you wish")
            elif message.type == aiohttp.WSMsgType.BINARY:
                await websocket.send_bytes(message.data)
            else:
                await websocket.send_str(message.data)
        self.left.set()
        return websocket


@asynccontextmanager
async def served(
    service: Service, host: str, tls: bool, shutdown_s: float = 60
) -> AsyncIterator[str]:
    """Its URL."""
    runner = web.AppRunner(
        service.application(), handler_cancellation=True, shutdown_timeout=shutdown_s
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0, ssl_context=server_tls() if tls else None).start()
        _, port = runner.addresses[0]
        yield f"{'https' if tls else 'http'}://{host}:{port}"
    finally:
        await runner.cleanup()


def client(url: str, **options: Any) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(ssl=client_tls(), limit=0)
    return aiohttp.ClientSession(url, connector=connector, **options)


async def test_requests(net: Net, tls: bool, tmp_path: Path) -> None:
    service = Service(tmp_path / "file")
    (tmp_path / "file").write_bytes(UPLOAD)

    async def ask(url: str) -> None:
        async with client(url) as session:
            who = await fetch_json(session, "/client")
            assert who["host"] == net.client_host
            assert who["scheme"] == ("https" if tls else "http")

            async with session.post("/digest", data=io.BytesIO(UPLOAD)) as reply:
                assert await reply.text() == hashlib.sha256(UPLOAD).hexdigest()
            async with session.get("/file") as reply:
                assert await reply.read() == UPLOAD
            async with session.get("/file", headers={"Range": "bytes=1000000-1999999"}) as reply:
                assert reply.status == 206
                assert await reply.read() == UPLOAD[1_000_000:2_000_000]

            again = await fetch_json(session, "/client")
            assert again["port"] == who["port"], "the connection was not kept alive"

    async with net.serving(served(service, net.host, tls)) as url:
        await net.asking(ask(url))


async def only_time_wait(net: Net) -> None:
    """Wait until the stack has no connection any more."""
    await until(lambda: {str(row.state) for row in net.stack.connections()} <= {"TIME-WAIT"})


async def fetch_json(session: aiohttp.ClientSession, path: str) -> Any:
    async with session.get(path) as reply:
        return await reply.json()


async def test_fifty_requests_at_once(net: Net, tls: bool) -> None:
    async def ask(url: str) -> None:
        async with client(url) as session:
            answers = await asyncio.gather(*(fetch_json(session, "/client") for _ in range(50)))
            assert len({answer["port"] for answer in answers}) == 50

    async with net.serving(served(Service(), net.host, tls)) as url:
        await net.asking(ask(url))


async def test_websocket(net: Net, tls: bool) -> None:
    async def ask(url: str) -> None:
        async with client(url) as session, session.ws_connect("/echo", max_msg_size=0) as websocket:
            await websocket.send_str("short")
            assert await websocket.receive_str() == "short"
            await websocket.send_bytes(UPLOAD)
            assert await websocket.receive_bytes() == UPLOAD
            await websocket.ping()
            await websocket.send_str("close")
            message = await websocket.receive()
            assert message.type is aiohttp.WSMsgType.CLOSE
            assert (message.data, message.extra) == (4321, "as you wish")

    async with net.serving(served(Service(), net.host, tls)) as url:
        await net.asking(ask(url))


# The server's part


@stack_serves
async def test_a_client_that_leaves_in_the_middle_ends_the_handler(net: Net, tls: bool) -> None:
    async def ask(url: str) -> None:
        async with client(url) as session, session.get("/endless") as reply:
            assert await reply.content.readexactly(65536)

    service = Service()
    async with served(service, net.host, tls) as url:
        await net.asking(ask(url))
        await service.left.wait()


@stack_serves
async def test_shutdown_lets_a_request_finish(net: Net, tls: bool) -> None:
    async def ask(url: str) -> str:
        async with client(url) as session, session.get("/wait") as reply:
            return await reply.text()

    service = Service()
    async with served(service, net.host, tls) as url:
        asked = asyncio.create_task(net.asking(ask(url)))
        await service.entered.wait()
        asyncio.get_running_loop().call_soon(service.leave.set)
    assert await asked == "waited"


@stack_serves
async def test_shutdown_with_open_connections(net: Net, tls: bool) -> None:
    async def ask(url: str) -> None:
        async with client(url) as session:
            async with session.get("/client"):
                pass  # leaves an idle connection behind
            async with session.ws_connect("/echo") as websocket:
                waiting = asyncio.create_task(cut_off(session))
                message = await websocket.receive()
                assert message.type is aiohttp.WSMsgType.CLOSED
                await waiting

    async def cut_off(session: aiohttp.ClientSession) -> None:
        # On a kept connection it tries once more, and finds nobody there.
        with pytest.raises(aiohttp.ClientConnectionError):
            await fetch_json(session, "/wait")

    service = Service()
    async with served(service, net.host, tls, shutdown_s=0.01) as url:
        asked = asyncio.create_task(net.asking(ask(url)))
        await service.entered.wait()
    await asked
    await until(
        lambda: all(row.state in ("TIME-WAIT", "CLOSED") for row in net.stack.connections())
    )


# The client's part


class Names(aiohttp.abc.AbstractResolver):
    """Resolves every name to all of `hosts`."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
        common = {"hostname": host, "port": port, "proto": 0, "flags": socket.AI_NUMERICHOST}
        return [{"host": each, "family": socket.AF_INET, **common} for each in self.hosts]

    async def close(self) -> None:
        pass


@stack_asks
async def test_happy_eyeballs(net: Net, tls: bool) -> None:
    """The client races the addresses of a name by itself, with sockets of its own."""
    async with net.kernel.serving(served(Service(), net.host, tls)) as url:
        connector = aiohttp.TCPConnector(
            ssl=client_tls(),
            resolver=Names(NOBODY, net.host),
            happy_eyeballs_delay=0.01,
            interleave=1,
        )
        named = url.replace(net.host, "stack.test")
        async with aiohttp.ClientSession(named, connector=connector) as session:
            assert (await fetch_json(session, "/client"))["host"] == STACK
    await only_time_wait(net)


@stack_asks
async def test_requests_given_up_leave_nothing_behind(net: Net, tls: bool) -> None:
    async def given_up(session: aiohttp.ClientSession, seconds: float) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds), session.get("/wait"):
                pass

    service = Service()
    async with net.kernel.serving(served(service, net.host, tls)) as url, client(url) as session:
        await asyncio.gather(*(given_up(session, number / 1000) for number in range(50)))
        assert (await fetch_json(session, "/client"))["host"] == STACK
    async with client(f"http://{NOBODY}") as session:
        await given_up(session, 0.01)
    await only_time_wait(net)


@stack_asks
async def test_errors_of_the_client(net: Net) -> None:
    async def expect(error: type[Exception], work: Coroutine[Any, Any, Any]) -> Any:
        with pytest.raises(error) as caught:
            await work
        return caught.value

    service = Service()
    async with net.kernel.serving(served(service, net.host, True)) as url:
        async with client(url) as session:
            await expect(aiohttp.ServerDisconnectedError, fetch_json(session, "/hang-up"))
        async with aiohttp.ClientSession(url) as session:
            await expect(aiohttp.ClientConnectorCertificateError, fetch_json(session, "/client"))
        plain = url.replace("https", "http")
        async with aiohttp.ClientSession(plain) as session:
            await expect(aiohttp.ServerDisconnectedError, fetch_json(session, "/client"))
        timeout = aiohttp.ClientTimeout(sock_read=0.1)
        async with client(url, timeout=timeout) as session:
            await expect(aiohttp.SocketTimeoutError, fetch_json(session, "/wait"))
    async with client(url) as session:
        exc = await expect(aiohttp.ClientConnectorError, fetch_json(session, "/client"))
        assert exc.os_error.errno == errno.ECONNREFUSED
    timeout = aiohttp.ClientTimeout(sock_connect=0.1)
    async with client(f"http://{NOBODY}", timeout=timeout) as session:
        await expect(aiohttp.ConnectionTimeoutError, fetch_json(session, "/"))
    await only_time_wait(net)
