"""What a connection waits for, in words, and until when."""

from __future__ import annotations

import asyncio

from aiotcp.addresses import flow_key, pack
from aiotcp.options import Options
from aiotcp.stack import PacketStack
from aiotcp.waiting import Waiting, waiting
from tests.support.programs import connected
from tests.support.story import CLIENT, PLAIN, SERVER, Story


def of(stack: PacketStack, local: str, port: int, remote: str, remote_port: int) -> Waiting:
    entry = stack.find(flow_key(pack(local), port, pack(remote), remote_port))
    assert entry is not None
    told = waiting(entry)
    until = told.until
    return Waiting(told.what, round(until, 3) if until is not None else None)


def client(story: Story) -> Waiting:
    return of(story.client, CLIENT, 50000, SERVER, 80)


def server(story: Story) -> Waiting:
    return of(story.server, SERVER, 80, CLIENT, 50000)


async def test_a_life() -> None:
    """From the SYN to the end of 2MSL: whose turn it is, all the way."""
    async with Story() as story:
        await story.serves()
        opening = asyncio.ensure_future(story.connects())
        await story.until(0.001)
        assert client(story) == ("answer to our SYN", 1.0)
        await story.until(0.015)
        assert server(story) == ("ACK of our SYN", 1.01)
        _, writer = await opening
        await story.until(0.1)
        assert client(story) == server(story) == ("either side to send", None)
        writer.write(bytes(100))
        await story.until(0.105)
        assert client(story) == ("ACK of 100 bytes", 0.3)
        await story.until(0.115)
        assert server(story).what == "delayed ACK to leave"
        await story.until(1)
        writer.close()
        await story.until(1.1)
        assert client(story).what == "the peer to close, as an orphan"
        assert server(story) == ("our program to close", None)
        story.kept[0].close()
        await story.until(1.2)
        assert client(story) == ("end of 2MSL", 61.11)


async def test_a_lost_segment_waits_for_the_retransmission_timer() -> None:
    async with Story() as story, connected(story) as (_, writer, _, _):
        story.crashes("server")
        writer.write(bytes(100))
        await story.until(5)
        what, until = client(story)
        assert what == "ACK of 100 bytes"
        assert until is not None
        assert until > 5


async def test_a_closed_window_and_a_program_that_does_not_read() -> None:
    options = PLAIN.replace(receive_buffer=4096)
    async with (
        Story(server=options) as story,
        connected(story) as (_, writer, _, their_writer),
    ):
        their_writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(bytes(100_000))
        await story.until(10)
        assert client(story).what == "the peer's window to open"
        assert server(story).what == "our program to read 4096 bytes"


async def test_keepalive() -> None:
    options = Options(receive_buffer=65535, keepalive=True, keepalive_idle_s=30)
    async with Story(client=options) as story, connected(story):
        assert client(story) == ("keep-alive", 30.02)
