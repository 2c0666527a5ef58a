"""What a page of several workers sees: those that answer, of those that belong to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aiotcp import control
from aiotcp.link import memory
from aiotcp.serve import views
from aiotcp.serve.views import Answers, WorkersView
from aiotcp.serve.watching import ROWS_MAX
from aiotcp.streams import Stack

CLIENT, SERVER = "192.0.2.1", "192.0.2.2"
GROUP = 4711

pytestmark = pytest.mark.real_loop

Answer = Callable[[str], dict[str, Any] | bytes | None]


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the machine does something else, who answers is heard."""
    monkeypatch.setattr(views, "PATIENCE_S", 60.0)


async def _hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """And then the connection stays, until its client ends it."""
    writer.write(b"hello")
    await reader.read()
    writer.close()


@asynccontextmanager
async def worker(path: Path, number: int, connections: int) -> AsyncIterator[list[Any]]:
    """A stack with so many connections, which answers at `path`; their client's streams."""
    left, right = memory.pair()
    async with (
        Stack(left, addresses=[CLIENT], seed=b"client") as client,
        Stack(right, addresses=[SERVER], seed=b"server") as server,
        control.serve(server, path, session=lambda: Answers(server), worker=number, group=GROUP),
    ):
        await server.start_server(_hello, SERVER, 7)
        opened = [await client.open_connection(SERVER, 7) for _ in range(connections)]
        try:
            yield opened
        finally:
            for _, writer in opened:
                writer.close()


@asynccontextmanager
async def liar(path: Path, answer: Answer) -> AsyncIterator[list[str]]:
    """One who answers what `answer` makes of a verb, where that is something; the verbs."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            asked.append(json.loads(line)["verb"])
            told = answer(asked[-1])
            if isinstance(told, dict):
                writer.write(json.dumps({"ok": True, "result": told}).encode() + b"\n")
            elif told is not None:
                writer.write(told)
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    yield asked
    server.close()


async def test_the_tables_of_all_are_one(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        for number, count in enumerate((2, 0, 3)):
            path = tmp_path / f"{number}"
            await stack.enter_async_context(worker(path, number, count))
        view = WorkersView(GROUP, tmp_path.iterdir)
        stack.callback(view.close)
        table = await view.table()
        assert table["all"] == 5
        assert sorted(row[12] for row in table["rows"]) == [0, 0, 2, 2, 2]
        ages = [row[9] for row in table["rows"]]
        assert ages == sorted(ages), "the newest first"
        assert all(row[0].startswith(f"{row[12]}.") for row in table["rows"])
        # Both have connections of the same addresses and ports: what is chosen is one's.
        await view.watch(table["rows"][0][0])
        news = await view.news()
        assert news["here"] == SERVER
        assert "over" not in news


async def test_the_chosen_one_is_among_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "ROWS_MAX", 4)
    assert ROWS_MAX > 5
    async with worker(tmp_path / "0", 0, 6):
        view = WorkersView(GROUP, tmp_path.iterdir)
        assert len((await view.table())["rows"]) == 4
        monkeypatch.setattr(views, "ROWS_MAX", 100)
        oldest = (await view.table())["rows"][-1][0]
        monkeypatch.setattr(views, "ROWS_MAX", 4)
        await view.watch(oldest)
        table = await view.table()
        assert table["all"] == 6
        assert [row[0] for row in table["rows"]].index(oldest) == 4
        view.close()


async def test_who_does_not_answer_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "PATIENCE_S", 1.0)
    info = {"worker": 1, "group": GROUP}
    nothing: dict[str, Any] = {"worker": 9, "group": GROUP + 1}
    async with (
        worker(tmp_path / "0", 0, 1),
        liar(tmp_path / "silent", lambda verb: info if verb == "info" else None) as silent,
        liar(tmp_path / "mute", lambda verb: None),
        liar(tmp_path / "garbage", lambda verb: info if verb == "info" else b"}\n"),
        liar(tmp_path / "other", lambda verb: nothing) as other,
    ):
        (tmp_path / "gone").touch()
        view = WorkersView(GROUP, tmp_path.iterdir)
        for _ in range(2):
            table = await view.table()
            assert (table["all"], [row[12] for row in table["rows"]]) == (1, [0])
        assert silent == ["info", "table"] * 2, "it may have become better"
        assert other == ["info"], "another program's stacks are asked who they are, once"
        view.close()


async def test_what_there_is_not_can_not_be_watched(tmp_path: Path) -> None:
    async with worker(tmp_path / "0", 0, 1):
        view = WorkersView(GROUP, tmp_path.iterdir)
        (row,) = (await view.table())["rows"]
        flow = row[0].partition(".")[2]
        for chosen in (f"1.{flow}", flow, "0.", "0.00", "0.xy", ""):
            with pytest.raises(LookupError):
                await view.watch(chosen)
        await view.watch(row[0])
        view.close()


async def test_once_the_page_is_gone_nothing_is_watched(tmp_path: Path) -> None:
    left, right = memory.pair()
    async with (
        Stack(left, addresses=[CLIENT]) as client,
        Stack(right, addresses=[SERVER]) as server,
        control.serve(
            server, tmp_path / "0", session=lambda: Answers(server), worker=0, group=GROUP
        ),
    ):
        await server.start_server(_hello, SERVER, 7)
        _, writer = await client.open_connection(SERVER, 7)
        link = server.link
        view = WorkersView(GROUP, tmp_path.iterdir)
        (row,) = (await view.table())["rows"]
        await view.watch(row[0])
        assert server.link is not link
        view.close()
        for _ in range(1000):
            if server.link is link:
                break
            await asyncio.sleep(0)
        assert server.link is link
        writer.close()
