"""Other people's libraries over a TUN device. Each test has a stack on its loop, which is one of
aiotcp's (`tests/conftest.py`), and the kernel on the other side of the device."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import pytest_asyncio

from aiotcp import Stack
from aiotcp.link import network
from aiotcp.routing import StackLoop
from tests.integration.world import STACK, Net, kernel_side
from tests.support.hosts import V4
from tests.support.netns import netns as netns

# The extra `integration`. Without it nothing is collected here.
LIBRARIES = ("aiohttp", "aiosmtpd", "aiosmtplib", "asyncpg", "asyncssh", "fastapi", "hypercorn",
             "httptools", "httpx", "redis", "websockets")  # fmt: skip
if not all(map(find_spec, LIBRARIES)):
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("integration")
            item.add_marker("tun")


@pytest.fixture(scope="module", autouse=True)
def private_network(netns: None) -> None:
    """Nothing here touches the machine's network."""


@pytest_asyncio.fixture(params=["serves", "asks"])
async def net(request: pytest.FixtureRequest) -> AsyncIterator[Net]:
    """Twice: the stack serves and the kernel asks, and the other way round."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, StackLoop)
    tun, _ = await network.off_loop(network.open_tun, host_addresses=[V4.host_address])
    stack = Stack(tun, addresses=[STACK])
    loop.add_stack(stack)
    with kernel_side() as kernel:
        yield Net(stack, kernel, request.param == "serves")
        await stack.aclose()


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> bool:
    chosen: bool = request.param
    return chosen
