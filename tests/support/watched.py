"""Two watched stacks, 10 ms apart, and programs on them whose trace the tests look at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from aiotcp.link import memory
from aiotcp.link.impair import CLEAR, Impair, Netem
from aiotcp.streams import Stack
from aiotcp.trace.events import Trace
from aiotcp.trace.watch import Recording

CLIENT, SERVER = "192.0.2.1", "192.0.2.2"
DELAY_S = 0.010

Filter: TypeAlias = Callable[[bytes], bool]


async def transfer(
    size: int, *, outbound: Netem = CLEAR, recording: Recording | None = None
) -> Trace:
    """The client sends `size` bytes and closes; the server reads all, says so, and closes."""
    recording = recording or Recording()
    left, right = memory.pair()
    bad = Impair(
        left,
        outbound=Netem(
            delay=DELAY_S,
            filter=outbound.filter,
            duplicate=outbound.duplicate,
            loss=outbound.loss,
            corrupt=outbound.corrupt,
        ),
        inbound=Netem(delay=DELAY_S),
        seed=3,
    )
    client = recording.stack(Stack, bad, host="client", addresses=[CLIENT], seed=b"client")
    server = recording.stack(Stack, right, host="server", addresses=[SERVER], seed=b"server")
    done = asyncio.Event()

    async def program(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recording.said("server", f"read {len(await reader.read())} bytes and the end")
        writer.close()
        done.set()

    await server.start_server(program, SERVER, 80)
    _, writer = await client.open_connection(SERVER, 80, local_addr=(CLIENT, 50000))
    recording.said("client", "connected")
    writer.write(bytes(size))
    writer.close()
    await done.wait()
    await asyncio.sleep(1)
    trace = recording.finish()
    await client.aclose(0)
    await server.aclose(0)
    return trace


def lose(*numbers: int) -> Filter:
    """Lets pass all but these segments with text, counted from 1."""
    seen = 0

    def passes(packet: bytes) -> bool:
        nonlocal seen
        if len(packet) > 100:
            seen += 1
            return seen not in numbers
        return True

    return passes
