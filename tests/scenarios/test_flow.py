"""Data and window: what the scenarios `window-*` do not show, such as hours of a closed window."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from aiotcp.options import Options
from aiotcp.wire.tcp import ACK
from tests.support.programs import connected
from tests.support.story import PLAIN, Story

MSS = 1460

READS_EVERY_S = 0.0001
"""So slow that the sender waits for every segment, and not so slow that it asks."""


@pytest.mark.req("MUST-36", "SHLD-29", "SHLD-30", "MUST-37", "MAY-8")
async def test_window_zero() -> None:
    """The server's program stops reading. The window closes, the sender stops, and asks again at
    growing intervals, however long it takes; the writing program waits in drain(). When reading
    goes on, the window opens and every byte arrives."""
    data = bytes(range(256)) * 2000
    options = Options(receive_buffer=8 * MSS, send_buffer=64 * 1024, timestamps=False)
    async with Story(client=options, server=options) as story:
        accepted: asyncio.Future[asyncio.StreamReader] = story.loop.create_future()

        async def program(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            accepted.set_result(reader)

        await story.serves(program)
        _, writer = await story.connects()
        reader = await accepted
        await story.until(1)
        story.forget()

        async def writes() -> None:
            writer.write(data)
            story.tell("client", f"waits with {writer.transport.get_write_buffer_size()} bytes")
            await writer.drain()
            story.tell("client", "goes on")

        writing = asyncio.ensure_future(writes())
        await story.until(200)
        full = 1 + 8 * MSS
        head = [line for line in story.told() if float(line.split()[0]) < 3]
        assert head == [
            *(f"1.000  client  > ACK seq={1 + n * MSS} ack=1 win=11680 len=1460" for n in range(8)),
            f"1.000  client  ! waits with {len(data) - 64 * 1024} bytes",
            f"1.010  server  > ACK seq=1 ack={full} win=0",
            f"1.220  client  > ACK seq={full} ack=1 win=11680 len=1",
            f"1.230  server  > ACK seq=1 ack={full} win=0",
            f"1.620  client  > ACK seq={full} ack=1 win=11680 len=1",
            f"1.630  server  > ACK seq=1 ack={full} win=0",
            f"2.420  client  > ACK seq={full} ack=1 win=11680 len=1",
            f"2.430  server  > ACK seq=1 ack={full} win=0",
        ]
        probes = [passing.at for passing in story.segments("client") if len(passing.payload) == 1]
        waits = [round(after - before, 3) for before, after in pairwise(probes)]
        assert waits == [0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60]
        await story.until(3 * 3600)
        assert not writing.done()
        assert [row.state for row in story.client.connections()] == ["ESTABLISHED"]

        story.kept[0].transport.resume_reading()  # type: ignore[attr-defined]
        assert await reader.readexactly(len(data)) == data
        await writing
        assert story.now < 3 * 3600 + 2
        writer.close()
        story.kept[0].close()


@pytest.mark.req("MUST-38")
async def test_window_silly_writes() -> None:
    """The other way about: the program writes a byte at a time, with Nagle's algorithm; what one
    round trip leaves waiting is one segment."""
    options = PLAIN.replace(nodelay=False, timestamps=False)
    async with Story(client=options) as story, connected(story) as (_, writer, their_reader, _):
        for n in range(200):
            writer.write(bytes([n]))
            await asyncio.sleep(0.001)
        assert await their_reader.readexactly(200) == bytes(range(200))
        sizes = [len(p.payload) for p in story.segments("client") if p.payload]
        # The first byte goes alone; its acknowledgment is delayed (40 ms) and travels 20 ms.
        assert sizes[:3] == [1, 60, 60]
        assert len(sizes) == 5


@pytest.mark.req("SHLD-18", "MUST-40")
async def test_delayed_acknowledgments() -> None:
    """A question gets its acknowledgment with the answer, or alone after 40 ms."""
    async with Story() as story:

        async def program(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(5)
            writer.write(b"quick answer")
            await reader.readexactly(5)
            await asyncio.sleep(0.1)
            writer.write(b"slow answer")

        await story.serves(program)
        reader, writer = await story.connects()
        await story.until(1)
        story.forget()
        writer.write(b"quick")
        await reader.readexactly(12)
        await story.until(2)
        writer.write(b"slow?")
        await reader.readexactly(11)
        await story.until(3)
        story.reads("""
            1.000  client  > ACK seq=1 ack=1 win=65535 len=5
            1.010  server  > ACK seq=1 ack=6 win=65530 len=12
            1.060  client  > ACK seq=6 ack=13 win=65523
            2.000  client  > ACK seq=6 ack=13 win=65523 len=5
            2.050  server  > ACK seq=13 ack=11 win=65525
            2.110  server  > ACK seq=13 ack=11 win=65525 len=11
            2.160  client  > ACK seq=11 ack=24 win=65512
        """)
        assert all(passing.flags & ACK for passing in story.passed[1:])
        writer.close()
