"""Opening (SCENARIOS, 三次握手): the three-way handshake, and all that can happen to it."""

from __future__ import annotations

import asyncio
import errno

import pytest

from aiotcp.stack import Endpoint
from aiotcp.wire.tcp import ACK, PSH, SYN
from tests.support.app import App
from tests.support.conversation import Peer
from tests.support.story import CLIENT, SERVER, Story, describe_error


async def test_open_passive() -> None:
    """A client connects to us. The SYN uses one sequence number, the bare ACK none: the first byte
    of text has the same number as the ACK before it."""
    async with Story() as story:

        async def program(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            story.tell("server", f"read {await reader.read(100)!r}")
            writer.close()

        await story.serves(program)
        _, writer = await story.connects()
        await story.until(0.1)
        writer.write(b"hello")
        await story.until(0.12)
        story.reads("""
            0.000  client  > SYN seq=0 win=65535
            0.000  client  = SYN-SENT
            0.010  server  > SYN,ACK seq=0 ack=1 win=65535
            0.010  server  = SYN-RECEIVED
            0.020  client  > ACK seq=1 ack=1 win=65535
            0.020  client  = ESTABLISHED
            0.020  client  ! connected
            0.030  server  = ESTABLISHED
            0.030  server  ! accepted
            0.100  client  > ACK seq=1 ack=1 win=65535 len=5
            0.110  server  > FIN,ACK seq=1 ack=6 win=65530
            0.110  server  = FIN-WAIT-1
            0.110  server  ! read b'hello'
            0.120  client  > ACK seq=6 ack=2 win=65535
            0.120  client  = CLOSE-WAIT
        """)
        writer.close()


async def test_open_active() -> None:
    """We connect, and somebody answers with a SYN+ACK for what we never sent: he gets a RST that
    fits his numbers, and the attempt goes on."""
    async with Story() as story:
        await story.serves()
        connecting = asyncio.ensure_future(story.connects())
        await story.until(0.005)
        story.forges("server", (80, 50000), SYN | ACK, seq=5_000_000, ack=1_000_000)
        _, writer = await connecting
        await story.until(0.1)
        story.reads("""
            0.000  client  > SYN seq=0 win=65535
            0.000  client  = SYN-SENT
            0.005  forger  > SYN,ACK seq=5000000 ack=1000000  (to the client)
            0.010  server  > SYN,ACK seq=0 ack=1 win=65535
            0.010  server  = SYN-RECEIVED
            0.015  client  > RST seq=1000000
            0.020  client  > ACK seq=1 ack=1 win=65535
            0.020  client  = ESTABLISHED
            0.020  client  ! connected
            0.030  server  = ESTABLISHED
            0.030  server  ! accepted
        """)
        writer.close()


async def test_open_third_ack_data() -> None:
    """The third segment carries data, which is delivered once the server is ESTABLISHED."""
    async with Story() as story:

        async def program(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            story.tell("server", f"read {await reader.read(100)!r}")

        await story.serves(program)
        app = App(story.client)
        app.conn = story.client.connect(
            Endpoint(SERVER, 80), local=Endpoint(CLIENT, 50000), user=app
        )
        app.write(b"hello")
        await story.until(0.1)
        story.reads("""
            0.000  client  > SYN seq=0 win=65535
            0.000  client  = SYN-SENT
            0.010  server  > SYN,ACK seq=0 ack=1 win=65535
            0.010  server  = SYN-RECEIVED
            0.020  client  > ACK seq=1 ack=1 win=65535 len=5
            0.020  client  = ESTABLISHED
            0.030  server  = ESTABLISHED
            0.030  server  ! accepted
            0.030  server  ! read b'hello'
            0.070  server  > ACK seq=1 ack=6 win=65530
        """)


async def test_open_syn_data() -> None:
    """A SYN carries data. Nothing is delivered before the handshake ends, and nothing is kept: it
    is not acknowledged, and has to come again."""
    async with Peer() as peer:
        _, accepted = peer.listens()
        peer.sends(SYN | PSH, seq=0, data=b"x" * 1400)
        await peer.sees(SYN | ACK, seq=0, ack=1)
        assert not accepted
        assert [row.receive_queue for row in peer.stack.connections()] == [0]
        peer.sends(ACK, seq=1)
        assert accepted[0].received == b""
        peer.sends(PSH | ACK, seq=1, data=b"x" * 1400)
        await peer.sees(ACK, ack=1401, within=0.5)
        assert accepted[0].received == b"x" * 1400


async def test_open_lost_1() -> None:
    """The SYN is lost, and the next one too: it is repeated after 1 s, and 2 s after that."""
    async with Story() as story:
        await story.serves()
        story.loses("client", SYN, times=2)
        _, writer = await story.connects()
        await story.until(3.1)
        story.reads("""
            0.000  client  > SYN seq=0 win=65535  (lost)
            0.000  client  = SYN-SENT
            1.000  client  > SYN seq=0 win=65535  (lost)
            3.000  client  > SYN seq=0 win=65535
            3.010  server  > SYN,ACK seq=0 ack=1 win=65535
            3.010  server  = SYN-RECEIVED
            3.020  client  > ACK seq=1 ack=1 win=65535
            3.020  client  = ESTABLISHED
            3.020  client  ! connected
            3.030  server  = ESTABLISHED
            3.030  server  ! accepted
        """)
        writer.close()


async def test_open_lost_2() -> None:
    """The SYN+ACK is lost. The client repeats its SYN, and that brings another SYN+ACK."""
    async with Story() as story:
        await story.serves()
        story.loses("server", SYN | ACK)
        story.delays("client", SYN, by=0.5)  # so that the client's timer is the first to run out
        _, writer = await story.connects()
        await story.until(2)
        story.reads("""
            0.000  client  > SYN seq=0 win=65535  (late)
            0.000  client  = SYN-SENT
            0.510  server  > SYN,ACK seq=0 ack=1 win=65535  (lost)
            0.510  server  = SYN-RECEIVED
            1.000  client  > SYN seq=0 win=65535
            1.010  server  > SYN,ACK seq=0 ack=1 win=65535
            1.020  client  > ACK seq=1 ack=1 win=65535
            1.020  client  = ESTABLISHED
            1.020  client  ! connected
            1.030  server  = ESTABLISHED
            1.030  server  ! accepted
        """)
        writer.close()


async def test_open_lost_2_without_help() -> None:
    """The SYN+ACK is lost, and every further SYN as well: the server repeats it by itself, after
    1 s and 2 s more."""
    async with Story() as story:
        await story.serves()
        story.loses("server", SYN | ACK, times=2)
        story.rule(lambda passing: "lost" if passing.flags == SYN and story.now > 0 else None)
        _, writer = await story.connects()
        await story.until(4)
        story.reads("""
            0.000  client  > SYN seq=0 win=65535
            0.000  client  = SYN-SENT
            0.010  server  > SYN,ACK seq=0 ack=1 win=65535  (lost)
            0.010  server  = SYN-RECEIVED
            1.000  client  > SYN seq=0 win=65535  (lost)
            1.010  server  > SYN,ACK seq=0 ack=1 win=65535  (lost)
            3.000  client  > SYN seq=0 win=65535  (lost)
            3.010  server  > SYN,ACK seq=0 ack=1 win=65535
            3.020  client  > ACK seq=1 ack=1 win=65535
            3.020  client  = ESTABLISHED
            3.020  client  ! connected
            3.030  server  = ESTABLISHED
            3.030  server  ! accepted
        """)
        writer.close()


async def test_open_lost_3() -> None:
    """The final ACK is lost. The client, who knows nothing of it, is ESTABLISHED; the server
    repeats its SYN+ACK, and the client the ACK."""
    async with Story() as story:
        await story.serves()
        story.loses("client", ACK)
        _, writer = await story.connects()
        await story.until(2)
        story.reads("""
            0.000  client  > SYN seq=0 win=65535
            0.000  client  = SYN-SENT
            0.010  server  > SYN,ACK seq=0 ack=1 win=65535
            0.010  server  = SYN-RECEIVED
            0.020  client  > ACK seq=1 ack=1 win=65535  (lost)
            0.020  client  = ESTABLISHED
            0.020  client  ! connected
            1.010  server  > SYN,ACK seq=0 ack=1 win=65535
            1.020  client  > ACK seq=1 ack=1 win=65535
            1.030  server  = ESTABLISHED
            1.030  server  ! accepted
        """)
        writer.close()


async def test_open_lost_3_and_data_follows() -> None:
    """The final ACK is lost, but the client sends data: that acknowledges the SYN+ACK just as well,
    completes the handshake, and is delivered."""
    async with Story() as story:

        async def program(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            story.tell("server", f"read {await reader.read(100)!r}")

        await story.serves(program)
        story.loses("client", ACK)
        _, writer = await story.connects()
        await story.until(0.3)
        writer.write(b"hello")
        await story.until(0.4)
        story.reads("""
            0.000  client  > SYN seq=0 win=65535
            0.000  client  = SYN-SENT
            0.010  server  > SYN,ACK seq=0 ack=1 win=65535
            0.010  server  = SYN-RECEIVED
            0.020  client  > ACK seq=1 ack=1 win=65535  (lost)
            0.020  client  = ESTABLISHED
            0.020  client  ! connected
            0.300  client  > ACK seq=1 ack=1 win=65535 len=5
            0.310  server  = ESTABLISHED
            0.310  server  ! accepted
            0.310  server  ! read b'hello'
            0.350  server  > ACK seq=1 ack=6 win=65530
        """)
        writer.close()


async def test_open_stale_syn() -> None:
    """An old duplicate SYN arrives: why two segments are not enough. The server can not know that
    it is old; the client can, and its RST takes the server back to LISTEN."""
    async with Story() as story:
        await story.serves()
        story.forges("client", (50000, 80), SYN, seq=4711)
        await story.until(0.1)
        story.reads("""
            0.000  forger  > SYN seq=4711  (to the server)
            0.010  server  > SYN,ACK seq=0 ack=4712 win=65535
            0.010  server  = SYN-RECEIVED
            0.020  client  > RST seq=4712
            0.030  server  = LISTEN
        """)
        assert story.server.connections() == []
        _, writer = await story.connects()
        await story.until(1)
        assert story.states("client") == ["SYN-SENT", "ESTABLISHED"]
        assert len(story.server.connections()) == 1
        writer.close()


async def test_open_simultaneous() -> None:
    """Both sides send SYN at once: one connection, and no one refused."""
    async with Story() as story:
        writers = await asyncio.gather(
            *(
                stack.open_connection(host, port, local_addr=local)
                for stack, host, port, local in (
                    (story.client, SERVER, 2000, (CLIENT, 1000)),
                    (story.server, CLIENT, 1000, (SERVER, 2000)),
                )
            )
        )
        story.tell("client", "connected")
        story.tell("server", "connected")
        await story.until(10)
        story.reads("""
            0.000  client  > SYN seq=0 win=65535
            0.000  server  > SYN seq=0 win=65535
            0.000  client  = SYN-SENT
            0.000  server  = SYN-SENT
            0.010  client  > SYN,ACK seq=0 ack=1 win=65535
            0.010  server  > SYN,ACK seq=0 ack=1 win=65535
            0.010  client  = SYN-RECEIVED
            0.010  server  = SYN-RECEIVED
            0.020  client  = ESTABLISHED
            0.020  server  = ESTABLISHED
            0.020  client  ! connected
            0.020  server  ! connected
        """)
        (reader, _), (_, writer) = writers
        writer.write(b"hello")
        assert await reader.read(100) == b"hello"
        assert len(story.client.connections()) == len(story.server.connections()) == 1
        for _, writer in writers:
            writer.close()


async def test_open_refused() -> None:
    """The port has no listener: RST, and the program knows at once."""
    async with Story() as story:
        with pytest.raises(ConnectionRefusedError) as refusal:
            await story.connects()
        assert refusal.value.errno == errno.ECONNREFUSED
        await story.until(60)
        story.reads("""
            0.000  client  > SYN seq=0 win=65535
            0.000  client  = SYN-SENT
            0.010  server  > RST,ACK seq=0 ack=1
            0.020  client  = CLOSED
            0.020  client  ! ConnectionRefusedError
        """)


@pytest.mark.req("MUST-22", "MUST-23")
async def test_open_silent() -> None:
    """Nobody answers. After three minutes of ever rarer SYNs the attempt is given up."""
    async with Story() as story:
        story.broken = True
        with pytest.raises(TimeoutError) as timeout:
            await story.connects()
        assert timeout.value.errno == errno.ETIMEDOUT
        story.reads("""
            0.000  client  > SYN seq=0 win=65535  (lost)
            0.000  client  = SYN-SENT
            1.000  client  > SYN seq=0 win=65535  (lost)
            3.000  client  > SYN seq=0 win=65535  (lost)
            7.000  client  > SYN seq=0 win=65535  (lost)
            15.000  client  > SYN seq=0 win=65535  (lost)
            31.000  client  > SYN seq=0 win=65535  (lost)
            63.000  client  > SYN seq=0 win=65535  (lost)
            123.000  client  > SYN seq=0 win=65535  (lost)
            183.000  client  = CLOSED
            183.000  client  ! TimeoutError
        """)


async def test_open_abandoned() -> None:
    """The program does not wait: it cancels the attempt, and nothing is left of it."""
    async with Story() as story:
        story.broken = True
        try:
            async with asyncio.timeout(2):
                await story.connects()
        except TimeoutError as exc:
            story.tell("client", describe_error(exc))
        await story.until(300)
        story.reads("""
            0.000  client  > SYN seq=0 win=65535  (lost)
            0.000  client  = SYN-SENT
            1.000  client  > SYN seq=0 win=65535  (lost)
            2.000  client  = CLOSED
            2.000  client  ! TimeoutError
        """)
        assert story.client.connections() == []
