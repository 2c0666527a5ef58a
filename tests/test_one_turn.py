"""What a program writes in one turn of the loop leaves together, and waits for nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from aiotcp import Stack
from aiotcp.link import memory
from aiotcp.tcp.reno import Reno

HERE, THERE = "192.0.2.1", "192.0.2.2"


class Pair(NamedTuple):
    here: Stack
    there: Stack


@pytest_asyncio.fixture
async def pair() -> AsyncIterator[Pair]:
    left, right = memory.pair()
    async with Stack(left, addresses=[HERE]) as here, Stack(right, addresses=[THERE]) as there:
        yield Pair(here, there)


def frames(stack: Stack) -> dict[str, int]:
    return {str(why): count for why, count in stack.counters.sent.items() if count}


async def test_small_writes_are_one_segment_and_carry_the_acknowledgment(pair: Pair) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(b"headers\n")
            writer.write(b"body\n")
            await asyncio.sleep(0)
            writer.write(b"later\n")
        writer.close()

    server = await pair.there.start_server(serve, THERE, 80)
    reader, writer = await pair.here.open_connection(THERE, 80)
    for _ in range(10):
        writer.write(b"request\n")
        assert await reader.readline() == b"headers\n"
        assert await reader.readline() == b"body\n"
        assert await reader.readline() == b"later\n"
    sent = frames(pair.there)
    assert sent.pop("new_data") == 20
    assert sent == {"open_reply": 1}  # the answer came before any acknowledgment was due
    writer.close()
    server.close()
    await writer.wait_closed()


@pytest.mark.parametrize("connections", [1, 3])
async def test_the_answer_of_a_task_leaves_in_the_turn_in_which_it_is_written(
    pair: Pair, connections: int
) -> None:
    turn = 0
    written: list[int] = []
    left: list[int] = []

    def tick() -> None:
        nonlocal turn
        turn += 1
        while frames(pair.there).get("new_data", 0) > len(left):
            left.append(turn - 1)  # it was before this
        if len(left) < 10 * connections:
            asyncio.get_running_loop().call_soon(tick)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
            written.append(turn)
        writer.close()

    server = await pair.there.start_server(serve, THERE, 80)
    ends = [await pair.here.open_connection(THERE, 80) for _ in range(connections)]
    tick()
    for _ in range(10):
        for _, writer in ends:
            writer.write(b"request\n")
        for reader, _ in ends:
            assert await reader.readline() == b"request\n"
    # The first of each shows what program it is.
    assert left[connections:] == written[connections:]
    for _, writer in ends:
        writer.close()
        await writer.wait_closed()
    server.close()


async def test_several_connections_of_one_turn(pair: Pair) -> None:
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.put_nowait(await reader.read())
        writer.close()

    server = await pair.there.start_server(serve, THERE, 80)
    writers = [(await pair.here.open_connection(THERE, 80))[1] for _ in range(3)]
    before = frames(pair.here).get("new_data", 0)
    for number in range(30):
        writers[number % 3].write(b"%d " % number)
    assert frames(pair.here).get("new_data", 0) == before  # not before the turn ends
    assert all(writer.transport.get_write_buffer_size() == 0 for writer in writers)
    for writer in writers:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in writers))
    texts = [await arrived.get() for _ in writers]
    # The last bytes and the FIN in one: nothing else leaves for the closing.
    assert frames(pair.here)["new_data"] == before + 3
    assert "close" not in frames(pair.here)
    assert sorted(texts) == sorted(
        b"".join(b"%d " % number for number in range(first, 30, 3)) for first in range(3)
    )
    server.close()


async def test_what_was_written_goes_though_the_program_writes_on(pair: Pair) -> None:
    """A program that never lets a turn pass without writing holds nothing back."""
    received = bytearray()
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            received.extend(data)
            done.set()
        writer.close()

    server = await pair.there.start_server(serve, THERE, 80)
    _, writer = await pair.here.open_connection(THERE, 80)
    turns = 0
    while not done.is_set():
        turns += 1
        assert turns < 20
        writer.write(b"x")
        await asyncio.sleep(0)
    writer.close()
    server.close()


async def test_a_lost_connection_is_not_written_to(pair: Pair) -> None:
    """What is left for the end of the turn when the stack is gone before it."""
    server = await pair.there.start_server(lambda reader, writer: None, THERE, 80)
    _, writer = await pair.here.open_connection(THERE, 80)
    writer.write(b"x")
    writer.transport.abort()
    pair.here.abort()
    await asyncio.sleep(0)
    assert frames(pair.here)["rst_abort"] == 1
    server.close()


@pytest.mark.parametrize("answering", [False, True])
async def test_a_control_that_raises_costs_the_others_nothing(pair: Pair, answering: bool) -> None:
    """Neither at the end of a turn nor of a batch."""
    broken = False

    class Broken(Reno):
        def on_send(self, now: float, flight: int, app_limited: bool) -> None:
            if broken:
                raise ZeroDivisionError

    class Answers(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport: Any = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    controls = (Broken, Reno)
    here, there = pair
    for port, cc in enumerate(controls, 80):
        options = {"cc": cc} if answering else {}
        await there.create_server(Answers, THERE, port, options=options)
    streams = [
        await here.open_connection(THERE, port, options={} if answering else {"cc": cc})
        for port, cc in enumerate(controls, 80)
    ]
    for reader, writer in streams:
        writer.write(b"before\n")
        assert await reader.readline() == b"before\n"
    await asyncio.sleep(1)
    broken = True
    for _, writer in streams:
        writer.write(b"question\n")
    async with asyncio.timeout(0.1):
        assert await streams[1][0].readline() == b"question\n"
    assert [type(each["exception"]) for each in reports] == [ZeroDivisionError]
    for _, writer in streams:
        writer.transport.abort()


@pytest.mark.parametrize("late", [False, True])
async def test_the_last_bytes_and_the_fin_are_one_segment(pair: Pair, late: bool) -> None:
    """Whether the protocol answers at once or in a later callback; and it leaves before the
    protocol hears that the connection is lost."""
    sent_before: list[dict[str, int]] = []

    class Answers(asyncio.Protocol):
        transport: asyncio.Transport

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            if late:
                asyncio.get_running_loop().call_soon(self.answer, data)
            else:
                self.answer(data)

        def answer(self, data: bytes) -> None:
            self.transport.write(data)
            self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            assert exc is None
            sent_before.append(frames(pair.there))

    server = await pair.there.create_server(Answers, THERE, 80)
    reader, writer = await pair.here.open_connection(THERE, 80)
    writer.write(b"question\n")
    assert await reader.read() == b"question\n"
    writer.close()
    await writer.wait_closed()
    assert sent_before == [{"open_reply": 1, "new_data": 1}]
    await asyncio.sleep(1)
    sent = frames(pair.there)
    assert sent.pop("ack_fin") == 1
    assert sent == {"open_reply": 1, "new_data": 1}
    server.close()


async def test_what_nobody_has_read_is_answered_by_a_reset_and_no_fin(pair: Pair) -> None:
    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        asyncio.get_running_loop().call_later(1, writer.close)

    server = await pair.there.start_server(accepted, THERE, 80)
    reader, writer = await pair.here.open_connection(THERE, 80)
    writer.write(b"question\n")
    with pytest.raises(ConnectionResetError):
        await reader.read()
    assert "close" not in frames(pair.there)
    assert frames(pair.there)["rst_unread_data"] == 1
    writer.close()
    server.close()
