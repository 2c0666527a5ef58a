"""aiotcp to aiotcp on the in-memory link, in virtual time: a flow of 10 Mbit/s.

    python -m bench.virtual packets|frames|path SECONDS

One stack sends to another for so many simulated seconds, on streams. Prints, as JSON, how many
simulated seconds there were for each second of processor time, and the Mbit/s that arrived.

packets: `memory.pair()` as it is, so packets of 1500 bytes, which memory vouches for; the program
    writes 10 ms worth of data every 10 ms.
frames: the same with `offload=True`, where frames of up to 64 KiB pass whole, as on a TUN device.
path: packets, and `Impair` makes a path of 10 Mbit/s and 10 ms each way of it, with a buffer of 50
    packets. The program writes as much as there is room for, so losses and their repair are in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time

from aiotcp import Stack, open_connection, sim
from aiotcp.link import memory
from aiotcp.link.base import Link
from aiotcp.link.impair import Impair, Netem

RATE_BIT_S = 10e6
_NEAR, _FAR = "192.0.2.1", "192.0.2.2"
_TICK_S = 0.01
_PIECE = bytes(round(RATE_BIT_S * _TICK_S / 8))
_BLOCK = bytes(1 << 16)


def links(kind: str) -> tuple[Link, Link]:
    left, right = memory.pair(offload=kind == "frames")
    if kind != "path":
        return left, right
    way = Netem(delay=0.01, rate=RATE_BIT_S, limit=67)  # 17 of them are on their way
    return Impair(left, outbound=way, seed=1), Impair(right, outbound=way, seed=1)


async def flow(kind: str, seconds: float) -> int:
    """Bytes that the receiving program had after so long."""
    ends = links(kind)
    taken = 0

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        with contextlib.suppress(ConnectionResetError):  # the end of the measurement
            while data := await reader.read(1 << 16):
                taken += len(data)
        writer.close()

    async def send(stack: Stack) -> None:
        _, writer = await open_connection(_FAR, 9, stack=stack)
        while True:
            writer.write(_BLOCK if kind == "path" else _PIECE)
            await writer.drain()
            if kind != "path":
                await asyncio.sleep(_TICK_S)

    near = Stack(ends[0], addresses=[_NEAR], seed=b"near")
    far = Stack(ends[1], addresses=[_FAR], seed=b"far")
    await far.start_server(take, _FAR, 9)
    sending = asyncio.create_task(send(near))
    await asyncio.sleep(seconds)
    arrived = taken
    sending.cancel()
    for stack in (near, far):
        await stack.aclose(grace=0)
    return arrived


def main() -> None:
    kind, seconds = sys.argv[1], float(sys.argv[2])
    before = time.process_time()
    taken = sim.run(flow(kind, seconds))
    used = time.process_time() - before
    told = {"simulated_per_cpu_s": seconds / used, "mbit_s": taken * 8 / seconds / 1e6}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
