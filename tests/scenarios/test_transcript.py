"""window-transcript (SCENARIOS): the classic exchange, number by number.

A fast sender, a receiver with a buffer of 6 KiB whose program reads 2 KiB at a time. Numbers are
those of the wire, as in the textbook: the client begins at 0, the server at 8000. The textbook's
server tells its window two times more after the client's FIN, while its program reads on; since
nobody can use that window any more, ours leaves it to its own FIN to say 6144.
"""

from __future__ import annotations

import asyncio

import pytest

from aiotcp import passive, stack
from aiotcp.options import Options
from aiotcp.stack import Endpoint
from aiotcp.wire.tcp import ACK, FIN, SYN, flags_text
from tests.support.app import App
from tests.support.story import CLIENT, SERVER, Passing, Story, segment_of

PLAIN = Options(window_scaling=False, timestamps=False, sack=False)
KIB = 1024


def as_in_the_book(passing: Passing) -> str:
    """`client SYN 0:0(0) win 4096 <mss 1460>`: first byte, the one after the last, how
    many."""
    segment = segment_of(passing.packet)
    length = len(segment.payload)
    words: list[str] = [passing.side]
    if segment.flags & (SYN | FIN):
        words.append(flags_text(segment.flags & (SYN | FIN)))
    words.append(f"{segment.seq}:{segment.seq + length}({length})")
    if segment.flags & ACK:
        words.append(f"ack {segment.ack}")
    words.append(f"win {segment.window}")
    if segment.mss is not None:
        words.append(f"<mss {segment.mss}>")
    return " ".join(words)


class SlowReader(asyncio.BufferedProtocol):
    """Takes 2 KiB, and reads on when it is told to; closes when it has read the end."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.buffer = bytearray(2 * KIB)
        self.data = b""
        self.lost: asyncio.Future[BaseException | None] = story.loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.story.tell("server", f"read {nbytes} bytes")
        self.data += self.buffer[:nbytes]
        self.transport.pause_reading()

    def eof_received(self) -> None:
        self.story.tell("server", "read the end")  # and the transport closes

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)


@pytest.mark.req("MUST-39", "SHLD-14", "MUST-14", "ST-16")
async def test_window_transcript(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six segments fill the buffer; the window opens by 2 KiB and 2 KiB again; two more segments,
    the second one with the FIN; both sides close."""
    monkeypatch.setattr(stack, "initial_numbers", lambda *_: (0, 0))
    monkeypatch.setattr(passive, "initial_numbers", lambda *_: (8000, 0))
    client_options = PLAIN.replace(receive_buffer=4096)  # MSS 1460, as the link's MTU has it
    server_options = PLAIN.replace(receive_buffer=6144, mss=1024)
    async with Story(client=client_options, server=server_options) as story:
        reader = SlowReader(story)
        await story.server.create_server(lambda: reader, SERVER, 80)
        writer = App(story.client)
        writer.conn = story.client.connect(
            Endpoint(SERVER, 80), local=Endpoint(CLIENT, 50000), user=writer
        )
        written = bytes(range(256)) * 32
        await story.until(1)
        writer.write(written[: 6 * KIB])  # all that the server's window allows
        await story.until(2)
        reader.transport.resume_reading()
        await story.until(3)
        writer.write(written[6 * KIB : 7 * KIB])
        await story.until(3.005)
        writer.conn.send(written[7 * KIB :])
        writer.conn.shutdown()
        story.client.push(writer.conn)
        for at in (4, 5, 6):
            await story.until(at)
            reader.transport.resume_reading()
        assert await reader.lost is None
        await story.until(7)

        assert [as_in_the_book(passing) for passing in story.passed] == [
            "client SYN 0:0(0) win 4096 <mss 1460>",
            "server SYN 8000:8000(0) ack 1 win 6144 <mss 1024>",
            "client 1:1(0) ack 8001 win 4096",
            "client 1:1025(1024) ack 8001 win 4096",
            "client 1025:2049(1024) ack 8001 win 4096",
            "client 2049:3073(1024) ack 8001 win 4096",
            "client 3073:4097(1024) ack 8001 win 4096",
            "client 4097:5121(1024) ack 8001 win 4096",
            "client 5121:6145(1024) ack 8001 win 4096",
            "server 8001:8001(0) ack 6145 win 2048",
            "server 8001:8001(0) ack 6145 win 4096",
            "client 6145:7169(1024) ack 8001 win 4096",
            "client FIN 7169:8193(1024) ack 8001 win 4096",
            "server 8001:8001(0) ack 8194 win 2048",
            "server FIN 8001:8001(0) ack 8194 win 6144",
            "client 8194:8194(0) ack 8002 win 4096",
        ]
        assert [line for line in story.told() if "  > " not in line] == [
            "0.000  client  = SYN-SENT",
            "0.010  server  = SYN-RECEIVED",
            "0.020  client  = ESTABLISHED",
            "0.030  server  = ESTABLISHED",
            "1.010  server  ! read 2048 bytes",
            "2.000  server  ! read 2048 bytes",
            "3.005  client  = FIN-WAIT-1",
            "3.015  server  = CLOSE-WAIT",
            "3.025  client  = FIN-WAIT-2",
            "4.000  server  ! read 2048 bytes",
            "5.000  server  ! read 2048 bytes",
            "6.000  server  = LAST-ACK",
            "6.000  server  ! read the end",
            "6.010  client  = TIME-WAIT",
            "6.020  server  = CLOSED",
        ]
        assert reader.data == written
