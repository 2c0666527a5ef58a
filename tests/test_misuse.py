"""Programs that err, and what that must not cost: bytes, connections, servers."""

from __future__ import annotations

import asyncio
import errno
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from aiotcp import Endpoint, Stack
from aiotcp.link import memory
from aiotcp.link.base import Link
from aiotcp.link.impair import Impair
from aiotcp.link.pcapng import Capture
from aiotcp.wire.frame import Frame
from tests.support.recorder import Recorder

HERE, THERE = "192.0.2.1", "192.0.2.2"


@pytest_asyncio.fixture
async def stacks() -> AsyncIterator[tuple[Stack, Stack]]:
    left, right = memory.pair()
    async with Stack(left, addresses=[HERE]) as here, Stack(right, addresses=[THERE]) as there:
        yield here, there


def reports_of(stack: Stack) -> list[dict[str, Any]]:
    reports: list[dict[str, Any]] = []
    stack.loop.set_exception_handler(lambda _, context: reports.append(context))
    return reports


@pytest.mark.parametrize("buffer", [None, b"read-only", memoryview(bytearray(20))[::2], b""])
async def test_a_bad_buffer_ends_the_connection(
    stacks: tuple[Stack, Stack], buffer: object
) -> None:
    class Bad(asyncio.BufferedProtocol):
        def get_buffer(self, sizehint: int) -> Any:
            return buffer

        def connection_lost(self, exc: BaseException | None) -> None:
            lost.set_result(exc)

    here, there = stacks
    reports = reports_of(there)
    lost: asyncio.Future[BaseException | None] = there.loop.create_future()
    await there.create_server(Bad, THERE, 80)
    transport, _ = await here.create_connection(asyncio.Protocol, THERE, 80)
    transport.write(b"data")
    exc = await lost
    assert isinstance(exc, (TypeError, RuntimeError))
    assert [report["exception"] for report in reports] == [exc]


async def test_a_cancelled_protocol_factory_costs_its_connection_only(
    stacks: tuple[Stack, Stack],
) -> None:
    def factory() -> asyncio.Protocol:
        raise asyncio.CancelledError

    here, there = stacks
    reports = reports_of(there)
    await there.create_server(factory, THERE, 80)
    await here.create_connection(asyncio.Protocol, THERE, 80)
    await asyncio.sleep(100)
    assert len(reports) == 1
    assert there.connections() == []


async def test_a_closed_server_does_not_start(stacks: tuple[Stack, Stack]) -> None:
    _, there = stacks
    server = await there.create_server(asyncio.Protocol, THERE, 80, start_serving=False)
    server.close()
    with pytest.raises(RuntimeError, match="is closed"):
        await server.start_serving()
    assert not server.is_serving()


async def test_a_port_that_waits_for_its_listener_is_taken(stacks: tuple[Stack, Stack]) -> None:
    _, there = stacks
    server = await there.create_server(asyncio.Protocol, THERE, 80, start_serving=False)
    for local in (Endpoint(THERE, 80), Endpoint("0.0.0.0", 80)):
        with pytest.raises(OSError, match="in use"):
            there.listen(local, lambda _: None)
    with pytest.raises(OSError, match="in use"):  # twice with reuse_address: not even Linux's way
        await there.create_server(asyncio.Protocol, THERE, 80, start_serving=False)
    server.close()
    there.listen(Endpoint(THERE, 80), lambda _: None).close()


@pytest.mark.parametrize("port", [-1, 65536])
async def test_ports_that_there_are_not(stacks: tuple[Stack, Stack], port: int) -> None:
    here, _ = stacks
    with pytest.raises(OverflowError, match=r"bind\(\): port must be 0-65535"):
        await here.create_server(asyncio.Protocol, HERE, port)
    with pytest.raises(OverflowError, match=r"connect\(\): port must be 0-65535"):
        await here.create_connection(asyncio.Protocol, THERE, port)
    with pytest.raises(OverflowError, match=r"bind\(\): port must be 0-65535"):
        await here.create_connection(asyncio.Protocol, THERE, 80, local_addr=(HERE, port))


async def test_the_port_of_a_listener_is_taken(stacks: tuple[Stack, Stack]) -> None:
    here, _ = stacks
    await here.create_server(asyncio.Protocol, HERE, 80)
    with pytest.raises(OSError, match="in use") as caught:
        await here.create_connection(asyncio.Protocol, THERE, 80, local_addr=(HERE, 80))
    assert caught.value.errno == errno.EADDRINUSE


async def test_a_lost_link_ends_the_wait_for_connections(stacks: tuple[Stack, Stack]) -> None:
    class Holds(asyncio.Protocol):
        def eof_received(self) -> bool:
            return True

    here, there = stacks
    await there.create_server(Holds, THERE, 80)
    await here.create_connection(Holds, THERE, 80)
    closing = asyncio.create_task(here.aclose(grace=1000))
    await asyncio.sleep(1)
    here.link_lost(OSError(errno.ENODEV, "gone"))
    began = here.loop.time()
    await closing
    assert here.loop.time() - began < 1


async def test_a_stack_closed_from_within_a_callback(stacks: tuple[Stack, Stack]) -> None:
    class Closing(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            try:  # as an eager task does: the first step at once
                there.aclose(0).send(None)
            except StopIteration:
                pass

        def connection_lost(self, exc: BaseException | None) -> None:
            lost.set_result(exc)

    here, there = stacks
    reports = reports_of(there)
    lost: asyncio.Future[BaseException | None] = there.loop.create_future()
    await there.create_server(Closing, THERE, 80)
    transport, _ = await here.create_connection(asyncio.Protocol, THERE, 80)
    transport.write(b"data")
    await lost
    assert reports == []


@pytest.mark.parametrize("wrap", [Impair, lambda link: Capture(link, io.BytesIO())])
async def test_a_refused_attachment_changes_nothing(wrap: Callable[[Link], Link]) -> None:
    loop = asyncio.get_running_loop()
    left, right = memory.pair()
    wrapped, first, second = wrap(left), Recorder(), Recorder()
    wrapped.attach(first, loop)
    right.attach(Recorder(), loop)
    with pytest.raises(RuntimeError, match=r"."):
        wrapped.attach(second, loop)
    right.send(Frame(b"packet"))
    await asyncio.sleep(1)
    assert (first.packets, second.packets) == ([b"packet"], [])
    wrapped.close()
