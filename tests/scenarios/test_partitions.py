"""Failures of the network in between (SCENARIOS, 异常情况): partitions, and what routers report."""

from __future__ import annotations

import asyncio
import errno

import pytest

from aiotcp.options import Options
from aiotcp.wire.tcp import ACK, PSH, RST, SYN
from tests.support.conversation import Peer
from tests.support.programs import connected, reads
from tests.support.story import PLAIN, Story

UNREACHABLE = 3
"""ICMP type; code 0 is the network, 1 the host."""


async def client_of(
    peer: Peer, options: Options
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A program's connection to the scripted peer."""
    peer.stack.options = options
    connecting = asyncio.ensure_future(
        peer.stack.open_connection(peer.host, peer.port, local_addr=(peer.stack_host, 40000))
    )
    peer.stack_port = 40000
    await peer.sees(SYN, within=1)
    peer.sends(SYN | ACK, mss=1460)
    await peer.sees(ACK, seq=1)
    return await connecting


@pytest.mark.req("SHLD-25", "MUST-56", "MUST-47", "5461-2", "5927-2")
@pytest.mark.parametrize(("code", "number"), [(0, errno.ENETUNREACH), (1, errno.EHOSTUNREACH)])
async def test_partition_icmp(code: int, number: int) -> None:
    """A router reports that the server can not be reached: retransmission goes on as if it had
    said nothing, and the program gets what it said when the limit is reached."""
    async with Peer() as peer:
        reader, writer = await client_of(peer, Options(retries2=5))
        began = peer.now
        writer.write(b"anybody there?")
        sent = await peer.sees(ACK | PSH, data=b"anybody there?")
        for after in (0.2, 0.4, 0.8, 1.6, 3.2):
            peer.reports(UNREACHABLE, code, sent, router="198.51.100.1")
            sent = await peer.sees(ACK | PSH, seq=1, length=14, after=after)
        await peer.sees(RST | ACK, after=6.4)
        with pytest.raises(OSError) as caught:  # noqa: PT011 - its number follows
            await reader.read()
        assert caught.value.errno == number
        assert peer.now - began == pytest.approx(12.6, abs=0.01)
        assert peer.states == ["CLOSED", "SYN-SENT", "ESTABLISHED", "CLOSED"]
        writer.close()


@pytest.mark.req("MUST-56", "SHLD-25")
async def test_partition_icmp_that_heals() -> None:
    """The same, and the way is open again before the limit: nothing is left of it."""
    async with Peer() as peer:
        reader, writer = await client_of(peer, Options(retries2=5))
        writer.write(b"anybody there?")
        sent = await peer.sees(ACK | PSH, data=b"anybody there?")
        peer.reports(UNREACHABLE, 1, sent, router="198.51.100.1")
        await peer.sees(ACK | PSH, seq=1, length=14, after=0.2)
        peer.sends(ACK, data=b"yes")
        await peer.sees(ACK, ack=4, within=0.1)
        assert await reader.read(100) == b"yes"
        assert writer.get_extra_info("connection").soft_error is None
        assert peer.states == ["CLOSED", "SYN-SENT", "ESTABLISHED"]
        writer.close()
        await peer.sees_all()


@pytest.mark.req("MUST-19", "MUST-20")
async def test_partition_short() -> None:
    """The network breaks and heals within the limit: the transfer goes on, nobody sees an error."""
    async with Story() as story, connected(story) as (_, writer, their_reader, _):
        story.broken = True
        writer.write(b"first ")
        await story.until(2)
        writer.write(b"second ")
        await story.until(5)
        story.broken = False
        await story.until(5.5)
        writer.write(b"third")
        await story.until(10)
        await reads(story, "server", their_reader)
        await story.until(11)
        story.reads("""
            1.000  client  > ACK seq=1 ack=1 win=65535 len=6  (lost)
            1.200  client  > ACK seq=1 ack=1 win=65535 len=6  (lost)
            1.400  client  > ACK seq=1 ack=1 win=65535 len=6  (lost)
            1.800  client  > ACK seq=1 ack=1 win=65535 len=6  (lost)
            2.000  client  > ACK seq=7 ack=1 win=65535 len=7  (lost)
            2.600  client  > ACK seq=1 ack=1 win=65535 len=13  (lost)
            4.200  client  > ACK seq=1 ack=1 win=65535 len=13  (lost)
            5.500  client  > ACK seq=14 ack=1 win=65535 len=5
            5.510  server  > ACK seq=1 ack=1 win=65535
            5.520  client  > ACK seq=1 ack=1 win=65535 len=13
            5.530  server  > ACK seq=1 ack=19 win=65517
            10.000  server  ! read b'first second third'
        """)
        assert [row.state for row in story.client.connections()] == ["ESTABLISHED"]
        assert [row.state for row in story.server.connections()] == ["ESTABLISHED"]


@pytest.mark.req("MUST-19")
async def test_partition_short_in_the_middle_of_a_transfer() -> None:
    """Every byte arrives once, whatever was under way."""
    data = bytes(range(256)) * 800
    async with Story() as story, connected(story) as (_, writer, their_reader, _):
        writer.write(data)
        writer.write_eof()
        reading = asyncio.ensure_future(their_reader.read())
        for at, broken in ((1.03, True), (3, False), (3.5, True), (20, False)):
            await story.until(at)
            story.broken = broken
        assert await reading == data
        assert any(passing.fate == "lost" for passing in story.passed)
        assert story.now < 60


async def test_partition_idle() -> None:
    """It breaks for a week and heals while nobody sends: nothing was sent, both are as before."""
    week = 7 * 86400
    async with Story() as story, connected(story) as (_, writer, their_reader, _):
        story.broken = True
        await story.until(week)
        story.broken = False
        await story.until(week + 1)
        assert story.told() == []
        writer.write(b"good morning")
        await reads(story, "server", their_reader)
        await story.until(week + 2)
        story.reads(f"""
            {week + 1}.000  client  > ACK seq=1 ack=1 win=65535 len=12
            {week + 1}.010  server  ! read b'good morning'
            {week + 1}.050  server  > ACK seq=1 ack=13 win=65523
        """)


@pytest.mark.req("ST-1", "MUST-12", "MUST-20")
async def test_partition_long() -> None:
    """It heals after the client gave up, then the server sends: the client answers RST, and the
    server's program gets a ConnectionResetError."""
    options = PLAIN.replace(retries2=4)
    async with (
        Story(client=options) as story,
        connected(story) as (reader, writer, their_reader, their_writer),
    ):
        story.broken = True
        writer.write(b"anybody there?")
        await reads(story, "client", reader)
        await story.until(60)
        story.broken = False
        await story.until(100)
        their_writer.write(b"are you there?")
        await reads(story, "server", their_reader)
        story.reads("""
            1.000  client  > ACK seq=1 ack=1 win=65535 len=14  (lost)
            1.200  client  > ACK seq=1 ack=1 win=65535 len=14  (lost)
            1.400  client  > ACK seq=1 ack=1 win=65535 len=14  (lost)
            1.800  client  > ACK seq=1 ack=1 win=65535 len=14  (lost)
            2.600  client  > ACK seq=1 ack=1 win=65535 len=14  (lost)
            4.200  client  > ACK seq=1 ack=1 win=65535 len=14  (lost)
            7.400  client  > RST,ACK seq=15 ack=1  (lost)
            7.400  client  = CLOSED
            7.400  client  ! TimeoutError ETIMEDOUT
            100.000  server  > ACK seq=1 ack=1 win=65535 len=14
            100.010  client  > RST seq=1
            100.020  server  = CLOSED
            100.020  server  ! ConnectionResetError ECONNRESET
        """)
