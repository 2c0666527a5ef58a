"""Two ends that have lost each other do not keep each other busy (RFC 5961 7, RFC 9293 3.5.3)."""

from __future__ import annotations

import asyncio

import pytest

from aiotcp.wire.tcp import ACK, FIN, RST, SYN
from tests.support.story import DELAY_S, Story

pytestmark = [pytest.mark.own_numbers, pytest.mark.req("X-1")]


async def swapped(first: Story, second: Story) -> list[asyncio.StreamWriter]:
    """Two established connections of the same addresses and ports, whose servers are exchanged:
    neither client's nor server's numbers mean anything to the other end."""
    writers = []
    for story in (first, second):
        await story.serves(hold)
        _, writer = await story.connects()
        writers.append(writer)
    await asyncio.sleep(1)
    for story, other in ((first, second), (second, first)):
        story.ends["client"].far = other.ends["server"]
        story.ends["server"].far = other.ends["client"]
        story.faults.clear()
        story.passed.clear()
    return writers


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.read()
    except OSError:
        pass
    writer.close()


async def test_text_between_strangers_ends_in_few_packets() -> None:
    async with Story(seed=b"first") as first, Story(seed=b"second") as second:
        writers = await swapped(first, second)
        for writer in writers:
            writer.write(b"who are you?")
        await asyncio.sleep(3600)
        for writer in writers:
            assert writer.transport.is_closing()  # the user was told
            writer.close()
        for story in (first, second):
            # 15 retransmissions, a few answers to each.
            assert len(story.passed) <= 16 * 6
            story.faults.clear()


async def test_a_single_stray_ack_does_not_start_a_war() -> None:
    async with Story(seed=b"first") as first, Story(seed=b"second") as second:
        writers = await swapped(first, second)
        first.forges("client", (50000, 80), ACK, seq=5, ack=12345)
        await asyncio.sleep(600)
        assert len(first.passed) + len(second.passed) <= 10
        assert [row.state for row in first.client.connections()] == ["ESTABLISHED"]
        for writer in writers:
            writer.close()


async def test_two_closed_ports_do_not_reset_each_other() -> None:
    """3.10.7.1: a RST is not answered, whatever else the segment holds."""
    async with Story() as story:
        for flags in (RST, RST | ACK, RST | SYN, RST | FIN):
            for side in ("client", "server"):
                story.forges(side, (1, 2), flags, seq=0)
        story.forges("client", (1, 2), ACK, seq=0, ack=7)
        await asyncio.sleep(3 * DELAY_S)
        assert [str(each) for each in story.passed] == ["RST seq=7"]


@pytest.mark.req("1337-2")
async def test_two_ends_in_time_wait_fall_silent() -> None:
    """Both closed at once, and then the one hears what the other never sent."""
    async with Story() as story:
        accepted = asyncio.get_running_loop().create_future()

        async def program(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set_result(writer)

        await story.serves(program)
        _, writer = await story.connects()
        other = await accepted
        await story.until(1)
        writer.close()
        other.close()
        await story.until(2)
        assert {row.state for row in story.client.connections() + story.server.connections()} == {
            "TIME-WAIT"
        }
        story.passed.clear()
        story.forges("client", (50000, 80), ACK, seq=999, ack=-999)
        await story.until(30)
        assert len(story.passed) <= 4
