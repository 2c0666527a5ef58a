"""Whatever the network does for a while: once it is well again, everything ends, and as it should.

A transfer either completes or ends with an error that a socket would give, what arrived until then
is a prefix of what was sent, and no timer is left when all is over.
"""

from __future__ import annotations

import asyncio
import errno
import random

import pytest

from aiotcp.link.impair import Impair, Netem
from aiotcp.options import Options
from tests.support.exchange import Carrier, Exchange, Network, run_until_quiet
from tests.support.transfer import EAGER, Pace, Talker, prefix_digest

WELL = Netem(delay=0.01)
PARTITION = Netem(loss=1.0)
SIZE = 150_000
RTO_CEILING_S = 60.0
TIME_WAIT_S = 60.0
R2_S = 930.0
"""Fifteen retransmissions with back-off from 0.2 s to the ceiling."""

pytestmark = pytest.mark.req("X-3")


def fault(draw: random.Random) -> Netem:
    """A kind of bad weather."""
    return draw.choice(
        (
            WELL,
            PARTITION,
            Netem(delay=0.01, loss=0.5),
            Netem(delay=1.0, jitter=0.9),
            Netem(delay=0.01, corrupt=0.5),
            Netem(delay=0.05, reorder=0.5, duplicate=0.5, loss=0.1),
            Netem(delay=0.01, rate=50_000, limit=3),
        )
    )


async def weather(links: tuple[Impair | Carrier, ...], draw: random.Random, until_s: float) -> None:
    """Changes the weather of each direction at random times, and ends with fair weather."""
    loop = asyncio.get_running_loop()
    while True:
        wait = draw.expovariate(1 / draw.choice((0.05, 1, 15)))
        if loop.time() + wait >= until_s:
            break
        for link in links:
            if draw.random() < 0.7:
                link.outbound = fault(draw)
        await asyncio.sleep(wait)
    await asyncio.sleep(until_s - loop.time())
    for link in links:
        link.outbound = WELL


def check_outcome(seed: int, client: Talker, server: Talker | None) -> None:
    """Complete, or ended by an error that both data and the documentation account for."""
    documented = (errno.ECONNRESET, errno.ETIMEDOUT, errno.ECONNREFUSED)
    for talker, peer in ((client, "server"), (server, "client")):
        if talker is None:
            continue
        error = talker.connection.error
        expected = prefix_digest(f"{seed} {peer}", SIZE, talker.bytes_received)
        assert talker.received.digest() == expected
        if error is None:
            assert talker.bytes_received == SIZE
        else:
            assert error.errno in documented


@pytest.mark.parametrize("seed", range(60))
def test_after_bad_weather_all_ends_well(seed: int) -> None:
    draw = random.Random(f"weather {seed}")
    paces = draw.choice(((EAGER, EAGER), (EAGER, Pace(5000, 0.3)), (Pace(900, 0.1), EAGER)))
    options = Options(
        receive_buffer=draw.choice((2000, 1 << 19)),
        timestamps=draw.random() < 0.7,
        window_scaling=draw.random() < 0.7,
    )
    network = Network(WELL, options=(options, options), paces=paces)
    bad_until_s = draw.choice((2.0, 20.0, 200.0, 700.0))

    async def main() -> tuple[Exchange, Talker, Talker | None]:
        exchange = Exchange(network, seed)
        exchange.listen(SIZE)
        clouds = asyncio.create_task(weather(exchange.impairments, draw, bad_until_s))
        client = exchange.connect(SIZE)
        await client.done.wait()
        await clouds
        # The server may never have heard of it.
        server = None if exchange.accepted.empty() else exchange.accepted.get_nowait()
        if server is not None:
            await server.done.wait()
        return exchange, client, server

    (exchange, client, server), quiet_at = run_until_quiet(main())
    check_outcome(seed, client, server)
    exchange.verify()
    for stack in exchange.stacks:
        assert stack.connections() == []
    # One back-off at the ceiling for each side, and what the transfer itself takes in peace.
    slowest_s = max(pace.interval_s * SIZE / (pace.bytes_at_once or 1) for pace in paces)
    peace_s = 2 * RTO_CEILING_S + 2 * slowest_s + 60.0
    ended_at = max(talker.ended_at or 0.0 for talker in (client, server) if talker is not None)
    assert ended_at <= bad_until_s + peace_s
    assert quiet_at <= max(ended_at, bad_until_s) + 2 * TIME_WAIT_S + 1


@pytest.mark.req("SHLD-11", "MUST-20")
def test_a_partition_for_ever_ends_in_a_timeout_on_both_sides() -> None:
    async def main() -> tuple[Exchange, Talker, Talker]:
        exchange = Exchange(Network(WELL), 1)
        exchange.listen(10_000_000)
        client = exchange.connect(10_000_000)
        server = await exchange.accepted.get()
        await asyncio.sleep(0.1)
        for link in exchange.impairments:
            link.outbound = PARTITION
        await client.done.wait()
        await server.done.wait()
        return exchange, client, server

    (exchange, client, server), quiet_at = run_until_quiet(main())
    exchange.verify()
    for talker in (client, server):
        assert talker.connection.error is not None
        assert talker.connection.error.errno == errno.ETIMEDOUT
        assert talker.ended_at is not None
        assert 100 <= talker.ended_at <= R2_S
    assert quiet_at <= R2_S + 1


@pytest.mark.req("MUST-36", "MUST-37")
@pytest.mark.parametrize("pause_s", [0.3, 0.405, 1.01, 7.0, 61.0, 4 * 3600.0])
@pytest.mark.parametrize("both", [True, False])
def test_readers_that_pause_with_their_windows_closed(pause_s: float, both: bool) -> None:
    """However long they do, and even if both ends probe each other at the same moments."""
    pause = Pace(bytes_at_once=1 << 20, interval_s=pause_s)
    options = Options(receive_buffer=2000)
    network = Network(WELL, options=(options, options), paces=(pause if both else EAGER, pause))

    async def main() -> tuple[Exchange, Talker, Talker]:
        exchange = Exchange(network, 5)
        return exchange, *await exchange.transfer(10_000)

    (exchange, *talkers), _ = run_until_quiet(main())
    exchange.verify()
    for talker in talkers:
        assert talker.connection.error is None
        assert talker.bytes_received == 10_000
        assert talker.longest_silence_s < 1.5 * pause_s + RTO_CEILING_S + 1


@pytest.mark.req("MUST-23")
def test_nobody_answers_a_connect() -> None:
    async def main() -> tuple[Exchange, Talker]:
        exchange = Exchange(Network(PARTITION), 1)
        exchange.listen(1)
        client = exchange.connect(1)
        await client.done.wait()
        return exchange, client

    (exchange, client), quiet_at = run_until_quiet(main())
    assert client.connection.error is not None
    assert client.connection.error.errno == errno.ETIMEDOUT
    assert 180 <= quiet_at <= 260
    assert exchange.taps[0].packets_sent == 8


@pytest.mark.parametrize("closing", [(0,), (1,), (0, 1)], ids=str)
@pytest.mark.parametrize("cut", [(0,), (1,), (0, 1)], ids=str)
def test_the_end_survives_the_loss_of_its_segments(
    closing: tuple[int, ...], cut: tuple[int, ...]
) -> None:
    """Who closes, and what is cut off for longer than TIME-WAIT while they do."""

    async def main() -> tuple[Exchange, Talker, Talker]:
        exchange = Exchange(Network(WELL), 3, then_close=False)
        exchange.listen(5000)
        talkers = exchange.connect(5000), await exchange.accepted.get()
        await asyncio.sleep(1)
        for side in cut:
            exchange.impairments[side].outbound = PARTITION
        for side in closing:
            talkers[side].connection.shutdown()
            talkers[side].start()
        await asyncio.sleep(150)
        for link in exchange.impairments:
            link.outbound = WELL
        for talker in talkers:
            if not talker.connection.ended:
                talker.connection.shutdown()
                talker.start()
        for talker in talkers:
            await talker.done.wait()
        return exchange, *talkers

    (exchange, *talkers), quiet_at = run_until_quiet(main())
    exchange.verify()
    for talker in talkers:
        assert talker.connection.error is None
        assert talker.bytes_received == 5000
    assert quiet_at <= 150 + 2 * RTO_CEILING_S + 2 * TIME_WAIT_S


@pytest.mark.req("ST-29")
def test_an_orphan_does_not_wait_for_ever() -> None:
    """Our side is closed for good, and the peer never closes."""

    async def main() -> Exchange:
        exchange = Exchange(Network(WELL), 4)
        exchange.listen(0)
        client = exchange.connect(0)
        await exchange.accepted.get()
        await asyncio.sleep(1)
        client.close()
        for link in exchange.impairments:
            link.outbound = PARTITION
        return exchange

    exchange, quiet_at = run_until_quiet(main())
    exchange.verify()
    assert exchange.stacks[0].connections() == []
    assert quiet_at <= R2_S + 60
