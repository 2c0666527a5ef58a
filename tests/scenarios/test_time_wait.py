"""Closing (SCENARIOS): what TIME-WAIT is for, and what may end it early."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

import pytest

from aiotcp.options import Options
from aiotcp.reasons import Drop
from aiotcp.wire.tcp import ACK, RST, SYN, pack_options
from tests.support.story import Passing, Story

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter

PORTS = (50000, 80)

OLD_BYTES = 600_000
NEW_BYTES = 60_000
NEW_BEGINS_AT = 250_000
"""Numbers by which the second connection begins after the first: a second of the clock."""


async def two_connections_of_one_four_tuple(story: Story) -> bytes:
    """A client sends 600,000 bytes, fast; one segment of them is delayed by the network, repeated,
    and forgotten. The server closes. A second after it began the same client calls again, from the
    same port, and later sends 60,000 bytes. Meanwhile the delayed segment arrives.

    Returns what the server's application read from the second connection.
    """
    streams: asyncio.Queue[tuple[Reader, Writer]] = asyncio.Queue()

    async def program(reader: Reader, writer: Writer) -> None:
        streams.put_nowait((reader, writer))

    def delayed(passing: Passing) -> float | None:
        begins = passing.seq - NEW_BEGINS_AT
        return 2.0 if 5_000 < begins < 20_000 and passing.payload else None

    story.rule(delayed, times=1)
    await story.serves(program)
    client_reader, client_writer = await story.connects()
    reader, writer = await streams.get()
    client_writer.write(b"-" * OLD_BYTES)
    assert await reader.readexactly(OLD_BYTES) == b"-" * OLD_BYTES
    writer.close()  # the server is the active closer: TIME-WAIT is on its side
    assert await client_reader.read() == b""
    client_writer.close()
    assert story.now < 1
    await story.until(1)

    client_reader, client_writer = await story.connects()
    story.tell("client", "connected again")
    reader, writer = await streams.get()
    await story.until(story.now + 5)
    client_writer.write(b"+" * NEW_BYTES)
    client_writer.close()
    received = await reader.read()
    writer.close()
    await story.until(story.now + 1)
    return received


def without_timestamps(**changes: float) -> Options:
    """What protects beside TIME-WAIT is off: PAWS; and the window is large, so that neither the
    window's edges nor the check of the acknowledgment (RFC 5961 5) find the old segment odd."""
    return Options(timestamps=False, receive_buffer=2**20, **changes)  # type: ignore[arg-type]


@pytest.mark.req("MUST-13", "6191-2")
async def test_time_wait_old_data() -> None:
    """The second SYN's number is below the last of the old connection: TIME-WAIT holds it off for
    as long as old segments may live, swallows the delayed one, and only then lets it in."""
    async with Story(client=without_timestamps(), server=without_timestamps()) as story:
        received = await two_connections_of_one_four_tuple(story)
        assert received == b"+" * NEW_BYTES
        syns = [round(passing.at) for passing in story.segments("client") if passing.flags == SYN]
        assert syns == [0, 1, 2, 4, 8, 16, 32, 64]
        (again,) = [line for line in story.lines if line.text == "connected again"]
        assert 60 < again.at < 65
        (late,) = [passing for passing in story.passed if passing.fate == "late"]
        assert late.at + 2 < again.at


@pytest.mark.req("MUST-13")
async def test_time_wait_old_data_without_time_wait() -> None:
    """The same run with the wait switched off, as no stack should: the delayed segment arrives in
    the new connection, where its number fits, and the application reads bytes of the old one."""
    async with Story(
        client=without_timestamps(), server=without_timestamps(time_wait_s=0)
    ) as story:
        received = await two_connections_of_one_four_tuple(story)
        (again,) = [line for line in story.lines if line.text == "connected again"]
        assert again.at == pytest.approx(1.02)
        assert len(received) == NEW_BYTES
        assert received != b"+" * NEW_BYTES
        (late,) = [passing for passing in story.passed if passing.fate == "late"]
        assert 0 < received.count(b"-") <= len(late.payload)


@pytest.mark.req("7323-12")
async def test_time_wait_old_data_and_timestamps() -> None:
    """With timestamps the wait may be cut short (RFC 6191): the new SYN is let in at once, and PAWS
    knows the old segment by its age."""
    options = Options(receive_buffer=2**20)
    async with Story(client=options, server=options) as story:
        received = await two_connections_of_one_four_tuple(story)
        assert received == b"+" * NEW_BYTES
        (again,) = [line for line in story.lines if line.text == "connected again"]
        assert again.at == pytest.approx(1.02)
        assert story.server.counters.dropped[Drop.PAWS] == 1


async def server_in_time_wait(story: Story) -> None:
    """At 2 s; the page is empty. The client's side is closed and its port free."""
    await story.serves()
    reader, writer = await story.connects()
    await story.until(1)
    story.kept[0].close()
    await reader.read()
    writer.close()
    await story.until(2)
    assert [row.state for row in story.server.connections()] == ["TIME-WAIT"]
    story.forget()


@pytest.mark.req("6191-1", "SHLD-4", "MAY-2")
async def test_time_wait_reuse() -> None:
    """A new SYN in TIME-WAIT is accepted if its timestamp is later than the last (RFC 6191): the
    same client may call again at once."""
    async with Story() as story:
        await server_in_time_wait(story)
        _, writer = await story.connects()
        await story.until(3)
        story.reads("""
            2.000  client  > SYN seq=0 win=65535
            2.000  client  = SYN-SENT
            2.010  server  > SYN,ACK seq=0 ack=1 win=65535
            2.010  server  = CLOSED
            2.010  server  = SYN-RECEIVED
            2.020  client  > ACK seq=1 ack=1 win=65535
            2.020  client  = ESTABLISHED
            2.020  client  ! connected
            2.030  server  = ESTABLISHED
            2.030  server  ! accepted
        """)
        writer.close()


@pytest.mark.req("6191-2", "MAY-2")
@pytest.mark.parametrize("options", [b"", pack_options(timestamps=(1, 0))], ids=["none", "old"])
async def test_time_wait_reuse_refused(options: bytes) -> None:
    """An old duplicate of a SYN is not accepted, with or without a timestamp. The answer says where
    TIME-WAIT stands; the client's host, which has no connection, resets that: to no effect."""
    async with Story() as story:
        await server_in_time_wait(story)
        story.forges("client", PORTS, SYN, seq=-5000, options=options)
        await story.until(3)
        story.reads("""
            2.000  forger  > SYN seq=-5000  (to the server)
            2.010  server  > ACK seq=2 ack=2 win=65535
            2.020  client  > RST seq=2
        """)
        assert [row.state for row in story.server.connections()] == ["TIME-WAIT"]


@pytest.mark.req("1337-1", "1337-2")
async def test_time_wait_is_not_assassinated() -> None:
    """RFC 1337's hazard: an old duplicate draws an ACK, which draws a RST, which would end
    TIME-WAIT. It does not; only time does."""
    async with Story() as story:
        await server_in_time_wait(story)
        story.forges("client", PORTS, ACK, seq=-3000, ack=1, data=b"from long ago")
        await story.until(10)
        story.forges("client", PORTS, RST, seq=2)
        await story.until(70)
        story.reads("""
            2.000  forger  > ACK seq=-3000 ack=1 len=13  (to the server)
            2.010  server  > ACK seq=2 ack=2 win=65535
            2.020  client  > RST seq=2
            10.000  forger  > RST seq=2  (to the server)
            61.020  server  = CLOSED
        """)
