"""Opening: what the scenarios `open-*` do not show of the three-way handshake."""

from __future__ import annotations

import asyncio

from aiotcp.stack import Endpoint
from aiotcp.wire.tcp import ACK, PSH, SYN
from tests.support.app import App
from tests.support.conversation import Peer
from tests.support.story import CLIENT, SERVER, Story, describe_error


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
