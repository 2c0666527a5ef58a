"""Other people's libraries as programs of hosts, unmodified: in virtual time, and repeating."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import ssl
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aiotcp.sim import Deadlock
from aiotcp.testing import Net, run

CERTIFICATE = Path(__file__).parents[1] / "support" / "tls" / "self-signed.pem"
NAMED = "stack.test"
BAD = "delay 40ms 5ms loss 5%"


def aiohttp_server(
    port: int = 8080, tls: ssl.SSLContext | None = None
) -> Callable[[], Awaitable[None]]:
    web = pytest.importorskip("aiohttp.web")

    async def answer(request: Any) -> Any:
        return web.Response(text=f"hello {request.query.get('name', '')}")

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, port=port, ssl_context=tls).start()
        try:
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    return serve


async def aiohttp_get(url: str, **kwds: Any) -> str:
    aiohttp = pytest.importorskip("aiohttp")
    async with aiohttp.ClientSession() as session, session.get(url, **kwds) as response:
        text: str = await response.text()
        return text


async def httpx_get(url: str, **kwds: Any) -> str:
    httpx = pytest.importorskip("httpx")
    async with httpx.AsyncClient(**kwds) as client:
        text: str = (await client.get(url)).text
        return text


@pytest.mark.parametrize("get", [aiohttp_get, httpx_get])
def test_http(get: Callable[[str], Any]) -> None:
    async def main(net: Net) -> str:
        server, client = net.host("server"), net.host("client")
        net.netem(BAD)
        server.run(aiohttp_server()())  # type: ignore[arg-type]
        text: str = await client.run(get("http://server:8080/?name=you"))
        return text

    assert run(main) == "hello you"


def test_https() -> None:
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(CERTIFICATE)
    asking = ssl.create_default_context(cafile=CERTIFICATE)

    async def main(net: Net) -> tuple[str, str]:
        server, client = net.host(NAMED), net.host("client")
        net.netem(BAD)
        server.run(aiohttp_server(443, serving)())  # type: ignore[arg-type]
        await net.sleep(1)
        return (
            await client.run(aiohttp_get(f"https://{NAMED}/", ssl=asking)),
            await client.run(httpx_get(f"https://{NAMED}/", verify=asking)),
        )

    assert run(main) == ("hello ", "hello ")


def test_timeouts_are_of_virtual_time() -> None:
    httpx = pytest.importorskip("httpx")

    async def main(net: Net) -> float:
        net.host("server")
        net.partition()  # hosts to come included
        began, wall = net.now, time.monotonic()
        with pytest.raises(httpx.ConnectTimeout):
            await net.host("client").run(httpx_get("http://server/", timeout=60.0))
        assert time.monotonic() - wall == net.now - began
        return net.now

    assert run(main) == 60


def test_connections_kept_alive_expire_by_the_virtual_clock() -> None:
    """httpx asks `time.monotonic()`."""
    httpx = pytest.importorskip("httpx")

    async def main(net: Net) -> int:
        async def twice() -> None:
            limits = httpx.Limits(keepalive_expiry=5)
            async with httpx.AsyncClient(limits=limits) as client:
                await client.get("http://server:8080/")
                await asyncio.sleep(10)
                await client.get("http://server:8080/")

        net.host("server").run(aiohttp_server()())  # type: ignore[arg-type]
        await net.sleep(1)
        await net.host("client").run(twice())
        return len(net.trace().flows)

    assert run(main) == 2


def test_websockets_and_a_crash() -> None:
    websockets = pytest.importorskip("websockets")

    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    async def serve() -> None:
        async with websockets.serve(echo, "0.0.0.0", 8765) as server:
            await server.serve_forever()

    async def talk() -> str:
        async with websockets.connect("ws://server:8765") as connection:
            await connection.send("x" * 10_000)
            assert len(await connection.recv()) == 10_000
            text: str = await connection.recv()
            return text

    async def main(net: Net) -> float:
        server, client = net.host("server"), net.host("client")
        net.netem("delay 10ms loss 2%")
        server.run(serve())
        talking = client.run(talk())
        await net.sleep(10)
        server.crash()
        with pytest.raises(websockets.ConnectionClosedError, match="keepalive ping timeout"):
            await talking
        return net.now

    assert 20 < run(main) < 60


def test_redis() -> None:
    client_of = pytest.importorskip("redis.asyncio")
    data: dict[bytes, bytes] = {}

    def execute(command: bytes, *args: bytes) -> bytes:
        if command.upper() == b"SET":
            data[args[0]] = args[1]
        elif command.upper() == b"GET":
            return b"$%d\r\n%s\r\n" % (len(data[args[0]]), data[args[0]])
        return b"+OK\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            words = []
            for _ in range(int(line[1:])):
                length = int((await reader.readline())[1:])
                words.append((await reader.readexactly(length + 2))[:-2])
            writer.write(execute(*words))
        writer.close()

    async def serve() -> None:
        await (await asyncio.start_server(answer, port=6379)).serve_forever()

    async def use() -> bytes:
        async with client_of.Redis(
            host="redis", protocol=2, socket_timeout=5, socket_keepalive=True
        ) as client:
            await client.set("a", "b")
            value: bytes = await client.get("a")
            return value

    async def main(net: Net) -> bytes:
        net.netem(BAD)
        net.host("redis").run(serve())
        return await net.host("client").run(use())

    assert run(main) == b"b"


def uvicorn_server() -> Any:
    uvicorn = pytest.importorskip("uvicorn")
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def here(request: Request) -> PlainTextResponse:
        await asyncio.sleep(2)
        return PlainTextResponse("here")

    def thread(request: Request) -> PlainTextResponse:
        return PlainTextResponse("thread")

    app = Starlette(routes=[Route("/", here), Route("/thread", thread)])
    config = uvicorn.Config(app, host="0.0.0.0", port=80, log_level="warning")
    return uvicorn.Server(config)


def test_uvicorn_ends_by_sigterm_after_the_request_that_is_under_way() -> None:
    async def main(net: Net) -> list[object]:
        before = signal.getsignal(signal.SIGTERM)
        server, client = net.host("server"), net.host("client")
        serving = server.run(uvicorn_server().serve())
        await net.sleep(1)
        got: list[object] = [await client.run(aiohttp_get("http://server/thread"))]
        asking = client.run(aiohttp_get("http://server/"))
        await net.sleep(1)
        await server.kill()
        assert serving.done()
        assert signal.getsignal(signal.SIGTERM) == before
        got.append(await asking)
        return got

    assert run(main) == ["thread", "here"]


def test_functions_for_threads_run_at_once() -> None:
    async def program() -> list[object]:
        loop = asyncio.get_running_loop()

        def function(number: int) -> int:
            with pytest.raises(RuntimeError, match="no running event loop"):
                asyncio.get_running_loop()
            return number + 1

        def fails() -> None:
            raise ZeroDivisionError

        got: list[object] = [
            await asyncio.to_thread(function, 1),
            await loop.run_in_executor(None, function, 2),
        ]
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(fails)
        return got

    async def main(net: Net) -> list[object]:
        return await net.host("a").run(program())

    assert run(main) == [2, 3]


def test_names_of_the_machine() -> None:
    async def program() -> list[object]:
        loop = asyncio.get_running_loop()
        with pytest.raises(socket.gaierror):
            socket.gethostbyname("somewhere.else")
        return [
            socket.gethostname(),
            socket.gethostbyname("b"),
            socket.getaddrinfo("b", 80)[0][4],
            await loop.getnameinfo(("10.0.0.2", 80)),
        ]

    async def main(net: Net) -> list[object]:
        a, _ = net.host("a"), net.host("b")
        return await a.run(program())

    assert run(main) == ["a", "10.0.0.2", ("10.0.0.2", 80), ("b", "80")]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_programs_of_one_host_reach_each_other_on_localhost(host: str) -> None:
    async def main(net: Net) -> str:
        async def serve() -> None:
            async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(b"hello")
                writer.close()

            await (await asyncio.start_server(answer, host, 80)).serve_forever()

        async def ask() -> str:
            reader, writer = await asyncio.open_connection("localhost", 80)
            text = (await reader.read()).decode()
            writer.close()
            return text

        a, b = net.host("a"), net.host("b")
        a.run(serve())
        with pytest.raises(ConnectionRefusedError):
            await b.run(ask())
        return await a.run(ask())

    assert run(main) == "hello"


def test_what_programs_draw_repeats() -> None:
    async def main(net: Net) -> tuple[object, ...]:
        await net.sleep(1.5)
        return random.random(), os.urandom(4), uuid.uuid4(), net.random.random(), time.time()

    before = random.getstate()
    assert run(main, seed=3) == run(main, seed=3)
    assert random.getstate() == before
    assert set(run(main, seed=3)[:4]).isdisjoint(run(main, seed=4)[:4])
    assert run(main)[-1] == 1767225601.5


def test_signal_handlers_of_the_loop() -> None:
    async def main(net: Net) -> list[str]:
        told: list[str] = []

        async def program() -> None:
            stop = asyncio.Event()
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, stop.set)
            loop.add_signal_handler(signal.SIGHUP, told.append, "again")
            await stop.wait()
            told.append("told to stop")
            await asyncio.sleep(100)

        a = net.host("a")
        task = a.run(program())
        await net.sleep(1)
        a.send_signal(signal.SIGHUP)
        await a.kill(grace=3)
        assert task.cancelled()
        assert net.now == 4
        return told

    assert run(main) == ["again", "told to stop"]


def test_a_half_open_connection_is_a_deadlock_that_names_it() -> None:
    """The bug that these tests are for: a client that waits for an answer for ever."""
    aiohttp = pytest.importorskip("aiohttp")

    async def main(net: Net) -> None:
        async def ask() -> None:
            for_ever = aiohttp.ClientTimeout(total=None)
            await aiohttp_get("http://server/", timeout=for_ever)

        server, client = net.host("server"), net.host("client")
        server.run(uvicorn_server().serve())
        await net.sleep(1)
        asking = client.run(ask())
        await net.sleep(1)
        server.crash()
        await asking

    with pytest.raises(Deadlock) as caught:
        run(main)
    assert "client: ask at " in str(caught.value)
    assert "server: Server.serve at " not in str(caught.value)
    note, _ = caught.value.__notes__
    assert note.startswith("client:")
    assert note.endswith("to server:80: ESTABLISHED, waits for either side to send")


def test_the_same_run_each_time() -> None:
    pytest.importorskip("aiohttp")

    async def main(net: Net) -> object:
        server, client = net.host("server"), net.host("client")
        net.netem("delay 40ms 20ms loss 5% reorder 10% duplicate 3%")
        server.run(aiohttp_server()())  # type: ignore[arg-type]
        for name in "abc":
            await client.run(aiohttp_get(f"http://server:8080/?name={name}"))
        return net.trace().to_json()

    assert run(main, seed=5) == run(main, seed=5)
    assert run(main, seed=5) != run(main, seed=6)


def test_dates_are_virtual_with_time_machine() -> None:
    time_machine = pytest.importorskip("time_machine")

    async def main(net: Net) -> None:
        await net.sleep(3600.25)
        now = datetime.now(UTC)
        assert now == datetime(2026, 1, 1, 1, microsecond=250_000, tzinfo=UTC)
        assert now.timestamp() == time.time()
        with time_machine.travel(0, tick=False):
            await net.sleep(1)
            assert datetime.now(UTC).year == 1970
        assert datetime.now(UTC) - now == timedelta(seconds=1)
        net.allow_real("clock")
        assert datetime.now(UTC) == before

    with time_machine.travel(datetime(2030, 1, 1, tzinfo=UTC), tick=False):
        before = datetime.now(UTC)
        run(main)
        assert datetime.now(UTC) == before


@pytest.mark.parametrize("when", ["before", "within"])
def test_journeys_with_the_real_clock(when: str) -> None:
    time_machine = pytest.importorskip("time_machine")

    async def main(net: Net) -> None:
        net.allow_real("clock")
        with time_machine.travel(0, tick=False):
            assert datetime.now(UTC).timestamp() == time.time() == 0

    net = Net()
    if when == "before":
        net.allow_real("clock")
    run(main, net=net)
    assert time.time() > 1e9
