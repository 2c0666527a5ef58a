"""Against strangers (SCENARIOS): numbers that can not be guessed, floods that pass."""

from __future__ import annotations

import asyncio
import tracemalloc
from itertools import pairwise

import pytest

from aiotcp.addresses import pack
from aiotcp.link.base import Link, Receiver
from aiotcp.options import Options
from aiotcp.reasons import Drop, Why
from aiotcp.streams import Stack
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import RST, SYN, HeaderTemplate, pack_options
from tests.support.programs import connected
from tests.support.story import PLAIN, SERVER, Story, segment_of


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


@pytest.mark.req("4987-1", "4987-2", "4987-3", "ST-28")
async def test_syn_flood() -> None:
    """100,000 SYNs from forged addresses: what is kept of them is bounded by the backlog, and gone
    after a minute. In the midst of them a real client connects at once, through a cookie, and none
    of its options is missing."""
    async with Story(client=Options(), server=Options()) as story:

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100_000):
                writer.write(data)
            writer.close()

        await story.server.start_server(echo, SERVER, 80, backlog=128)
        stack = story.server
        stack.link = ToRealHosts(stack.link)
        flood(stack, 0, 1000)  # what a first flood leaves in caches is no matter
        await story.until(120)
        assert stack.connections() == []
        story.passed.clear()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        flood(stack, 1000, 6000)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak - before < 128 * 2000
        flood(stack, 6000, 50_000)
        await story.until(120.01)
        began = story.now
        reader, writer = await story.connects()
        assert story.now - began < 0.2
        await story.until(story.now + 0.1)  # its ACK arrives
        flood(stack, 50_000, 101_000)
        assert stack.counters.syn_cookies_accepted == 1
        assert stack.counters.sent[Why.SYN_COOKIE] >= 100_000 - 128
        assert [row.state for row in stack.connections()].count("SYN-RECEIVED") == 128
        data = bytes(range(256)) * 1000
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        (client,), (server,) = (
            [row for row in each.connections() if row.state == "ESTABLISHED"]
            for each in (story.client, stack)
        )
        assert client.mss == server.mss == 1448  # timestamps, on both sides
        assert min(client.send_window, server.send_window) > 65535  # and scaled windows
        writer.close()
        await story.until(240)
        repeated = stack.counters.sent[Why.OPEN_REPLY_RETRANSMIT]
        assert repeated == 2 * 128 * 5  # of both floods each SYN+ACK again, a few times only
        assert [row.state for row in stack.connections() if row.state != "TIME-WAIT"] == []


def flood(stack: Stack, first: int, last: int) -> None:
    """Forged SYNs, each from another address, past the link."""
    template = HeaderTemplate(pack("10.0.0.0"), 50000, pack(SERVER), 80)
    options = pack_options(mss=1460, wscale=7, sack_permitted=True, timestamps=(1, 0))
    packet = bytearray(
        template.frame(4711, 0, SYN, 65535, options=options, offload=False).to_bytes()
    )
    for number in range(first, last):
        packet[12:16] = (0x0A000000 + number).to_bytes(4, "big")
        stack.receive(memoryview(packet), vouched=True)
        stack.flush()  # one batch for each: that is the most work


class ToRealHosts:
    """A link that takes packets to forged addresses nowhere, and the others to their end."""

    mtu = 1500
    gso_max_bytes = 0
    checksum_offload = False

    def __init__(self, link: Link) -> None:
        self.counters: dict[str, int] = {}
        self._link = link

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        raise NotImplementedError

    def send(self, frame: Frame) -> None:
        if frame.header[16] != 10:
            self._link.send(frame)

    def close(self) -> None:
        self._link.close()


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


@pytest.mark.req("5961-4", "X-1")
async def test_blind_reset_a_thousand_times() -> None:
    """The answers are limited: nobody can make the client flood the server."""
    async with Story() as story, connected(story):
        for n in range(1000):
            await story.until(1 + n / 1000)
            story.forges("server", (80, 50000), RST, seq=100 + n)
        await story.until(3)
        challenges = [passing for passing in story.segments("client") if passing.at > 1]
        assert len(challenges) == PLAIN.challenge_acks
        assert story.client.counters.dropped == {Drop.RST_CHALLENGED: 1000}
