"""Each test here runs five times: on the kernel's sockets under asyncio's loop and uvloop, and on
two stacks joined in memory under both and in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
import uvloop

from aiotcp.link import memory
from aiotcp.sim import VirtualLoop
from aiotcp.streams import Stack
from tests.contract.substrate import KernelAsyncio, KernelSide, KernelUvloop, Net, OnKernel

CLIENT = "192.0.2.1"
SERVER = "192.0.2.2"


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    stacks: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "aiotcp-virtual": VirtualLoop,
        "aiotcp-asyncio": asyncio.SelectorEventLoop,
        "aiotcp-uvloop": uvloop.new_event_loop,
    }
    if item.get_closest_marker("stack_only") is not None:
        return stacks
    return {"kernel-asyncio": KernelAsyncio, "kernel-uvloop": KernelUvloop, **stacks}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "stack_only: says nothing about kernel sockets")


@pytest_asyncio.fixture
async def net() -> AsyncIterator[Net]:
    loop = asyncio.get_running_loop()
    if isinstance(loop, OnKernel):
        side = KernelSide(loop)
        network = Net(loop, side, side, "127.0.0.1")
        yield network
        await network.close()
    else:
        left, right = memory.pair()
        async with (
            Stack(left, addresses=[CLIENT], seed=b"client") as client,
            Stack(right, addresses=[SERVER], seed=b"server") as server,
        ):
            network = Net(loop, client, server, SERVER)
            yield network
            await network.close()
    assert not network.reports
