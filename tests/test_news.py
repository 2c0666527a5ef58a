"""What a protocol may learn beyond asyncio: urgent data and soft errors; and writing urgently."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, cast

import pytest
import pytest_asyncio

from aiotcp import Options, Stack
from aiotcp.link import memory
from aiotcp.link.impair import Impair, Netem
from aiotcp.transport import Transport

HERE, THERE = "192.0.2.1", "192.0.2.2"


class Asking(asyncio.Protocol):
    """Writes down all that it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.told.append(("data", len(data)))

    def urgent_received(self, nbytes: int) -> None:
        self.told.append(("urgent", nbytes))

    def error_received(self, exc: OSError) -> None:
        self.told.append(("error", exc.errno))

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)


class Silent(asyncio.Protocol):
    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)


class Pair(NamedTuple):
    network: Impair
    here: Stack
    there: Stack


@pytest_asyncio.fixture
async def pair() -> AsyncIterator[Pair]:
    left, right = memory.pair()
    network = Impair(left)
    options = Options(send_buffer=4000, retries2=5)
    async with (
        Stack(network, addresses=[HERE], options=options, seed=b"here") as here,
        Stack(
            right, addresses=[THERE], options=Options(receive_buffer=4000), seed=b"there"
        ) as there,
    ):
        yield Pair(network, here, there)


async def connected(pair: Pair, protocol: asyncio.Protocol) -> tuple[Transport, Asking]:
    """`protocol` here and its transport; an Asking at the other end."""
    other = Asking()
    server = await pair.there.create_server(lambda: other, THERE, 80)
    transport, _ = await pair.here.create_connection(lambda: protocol, THERE, 80)
    server.close()
    await asyncio.sleep(0.01)
    return cast(Transport, transport), other


async def ended(transport: Transport, other: Asking) -> None:
    transport.abort()
    await other.lost


@pytest.mark.req("MUST-30", "MUST-32", "MUST-62")
async def test_urgent_writes_are_told_before_they_are_delivered(pair: Pair) -> None:
    transport, other = await connected(pair, Silent())
    transport.write_urgent(b"interrupt")
    await asyncio.sleep(0.1)
    assert other.told == [("urgent", 9), ("data", 9)]
    transport.write(b"ordinary")
    await asyncio.sleep(0.1)
    assert other.told == [("urgent", 9), ("data", 9), ("data", 8)]
    await ended(transport, other)


@pytest.mark.req("MUST-32")
async def test_a_protocol_that_has_paused_reading_is_told(pair: Pair) -> None:
    """It is the one that the mechanism is for: its window may be closed."""
    transport, other = await connected(pair, Silent())
    other.transport.pause_reading()
    transport.write(bytes(4000))
    await asyncio.sleep(1)
    assert other.told == []
    transport.write_urgent(b"interrupt")
    await asyncio.sleep(1)
    assert other.told == [("urgent", 4009)]
    assert other.transport.get_extra_info("connection").urgent_remaining == 4009
    other.transport.resume_reading()
    await asyncio.sleep(1)
    assert sum(size for kind, size in other.told if kind == "data") == 4009
    await ended(transport, other)


@pytest.mark.req("MUST-31", "MUST-62")
async def test_urgent_data_that_waits_for_room(pair: Pair) -> None:
    """Behind ordinary data, in front of more of it, larger than any buffer on the way."""
    transport, other = await connected(pair, Silent())
    transport.write(b"o" * 10_000)
    transport.write_urgent(b"u" * 10_000)
    transport.write(b"o" * 10_000)
    await asyncio.sleep(10)
    position, ends = 0, []
    for kind, number in other.told:
        if kind == "urgent":
            ends.append(position + number)
        else:
            position += number
    assert position == 30_000
    assert ends == sorted(ends)
    assert ends[-1] == 20_000
    await ended(transport, other)


async def test_writing_urgently_is_writing(pair: Pair) -> None:
    transport, other = await connected(pair, Silent())
    transport.write_urgent(b"")
    with pytest.raises(TypeError, match="bytes-like"):
        transport.write_urgent("text")  # type: ignore[arg-type]
    transport.write_eof()
    with pytest.raises(RuntimeError, match=r"Cannot call write_urgent\(\) after write_eof\(\)"):
        transport.write_urgent(b"x")
    assert await other.lost is None
    assert other.told == []


@pytest.mark.req("SHLD-9", "MUST-47")
async def test_a_network_that_breaks_is_reported_at_r1_and_ends_at_r2(pair: Pair) -> None:
    protocol = Asking()
    transport, other = await connected(pair, protocol)
    pair.network.outbound = Netem(loss=1.0)
    transport.write(b"x")
    await asyncio.sleep(1.59)
    assert protocol.told == []
    await asyncio.sleep(0.02)  # a loss probe at 0.2, then after 0.2, 0.4 and 0.8 the third timeout
    assert protocol.told == [("error", errno.ETIMEDOUT)]
    assert isinstance(await protocol.lost, TimeoutError)
    assert protocol.told == [("error", errno.ETIMEDOUT)]
    other.transport.abort()
    await other.lost


@pytest.mark.req("SHLD-9")
async def test_a_network_that_heals_is_as_before(pair: Pair) -> None:
    protocol = Asking()
    transport, other = await connected(pair, protocol)
    pair.network.outbound = Netem(loss=1.0)
    transport.write(b"x")
    await asyncio.sleep(2)
    pair.network.outbound = Netem()
    await asyncio.sleep(5)
    assert protocol.told == [("error", errno.ETIMEDOUT)]
    assert transport.get_extra_info("connection").soft_error is None
    assert other.told == [("data", 1)]
    await ended(transport, other)


@pytest.mark.req("SHLD-20", "SHLD-13")
async def test_a_protocol_that_does_not_ask_is_not_told(pair: Pair) -> None:
    """Programs written for asyncio know neither: nothing happens to them."""
    protocol = Silent()
    transport, other = await connected(pair, protocol)
    other.transport.write_urgent(b"!")
    await asyncio.sleep(0.1)
    pair.network.outbound = Netem(loss=1.0)
    transport.write(b"x")
    assert isinstance(await protocol.lost, TimeoutError)
    other.transport.abort()
    await other.lost
