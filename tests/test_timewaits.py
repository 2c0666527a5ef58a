"""The queue of TIME-WAIT records, and what a stack keeps for whom."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.wire.tcp import ACK, FIN
from bench.memory import LIMITS, grow
from tests.support.conversation import Peer


async def close(peer: Peer, port: int, wait: float) -> None:
    """A connection that the stack closes; it waits `wait` seconds."""
    app = await peer.connects(port, options=Options(time_wait_s=wait))
    app.shutdown()
    await peer.sees(FIN | ACK)
    peer.sends(FIN | ACK)
    await peer.sees(ACK, ack=2)


def waiting(peer: Peer) -> list[int]:
    return sorted(row.remote.port for row in peer.stack.connections())


@pytest.mark.req("MUST-13", "ST-18")
async def test_each_waits_as_long_as_it_has_to() -> None:
    """Of different lengths, begun at different times, and one begun anew twice."""
    async with Peer() as peer:
        ends = {port: peer.another(port=port) for port in (1, 2, 3, 4)}
        await close(ends[1], 81, 60)
        await close(ends[2], 82, 10)
        await peer.wait(5)
        await close(ends[3], 83, 60)
        await close(ends[4], 84, 10)
        assert waiting(peer) == [1, 2, 3, 4]
        ends[1].sends(FIN | ACK, seq=1)
        await ends[1].sees(ACK)
        await peer.wait(5.5)  # 10.5
        assert waiting(peer) == [1, 3, 4]
        ends[1].sends(FIN | ACK, seq=1)
        await ends[1].sees(ACK)
        await peer.wait(5)  # 15.5
        assert waiting(peer) == [1, 3]
        await peer.wait(49)  # 64.5
        assert waiting(peer) == [1, 3]
        await peer.wait(1)  # 65.5
        assert waiting(peer) == [1]
        await peer.wait(4.5)
        assert waiting(peer) == [1]
        await peer.wait(1)  # 71
        assert waiting(peer) == []


@pytest.mark.req("ST-18")
async def test_many_that_begin_anew_again_and_again() -> None:
    """More places than are worth keeping: they are cleaned up, and nobody's wait changes."""
    async with Peer() as peer:
        other = peer.another()
        await close(peer, 80, 60)
        await peer.wait(1)
        await close(other, 81, 60)
        for _ in range(300):
            await peer.wait(0.1)
            peer.sends(FIN | ACK, seq=1)
            await peer.sees(ACK)
        await peer.wait(29.5)  # 60.5
        assert waiting(peer) == [peer.port, other.port]
        await peer.wait(1)
        assert waiting(peer) == [peer.port]
        await peer.wait(29)  # 90.5, of 91
        assert waiting(peer) == [peer.port]
        await peer.wait(1)
        assert waiting(peer) == []


async def test_the_oldest_gives_way() -> None:
    async with Peer(options=Options(max_time_wait=2)) as peer:
        ends = {port: peer.another(port=port) for port in (1, 2, 3)}
        for port, end in ends.items():
            await close(end, 80 + port, 60)
            await peer.wait(1)
        assert waiting(peer) == [2, 3]
        assert peer.stack.counters.time_wait_evicted == 1
        assert ends[1].state == "CLOSED"


@pytest.mark.req("X-5", "4987-1")
@pytest.mark.parametrize("kind", LIMITS)
async def test_what_is_kept_is_small(kind: str) -> None:
    """Of 1000, beside the 64 ended connections that timers may still hold."""
    held = 64 * LIMITS["connection"] / 1000
    assert await grow(kind, 1000, traced=True) <= LIMITS[kind] + held
