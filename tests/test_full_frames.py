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
