"""Failures (SCENARIOS, 异常情况): hosts that crash and restart, services that are stopped."""

from __future__ import annotations

import asyncio

import pytest

from aiotcp.reasons import Drop
from aiotcp.wire.tcp import ACK, RST, SYN
from tests.support.programs import Reader, Writer, connected, named, reads
from tests.support.story import PLAIN, Story


@pytest.mark.req("MUST-20", "SHLD-11", "MUST-19", "ST-25")
async def test_crash() -> None:
    """The server's host vanishes. The client repeats with exponential back-off up to the limit,
    the first time as a tail loss probe; then its program gets a TimeoutError, and the connection
    is gone."""
    async with Story() as story, connected(story) as (reader, writer, _, _):
        story.crashes("server")
        await story.until(2)
        story.forget()
        writer.write(b"anybody there?")
        await reads(story, "client", reader)
        story.reads("""
            2.000  client  > ACK seq=1 ack=1 win=65535 len=14
            2.200  client  > ACK seq=1 ack=1 win=65535 len=14
            2.400  client  > ACK seq=1 ack=1 win=65535 len=14
            2.800  client  > ACK seq=1 ack=1 win=65535 len=14
            3.600  client  > ACK seq=1 ack=1 win=65535 len=14
            5.200  client  > ACK seq=1 ack=1 win=65535 len=14
            8.400  client  > ACK seq=1 ack=1 win=65535 len=14
            14.800  client  > ACK seq=1 ack=1 win=65535 len=14
            27.600  client  > ACK seq=1 ack=1 win=65535 len=14
            53.200  client  > ACK seq=1 ack=1 win=65535 len=14
            104.400  client  > ACK seq=1 ack=1 win=65535 len=14
            164.400  client  > ACK seq=1 ack=1 win=65535 len=14
            224.400  client  > ACK seq=1 ack=1 win=65535 len=14
            284.400  client  > ACK seq=1 ack=1 win=65535 len=14
            344.400  client  > ACK seq=1 ack=1 win=65535 len=14
            404.400  client  > ACK seq=1 ack=1 win=65535 len=14
            464.400  client  > ACK seq=1 ack=1 win=65535 len=14
            524.400  client  > RST,ACK seq=15 ack=1
            524.400  client  = CLOSED
            524.400  client  ! TimeoutError ETIMEDOUT
        """)
        assert story.client.connections() == []


@pytest.mark.req("ST-1", "MUST-12")
async def test_crash_reboot() -> None:
    """It vanishes and restarts, then the client sends: RST to the old connection's segment."""
    async with Story() as story, connected(story) as (reader, writer, _, _):
        story.crashes("server")
        await story.until(2)
        story.restarts("server")
        await story.until(3)
        writer.write(b"anybody there?")
        await reads(story, "client", reader)
        story.reads("""
            1.000  server  ! crashes
            2.000  server  ! restarts
            3.000  client  > ACK seq=1 ack=1 win=65535 len=14
            3.010  server  > RST seq=1
            3.020  client  = CLOSED
            3.020  client  ! ConnectionResetError ECONNRESET
        """)
        assert story.server.counters.dropped == {Drop.TCP_NO_CONNECTION: 1}


@pytest.mark.req("ST-1", "MUST-12")
async def test_crash_reboot_while_data_is_under_way() -> None:
    """What the client repeats reaches a host that knows nothing of it."""
    async with Story() as story, connected(story) as (reader, writer, _, _):
        story.crashes("server")
        await story.until(2)
        writer.write(b"anybody there?")
        await story.until(3)
        story.restarts("server")
        await reads(story, "client", reader)
        story.reads("""
            1.000  server  ! crashes
            2.000  client  > ACK seq=1 ack=1 win=65535 len=14
            2.200  client  > ACK seq=1 ack=1 win=65535 len=14
            2.400  client  > ACK seq=1 ack=1 win=65535 len=14
            2.800  client  > ACK seq=1 ack=1 win=65535 len=14
            3.000  server  ! restarts
            3.600  client  > ACK seq=1 ack=1 win=65535 len=14
            3.610  server  > RST seq=1
            3.620  client  = CLOSED
            3.620  client  ! ConnectionResetError ECONNRESET
        """)


@pytest.mark.req("MUST-25")
async def test_crash_reboot_idle() -> None:
    """It restarts while the client is idle, keep-alive off: nobody notices, for hours, until
    something is sent."""
    async with Story() as story, connected(story) as (reader, writer, _, _):
        story.crashes("server")
        await story.until(2)
        story.restarts("server")
        reading = asyncio.ensure_future(reads(story, "client", reader))
        await story.until(4 * 3600)
        assert not reading.done()
        assert [row.state for row in story.client.connections()] == ["ESTABLISHED"]
        assert story.server.connections() == []
        writer.write(b"anybody there?")
        await reading
        story.reads("""
            1.000  server  ! crashes
            2.000  server  ! restarts
            14400.000  client  > ACK seq=1 ack=1 win=65535 len=14
            14400.010  server  > RST seq=1
            14400.020  client  = CLOSED
            14400.020  client  ! ConnectionResetError ECONNRESET
        """)


@pytest.mark.req("MAY-5", "MUST-27")
async def test_crash_reboot_idle_with_keep_alive() -> None:
    """The same with keep-alive on: the probe finds out."""
    watchful = PLAIN.replace(keepalive=True, keepalive_idle_s=600)
    async with (
        Story(client=watchful) as story,
        connected(story) as (reader, _, _, _),
    ):
        story.crashes("server")
        await story.until(2)
        story.restarts("server")
        await reads(story, "client", reader)
        story.reads("""
            1.000  server  ! crashes
            2.000  server  ! restarts
            600.020  client  > ACK seq=0 ack=1 win=65535
            600.030  server  > RST seq=1
            600.040  client  = CLOSED
            600.040  client  ! ConnectionResetError ECONNRESET
        """)


@pytest.mark.req("MAY-5", "MUST-29")
async def test_crash_idle_with_keep_alive() -> None:
    """It does not come back: after some probes without an answer the client gives up."""
    watchful = PLAIN.replace(
        keepalive=True, keepalive_idle_s=600, keepalive_interval_s=30, keepalive_probes=3
    )
    async with (
        Story(client=watchful) as story,
        connected(story) as (reader, _, _, _),
    ):
        story.crashes("server")
        await reads(story, "client", reader)
        story.reads("""
            1.000  server  ! crashes
            600.020  client  > ACK seq=0 ack=1 win=65535
            630.020  client  > ACK seq=0 ack=1 win=65535
            660.020  client  > ACK seq=0 ack=1 win=65535
            690.020  client  > RST,ACK seq=1 ack=1
            690.020  client  = CLOSED
            690.020  client  ! TimeoutError ETIMEDOUT
        """)


@pytest.mark.req("MUST-12", "ST-16")
async def test_kill() -> None:
    """The server process is told to end: FIN on every connection, the four-way close; clients read
    the end of the stream. (The signal itself is tested with the program, below tests/serve.)"""
    async with Story() as story:
        await story.serves()
        streams = [await story.connects(local_port=50000 + n) for n in range(3)]
        await story.until(1)
        story.forget()
        stopping = asyncio.ensure_future(story.server.aclose(grace=5))

        async def client(reader: Reader, writer: Writer) -> None:
            await reads(story, "client", reader)
            await asyncio.sleep(0.5)  # it has something to finish
            writer.write(b"bye")
            writer.close()

        await asyncio.gather(*(client(*each) for each in streams))
        await stopping
        await story.until(3)
        one = """
            1.000  server  > FIN,ACK seq=1 ack=1 win=65535
            1.000  server  = FIN-WAIT-1
            1.010  client  > ACK seq=1 ack=2 win=65535
            1.010  client  = CLOSE-WAIT
            1.010  client  ! read b''
            1.020  server  = FIN-WAIT-2
        """
        head = [line.strip() for line in one.strip().splitlines() for _ in range(3)]
        assert sorted(story.told()[:18]) == sorted(head)
        assert story.server.connections() == []


async def test_kill_and_the_clients_close() -> None:
    """The whole of it for one client that closes when it has read the end."""
    async with Story() as story, connected(story) as (reader, writer, _, _):
        stopping = asyncio.ensure_future(story.server.aclose(grace=5))
        await reads(story, "client", reader)
        writer.close()
        await stopping
        await story.until(100)
        story.reads("""
            1.000  server  > FIN,ACK seq=1 ack=1 win=65535
            1.000  server  = FIN-WAIT-1
            1.010  client  > ACK seq=1 ack=2 win=65535
            1.010  client  > FIN,ACK seq=1 ack=2 win=65535
            1.010  client  = CLOSE-WAIT
            1.010  client  = LAST-ACK
            1.010  client  ! read b''
            1.020  server  > ACK seq=2 ack=2 win=65535
            1.020  server  = FIN-WAIT-2
            1.020  server  = TIME-WAIT
            1.030  client  = CLOSED
        """)


async def test_kill_and_a_client_that_does_not_care() -> None:
    """When the grace period is over, what is left is reset."""
    async with Story() as story, connected(story) as (reader, writer, _, _):
        await story.server.aclose(grace=5)
        await story.until(7)
        story.tell("client", f"read {await reader.read()!r}")
        story.reads("""
            1.000  server  > FIN,ACK seq=1 ack=1 win=65535
            1.000  server  = FIN-WAIT-1
            1.010  client  > ACK seq=1 ack=2 win=65535
            1.010  client  = CLOSE-WAIT
            1.020  server  = FIN-WAIT-2
            6.000  server  > RST,ACK seq=2 ack=1
            6.000  server  = CLOSED
            6.010  client  = CLOSED
            7.000  client  ! read b''
        """)
        assert writer.is_closing() is False


@pytest.mark.req("SHLD-3", "ST-24")
async def test_port_closed() -> None:
    """The service is shut down hard while a client is connected: the client's next segment gets a
    RST, and so does the next one that wants to connect."""
    async with Story() as story:
        server = await story.serves()
        reader, writer = await story.connects()
        await story.until(1)
        story.forget()
        server.close()
        for their_writer in story.kept:
            their_writer.transport.abort()
        await story.until(2)
        await reads(story, "client", reader)
        writer.write(b"still here")
        await story.until(3)
        try:
            writer.write(b"still here")
            await writer.drain()
        except OSError as exc:
            story.tell("client", named(exc))
        with pytest.raises(ConnectionRefusedError):
            await story.connects(local_port=50001)
        story.reads("""
            1.000  server  > FIN,ACK seq=1 ack=1 win=65535
            1.000  server  = FIN-WAIT-1
            1.010  client  > ACK seq=1 ack=2 win=65535
            1.010  client  = CLOSE-WAIT
            1.020  server  = FIN-WAIT-2
            2.000  client  > ACK seq=1 ack=2 win=65535 len=10
            2.000  client  ! read b''
            2.010  server  > RST,ACK seq=2 ack=1
            2.010  server  = CLOSED
            2.020  client  = CLOSED
            3.000  client  > SYN seq=0 win=65535
            3.000  client  = SYN-SENT
            3.000  client  ! ConnectionResetError
            3.010  server  > RST,ACK seq=0 ack=1
            3.020  client  = CLOSED
            3.020  client  ! ConnectionRefusedError
        """)
        writer.close()


@pytest.mark.req("SHLD-3", "ST-24")
async def test_port_closed_with_requests_unanswered() -> None:
    """What the service had not read yet is lost, and the client learns that at once."""
    async with Story() as story:

        async def program(_: Reader, writer: Writer) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined]

        server = await story.serves(program)
        reader, writer = await story.connects()
        await story.until(1)
        writer.write(b"request")
        await story.until(2)
        story.forget()
        server.close()
        for their_writer in story.kept:
            their_writer.transport.abort()
        await reads(story, "client", reader)
        story.reads("""
            2.000  server  > RST,ACK seq=1 ack=8
            2.000  server  = CLOSED
            2.010  client  = CLOSED
            2.010  client  ! ConnectionResetError ECONNRESET
        """)
        writer.close()


@pytest.mark.req("5961-1", "5961-2", "ST-9", "ST-11")
async def test_blind_reset() -> None:
    """Somebody who can not see the connection forges resets and SYNs: outside of the window a RST
    does nothing, inside it is challenged, and a SYN always is. The connection lives."""
    async with Story() as story, connected(story) as (reader, writer, _, their_writer):
        ports = (80, 50000)
        story.forges("server", ports, RST, seq=200_000)
        await story.until(2)
        story.forges("server", ports, RST, seq=5000)
        await story.until(3)
        story.forges("server", ports, SYN, seq=5000)
        await story.until(4)
        story.forges("server", ports, SYN | ACK, seq=200_000, ack=1)
        await story.until(5)
        their_writer.write(b"alive")
        await reads(story, "client", reader)
        await story.until(6)
        story.reads("""
            1.000  forger  > RST seq=200000  (to the client)
            2.000  forger  > RST seq=5000  (to the client)
            2.010  client  > ACK seq=1 ack=1 win=65535
            3.000  forger  > SYN seq=5000  (to the client)
            3.010  client  > ACK seq=1 ack=1 win=65535
            4.000  forger  > SYN,ACK seq=200000 ack=1  (to the client)
            4.010  client  > ACK seq=1 ack=1 win=65535
            5.000  server  > ACK seq=1 ack=1 win=65535 len=5
            5.010  client  ! read b'alive'
            5.050  client  > ACK seq=1 ack=6 win=65530
        """)
        assert story.client.counters.dropped == {
            Drop.RST_OUT_OF_WINDOW: 1,
            Drop.RST_CHALLENGED: 1,
            Drop.SYN_CHALLENGED: 2,
        }
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
