"""What a program has written and TCP not sent yet: no more than is good, and it never waits for a
program that has more."""

from __future__ import annotations

import asyncio

from aiotcp import Stack
from aiotcp.sim import run
from aiotcp.tcp.autotune import FRESH_UNSENT_BYTES
from aiotcp.tcp.congestion import CongestionControl, Start
from tests.support.longpath import path

HERE, THERE = "192.0.2.1", "192.0.2.2"
WAY_S = 0.1
BLOCK = bytes(FRESH_UNSENT_BYTES)
DATA = bytes(6 * FRESH_UNSENT_BYTES)


class Open(CongestionControl):
    """Has nothing against sending all at once."""

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self.cwnd = 64 << 20


def test_all_that_the_windows_allow_leaves_at_once() -> None:
    async def main() -> None:
        left, right = path(10e9, WAY_S)
        buffer = {"receive_buffer": 16 << 20}
        arrived: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"a window that is scaled")
            await reader.readexactly(3 * len(BLOCK) + len(DATA))
            arrived.set_result(asyncio.get_running_loop().time())
            writer.close()

        async with (
            Stack(left, addresses=[HERE], options={"cc": Open}) as here,
            Stack(right, addresses=[THERE], options=buffer) as there,
        ):
            server = await there.start_server(serve, THERE, 80)
            reader, writer = await here.open_connection(THERE, 80)
            await reader.read(100)
            began = asyncio.get_running_loop().time()
            for _ in range(3):  # the first one leaves at once
                writer.write(BLOCK)
            assert writer.transport.get_write_buffer_size() == 0
            await asyncio.sleep(0)
            writer.write(DATA)
            waits = writer.transport.get_write_buffer_size()
            assert waits == len(DATA) - FRESH_UNSENT_BYTES  # the rest
            assert await arrived - began < 2 * WAY_S
            writer.close()
            await writer.wait_closed()
            server.close()

    run(main())
