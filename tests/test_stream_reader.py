"""The reader of aiotcp's streams beside asyncio's: the same calls give the same answers.

CPython's own tests of StreamReader pass with it as well, on 3.11 to 3.13.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.streamreader import StreamReader

LIMIT = 20_000

_sizes = st.sampled_from((1, 10, 4095, 4096, 5000, 20_000, 50_000))
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("feed"), _sizes),
        st.tuples(st.just("read"), st.sampled_from((0, 1, 4096, 9000, 100_000))),
        st.tuples(st.just("readexactly"), _sizes),
        st.tuples(st.just("readline"), st.just(0)),
        st.tuples(st.just("readuntil"), st.just(0)),
        st.tuples(st.just("peek"), st.just(0)),
        st.tuples(st.just("eof"), st.just(0)),
        st.tuples(st.just("all"), st.just(0)),
    ),
    max_size=30,
)


class Paused:
    """What a reader asks of its transport."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")


async def told(reader: asyncio.StreamReader, steps: list[tuple[str, int]]) -> list[Any]:
    """What came of it all: answers, errors, and what the transport was asked."""
    transport = Paused()
    reader.set_transport(transport)  # type: ignore[arg-type]
    found: list[Any] = []
    position = 0
    for step, size in steps:
        pending: asyncio.Future[Any] | None = None
        if step == "feed":
            if not reader._eof:  # type: ignore[attr-defined]
                data = bytes((position + at) % 251 for at in range(size))
                position += size
                reader.feed_data(data)
        elif step == "eof":
            reader.feed_eof()
        elif step == "peek":
            found.append(bytes(reader._buffer))  # type: ignore[attr-defined]
        elif step == "read":
            pending = asyncio.ensure_future(reader.read(size))
        elif step == "readexactly":
            pending = asyncio.ensure_future(reader.readexactly(size))
        elif step == "readline":
            pending = asyncio.ensure_future(reader.readline())
        elif step == "readuntil":
            pending = asyncio.ensure_future(reader.readuntil(b"\x64\x65"))
        elif reader._eof:  # type: ignore[attr-defined]
            pending = asyncio.ensure_future(reader.read())
        if pending is not None:
            for _ in range(3):
                await asyncio.sleep(0)
            if not pending.done():
                pending.cancel()
            answers = await asyncio.gather(pending, return_exceptions=True)
            found += [each if isinstance(each, bytes) else repr(each) for each in answers]
        found.append((len(transport.told), reader.at_eof()))
    return [*found, transport.told]


@given(_steps)
def test_it_answers_as_asyncios_does(steps: list[tuple[str, int]]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        expected = await told(asyncio.StreamReader(LIMIT, loop), steps)
        assert await told(StreamReader(LIMIT, loop), steps) == expected

    asyncio.run(main())


async def test_what_fits_is_handed_on_as_it_came() -> None:
    reader = StreamReader(1 << 20, asyncio.get_running_loop())
    pieces = [bytes([number]) * 100_000 for number in range(3)]
    reader.feed_data(pieces[0])
    assert await reader.read(1 << 18) is pieces[0]
    for piece in pieces:
        reader.feed_data(piece)
    assert await reader.read(100_000) is pieces[0]
    assert await reader.read(150_000) == pieces[1] + pieces[2][:50_000]
    assert await reader.read(10) == pieces[2][:10]
    assert reader._buffer == pieces[2][50_010:]


class Count:
    """A number as libraries have them: no int, but usable for one."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __index__(self) -> int:
        return self.number

    def __le__(self, other: int) -> bool:
        return self.number <= other

    def __lt__(self, other: int) -> bool:
        return self.number < other

    def __ge__(self, other: int) -> bool:
        return self.number >= other


@pytest.mark.parametrize("size", [10, 10_000])
async def test_a_number_that_is_no_int(size: int) -> None:
    count: Any = Count(3)
    for kind in (StreamReader, asyncio.StreamReader):
        reader = kind()
        reader.feed_data(bytes(range(10)) * (size // 10))
        assert await reader.read(count) == bytes(range(3))
        assert await reader.read(count) == bytes(range(3, 6))


async def test_libraries_may_take_bytes_out_of_the_buffer() -> None:
    reader = StreamReader(1 << 20, asyncio.get_running_loop())
    reader.feed_data(b"a" * 10_000 + b"b" * 10_000)
    del reader._buffer[:10_000]
    reader._buffer.extend(b"c")
    reader.feed_data(b"d" * 10_000)
    assert await reader.read(1 << 18) == b"b" * 10_000 + b"c" + b"d" * 10_000


# A task that waits goes on at once


async def _waits(reader: StreamReader, got: list[bytes], **kwds: Any) -> asyncio.Task[None]:
    async def take() -> None:
        while data := await reader.read(10):
            got.append(data)

    task = asyncio.get_running_loop().create_task(take(), **kwds)
    await asyncio.sleep(0)
    return task


async def _fed_by_the_loop(reader: StreamReader, got: list[bytes], **kwds: Any) -> list[bytes]:
    """What had been taken when `feed_data` came back."""
    found: list[bytes] = []
    fed = asyncio.Event()

    def feed() -> None:
        reader.feed_data(b"one")
        found.extend(got)
        fed.set()

    asyncio.get_running_loop().call_soon(feed, **kwds)
    await fed.wait()
    return found


async def test_who_waits_goes_on_in_the_call_that_feeds() -> None:
    reader = StreamReader(loop=asyncio.get_running_loop())
    got: list[bytes] = []
    task = await _waits(reader, got)
    assert await _fed_by_the_loop(reader, got) == [b"one"]
    reader.feed_eof()
    await task
    assert got == [b"one"]


async def test_a_task_that_feeds_is_not_interrupted_by_the_one_that_waits() -> None:
    reader = StreamReader(loop=asyncio.get_running_loop())
    got: list[bytes] = []
    task = await _waits(reader, got)
    reader.feed_data(b"one")
    assert got == []
    await asyncio.sleep(0)
    assert got == [b"one"]
    reader.feed_eof()
    await task


async def test_who_feeds_in_the_context_of_the_task_that_waits_does_not_enter_it_twice() -> None:
    reader = StreamReader(loop=asyncio.get_running_loop())
    got: list[bytes] = []
    context = contextvars.copy_context()
    task = await _waits(reader, got, context=context)
    assert await _fed_by_the_loop(reader, got, context=context) == []
    reader.feed_eof()
    await task
    assert got == [b"one"]


async def test_who_was_cancelled_while_waiting_is_not_called() -> None:
    reader = StreamReader(loop=asyncio.get_running_loop())
    got: list[bytes] = []
    task = await _waits(reader, got)
    task.cancel()
    assert await _fed_by_the_loop(reader, got) == []
    assert task.cancelled()
    assert await reader.read(10) == b"one"


async def test_who_wants_more_than_the_limit_is_not_paused_while_he_waits() -> None:
    loop = asyncio.get_running_loop()
    reader = StreamReader(limit=10, loop=loop)
    transport = Paused()
    reader.set_transport(transport)  # type: ignore[arg-type]
    task = loop.create_task(reader.readexactly(100))
    await asyncio.sleep(0)
    for _ in range(4):
        loop.call_soon(reader.feed_data, bytes(25))
    assert await task == bytes(100)
    assert transport.told == []
