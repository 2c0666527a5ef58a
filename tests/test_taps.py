"""Taps see what crosses the border between a stack and its link, and leave nothing behind."""

from __future__ import annotations

import asyncio

from aiotcp.link import memory
from aiotcp.reasons import Why
from aiotcp.streams import Stack
from aiotcp.wire.frame import Frame

HERE, THERE = "192.0.2.1", "192.0.2.2"


class Seen:
    def __init__(self) -> None:
        self.out: list[str] = []
        self.came: list[bytes] = []
        self.batches = 0

    def sent(self, frame: Frame) -> None:
        self.out.append(frame.reason)

    def received(self, packet: memoryview) -> None:
        self.came.append(bytes(packet))

    def flush(self) -> None:
        self.batches += 1


async def close_when_asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.close()


async def to_its_end(stack: Stack, host: str) -> None:
    """One connection, which the server closes."""
    reader, writer = await stack.open_connection(host, 80)
    writer.write(b"close\n")
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_a_tap_sees_both_directions_from_when_it_comes_to_when_it_goes() -> None:
    left, right = memory.pair()
    async with Stack(left, addresses=[HERE]) as here, Stack(right, addresses=[THERE]) as there:
        server = await there.start_server(close_when_asked, THERE, 80)
        receive, flush = here.receive, here.flush
        await to_its_end(here, THERE)
        one, other = Seen(), Seen()
        here.tap(one)
        before = dict(here.link.counters)
        reader, writer = await here.open_connection(THERE, 80)
        here.tap(other)
        writer.write(b"close\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        here.untap(one)
        here.untap(one)
        # What the link counts is what the tap has seen; and to the stack, it is the link.
        after = here.link.counters
        assert len(one.out) == after["sent_packets"] - before["sent_packets"] > len(other.out) > 0
        assert one.out[:2] == [Why.OPEN, Why.OPEN_ACK]
        assert len(one.came) == after["received_packets"] - before["received_packets"]
        assert one.batches > other.batches > 0
        assert [packet[12:16] for packet in one.came] == [bytes([192, 0, 2, 2])] * len(one.came)
        seen = len(one.out)
        assert here.link is not left
        here.untap(other)
        assert here.link is left
        assert (here.receive, here.flush) == (receive, flush)
        await to_its_end(here, THERE)
        assert len(one.out) == seen
        server.close()


async def test_what_a_stack_says_to_itself_is_not_on_its_link() -> None:
    link, _ = memory.pair()
    async with Stack(link, addresses=[HERE]) as stack:
        seen = Seen()
        stack.tap(seen)
        server = await stack.start_server(close_when_asked, HERE, 80)
        await to_its_end(stack, HERE)
        server.close()
        assert (seen.out, seen.came) == ([], [])
        stack.untap(seen)


async def test_a_tap_stays_until_it_is_taken_away_though_another_link_is_put_around() -> None:
    left, right = memory.pair()
    async with Stack(left, addresses=[HERE]) as here, Stack(right, addresses=[THERE]) as there:
        server = await there.start_server(close_when_asked, THERE, 80)
        seen = Seen()
        here.tap(seen)

        class Around:
            def __init__(self) -> None:
                self.below = here.link
                self.mtu, self.gso_max_bytes = self.below.mtu, self.below.gso_max_bytes
                self.checksum_offload = self.below.checksum_offload
                self.counters = self.below.counters
                self.attach, self.send, self.close = (
                    self.below.attach,
                    self.below.send,
                    self.below.close,
                )

        here.link = Around()
        here.untap(seen)
        await to_its_end(here, THERE)
        assert seen.out == []
        here.tap(seen)
        await to_its_end(here, THERE)
        assert seen.out[:1] == [Why.OPEN]
        server.close()
