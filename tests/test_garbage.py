"""A connection that failed is gone with its last reference: no cycle waits for the collector."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from aiotcp import Endpoint, Stack
from aiotcp.link import memory
from aiotcp.tcp.connection import Connection

HERE, THERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest_asyncio.fixture
async def stacks() -> AsyncIterator[tuple[Stack, Stack]]:
    left, right = memory.pair()
    async with Stack(left, addresses=[HERE]) as here, Stack(right, addresses=[THERE]) as there:
        yield here, there


async def settle() -> None:
    """Let packets arrive, and timers that nobody waits for any more run out."""
    await asyncio.sleep(1000)


def connections() -> int:
    """How many there are anywhere in the process."""
    return sum(type(each) is Connection for each in gc.get_objects())


async def test_a_refused_connection_leaves_nothing(stacks: tuple[Stack, Stack]) -> None:
    here, _ = stacks
    before = connections()
    refused = False
    try:  # pytest.raises() would keep the traceback, and all that its frames hold
        await here.create_connection(asyncio.Protocol, THERE, 80)
    except ConnectionRefusedError:
        refused = True
    assert refused
    await settle()
    assert connections() == before


@pytest.mark.parametrize("aborting", ["client", "server"])
async def test_a_reset_connection_leaves_nothing(
    stacks: tuple[Stack, Stack], aborting: str
) -> None:
    here, there = stacks
    before = connections()
    accepted: list[Connection] = []
    listener = there.listen(Endpoint(THERE, 80), accepted.append)
    transport, _ = await here.create_connection(asyncio.Protocol, THERE, 80)
    await settle()
    conn = accepted.pop()
    if aborting == "client":
        transport.abort()
        transport.write(b"too late")
    else:
        transport.write(b"unread, so that closing resets")
        await settle()
    conn.abort(discarded=True)
    there.push(conn)
    transport.write(b"the error is raised anew")
    await settle()
    listener.close()
    del transport, conn, _
    await settle()
    assert connections() == before


async def test_the_last_to_have_received_leaves_nothing(stacks: tuple[Stack, Stack]) -> None:
    here, there = stacks
    before = connections()
    accepted: list[Connection] = []
    listener = there.listen(Endpoint(THERE, 80), accepted.append)
    transport, _ = await here.create_connection(asyncio.Protocol, THERE, 80)
    for _ in range(5):
        transport.write(bytes(10_000))
        await asyncio.sleep(1)
    conn = accepted.pop()
    assert len(b"".join(conn.take())) == 50_000
    transport.close()
    conn.close()
    there.push(conn)
    listener.close()
    del transport, conn, _
    await settle()
    assert connections() == before
