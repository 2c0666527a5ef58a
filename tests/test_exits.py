"""sys.exit() and Ctrl-C in a callback of one connection: the loop's run ends, and nothing is lost.

Programs run their loop again after that: asyncio.run() does, to let every task clean up. What came
for others in the same batch is then delivered and answered at once, and not when a timer of
somebody makes them look again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiotcp import Stack
from aiotcp.link import memory
from aiotcp.sim import VirtualLoop
from tests.conftest import REAL, VIRTUAL

HERE, THERE = "192.0.2.1", "192.0.2.2"
COUNT = 3
LOOPS = VIRTUAL | REAL

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Answers(asyncio.Protocol):
    """Says it back, and that it was the end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def eof_received(self) -> None:
        self.transport.write(b", the end")


class World:
    """Two stacks on a loop, which is run as often as one likes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.run = loop.run_until_complete
        left, right = memory.pair()
        self.here = Stack(left, addresses=[HERE])
        self.there = Stack(right, addresses=[THERE])
        self.here.bind(loop)
        self.there.bind(loop)

    async def ask(self, factory: Callable[[], asyncio.BaseProtocol]) -> list[Streams]:
        """COUNT clients, whose packets come in the same batches."""
        await self.there.create_server(factory, THERE, 80)
        opened = await asyncio.gather(
            *[self.here.open_connection(THERE, 80) for _ in range(COUNT)],
        )
        for n, (_, writer) in enumerate(opened):
            writer.write(b"question %d" % n)
            writer.write_eof()
        return opened

    def ends(self, how: type[BaseException], factory: Callable[[], asyncio.BaseProtocol]) -> None:
        """A run of the loop in which that is raised."""

        async def main() -> None:
            self.asking = self.loop.create_task(self.ask(factory))
            await asyncio.Event().wait()

        running = self.loop.create_task(main())
        with pytest.raises(how):
            self.run(running)
        running.cancel()

    async def _answers(self) -> list[bytes]:
        return [await answer(*streams) for streams in await self.asking]

    def answers(self) -> list[bytes]:
        """Each one's, in another run, which takes no time."""
        before = self.loop.time()
        answers = self.run(asyncio.wait_for(self._answers(), 60))
        if isinstance(self.loop, VirtualLoop):
            assert self.loop.time() - before < 0.001
        return answers

    async def aclose(self) -> None:
        await self.here.aclose(grace=0)
        await self.there.aclose(grace=0)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


@pytest.fixture(params=LOOPS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    loop = LOOPS[request.param]()
    try:
        world = World(loop)
        yield world
        world.run(world.aclose())
    finally:
        loop.close()


def answered(*but: int) -> list[bytes]:
    return [b"question %d, the end" % n for n in range(COUNT) if n not in but]


@pytest.mark.parametrize("how", [SystemExit, KeyboardInterrupt])
def test_all_of_the_batch_are_answered(world: World, how: type[BaseException]) -> None:
    """The one whose protocol has left, too: its end of the stream came in that batch."""
    calls = []

    class Leaves(Answers):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            calls.append(data)
            if len(calls) == 1:
                raise how

    world.ends(how, Leaves)
    assert world.answers() == answered()
    assert len(calls) == COUNT


def test_so_are_those_that_come_behind_an_error_whose_handler_leaves(world: World) -> None:
    class Fails(Answers):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if data == b"question 0":
                raise LookupError

    def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        assert isinstance(context["exception"], LookupError)
        raise SystemExit

    world.loop.set_exception_handler(handler)
    world.ends(SystemExit, Fails)
    assert world.answers()[1:] == answered(0)


def test_the_others_are_accepted_where_one_can_not_be(world: World) -> None:
    made = []

    def factory() -> Answers:
        made.append(1)
        if len(made) == 1:
            raise SystemExit
        return Answers()

    world.ends(SystemExit, factory)
    closed, *others = world.answers()
    assert closed in (b"", b"reset")
    assert others == answered(0)
    assert len(made) == COUNT


def test_what_comes_with_the_handshake_is_not_lost_either(world: World) -> None:
    """Text and FIN in the batch that completes it; the protocol leaves at the text."""

    class Leaves(Answers):
        left = False

        def data_received(self, data: bytes) -> None:
            if not Leaves.left:
                Leaves.left = True
                raise SystemExit
            super().data_received(data)

    world.ends(SystemExit, Leaves)
    first, *others = world.answers()
    assert first == b", the end"
    assert others == answered(0)


def test_several_that_leave_end_one_run(world: World) -> None:
    """The next one is asyncio.run()'s, in which tasks clean up."""

    class Leaves(Answers):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            raise SystemExit

    world.ends(SystemExit, Leaves)
    assert world.answers() == answered()
