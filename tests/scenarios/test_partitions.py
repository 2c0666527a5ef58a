"""Failures of the network in between, as far as `partition-*` of the scenarios do not show them."""

from __future__ import annotations

import asyncio
import errno

import pytest

from aiotcp.options import Options
from aiotcp.wire.tcp import ACK, PSH, RST, SYN
from tests.support.conversation import Peer
from tests.support.programs import connected
from tests.support.story import Story

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
