"""Bulk leaves in frames as large as the link takes, whatever the size of the send buffer."""

from __future__ import annotations

import asyncio

import pytest

from aiotcp import Stack
from aiotcp.link import memory

HERE, THERE = "192.0.2.1", "192.0.2.2"
FRAME_BYTES = 65_160  # 45 segments of 1,448 bytes


@pytest.mark.parametrize("frames", [9, 9.1, 9.9])
async def test_the_end_of_the_send_buffer_waits_for_a_full_frame(frames: float) -> None:
    left, right = memory.pair(offload=True)
    data = bytes(200 * FRAME_BYTES)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(data))
        writer.write(b"done")
        writer.close()

    narrow = {"send_buffer": round(frames * FRAME_BYTES)}
    wide = {"receive_buffer": 4 << 20}  # the peer's window is not what cuts frames
    async with (
        Stack(left, addresses=[HERE], options=narrow) as here,
        Stack(right, addresses=[THERE], options=wide) as there,
    ):
        server = await there.start_server(serve, THERE, 80)
        reader, writer = await here.open_connection(THERE, 80)
        writer.write(data)
        assert await reader.read() == b"done"
        sent = here.counters.sent
        assert sent["new_data"] <= 225  # 200, and what the congestion window cuts while it is small
        assert not sent["tail_loss_probe"]
        writer.close()
        await writer.wait_closed()
        server.close()


class Counts(asyncio.Protocol):
    """Closes once so many bytes have come."""

    def __init__(self, missing: int) -> None:
        self._missing = missing

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._missing -= len(data)
        if self._missing <= 0:
            self._transport.close()


async def test_pieces_written_in_one_turn_share_frames() -> None:
    """A writer that drains and goes on leaves no small frame behind each piece."""
    left, right = memory.pair(offload=True)
    piece = bytes(2 * FRAME_BYTES + 10_000)
    pieces = 200
    wide = {"send_buffer": 4 << 20, "receive_buffer": 4 << 20}
    async with (
        Stack(left, addresses=[HERE], options=wide) as here,
        Stack(right, addresses=[THERE], options=wide) as there,
    ):
        server = await there.create_server(lambda: Counts(pieces * len(piece)), THERE, 80)
        reader, writer = await here.open_connection(THERE, 80)
        for number in range(pieces):
            if number == pieces // 2:  # the congestion window has grown
                before = here.counters.sent["new_data"]
            writer.write(piece)
            await writer.drain()
        assert not await reader.read()
        sent = here.counters.sent["new_data"] - before
        assert sent <= 265  # 215 if all were whole, 300 if each piece had an end of its own
        writer.close()
        await writer.wait_closed()
        server.close()
