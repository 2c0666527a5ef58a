"""The tail loss probe on the wire (RFC 8985 7): when, what, and what its acknowledgment tells."""

from __future__ import annotations

import pytest

from aiotcp.wire.tcp import ACK, FIN, PSH
from tests.support.conversation import App, Peer
from tests.support.losses import MSS, RENO, RTT, acks, at, flight, opened, row, sent

PROBE = "tail_loss_probe"


@pytest.mark.req("8985-6", "8985-7")
async def test_two_round_trips_after_the_last_segment_it_is_sent_again() -> None:
    """Once; then the retransmission timer, an RTO later, with the first."""
    async with Peer() as peer:
        app = await opened(peer)
        app.write(bytes(3 * MSS))
        assert len(await sent(peer)) == 3
        await peer.sees(ACK | PSH, seq=at(2), length=MSS, why=PROBE, after=2 * RTT)
        await peer.sees(ACK, seq=at(0), length=MSS, why="rto_retransmit", after=3 * RTT)
        acks(peer, 3)


@pytest.mark.req("8985-6")
async def test_a_single_segment_is_given_the_time_of_a_delayed_acknowledgment() -> None:
    """200 ms more, but no more than the RTO."""
    async with Peer() as peer:
        app = await opened(peer, rtt=0.5)
        for n in range(12):
            app.write(bytes(MSS))
            await sent(peer)
            await peer.wait(0.3 if n % 2 else 0.7)
            acks(peer, n + 1)
        info = row(peer)
        assert info.rtt_s is not None
        assert info.rto_s is not None
        assert 2 * info.rtt_s + 0.2 < info.rto_s
        app.write(bytes(MSS))
        await sent(peer)
        await peer.sees(ACK | PSH, seq=at(12), length=MSS, why=PROBE, after=2 * info.rtt_s + 0.2)
        acks(peer, 13)


@pytest.mark.req("8985-6")
async def test_never_after_the_retransmission_timer() -> None:
    """RTO 3 * RTT is before 2 * RTT + 200 ms: the probe goes then, and that timer starts again."""
    async with Peer() as peer:
        app = await opened(peer)
        app.write(bytes(MSS))
        await sent(peer)
        await peer.sees(ACK | PSH, seq=at(0), length=MSS, why=PROBE, after=3 * RTT)
        await peer.sees(ACK | PSH, seq=at(0), length=MSS, why="rto_retransmit", after=3 * RTT)
        acks(peer, 1)


@pytest.mark.req("8985-6")
async def test_new_data_puts_it_off_and_the_retransmission_timer_ends_that() -> None:
    async with Peer() as peer:
        app = await opened(peer)
        for n in range(4):
            app.write(bytes(MSS))
            assert await sent(peer) == [(n, "new_data")]
            await peer.wait(0.07)
        await peer.sees(ACK | PSH, seq=at(3), length=MSS, why=PROBE, after=0.02)
        acks(peer, 4)


@pytest.mark.req("8985-6")
@pytest.mark.parametrize("sack", [False, True])
async def test_only_with_sack_and_only_while_nothing_arrived_out_of_order(sack: bool) -> None:
    async with Peer() as peer:
        app = await opened(peer, sack=sack)
        app.write(bytes(4 * MSS))
        await sent(peer)
        await peer.wait(RTT)
        if sack:
            acks(peer, 0, (1, 2))
            assert await sent(peer) == []
            assert [why for _, why in await after(peer, RTT / 4 + 0.001)] == ["fast_retransmit"]
        else:
            await peer.sees(ACK, seq=at(0), length=MSS, why="rto_retransmit", after=2 * RTT)
        await peer.wait(RTT)
        acks(peer, 4)


async def after(peer: Peer, seconds: float) -> list[tuple[int, str]]:
    await peer.wait(seconds)
    return await sent(peer)


@pytest.mark.req("8985-7")
async def test_new_data_is_the_better_probe() -> None:
    """One segment beyond the congestion window, if the peer's window has room for it."""
    async with Peer() as peer:
        app = await opened(peer, options=RENO.replace(initial_window_segments=4))
        app.write(bytes(10 * MSS))
        assert len(await sent(peer)) == 4
        await peer.sees(ACK, seq=at(4), length=MSS, why=PROBE, after=2 * RTT)
        await peer.wait(RTT)
        acks(peer, 5)
        assert [why for _, why in await sent(peer)] == ["new_data"] * 5
        assert row(peer).ssthresh_bytes is None
        acks(peer, 10)


@pytest.mark.req("8985-7")
async def test_without_room_in_the_peers_window_it_is_the_last_segment() -> None:
    async with Peer() as peer:
        app = await opened(peer, window=4 * MSS)
        app.write(bytes(10 * MSS))
        assert len(await sent(peer)) == 4
        await peer.sees(ACK, seq=at(3), length=MSS, why=PROBE, after=2 * RTT)
        acks(peer, 4, window=65_535)
        assert [n for n, _ in await sent(peer)] == [4, 5, 6, 7, 8, 9]
        acks(peer, 10)


@pytest.mark.req("8985-7")
async def test_the_last_segment_of_a_large_frame() -> None:
    async with Peer(offload=True) as peer:
        app = await opened(peer)
        app.write(bytes(5 * MSS))
        assert len(await sent(peer)) == 5
        await peer.sees(ACK | PSH, seq=at(4), length=MSS, why=PROBE, after=2 * RTT)
        await peer.wait(RTT)
        acks(peer, 0, (4, 5))
        # The four before were sent long before the probe that arrived.
        assert await sent(peer) == [(0, "fast_retransmit")]
        acks(peer, 5)


@pytest.mark.req("8985-7")
async def test_a_fin_can_be_the_probe() -> None:
    async with Peer() as peer:
        app = await opened(peer)
        app.write(bytes(MSS))
        await sent(peer)
        app.shutdown()
        await peer.sees(FIN | ACK, seq=at(1))
        await peer.sees(FIN | ACK, seq=at(1), why=PROBE, after=2 * RTT)
        peer.sends(ACK, ack=at(1) + 1)
        app.abort()
        await peer.sees_all()


async def probed(peer: Peer) -> App:
    """Ten segments; all but the last are acknowledged, and that is repeated by the probe."""
    app = await flight(peer, 10, more=0)
    acks(peer, 9)
    assert await sent(peer) == []
    await peer.sees(ACK | PSH, seq=at(9), length=MSS, why=PROBE, within=0.5)
    await peer.wait(RTT)
    return app


@pytest.mark.req("8985-8")
async def test_a_probe_that_repaired_a_loss_has_a_price() -> None:
    """Nothing tells of a duplicate before more is acknowledged: one reduction, as by a fast
    recovery, of the flight that is there by then, and to ssthresh."""
    async with Peer() as peer:
        app = await probed(peer)
        acks(peer, 10)
        assert row(peer).ssthresh_bytes is None
        app.write(bytes(8 * MSS))
        assert len(await sent(peer)) == 8
        await peer.wait(RTT)
        acks(peer, 18)
        assert row(peer).ssthresh_bytes == row(peer).cwnd_bytes == 4 * MSS
        app.write(bytes(MSS))
        await sent(peer)
        acks(peer, 19)
        assert row(peer).ssthresh_bytes == 4 * MSS  # once


@pytest.mark.req("8985-8", "2883-3")
@pytest.mark.parametrize("dsack", [False, True])
async def test_a_probe_that_came_twice_has_none(dsack: bool) -> None:
    """The peer tells it by D-SACK, or, if it has none, by a duplicate acknowledgment."""
    async with Peer() as peer:
        app = await probed(peer)
        if dsack:
            acks(peer, 10, (9, 10))
        else:
            acks(peer, 10)
            acks(peer, 10)
        app.write(bytes(8 * MSS))
        assert len(await sent(peer)) == 8
        await peer.wait(RTT)
        acks(peer, 18)
        assert row(peer).ssthresh_bytes is None


@pytest.mark.req("8985-7", "6298-4")
async def test_without_a_new_round_trip_there_is_no_other_probe_and_nothing_is_put_off() -> None:
    """The timer's repetition gave no sample (Karn). New data keeps leaving, and nothing comes back:
    the retransmission timer that its first segment has set is not moved by any of it."""
    async with Peer() as peer:
        app = await opened(peer)
        app.write(bytes(MSS))
        assert await sent(peer) == [(0, "new_data")]
        await peer.sees(ACK | PSH, length=MSS, why=PROBE, after=3 * RTT)
        await peer.sees(ACK | PSH, length=MSS, why="rto_retransmit", after=3 * RTT)
        acks(peer, 1)
        assert row(peer).rto_s == pytest.approx(6 * RTT)
        began = peer.now
        for n in range(6):
            app.write(bytes(100))
            await peer.sees(ACK | PSH, seq=at(1) + 100 * n, length=100, why="new_data")
            await peer.wait(0.095)
        seen = await peer.sees(ACK, seq=at(1), length=None, why="rto_retransmit", within=1)
        assert seen.at - began == pytest.approx(6 * RTT, abs=1e-3)
        peer.sends(ACK, ack=at(1.6))
