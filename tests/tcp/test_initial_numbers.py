"""Initial sequence numbers as others see them (RFC 9293 3.4.1, RFC 6528)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from aiotcp.wire.tcp import ACK, RST, SYN
from tests.support.conversation import ISN_TICKS_PER_S, Peer

pytestmark = pytest.mark.own_numbers


async def isn_of(peer: Peer) -> int:
    """The number with which a SYN of this peer is answered; nothing is left of it."""
    peer.reset()
    peer.sends(SYN, seq=0)
    reply = await peer.sees(SYN | ACK)
    peer.sends(RST, seq=1)
    return reply.segment.seq


@pytest.mark.req("MUST-8", "SHLD-1", "6528-1")
async def test_numbers_of_one_four_tuple_follow_a_clock_of_four_microseconds() -> None:
    async with Peer() as peer:
        peer.listens()
        first = await isn_of(peer)
        for step in (0.001, 0.5, 1, 60, 3600, 17179.869184):  # the last is a whole turn
            await peer.wait(step)
            second = await isn_of(peer)
            passed = (second - first) % 2**32
            away = abs(passed - int(step * ISN_TICKS_PER_S) % 2**32)
            assert min(away, 2**32 - away) <= 2
            first = second


@pytest.mark.req("MUST-8", "SHLD-1")
async def test_active_opens_follow_the_same_clock() -> None:
    async with Peer() as peer:
        peer.opens()
        first = await peer.sees(SYN)
        peer.sends(RST | ACK, seq=0, ack=1)
        peer.reset()
        await peer.wait(2)
        peer.opens()
        second = await peer.sees(SYN)
        passed = (second.segment.seq - first.segment.seq) % 2**32
        assert abs(passed - 2 * ISN_TICKS_PER_S) <= 2


@pytest.mark.req("SHLD-1", "MUST-9", "6528-1")
async def test_numbers_of_different_four_tuples_have_nothing_in_common() -> None:
    async with Peer() as peer:
        peer.listens(80)
        peer.listens(81)
        numbers = []
        for port in range(50100, 50300):
            other = peer.another(port=port)
            for stack_port in (80, 81):
                other.stack_port = stack_port
                numbers.append(await isn_of(other))
        assert len(set(numbers)) == 400
        # Neighbours are as far apart as chance has it: each of 8 parts of the circle gets some.
        steps = [(b - a) % 2**32 for a, b in pairwise(numbers)]
        assert {step >> 29 for step in steps} == set(range(8))
        assert {number >> 29 for number in numbers} == set(range(8))


@pytest.mark.req("MUST-9")
async def test_the_offsets_are_the_secret_of_a_stack() -> None:
    numbers = []
    for seed in (b"one", b"two", b"one"):
        async with Peer(seed=seed) as peer:
            peer.listens()
            numbers.append(await isn_of(peer))
    assert abs(numbers[0] - numbers[2]) <= 2
    assert abs(numbers[0] - numbers[1]) > 2


@pytest.mark.req("7323-15")
async def test_timestamp_clocks_start_anywhere_and_tick_milliseconds() -> None:
    async with Peer() as peer:
        peer.listens()
        starts = []
        for port in (50100, 50101, 50102):
            other = peer.another(port=port)
            other.sends(SYN, ts=(1, 0))
            reply = await other.sees(SYN | ACK)
            starts.append(reply.segment.tsval)
            other.sends(RST, seq=1)
        assert len(set(starts)) == 3
        other = peer.another(port=50200)
        app = await other.connects(port=81, ts=True)
        stamps = []
        for _ in range(3):
            app.write(b"x")
            tsval = (await other.sees(ACK, length=1)).segment.tsval
            assert tsval is not None
            stamps.append(tsval)
            other.sends(ACK)
            await peer.wait(0.25)
        assert [(b - a) % 2**32 for a, b in pairwise(stamps)] == [250, 250]


async def test_a_number_to_begin_with() -> None:
    """For tests, and to show things: every connection begins there, whoever opens it."""
    async with Peer() as peer:
        peer.stack.initial_number = 2**32 - 1
        peer.listens()
        assert await isn_of(peer) == 2**32 - 1
        peer.reset()
        peer.opens()
        assert (await peer.sees(SYN)).segment.seq == 2**32 - 1
