"""Each test runs on both of our loops: over asyncio's and over uvloop's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import aiotcp
from tests.eventloop.world import LoopFactory
from tests.support.netns import obstacle, private_network


@pytest.fixture(params=["AsyncioEventLoop", "EventLoop"])
def loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    factory: LoopFactory = getattr(aiotcp, request.param)
    return factory


@pytest.fixture
def loopback() -> Iterator[None]:
    """127.0.0.1 in a namespace of its own, in which no other program listens."""
    if obstacle():
        pytest.skip(obstacle())
    with private_network():
        yield
