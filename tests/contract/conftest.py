"""Each test here runs six times: on the kernel's sockets under asyncio's loop and uvloop; on two
stacks joined in memory, and on one that talks to itself, by the functions of a stack in virtual
time; on two stacks by those of asyncio, on an event loop that has both stacks, one made of
asyncio's and one of uvloop's."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio
import uvloop

from aiotcp.link import memory
from aiotcp.sim import VirtualLoop
from aiotcp.streams import Stack
from tests.contract.substrate import (
    KernelAsyncio,
    KernelUvloop,
    LoopSide,
    Net,
    OnKernel,
    OnStacks,
    StacksAsyncio,
    StacksUvloop,
)
from tests.support.netns import private_network

CLIENT = "192.0.2.1"
SERVER = "192.0.2.2"


class AloneLoop(VirtualLoop):
    """A test on it has one stack for both sides."""


SIOCGIFFLAGS = 0x8913
IFF_UP = 1


SUBSTRATES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "kernel-asyncio": KernelAsyncio,
    "kernel-uvloop": KernelUvloop,
    "aiotcp-virtual": VirtualLoop,
    "aiotcp-alone": AloneLoop,
    "loop-asyncio": StacksAsyncio,
    "loop-uvloop": StacksUvloop,
    # The functions of a stack on other people's loops, where that makes a difference.
    "aiotcp-asyncio": asyncio.SelectorEventLoop,
    "aiotcp-uvloop": uvloop.new_event_loop,
}
USUAL = list(SUBSTRATES)[:6]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    chosen = item.get_closest_marker("substrates")
    names = list(USUAL if chosen is None else chosen.args)
    if item.get_closest_marker("stack_only") is not None:
        names = [name for name in names if not name.startswith("kernel")]
    return {name: SUBSTRATES[name] for name in names}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "stack_only: says nothing about kernel sockets")
    config.addinivalue_line("markers", "substrates(*names): runs on these alone")


def loopback_is_up() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("=16s16x", b"lo"))
    flags: int = struct.unpack("=16xH14x", answer)[0]
    return bool(flags & IFF_UP)


@pytest.fixture(scope="module", autouse=True)
def loopback() -> Iterator[None]:
    """127.0.0.1 works: in a namespace of its own where, as after `unshare -n`, it is down."""
    if loopback_is_up():
        yield
    else:
        with private_network():
            yield


@pytest_asyncio.fixture
async def net() -> AsyncIterator[Net]:
    loop = asyncio.get_running_loop()
    if isinstance(loop, OnKernel):
        side = LoopSide(loop)
        network = Net(loop, side, side, "127.0.0.1", "127.0.0.1")
        yield network
        await network.close()
    elif isinstance(loop, AloneLoop):
        async with Stack(memory.pair()[0], addresses=[SERVER], seed=b"alone") as stack:
            network = Net(loop, stack, stack, SERVER, SERVER)
            yield network
            await network.close()
            assert stack.link.counters["send_no_peer"] == 0  # nothing got onto the link
    elif isinstance(loop, OnStacks):
        left, right = memory.pair()
        client = Stack(left, addresses=[CLIENT], seed=b"client")
        server = Stack(right, addresses=[SERVER], seed=b"server")
        loop.add_stack(client)
        loop.add_stack(server)
        # One program is both hosts: each has the other's address at the far end of its link.
        loop.routes.add(SERVER, client)
        loop.routes.add(CLIENT, server)
        side = LoopSide(loop)
        network = Net(loop, side, side, SERVER, CLIENT)
        yield network
        await network.close()
        await client.aclose()
        await server.aclose()
    else:
        left, right = memory.pair()
        async with (
            Stack(left, addresses=[CLIENT], seed=b"client") as client,
            Stack(right, addresses=[SERVER], seed=b"server") as server,
        ):
            network = Net(loop, client, server, SERVER, CLIENT)
            yield network
            await network.close()
    assert not network.reports
