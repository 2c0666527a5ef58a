"""Two stacks on paths that carry less than their links, and paths that change (RFC 4821, 1191).

No router reports anything in the first half: what is too large vanishes. In virtual time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from aiotcp.link import memory
from aiotcp.link.impair import Impair, Netem
from aiotcp.options import Options
from aiotcp.reasons import Why
from aiotcp.stack import Connection, Endpoint, PacketStack
from tests.support.exchange import HOSTS, Carrier
from tests.support.router import Router
from tests.support.tap import Tap
from tests.support.transfer import Talker

PORT = 4000
DELAY_S = 0.02
"""One way."""
SIZE = 2_000_000
RATE = 50e6

pytestmark = pytest.mark.req("4821-2")


class Pair:
    """Two stacks, a router behind each, and a path of 20 ms."""

    def __init__(
        self, version: int = 4, *, mtu: int = 1500, offload: bool = False, options: Options
    ) -> None:
        self.hosts = HOSTS[version]
        ends = memory.pair(mtu=mtu, offload=offload, limit=10**6)
        self.offload = offload
        self.paths = [
            Carrier(end, Netem(delay=DELAY_S), side)
            if offload
            else Impair(end, outbound=Netem(delay=DELAY_S, rate=RATE), seed=side)
            for side, end in enumerate(ends)
        ]
        self.routers = [Router(path, reports=False) for path in self.paths]
        self.taps = [Tap(router) for router in self.routers]
        self.stacks = [
            PacketStack(tap, addresses=[host], options=options, seed=host.encode())
            for tap, host in zip(self.taps, self.hosts, strict=True)
        ]
        self._accepted: asyncio.Queue[Connection] = asyncio.Queue()
        self.stacks[1].listen(Endpoint(self.hosts[1], PORT), self._accepted.put_nowait)

    def carries(self, mtu: int, *, reports: bool = False) -> None:
        for router in self.routers:
            router.next_hop_mtu, router.reports = mtu, reports

    async def connects(self) -> tuple[Connection, Connection]:
        client = self.stacks[0].connect(Endpoint(self.hosts[1], PORT))
        server = await self._accepted.get()
        await asyncio.sleep(4 * DELAY_S)
        assert client.established
        return client, server

    async def transfer(
        self, ends: tuple[Connection, Connection], size: int = SIZE, *, close: bool = False
    ) -> float:
        """`size` bytes each way, and how long the longest silence was."""
        talkers = [
            Talker(stack, conn, size, f"talker {side}", then_close=close)
            for side, (stack, conn) in enumerate(zip(self.stacks, ends, strict=True))
        ]
        for talker in talkers:
            talker.start()
        while any(talker.bytes_received < size for talker in talkers):
            await asyncio.sleep(0.01)
            for talker in talkers:
                assert talker.connection.error is None
        assert talkers[0].sent.digest() == talkers[1].received.digest()
        assert talkers[1].sent.digest() == talkers[0].received.digest()
        return max(talker.longest_silence_s for talker in talkers)


@asynccontextmanager
async def pair(
    version: int = 4, *, mtu: int = 1500, offload: bool = False, options: Options | None = None
) -> AsyncIterator[Pair]:
    made = Pair(version, mtu=mtu, offload=offload, options=options or Options())
    yield made
    for tap in made.taps:
        tap.verify()
    for stack in made.stacks:
        await stack.aclose(grace=0)


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("offload", [False, True], ids=["packets", "frames"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("path", [1280, 1400, 1492])
async def test_a_black_hole_from_the_beginning(path: int, version: int, offload: bool) -> None:
    """ "A path that silently drops above 1280 bytes is found out in a few RTOs, with no error to
    the application.\""""
    async with pair(version, offload=offload) as both:
        both.carries(path)
        ends = await both.connects()
        silence = await both.transfer(ends)
        assert silence < 1.2
        for conn in ends:
            assert conn.soft_error is None
            assert 0.96 * path <= conn.pmtu.mtu <= path


@pytest.mark.parametrize("offload", [False, True], ids=["packets", "frames"])
async def test_a_path_that_becomes_smaller_and_larger_again(offload: bool) -> None:
    async with pair(offload=offload) as both:
        ends = await both.connects()
        assert await both.transfer(ends) < 0.2
        assert [conn.pmtu.mtu for conn in ends] == [1500, 1500]
        both.carries(1280)
        assert await both.transfer(ends) < 1.2
        assert all(1200 <= conn.pmtu.mtu <= 1280 for conn in ends)
        both.carries(1500)
        for _ in range(3):  # what the search of the smaller path has left to do, and the next one
            assert await both.transfer(ends) < 0.3
            await asyncio.sleep(700)
        assert [conn.pmtu.mtu for conn in ends] == [1500, 1500]


@pytest.mark.req("1191-1", "5927-4")
@pytest.mark.parametrize("offload", [False, True], ids=["packets", "frames"])
@pytest.mark.parametrize("version", [4, 6])
async def test_a_router_that_reports_is_heard_at_once(version: int, offload: bool) -> None:
    """Nothing so large was acknowledged before: no timeout, and no search."""
    async with pair(version, offload=offload) as both:
        both.carries(1400, reports=True)
        ends = await both.connects()
        assert await both.transfer(ends) < 0.2
        assert [conn.pmtu.mtu for conn in ends] == [1400, 1400]
        assert both.stacks[0].counters.sent[Why.RTO_RETRANSMIT] == 0
        assert both.stacks[0].counters.sent[Why.MTU_PROBE] == 0


@pytest.mark.req("5927-4")
async def test_a_report_on_a_path_that_became_smaller_costs_one_timeout() -> None:
    """RFC 5927 7.3.2: at most; the tail loss probe's, which is earlier, does as well."""
    async with pair() as both:
        ends = await both.connects()
        await both.transfer(ends)
        both.carries(1400, reports=True)
        assert await both.transfer(ends) < 0.4
        assert [conn.pmtu.mtu for conn in ends] == [1400, 1400]


@pytest.mark.req("4821-1")
async def test_an_outage_costs_no_more_than_a_probe() -> None:
    """It looks like a black hole; when it is over, the size that was given up is tried first."""
    async with pair() as both:
        ends = await both.connects()
        transfer = asyncio.ensure_future(both.transfer(ends))
        await asyncio.sleep(0.1)
        both.carries(0)
        await asyncio.sleep(2)
        assert all(conn.pmtu.mtu == 1200 for conn in ends)
        both.carries(1500)
        await transfer
        assert [conn.pmtu.mtu for conn in ends] == [1500, 1500]
        for stack in both.stacks:
            assert stack.counters.sent[Why.MTU_PROBE] == 1


async def test_jumbo_frames_on_a_path_without() -> None:
    async with pair(mtu=9000) as both:
        both.carries(1500)
        ends = await both.connects()
        assert await both.transfer(ends) < 1.2
        assert [conn.pmtu.mtu for conn in ends] == [1500, 1500]


@pytest.mark.req("4821-1", "4821-3")
async def test_probing_from_the_beginning_never_stalls() -> None:
    """mtu_probing="on": no timeout at all, on any path that carries the base."""
    async with pair(options=Options(mtu_probing="on")) as both:
        both.carries(1400)
        ends = await both.connects()
        for _ in range(12):
            assert await both.transfer(ends, 500_000) < 0.3
            await asyncio.sleep(5)
        for stack, conn in zip(both.stacks, ends, strict=True):
            assert stack.counters.sent[Why.RTO_RETRANSMIT] == 0
            assert conn.pmtu.mtu == 1400


async def test_the_next_connection_begins_with_what_the_first_found() -> None:
    async with pair() as both:
        both.carries(1280)
        await both.transfer(await both.connects())
        assert await both.transfer(await both.connects()) < 0.2
