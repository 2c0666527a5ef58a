"""redis-py on the stack, against Debian's redis-server on the kernel's side."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from tests.integration.processes import Process
from tests.integration.world import HOST, PEM, STACK, Net, stack_asks, until

pytestmark = [
    stack_asks,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server here"),
]

PLAIN, TLS = 6379, 6380
MIB = 1 << 20


@contextmanager
def redis_server(directory: Path) -> Iterator[Process]:
    argv: list[str | Path] = [
        *("redis-server", "--bind", HOST, "--port", str(PLAIN), "--tls-port", str(TLS)),
        *("--tls-cert-file", PEM, "--tls-key-file", PEM, "--tls-ca-cert-file", PEM),
        *("--tls-auth-clients", "no", "--protected-mode", "no"),
        *("--save", "", "--appendonly", "no", "--dir", directory),
    ]
    process = Process(argv, "Ready to accept connections")
    try:
        yield process
    finally:
        process.end()


@pytest.fixture
def server(net: Net, tmp_path: Path) -> Iterator[Process]:
    """Started when its address is there, with the stack's device."""
    with redis_server(tmp_path) as process:
        yield process


def settings(tls: bool) -> dict[str, Any]:
    """Of clients. TLS verifies the server's certificate, by its address."""
    if tls:
        return {"host": HOST, "port": TLS, "ssl": True, "ssl_ca_certs": str(PEM)}
    return {"host": HOST, "port": PLAIN}


@asynccontextmanager
async def client(tls: bool, **more: Any) -> AsyncIterator[Any]:
    async with redis.asyncio.Redis(**settings(tls), **more) as made:
        yield made


async def test_commands(server: Process, tls: bool) -> None:
    async with client(tls, decode_responses=True) as r:
        who = await r.client_info()
        assert who["addr"].rpartition(":")[0] == STACK
        assert who["laddr"] == f"{HOST}:{TLS if tls else PLAIN}"
        assert await r.set("text", "Grüße, 世界")
        assert await r.get("text") == "Grüße, 世界"
        assert await r.get("nothing") is None
        assert await r.hset("hash", mapping={"a": 1, "b": "two"}) == 2
        assert await r.hgetall("hash") == {"a": "1", "b": "two"}
        assert [await r.incr("count") for _ in range(3)] == [1, 2, 3]
        assert await r.eval("return {KEYS[1], ARGV[1]}", 1, "key", "value") == ["key", "value"]
        with pytest.raises(redis.ResponseError, match="not an integer"):
            await r.incr("text")
        assert {key async for key in r.scan_iter()} == {"text", "hash", "count"}


async def test_pipelines_of_thousands(server: Process, tls: bool) -> None:
    count = 5_000
    async with client(tls) as r:
        async with r.pipeline(transaction=False) as pipe:
            for i in range(count):
                pipe.set(f"key {i}", i)
                pipe.get(f"key {i}")
            answers = await pipe.execute()
        assert answers == [answer for i in range(count) for answer in (True, b"%d" % i)]
        async with r.pipeline(transaction=True) as pipe:
            for _ in range(count):
                pipe.incr("sum", 2)
            assert (await pipe.execute())[-1] == 2 * count


async def test_big_values(server: Process, tls: bool) -> None:
    big = hashlib.shake_256(b"big").digest(12 * MIB)
    async with client(tls) as r:
        assert await r.set("big", big)
        assert await r.strlen("big") == len(big)
        assert await r.getrange("big", MIB, 2 * MIB - 1) == big[MIB : 2 * MIB]
        # Both ways at once, on several connections.
        got, again, _ = await asyncio.gather(r.get("big"), r.get("big"), r.set("other", big))
        assert got == again == big
        assert await r.get("other") == big


async def test_publish_and_subscribe(server: Process, tls: bool) -> None:
    # With TLS, what fits into socket and window: redis-server 7.0 gives a connection up ("bad
    # length") when it goes on with a write that found no room, and has less to write by then.
    count = 200 if tls else 2_000
    async with client(tls) as r, r.pubsub() as channel:
        await channel.subscribe("news")
        await channel.psubscribe("n?ws")
        listening = channel.listen()
        confirmed = [await anext(listening) for _ in range(2)]
        assert [each["type"] for each in confirmed] == ["subscribe", "psubscribe"]
        async with r.pipeline(transaction=False) as pipe:
            for i in range(count):
                pipe.publish("news", b"%d" % i)
            assert await pipe.execute() == [2] * count
        told = [await anext(listening) for _ in range(2 * count)]
        for kind in ("message", "pmessage"):
            data = [each["data"] for each in told if each["type"] == kind]
            assert data == [b"%d" % i for i in range(count)]
        assert await channel.get_message(timeout=0.05) is None
        await channel.unsubscribe("news")
        assert (await anext(listening))["type"] == "unsubscribe"
        await listening.aclose()


async def test_pool(server: Process, net: Net, tls: bool) -> None:
    """Many connections at once, all of them waiting."""
    count = 24
    async with client(tls) as r:
        waiting = [asyncio.create_task(r.blpop(f"queue {i}")) for i in range(count)]
        async with client(tls) as other:
            while int((await other.info("clients"))["blocked_clients"]) < count:
                pass
            assert len(await other.client_list()) == count + 1
            assert {each["addr"].rpartition(":")[0] for each in await other.client_list()} == {
                STACK
            }
            for i in range(count):
                await other.rpush(f"queue {i}", i)
        assert await asyncio.gather(*waiting) == [
            (b"queue %d" % i, b"%d" % i) for i in range(count)
        ]
        assert len(net.stack.connections()) >= count  # the pool keeps them
    async with client(tls) as other:
        assert len(await other.client_list()) == 1  # and closes them with the client


async def test_blocking_with_a_timeout(server: Process, tls: bool) -> None:
    async with client(tls) as r:
        assert await r.blpop("nothing", timeout=0.1) is None
        assert await r.bzpopmin("nothing", timeout=0.1) is None
        assert not await r.xread({"stream": "$"}, block=50)
        await r.rpush("some", 1)
        assert await r.blpop("some", timeout=0.1) == (b"some", b"1")
    async with client(tls, socket_timeout=1.0, retry=None) as r:  # the client's own patience
        with pytest.raises(redis.TimeoutError):
            await r.blpop("nothing", timeout=0)
        assert await r.ping()


async def test_server_killed(server: Process, tmp_path: Path, tls: bool) -> None:
    """The library's own errors; and it connects again, when it can."""
    async with client(tls, retry=None) as r:
        waiting = asyncio.create_task(r.blpop("nothing"))
        assert await r.ping()
        async with client(tls) as other:
            while int((await other.info("clients"))["blocked_clients"]) < 1:
                pass
        server.end(signal.SIGKILL)
        with pytest.raises(redis.ConnectionError):
            await waiting
        with pytest.raises(redis.ConnectionError):
            await r.ping()  # on the connection that was left idle
        with pytest.raises(redis.ConnectionError, match="111"):
            await r.ping()
        with redis_server(tmp_path):
            assert await r.set("key", "value")
            assert await r.get("key") == b"value"


async def test_server_killed_amid_a_value(net: Net, server: Process, tls: bool) -> None:
    async with client(tls, retry=None) as r:
        assert await r.ping()
        server.stop()
        setting = asyncio.create_task(r.set("big", bytes(48 * MIB)))
        await until(lambda: net.stack.connections()[-1].send_window == 0)
        server.end(signal.SIGKILL)
        with pytest.raises(redis.ConnectionError, match="Connection reset by peer"):
            await setting


async def test_server_restarted(server: Process, tmp_path: Path, tls: bool) -> None:
    """With redis-py's default of trying again, nobody notices."""
    async with client(tls) as r:
        await asyncio.gather(*(r.ping() for _ in range(10)))
        server.end()
        with redis_server(tmp_path):
            assert await asyncio.gather(*(r.ping() for _ in range(10))) == [True] * 10


async def test_untrusted_certificate(server: Process) -> None:
    async with redis.asyncio.Redis(host=HOST, port=TLS, ssl=True, retry=None) as r:
        with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
            await r.ping()
