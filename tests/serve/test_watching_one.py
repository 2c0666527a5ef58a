"""The live view's data: one connection as it happens, and what watching it may cost."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from types import FrameType
from typing import Any

import pytest
import pytest_asyncio

from aiotcp.link import memory
from aiotcp.serve.watching import LOOKED_MAX, PACKETS_MAX, ROWS_MAX, TICK_S, Watching, rows
from aiotcp.streams import Stack
from aiotcp.tcp.connection import Connection

CLIENT, SERVER = "192.0.2.1", "192.0.2.2"


class Pair:
    """Two stacks; the server's is watched. What the client writes is sent back."""

    def __init__(self) -> None:
        left, right = memory.pair()
        self.client = Stack(left, addresses=[CLIENT], seed=b"client")
        self.server = Stack(right, addresses=[SERVER], seed=b"server")
        self.writers: list[asyncio.StreamWriter] = []

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self.client.open_connection(SERVER, 7)
        self.writers.append(writer)
        return reader, writer

    def watched(self) -> Connection:
        (conn,) = [each for each in self.server.entries() if isinstance(each, Connection)]
        return conn

    def flow(self) -> bytes:
        return self.watched().flow

    def segments(self) -> int:
        return self.watched().segs_in + self.watched().segs_out


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()


@pytest_asyncio.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    await made.server.start_server(echo, SERVER, 7)
    yield made
    for writer in made.writers:
        writer.close()
    await made.client.aclose()
    await made.server.aclose()


async def exchange(
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], size: int, times: int = 1
) -> None:
    reader, writer = streams
    for _ in range(times):
        writer.write(bytes(size))
        await reader.readexactly(size)


def segments(news: dict[str, Any]) -> list[tuple[str, int, int, str]]:
    """Who sent it, its first number, its length, its reason."""
    p, words = news["p"], news["words"]
    return [
        (("client", "server")[sender], seq, length, words[why])
        for sender, seq, length, why in zip(p["from"], p["seq"], p["len"], p["why"], strict=True)
        if length
    ]


async def test_it_begins_in_the_middle_with_the_right_numbers(pair: Pair) -> None:
    streams = await pair.open()
    await exchange(streams, 1000)
    watching = Watching(pair.server, pair.flow())
    first = watching.news()
    assert first["hosts"] == [CLIENT, SERVER]
    assert first["here"] == SERVER
    assert first["flows"][0]["server"] == SERVER
    assert [row[4] for row in first["s"]] == ["ESTABLISHED"]
    await exchange(streams, 100)
    news = watching.news()
    assert segments(news) == [("client", 1001, 100, ""), ("server", 1001, 100, "new_data")]
    assert set(news["p"]["win"]) != {0}
    assert "hosts" not in news
    assert len(news["m"]["cwnd"]) >= 1
    watching.stop()
    await exchange(streams, 100)
    assert segments(watching.news()) == []
    watching.stop()


async def test_of_much_it_takes_some_and_counts_the_rest(pair: Pair) -> None:
    streams = await pair.open()
    watching = Watching(pair.server, pair.flow())
    watching.news()
    before = pair.segments()
    await exchange(streams, 100, times=500)
    passed = pair.segments() - before
    news = watching.news()
    assert len(news["p"]["at"]) == PACKETS_MAX
    ((begins, ends, count),) = news["g"]
    assert news["order"].endswith("g")
    assert news["p"]["at"][-1] <= begins <= ends
    assert abs(PACKETS_MAX + count - passed) <= 2
    # The next interval has its own.
    await exchange(streams, 100)
    assert len(segments(watching.news())) == 2
    watching.stop()


class Calls:
    """Counts calls of Python functions, but for those of tests and of asyncio."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        self.count += event == "call" and "/aiotcp/" in frame.f_code.co_filename


async def calls_of(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> int:
    await exchange(streams, 100)
    counting = Calls()
    sys.setprofile(counting)
    try:
        await exchange(streams, 100, times=20)
    finally:
        sys.setprofile(None)
    return counting.count


async def test_once_it_has_its_packets_watching_costs_nothing(pair: Pair) -> None:
    streams = await pair.open()
    await exchange(streams, 100, times=50)
    before = await calls_of(streams)
    watching = Watching(pair.server, pair.flow())
    watching.news()
    await exchange(streams, 100, times=PACKETS_MAX)
    assert await calls_of(streams) == before
    # It looks again, at each packet; and so little is done for one.
    watching.news()
    looking = await calls_of(streams) - before
    assert 0 < looking <= 20 * 2 * 6
    watching.stop()


async def test_the_packets_of_others_are_too_many_to_look_at(pair: Pair) -> None:
    streams = await pair.open()
    watching = Watching(pair.server, pair.flow())
    link = pair.server.link
    other = await pair.open()
    await exchange(other, 100, times=LOOKED_MAX // 2 + 20)
    assert pair.server.link is not link
    assert "g" not in watching.news()  # nothing was missed
    assert pair.server.link is link
    await exchange(other, 100, times=LOOKED_MAX // 2 + 20)
    await exchange(streams, 100)
    ((_, _, count),) = watching.news()["g"]
    assert count == 2
    await exchange(streams, 100)
    assert len(segments(watching.news())) == 2
    watching.stop()


async def test_nothing_stands_at_the_link_when_nobody_watches(pair: Pair) -> None:
    link = pair.server.link
    streams = await pair.open()
    watching = Watching(pair.server, pair.flow())
    assert pair.server.link is not link
    await exchange(streams, 100)
    watching.stop()
    assert pair.server.link is link
    await exchange(streams, 100)


async def test_states_to_the_end_and_then_it_is_over(pair: Pair) -> None:
    streams = await pair.open()
    watching = Watching(pair.server, pair.flow())
    seen: list[str] = []
    streams[1].close()
    news: dict[str, Any] = {}
    for _ in range(50):
        news = watching.news()
        seen += [row[4] for row in news["s"]]
        if "over" in news:
            break
        await asyncio.sleep(TICK_S)
    assert seen[0] == "ESTABLISHED"
    assert seen[-1] == "CLOSED"
    assert news["over"] is True
    # What was forgotten is no reason to fail.
    with pytest.raises(LookupError):
        Watching(pair.server, bytes(12))


async def test_other_connections_are_not_in_it(pair: Pair) -> None:
    streams = await pair.open()
    watching = Watching(pair.server, pair.flow())
    watching.news()
    other = await pair.open()
    await exchange(other, 5000)
    assert watching.news()["p"]["at"] == []
    await exchange(streams, 10)
    assert [length for _, _, length, _ in segments(watching.news())] == [10, 10]
    watching.stop()


async def test_the_table_has_the_newest_and_the_chosen_one(pair: Pair) -> None:
    first = await pair.open()
    flow = pair.flow()
    others = [await pair.open() for _ in range(ROWS_MAX + 5)]
    await exchange(first, 1234)
    await exchange(others[-1], 4321)
    await asyncio.sleep(1)  # the last acknowledgments are delayed
    table = rows(pair.server, flow)
    assert table["all"] == ROWS_MAX + 6
    assert len(table["rows"]) == ROWS_MAX + 1
    newest, chosen = table["rows"][0], table["rows"][-1]
    assert chosen[0] == flow.hex()
    assert (chosen[4], chosen[5]) == (1234, 1234)
    assert newest[3:6] == ["ESTABLISHED", 4321, 4321]
    assert newest[1] == f"{SERVER}:7"
