"""The end of a stack: FIN to all, a grace period, RST to the rest."""

from __future__ import annotations

import asyncio

import pytest

from aiotcp import Server, Stack
from aiotcp.link import memory
from aiotcp.reasons import Why

HERE, THERE = "192.0.2.1", "192.0.2.2"


class Holds(asyncio.Protocol):
    """A program that never closes."""

    def eof_received(self) -> bool:
        return True


async def connected() -> tuple[Stack, Stack, asyncio.Transport, Server]:
    left, right = memory.pair()
    here, there = Stack(left, addresses=[HERE]), Stack(right, addresses=[THERE])
    server = await there.create_server(Holds, THERE, 80)
    transport, _ = await here.create_connection(Holds, THERE, 80)
    return here, there, transport, server


async def test_fin_then_after_the_grace_period_rst() -> None:
    here, there, _, server = await connected()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await here.aclose(grace=3)
    assert loop.time() - began == pytest.approx(3)
    assert here.counters.sent[Why.CLOSE] == 1
    assert here.counters.sent[Why.RST_ABORT] == 1
    assert here.connections() == []
    server.abort_clients()
    await there.aclose(grace=0)


async def test_a_second_call_cuts_the_first_short() -> None:
    here, there, _, server = await connected()
    loop = asyncio.get_running_loop()
    patient = asyncio.create_task(here.aclose(grace=60))
    await asyncio.sleep(1)
    await here.aclose(grace=0)
    await patient
    assert loop.time() < 2
    assert here.counters.sent[Why.RST_ABORT] == 1
    server.abort_clients()
    await there.aclose(grace=0)


async def test_a_cancelled_call_resets_at_once() -> None:
    here, there, _, server = await connected()
    patient = asyncio.create_task(here.aclose(grace=60))
    await asyncio.sleep(1)
    patient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await patient
    assert here.counters.sent[Why.RST_ABORT] == 1
    assert here.connections() == []
    server.abort_clients()
    await there.aclose(grace=0)


async def test_a_closed_stack_is_of_no_use() -> None:
    left, _ = memory.pair()
    stack = Stack(left, addresses=[HERE])
    await stack.aclose()
    with pytest.raises(RuntimeError, match="the stack is closed"):
        await stack.open_connection(THERE, 80)
    with pytest.raises(RuntimeError, match="the stack is closed"):
        async with stack:
            pass


async def test_addresses_are_a_list() -> None:
    left, _ = memory.pair()
    with pytest.raises(TypeError, match="a list of strings"):
        Stack(left, addresses=HERE)


async def test_a_server_that_never_served_ends_with_its_stack() -> None:
    left, _ = memory.pair()
    stack = Stack(left, addresses=[HERE])
    server = await stack.create_server(Holds, HERE, 80, start_serving=False)
    await stack.aclose()
    assert server.sockets == ()
    await server.wait_closed()
