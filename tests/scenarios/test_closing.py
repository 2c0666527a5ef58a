"""Closing (SCENARIOS, 四次挥手): the four segments, fewer of them, and some that get lost."""

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


async def closes(story: Story, side: str, writer: Writer) -> None:
    writer.close()
    await writer.wait_closed()
    story.tell(side, "closed")


async def test_close_active() -> None:
    """We close first. The FIN uses one sequence number; we stay in TIME-WAIT for 2MSL."""
    async with (
        Story() as story,
        connected(story) as (_, writer, their_reader, their_writer),
    ):
        await closes(story, "client", writer)
        await reads_to_the_end(story, "server", their_reader)
        await story.until(2)
        await closes(story, "server", their_writer)
        await story.until(70)
        story.reads("""
            1.000  client  > FIN,ACK seq=1 ack=1 win=65535
            1.000  client  = FIN-WAIT-1
            1.000  client  ! closed
            1.010  server  > ACK seq=1 ack=2 win=65535
            1.010  server  = CLOSE-WAIT
            1.010  server  ! read b'' and the end
            1.020  client  = FIN-WAIT-2
            2.000  server  > FIN,ACK seq=1 ack=2 win=65535
            2.000  server  = LAST-ACK
            2.000  server  ! closed
            2.010  client  > ACK seq=2 ack=2 win=65535
            2.010  client  = TIME-WAIT
            2.020  server  = CLOSED
            62.010  client  = CLOSED
        """)
        first_syn, *others = story.passed
        assert all(passing.flags & ACK for passing in others)
        assert not first_syn.flags & ACK


async def test_close_passive() -> None:
    """They close first, while we are still answering: we are gone before they are."""
    async with (
        Story() as story,
        connected(story) as (_, writer, their_reader, their_writer),
    ):
        writer.write(b"a question")
        writer.write_eof()
        await reads_to_the_end(story, "server", their_reader)
        their_writer.write(b"an answer")
        await closes(story, "server", their_writer)
        await story.until(1.5)
        story.reads("""
            1.000  client  > FIN,ACK seq=1 ack=1 win=65535 len=10
            1.000  client  = FIN-WAIT-1
            1.010  server  > ACK seq=1 ack=12 win=65525
            1.010  server  > FIN,ACK seq=1 ack=12 win=65525 len=9
            1.010  server  = CLOSE-WAIT
            1.010  server  = LAST-ACK
            1.010  server  ! read b'a question' and the end
            1.010  server  ! closed
            1.020  client  > ACK seq=12 ack=11 win=65526
            1.020  client  = FIN-WAIT-2
            1.020  client  = TIME-WAIT
            1.030  server  = CLOSED
        """)
        assert story.server.connections() == []
        assert [row.state for row in story.client.connections()] == ["TIME-WAIT"]


async def test_close_half() -> None:
    """They close, we still have data: read() gave the end, but the writer works, and everything
    that is written in CLOSE-WAIT arrives."""
    async with (
        Story() as story,
        connected(story) as (reader, writer, their_reader, their_writer),
    ):
        writer.write_eof()
        await reads_to_the_end(story, "server", their_reader)
        story.forget()
        for at in (2, 3):
            await story.until(at)
            their_writer.write(b"more")
            story.tell("client", f"read {await reader.read(100)!r}")
        await story.until(4)
        await closes(story, "server", their_writer)
        await reads_to_the_end(story, "client", reader)
        await story.until(5)
        story.reads("""
            1.020  client  = FIN-WAIT-2
            2.000  server  > ACK seq=1 ack=2 win=65535 len=4
            2.010  client  ! read b'more'
            2.050  client  > ACK seq=2 ack=5 win=65531
            3.000  server  > ACK seq=5 ack=2 win=65535 len=4
            3.010  client  ! read b'more'
            3.050  client  > ACK seq=2 ack=9 win=65527
            4.000  server  > FIN,ACK seq=9 ack=2 win=65535
            4.000  server  = LAST-ACK
            4.000  server  ! closed
            4.010  client  > ACK seq=2 ack=10 win=65527
            4.010  client  = TIME-WAIT
            4.010  client  ! read b'' and the end
            4.020  server  = CLOSED
        """)


async def test_close_three() -> None:
    """The passive side has nothing left to send and says so in the same breath: its ACK and its FIN
    travel together, and three segments do."""
    async with Story() as story:
        # A protocol that does not ask to stay half open is closed within eof_received().
        await story.server.create_server(asyncio.Protocol, SERVER, 80)
        _, writer = await story.connects()
        await story.until(1)
        story.forget()
        await closes(story, "client", writer)
        await story.until(2)
        story.reads("""
            1.000  client  > FIN,ACK seq=1 ack=1 win=65535
            1.000  client  = FIN-WAIT-1
            1.000  client  ! closed
            1.010  server  > FIN,ACK seq=1 ack=2 win=65535
            1.010  server  = CLOSE-WAIT
            1.010  server  = LAST-ACK
            1.020  client  > ACK seq=2 ack=2 win=65535
            1.020  client  = FIN-WAIT-2
            1.020  client  = TIME-WAIT
            1.030  server  = CLOSED
        """)


async def test_close_simultaneous() -> None:
    """Both FINs cross: both sides go through CLOSING, and both stay in TIME-WAIT."""
    async with (
        Story() as story,
        connected(story) as (_, writer, _, their_writer),
    ):
        await asyncio.gather(closes(story, "client", writer), closes(story, "server", their_writer))
        await story.until(70)
        story.reads("""
            1.000  client  > FIN,ACK seq=1 ack=1 win=65535
            1.000  server  > FIN,ACK seq=1 ack=1 win=65535
            1.000  client  = FIN-WAIT-1
            1.000  server  = FIN-WAIT-1
            1.000  client  ! closed
            1.000  server  ! closed
            1.010  client  > ACK seq=2 ack=2 win=65535
            1.010  server  > ACK seq=2 ack=2 win=65535
            1.010  client  = CLOSING
            1.010  server  = CLOSING
            1.020  client  = TIME-WAIT
            1.020  server  = TIME-WAIT
            61.020  client  = CLOSED
            61.020  server  = CLOSED
        """)


async def test_close_ack_lost() -> None:
    """The ACK of our FIN is lost: we repeat the FIN, it is acknowledged, and all goes on."""
    async with (
        Story() as story,
        connected(story) as (_, writer, their_reader, their_writer),
    ):
        story.loses("server", ACK)
        await closes(story, "client", writer)
        await reads_to_the_end(story, "server", their_reader)
        await story.until(2)
        await closes(story, "server", their_writer)
        await story.until(3)
        story.reads("""
            1.000  client  > FIN,ACK seq=1 ack=1 win=65535
            1.000  client  = FIN-WAIT-1
            1.000  client  ! closed
            1.010  server  > ACK seq=1 ack=2 win=65535  (lost)
            1.010  server  = CLOSE-WAIT
            1.010  server  ! read b'' and the end
            1.200  client  > FIN,ACK seq=1 ack=1 win=65535
            1.210  server  > ACK seq=1 ack=2 win=65535
            1.220  client  = FIN-WAIT-2
            2.000  server  > FIN,ACK seq=1 ack=2 win=65535
            2.000  server  = LAST-ACK
            2.000  server  ! closed
            2.010  client  > ACK seq=2 ack=2 win=65535
            2.010  client  = TIME-WAIT
            2.020  server  = CLOSED
        """)


async def test_close_last_ack_lost() -> None:
    """The last ACK is lost, twice: that is what TIME-WAIT is for. The peer repeats its FIN, we
    acknowledge it again, and 2MSL starts anew."""
    async with (
        Story() as story,
        connected(story) as (_, writer, _, their_writer),
    ):
        await closes(story, "client", writer)
        await story.until(2)
        story.forget()
        story.loses("client", ACK, times=2)
        await closes(story, "server", their_writer)
        await story.until(70)
        story.reads("""
            2.000  server  > FIN,ACK seq=1 ack=2 win=65535
            2.000  server  = LAST-ACK
            2.000  server  ! closed
            2.010  client  > ACK seq=2 ack=2 win=65535  (lost)
            2.010  client  = TIME-WAIT
            2.200  server  > FIN,ACK seq=1 ack=2 win=65535
            2.210  client  > ACK seq=2 ack=2 win=65535  (lost)
            2.400  server  > FIN,ACK seq=1 ack=2 win=65535
            2.410  client  > ACK seq=2 ack=2 win=65535
            2.420  server  = CLOSED
            62.410  client  = CLOSED
        """)


async def test_close_unread() -> None:
    """Reading is paused, bytes wait in the connection, and we close: the other side learns by a RST
    that they were lost, as a kernel would tell it."""
    async with Story() as story:
        await story.serves(lambda reader, _: reads_to_the_end(story, "server", reader))
        transport, _ = await story.client.create_connection(
            asyncio.Protocol, SERVER, 80, local_addr=(CLIENT, 50000)
        )
        transport.pause_reading()
        await story.until(1)
        story.forget()
        story.kept[0].write(b"unread")
        await story.until(2)
        transport.close()
        await story.until(3)
        story.reads("""
            1.000  server  > ACK seq=1 ack=1 win=65535 len=6
            1.050  client  > ACK seq=1 ack=7 win=65529
            2.000  client  > RST,ACK seq=1 ack=7
            2.000  client  = CLOSED
            2.010  server  = CLOSED
            2.010  server  ! ConnectionResetError
        """)


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
        await closes(story, "client", writer)
        data = await their_reader.read()
        assert data == b"x" * 300_000
