"""Opening, against strangers (SCENARIOS): numbers that can not be guessed, floods that pass."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest

from aiotcp.addresses import pack
from aiotcp.link.base import Receiver
from aiotcp.options import Options
from aiotcp.reasons import Drop
from aiotcp.streams import Stack
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import SYN, HeaderTemplate
from tests.support.story import SERVER, Story, segment_of


@pytest.mark.req("6528-1", "MUST-8", "SHLD-1", "MUST-9")
async def test_isn_unpredictable() -> None:
    """Many connections, one after the other. The initial numbers of both sides differ from one
    4-tuple to the next in no order that an outsider could use, and those of one 4-tuple grow with
    time, 250,000 a second."""
    async with Story(client=Options(time_wait_s=0)) as story:
        await story.serves(until_closed)
        numbers: dict[str, list[int]] = {"client": [], "server": []}
        for port in [*range(50000, 50200), 50000]:
            story.passed.clear()
            _, writer = await story.connects(local_port=port)
            writer.close()
            await story.until(story.now + 1)
            for side in numbers:
                passing = next(p for p in story.passed if p.side == side)
                numbers[side].append(segment_of(passing.packet).seq)
        for side in numbers:
            *first, again = numbers[side]
            assert len(set(first)) == 200
            # The steps between neighbouring ports fall into every eighth of the circle alike.
            steps = [(b - a) % 2**32 >> 29 for a, b in pairwise(first)]
            assert set(steps) == set(range(8))
            assert max(steps.count(eighth) for eighth in range(8)) < 60
            passed = (again - first[0]) % 2**32
            assert passed == pytest.approx(250_000 * 200, rel=0.05)


async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


class Flood:
    """A link over which forged packets come, and that only counts what is sent."""

    mtu = 1500
    gso_max_bytes = 0
    checksum_offload = False

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.sent = 0
        self._receiver: Receiver | None = None

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        self._receiver = receiver

    def send(self, frame: Frame) -> None:
        self.sent += 1

    def close(self) -> None:
        self._receiver = None

    def deliver(self, packets: Iterable[bytearray]) -> None:
        """One batch for each packet: that is the most work."""
        assert self._receiver is not None
        for packet in packets:
            self._receiver.receive(memoryview(packet), vouched=True)
            self._receiver.flush()


def forged_syns(first: int, last: int) -> Iterator[bytearray]:
    """SYNs, each from another address."""
    template = HeaderTemplate(pack("10.0.0.0"), 50000, pack(SERVER), 80)
    packet = bytearray(template.frame(4711, 0, SYN, 65535, offload=False).to_bytes())
    for number in range(first, last):
        packet[12:16] = (0x0A000000 + number).to_bytes(4, "big")
        yield packet


@pytest.mark.req("4987-1", "4987-3", "ST-28")
async def test_syn_flood() -> None:
    """100,000 SYNs from forged addresses. What is kept of them is bounded by the backlog, and gone
    after a minute."""
    link = Flood()
    async with Stack(link, addresses=[SERVER], seed=b"flood") as stack:
        await stack.start_server(lambda *_: None, SERVER, 80, backlog=128)
        link.deliver(forged_syns(0, 1000))  # what a first flood leaves in caches is no matter
        await asyncio.sleep(120)
        assert stack.connections() == []
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        link.deliver(forged_syns(1000, 101_000))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak - before < 128 * 2000
        assert [row.state for row in stack.connections()] == ["SYN-RECEIVED"] * 128
        assert stack.counters.dropped[Drop.LISTEN_BACKLOG] == 100_000 - 128 + 1000 - 128
        answers = link.sent
        await asyncio.sleep(120)
        assert link.sent - answers == 128 * 5  # each SYN+ACK again, a few times only
        assert stack.connections() == []


async def test_syn_flood_spares_those_who_are_connected() -> None:
    """The same flood, on the port of a connection that exists: it is not disturbed."""
    async with Story() as story:

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.read(100))

        await story.serves(echo)
        reader, writer = await story.connects()
        await story.until(1)
        for number in range(1000):
            story.forges("client", (1024 + number, 80), SYN, seq=number)
        await story.until(2)
        writer.write(b"still here")
        assert await reader.read(100) == b"still here"
        writer.close()
