"""asyncpg on the stack, against Debian's PostgreSQL on the kernel's side."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import hashlib
import io
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.integration.processes import Commoner, Process, commoner
from tests.integration.world import HOST, PEM, STACK, Net, client_tls, stack_asks

PORT = 5432
PASSWORD = "open sesame"
ROWS = 20_000

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda bin: float(bin.parent.name))

pytestmark = [
    stack_asks,
    pytest.mark.skipif(not PROGRAMS, reason="no PostgreSQL server here"),
]


@dataclass
class Cluster:
    """A database that was initialized, and may be served."""

    owner: Commoner
    data: Path

    def serve(self) -> Process:
        settings = {
            "listen_addresses": HOST,
            "port": PORT,
            "unix_socket_directories": "",
            "ssl": "on",
            "ssl_cert_file": self.owner.directory / "server.pem",
            "ssl_key_file": self.owner.directory / "server.pem",
            "fsync": "off",
            "max_connections": 40,
            "lc_messages": "C",
        }
        argv: list[str | Path] = [*self.owner.prefix, PROGRAMS[-1] / "postgres", "-D", self.data]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        return Process(argv, "ready to accept connections", **self.owner.popen)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with commoner("postgres") as owner:
        password = owner.keep("password", PASSWORD.encode())
        owner.keep("server.pem", PEM.read_bytes())
        data = owner.directory / "data"
        options = ["--no-sync", "--username=tester", "--locale=C", "--encoding=UTF8"]
        options += ["--auth=scram-sha-256", f"--pwfile={password}"]
        subprocess.run(
            [*owner.prefix, PROGRAMS[-1] / "initdb", "-D", data, *options],
            check=True,
            capture_output=True,
            **owner.popen,
        )
        with (data / "pg_hba.conf").open("a") as access:
            access.write(f"host all all {STACK}/32 scram-sha-256\n")
        yield Cluster(owner, data)


@pytest.fixture
def server(net: Net, cluster: Cluster) -> Iterator[Process]:
    """Started when its address is there, with the stack's device."""
    process = cluster.serve()
    try:
        yield process
    finally:
        process.end(signal.SIGINT)  # "fast": it doesn't wait for clients


def settings(tls: bool) -> dict[str, Any]:
    """Of clients. TLS verifies the server's certificate, by its address."""
    return {
        "host": HOST,
        "port": PORT,
        "user": "tester",
        "password": PASSWORD,
        "database": "postgres",
        "ssl": client_tls() if tls else False,
    }


@asynccontextmanager
async def connected(tls: bool, **more: Any) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(**settings(tls) | more)
    try:
        yield connection
    finally:
        await connection.close()


async def until_waiting(observer: Any, pid: int, event: str) -> None:
    """Wait until that process of the server waits for a kind of event."""
    query = "select wait_event_type from pg_stat_activity where pid = $1"
    while await observer.fetchval(query, pid) != event:
        pass


async def taken_back(db: Any) -> None:
    async with db.transaction():
        await db.execute("delete from t where n = 2")
        await db.execute("insert into t values (3, 9)")


async def test_queries(server: Process, tls: bool) -> None:
    async with connected(tls) as db:
        assert str(await db.fetchval("select inet_client_addr()")) == STACK
        assert await db.fetchval("select ssl from pg_stat_ssl where pid = pg_backend_pid()") == tls
        values = [
            7,
            "Grüße",
            b"\0\xff",
            decimal.Decimal("1.50"),
            datetime.date(2026, 2, 28),
            [1, 2],
        ]
        types = ["int", "text", "bytea", "numeric", "date", "int[]"]
        columns = ", ".join(f"${i}::{name} as c{i}" for i, name in enumerate(types, 1))
        assert list(await db.fetchrow(f"select {columns}", *values)) == values
        await db.execute("create temp table t (n int primary key, square bigint)")
        await db.executemany("insert into t values ($1, $2)", [(n, n * n) for n in range(ROWS)])
        prepared = await db.prepare("select square from t where n = $1")
        assert [await prepared.fetchval(n) for n in (0, 9, ROWS - 1)] == [0, 81, (ROWS - 1) ** 2]
        with pytest.raises(asyncpg.UniqueViolationError):
            await taken_back(db)
        assert await db.fetchval("select count(*) from t") == ROWS
        async with db.transaction():
            seen = [row["n"] async for row in db.cursor("select n from t order by n", prefetch=500)]
        assert seen == list(range(ROWS))
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await db.fetch("selekt")


async def test_copy(server: Process, tls: bool) -> None:
    """Some MB each way, checked by the server's own sum."""
    rows = [(n, hashlib.sha256(b"%d" % n).hexdigest() * 4) for n in range(ROWS)]
    text = "".join(f"{n}\t{value}\n" for n, value in rows).encode()
    assert len(text) > 5_000_000
    ours = hashlib.md5("".join(value for _, value in rows).encode()).hexdigest()
    theirs = "select md5(string_agg(value, '' order by n)) from t"
    async with connected(tls) as db:
        await db.execute("create temp table t (n int, value text)")
        await db.copy_to_table("t", source=io.BytesIO(text))
        assert await db.fetchval(theirs) == ours
        await db.execute("truncate t")
        await db.copy_records_to_table("t", records=rows)
        assert await db.fetchval(theirs) == ours
        out = bytearray()

        async def take(data: bytes) -> None:
            out.extend(data)
            await asyncio.sleep(0)

        await db.copy_from_query("select * from t order by n", output=take)
        assert out == text
        assert len(await db.fetchval("select repeat('x', 20000000)")) == 20_000_000


async def test_listen_and_notify(server: Process, tls: bool) -> None:
    heard: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
    async with connected(tls) as listener, connected(tls) as db:
        await listener.add_listener("news", lambda _, pid, __, what: heard.put_nowait((pid, what)))
        for i in range(100):
            await db.execute("select pg_notify('news', $1)", str(i))
        pid = db.get_server_pid()
        assert [await heard.get() for _ in range(100)] == [(pid, str(i)) for i in range(100)]


async def test_pool(server: Process, tls: bool) -> None:
    count = 20
    together = asyncio.Barrier(count)

    async def work(pool: Any, i: int) -> tuple[int, int]:
        async with pool.acquire() as db:
            await together.wait()  # all are at work at once
            return db.get_server_pid(), await db.fetchval("select $1::int * 2", i)

    async with asyncpg.create_pool(**settings(tls), min_size=5, max_size=count) as pool:
        done = await asyncio.gather(*(work(pool, i) for i in range(count)))
        assert [result for _, result in done] == [2 * i for i in range(count)]
        assert len({pid for pid, _ in done}) == count
        assert await asyncio.gather(*(pool.fetchval("select $1::int", i) for i in range(200))) == [
            *range(200)
        ]
    async with connected(tls) as db:
        query = "select count(*) from pg_stat_activity where client_addr is not null and pid <> $1"
        while await db.fetchval(query, db.get_server_pid()):
            pass


async def test_cancel(server: Process, tls: bool) -> None:
    """asyncpg cancels by a second connection, with TLS of its own."""
    async with connected(tls) as db, connected(tls) as holder:
        await holder.execute("select pg_advisory_lock(1)")
        running = asyncio.create_task(db.execute("select pg_advisory_lock(1)"))
        await until_waiting(holder, db.get_server_pid(), "Lock")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await db.fetchval("select 1") == 1
        with pytest.raises(TimeoutError):
            await db.execute("select pg_advisory_lock(1)", timeout=0.1)
        assert await db.fetchval("select 2") == 2
    assert any("canceling statement due to user request" in line for line in server.output)


async def test_server_stopped(server: Process, cluster: Cluster, tls: bool) -> None:
    """asyncpg's own errors; and its pool goes on, when the server does."""
    async with asyncpg.create_pool(**settings(tls), min_size=3, max_size=3) as pool:
        async with pool.acquire() as db, pool.acquire() as idle:
            running = asyncio.create_task(db.execute("select pg_sleep(600)"))
            await until_waiting(idle, db.get_server_pid(), "Timeout")
            server.end(signal.SIGINT)
            with pytest.raises((asyncpg.AdminShutdownError, asyncpg.ConnectionDoesNotExistError)):
                await running
            with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
                await idle.fetchval("select 1")
        with pytest.raises(ConnectionRefusedError):
            await pool.fetchval("select 1")
        with pytest.raises(ConnectionRefusedError):
            await asyncpg.connect(**settings(tls))
        again = cluster.serve()
        try:
            assert await asyncio.gather(*(pool.fetchval("select 1") for _ in range(6))) == [1] * 6
            again.end(signal.SIGQUIT)  # "immediate": its processes quit at once
            with pytest.raises((asyncpg.PostgresConnectionError, OSError)):
                await pool.fetchval("select 1")
        finally:
            again.end(signal.SIGINT)


async def test_refused(server: Process) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(**settings(True) | {"password": "wrong"})
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncpg.connect(**settings(True) | {"ssl": ssl.create_default_context()})
