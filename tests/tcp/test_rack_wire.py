"""Losses told by time, on the wire (RFC 8985 6, 8)."""

from __future__ import annotations

import pytest

from aiotcp.wire.tcp import ACK, PSH
from tests.support.conversation import Peer
from tests.support.losses import MSS, RENO, RTT, acks, at, flight, opened, row, sent

FAST = "fast_retransmit"


@pytest.mark.req("8985-1")
async def test_what_left_a_window_earlier_is_lost_at_once() -> None:
    """One later segment is enough, if it left later by a quarter of a round trip."""
    async with Peer() as peer:
        app = await opened(peer)
        app.write(bytes(MSS))
        await peer.wait(RTT / 4 + 0.001)
        app.write(bytes(MSS))
        assert len(await sent(peer)) == 2
        await peer.wait(RTT)
        acks(peer, 0, (1, 2))
        assert await sent(peer) == [(0, FAST)]
        await peer.wait(RTT)
        acks(peer, 2)


@pytest.mark.req("8985-4", "8985-3")
async def test_what_left_with_it_is_awaited_for_a_quarter_of_a_round_trip() -> None:
    """Then the timer tells the loss; no further acknowledgment is needed."""
    async with Peer() as peer:
        app = await opened(peer)
        app.write(bytes(2 * MSS))
        assert len(await sent(peer)) == 2
        await peer.wait(RTT)
        acks(peer, 0, (1, 2))
        await peer.sees(ACK, seq=at(0), length=MSS, why=FAST, after=RTT / 4)
        await peer.wait(RTT)
        acks(peer, 2)


@pytest.mark.req("8985-3", "8985-4")
async def test_what_arrives_in_that_time_was_only_overtaken() -> None:
    """And from then on three segments are not proof either."""
    async with Peer() as peer:
        app = await opened(peer)
        app.write(bytes(2 * MSS))
        assert len(await sent(peer)) == 2
        await peer.wait(RTT)
        acks(peer, 0, (1, 2))
        await peer.wait(RTT / 8)
        acks(peer, 2)
        await peer.sees_nothing(for_s=1)
        app.write(bytes(6 * MSS))
        assert len(await sent(peer)) == 6
        await peer.wait(RTT)
        acks(peer, 2, (3, 7))
        await peer.sees_nothing(for_s=RTT / 8 - 0.001)
        acks(peer, 8)
        await peer.sees_nothing(for_s=1)
        assert row(peer).ssthresh_bytes is None


@pytest.mark.req("8985-4", "6298-4")
async def test_the_reordering_timer_comes_before_the_other() -> None:
    """RFC 8985 8: they exclude each other. The round trip never varies, and the RTO is hardly more:
    the wait for what was overtaken goes beyond it, and the repetition has an RTO of its own."""
    async with Peer() as peer:
        app = await opened(peer, rtt=0.4)
        for n in range(20):
            app.write(bytes(MSS))
            assert len(await sent(peer)) == 1
            await peer.wait(0.4)
            acks(peer, n + 1)
        app.write(bytes(6 * MSS))
        assert len(await sent(peer)) == 6
        await peer.wait(0.4)
        acks(peer, 20, (21, 23))
        await peer.sees(ACK, seq=at(20), length=MSS, why=FAST, after=0.1)
        await peer.sees_nothing(for_s=0.399)
        acks(peer, 26)
        await peer.sees_nothing(for_s=1)


@pytest.mark.req("8985-6")
async def test_nor_does_a_probe_come_between() -> None:
    """Something arrived beyond the hole, late: the probe that was due by then is not sent."""
    async with Peer() as peer:
        app = await opened(peer)
        app.write(bytes(4 * MSS))
        assert len(await sent(peer)) == 4
        await peer.wait(1.9 * RTT)
        acks(peer, 0, (1, 2))
        await peer.sees(ACK, seq=at(0), length=MSS, why=FAST, after=RTT / 4)
        acks(peer, 4)


@pytest.mark.req("8985-1", "6675-7")
async def test_a_lost_repetition_is_repeated_without_a_timeout() -> None:
    async with Peer() as peer:
        await flight(peer, 10)
        acks(peer, 0, (1, 10))
        first = await sent(peer)
        assert first[0] == (0, FAST)
        assert first[1:]
        await peer.wait(RTT)
        acks(peer, 0, (1, 11))  # a segment that left after the repetition
        again = await peer.sees(ACK, seq=at(0), length=MSS, why=FAST, within=RTT / 4 + 0.001)
        assert again.at - peer.now < 0.001
        await peer.sees_all()
        await peer.wait(RTT)
        acks(peer, 20)
        await peer.sees_all()


@pytest.mark.req("8985-2")
async def test_an_acknowledgment_too_soon_is_not_of_the_repetition() -> None:
    """Less than the least round trip after it: it tells of the first transmission, which left
    before all the others."""
    async with Peer() as peer:
        await flight(peer, 10, more=0)
        acks(peer, 0, (3, 6))
        await peer.sees(ACK, seq=at(0), length=MSS, why=FAST)
        await peer.sees_all()
        await peer.wait(0.01)
        acks(peer, 3, (3, 6))
        await peer.sees_nothing(for_s=0.05)  # 6 to 9 left together with 3 to 5, and after them
        acks(peer, 10)


@pytest.mark.req("8985-5")
async def test_after_a_timeout_what_left_lately_is_not_lost() -> None:
    async with Peer() as peer:
        app = await opened(peer)
        app.write(bytes(MSS))
        assert await sent(peer) == [(0, "new_data")]
        await peer.wait(RTT)
        acks(peer, 1)  # RACK knows a round trip
        app.write(bytes(2 * MSS))
        assert len(await sent(peer)) == 2
        await peer.sees(ACK | PSH, seq=at(2), length=MSS, why="tail_loss_probe", after=0.2)
        await peer.wait(0.2)
        app.write(bytes(MSS))
        assert await sent(peer) == [(3, "new_data")]
        await peer.sees(ACK, seq=at(1), length=MSS, why="rto_retransmit", after=0.05)
        assert [(r.lost, r.size) for r in app.conn.scoreboard] == [
            (False, MSS),  # repeated
            (True, MSS),
            (False, MSS),
        ]
        acks(peer, 4)


@pytest.mark.req("8985-3", "6298-1")
async def test_what_leapt_ahead_together_says_nothing_of_the_round_trip() -> None:
    """Two segments that one report tells of overtook the same ones, the second no less than the
    first. One that comes directly behind them, later, did not."""
    async with Peer() as peer:
        app = await opened(peer, options=RENO.replace(initial_window_segments=6))
        app.write(bytes(6 * MSS))
        assert len(await sent(peer)) == 6
        await peer.wait(RTT / 4)
        acks(peer, 0, (2, 4))
        await peer.sees_all()
        assert row(peer).rtt_s == pytest.approx(RTT)
        await peer.wait(RTT)
        acks(peer, 0, (2, 5))
        await peer.sees_all()
        assert row(peer).rtt_s == pytest.approx(7 / 8 * RTT + 1 / 8 * 5 / 4 * RTT)
        acks(peer, 6)
        await peer.sees_all()
