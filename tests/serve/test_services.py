"""The services on two stacks in memory: what they do, without a device and without privilege."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from aiotcp.link import memory
from aiotcp.serve import pages
from aiotcp.serve.echo import Echo
from aiotcp.serve.problems import NoApplication, NoPermission
from aiotcp.serve.service import Service, curl
from aiotcp.serve.web import Web, load
from aiotcp.streams import Stack

pytestmark = pytest.mark.real_loop  # files are read in threads

HOSTS = ("192.0.2.2", "fd61:696f:7463:70::2")


class Pair(NamedTuple):
    server: Stack
    client: Stack


@pytest_asyncio.fixture
async def stacks() -> AsyncIterator[Pair]:
    ours, theirs = memory.pair()
    async with (
        Stack(ours, addresses=HOSTS) as server,
        Stack(theirs, addresses=["192.0.2.1", "fd61:696f:7463:70::1"]) as client,
    ):
        yield Pair(server, client)


@asynccontextmanager
async def running(service: Service, stack: Stack) -> AsyncIterator[list[tuple[str, int]]]:
    listening: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(service.run(stack, listening.set_result))
    await asyncio.wait({listening, task}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    yield listening.result()
    service.stop()
    await task


async def get(client: Stack, path: str, host: str = HOSTS[0], port: int = 80) -> tuple[int, str]:
    """Status and body."""
    reader, writer = await client.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.0\r\nHost: test\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), body


def connections_service(port: int = 80) -> Web:
    return Web("live connections", pages.connections, HOSTS, port, lifespan="off", grace=1)


async def test_the_page_and_its_data_show_each_connection(stacks: Pair) -> None:
    async with running(connections_service(), stacks.server) as endpoints:
        assert endpoints == [(HOSTS[0], 80), (HOSTS[1], 80)]
        for host in HOSTS:
            status, page = await get(stacks.client, "/", host)
            assert status == 200
            (here,) = [row for row in page.splitlines() if "ESTABLISHED" in row]
            assert host in here
            assert "cubic" in here
        _, data = await get(stacks.client, "/connections.json")
        (seen,) = [each for each in json.loads(data) if each["state"] == "ESTABLISHED"]
        assert seen["local"] == "192.0.2.2:80"
        assert seen["remote"].startswith("192.0.2.1:")
        _, counters = await get(stacks.client, "/counters.json")
        assert json.loads(counters)["connections_accepted"] == 4
        assert (seen["cc"], seen["retransmissions"]) == ("cubic", 0)
        _, linux = await get(stacks.client, "/nstat.json")
        assert json.loads(linux)["TcpPassiveOpens"] == 5
        assert (await get(stacks.client, "/nothing-here"))[0] == 404


async def test_port_0_picks_ports_and_says_which(stacks: Pair) -> None:
    async with running(connections_service(0), stacks.server) as endpoints:
        for host, port in endpoints:
            assert port > 0
            assert (await get(stacks.client, "/", host, port))[0] == 200


async def test_a_taken_port_is_an_error(stacks: Pair) -> None:
    async with running(connections_service(), stacks.server):
        with pytest.raises(OSError, match="in use"):
            async with running(Echo(HOSTS, 80), stacks.server):
                pass


async def test_a_directory_with_its_listing_its_index_and_its_borders(
    stacks: Pair, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    (root / "sub dir").mkdir(parents=True)
    (root / "a & b.txt").write_text("both")
    (root / os.fsdecode(b"latin\xe9")).touch()
    (root / "inside").symlink_to("a & b.txt")
    (tmp_path / "private").write_text("not to be had")
    (root / "outside").symlink_to("../private")
    service = Web("files", lambda _: pages.directory(str(root)), HOSTS, 80, lifespan="off", grace=1)
    async with running(service, stacks.server):
        status, listing = await get(stacks.client, "/")
        assert status == 200
        assert '<a href="./a%20%26%20b.txt">a &amp; b.txt</a>' in listing
        assert '<a href="./sub%20dir/">sub dir/</a>' in listing
        assert "inside" in listing
        assert "latin" not in listing, "a name that is not UTF-8 can't be fetched"
        assert "outside" not in listing
        assert await get(stacks.client, "/a%20%26%20b.txt") == (200, "both")
        assert await get(stacks.client, "/inside") == (200, "both")
        for path in ("/outside", "/../private", "/%2e%2e/private", "/no", "/%00", "/" + "x" * 300):
            assert (await get(stacks.client, path))[0] == 404, path
        assert (await get(stacks.client, "/sub%20dir"))[0] == 307
        _, below = await get(stacks.client, "/sub%20dir/")
        assert "../" in below
        (root / "sub dir" / "index.html").write_text("the index")
        assert await get(stacks.client, "/sub%20dir/") == (200, "the index")


async def test_echo_sends_everything_back_and_closes_when_stopped(stacks: Pair) -> None:
    data = os.urandom(200_000)
    async with running(Echo(HOSTS, 7), stacks.server) as endpoints:
        for host, port in endpoints:
            reader, writer = await stacks.client.open_connection(host, port)
            writer.write(data)
            writer.write_eof()
            assert await reader.read() == data
            writer.close()
        reader, writer = await stacks.client.open_connection(HOSTS[0], 7)
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_an_application_whose_start_up_fails_is_said_so(stacks: Pair) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    service = Web("failing", lambda _: application, HOSTS, 80, lifespan="on", grace=1)
    with pytest.raises(NoApplication):
        async with running(service, stacks.server):
            pass


@pytest.mark.asyncio(loop_factories=["virtual"])
async def test_applications_are_found_by_name() -> None:
    assert load("os:path.join") is os.path.join
    for target in ("no_such_module:app", "os:no_such_name"):
        with pytest.raises(NoApplication, match="no_such"):
            load(target)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (("http", "192.0.2.2", 80), "curl http://192.0.2.2/"),
        (("http", "192.0.2.2", 8080), "curl http://192.0.2.2:8080/"),
        (("http", "2001:db8::2", 80), "curl 'http://[2001:db8::2]/'"),
        (("http", "2001:db8::2", 81), "curl 'http://[2001:db8::2]:81/'"),
        (("telnet", "192.0.2.2", 80), "curl telnet://192.0.2.2:80"),
    ],
)
def test_commands_can_be_typed(arguments: tuple[str, str, int], command: str) -> None:
    assert curl(*arguments) == command


def test_after_preload_nothing_is_imported_any_more(tmp_path: Path) -> None:
    """Who has become another user may not be able to read a single module any more."""
    (tmp_path / "file").write_text("contents")
    program = f"""
import asyncio, sys
import uvloop
from aiotcp.link import memory
from aiotcp.serve import pages, program, web
from aiotcp.streams import Stack

class Unreadable:
    def find_spec(self, name, path=None, target=None):
        raise PermissionError(13, "Permission denied", name)

async def fetch():
    ours, theirs = memory.pair()
    async with (
        Stack(ours, addresses=["192.0.2.2"]) as server,
        Stack(theirs, addresses=["192.0.2.1"]) as client,
    ):
        service = web.Web(
            "files", lambda _: pages.directory({str(tmp_path)!r}), ["192.0.2.2"], 80, grace=1
        )
        listening = asyncio.Event()
        task = asyncio.create_task(service.run(server, lambda _: listening.set()))
        told = asyncio.create_task(listening.wait())
        await asyncio.wait({{told, task}}, return_when=asyncio.FIRST_COMPLETED)
        for path in ("/", "/file"):
            reader, writer = await client.open_connection("192.0.2.2", 80)
            writer.write(f"GET {{path}} HTTP/1.0\\r\\n\\r\\n".encode())
            print((await reader.read()).decode())
            writer.close()
        service.stop()
        await task

web.preload()
sys.meta_path.insert(0, Unreadable())
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(fetch())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("200 OK") == 2, done.stderr
    assert "contents" in done.stdout


def test_an_application_in_an_unreadable_place_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(place: str) -> None:
        raise PermissionError(13, "Permission denied", place)

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(sys, "path", ["/secret"])
    with pytest.raises(NoPermission, match=r"may not read /.*, /secret"):
        load("no_such_module:app")
