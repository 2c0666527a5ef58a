"""Closing: what the scenarios `close-*` do not show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

from aiotcp.wire.tcp import ACK, FIN
from tests.support.story import CLIENT, SERVER, Story, describe_error

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


@asynccontextmanager
async def connected(story: Story) -> AsyncIterator[tuple[Reader, Writer, Reader, Writer]]:
    """A connection at 1 s on an empty page: the client's streams, and the server's."""
    accepted: asyncio.Future[tuple[Reader, Writer]] = story.loop.create_future()

    async def program(reader: Reader, writer: Writer) -> None:
        accepted.set_result((reader, writer))

    await story.serves(program)
    ours = await story.connects()
    theirs = await accepted
    await story.until(1)
    story.forget()
    yield *ours, *theirs
    for writer in (ours[1], theirs[1]):
        writer.close()


async def reads_to_the_end(story: Story, side: str, reader: Reader) -> None:
    """A program that reads, and tells what came."""
    try:
        data = await reader.read()
    except OSError as exc:
        story.tell(side, describe_error(exc))
    else:
        story.tell(side, f"read {data!r} and the end")


async def test_close_with_nothing_unread() -> None:
    """The same, but what came was read: FIN."""
    async with Story() as story:
        await story.serves(lambda reader, _: reads_to_the_end(story, "server", reader))
        transport, _ = await story.client.create_connection(
            asyncio.Protocol, SERVER, 80, local_addr=(CLIENT, 50000)
        )
        await story.until(1)
        story.forget()
        story.kept[0].write(b"read")
        await story.until(2)
        transport.pause_reading()
        transport.close()
        await story.until(3)
        story.reads("""
            1.000  server  > ACK seq=1 ack=1 win=65535 len=4
            1.050  client  > ACK seq=1 ack=5 win=65531
            2.000  client  > FIN,ACK seq=1 ack=5 win=65531
            2.000  client  = FIN-WAIT-1
            2.010  server  > ACK seq=5 ack=2 win=65535
            2.010  server  = CLOSE-WAIT
            2.010  server  ! read b'' and the end
            2.020  client  = FIN-WAIT-2
        """)


async def test_close_while_data_is_on_its_way() -> None:
    """We close with much still to send: all of it arrives before the end does."""
    async with (
        Story() as story,
        connected(story) as (_, writer, their_reader, _),
    ):
        story.loses("client", ACK, length=1448)
        story.loses("client", FIN | ACK)
        writer.write(b"x" * 300_000)
        writer.close()
        await writer.wait_closed()
        data = await their_reader.read()
        assert data == b"x" * 300_000
