"""Repairs that were for nothing, and are taken back: RFC 5682, 3522, 4015 and 2883."""

from __future__ import annotations

import pytest

from aiotcp.reasons import Event
from aiotcp.wire.tcp import ACK, FIN, PSH
from tests.support.conversation import Peer
from tests.support.losses import MSS, RTT, acks, at, flight, opened, row, sent

FAST, RTO = "fast_retransmit", "rto_retransmit"


async def timed_out(peer: Peer, *, more: int = 20, ts: bool = False) -> None:
    """Ten segments, no answer: a probe with new data, if there is any, and a timeout."""
    await flight(peer, 10, more=more, ts=ts)
    await peer.sees(ACK, length=MSS, why="tail_loss_probe", within=0.11)
    await peer.sees(ACK, seq=at(0), length=MSS, why=RTO, after=3 * RTT)
    assert row(peer).cwnd_bytes == MSS


@pytest.mark.req("5682-1", "5682-2")
async def test_a_timeout_was_spurious_if_what_was_not_repeated_arrives() -> None:
    """The first acknowledgment lets two new segments out, the second tells. The window is what it
    was, and nothing else is repeated."""
    async with Peer() as peer:
        await timed_out(peer)
        acks(peer, 1)
        assert [why for _, why in await sent(peer)] == ["new_data", "new_data"]
        acks(peer, 2)
        assert {why for _, why in await sent(peer)} <= {"new_data"}
        assert row(peer).ssthresh_bytes is None
        assert row(peer).cwnd_bytes >= 10 * MSS
        acks(peer, 13)
        assert {why for _, why in await sent(peer)} == {"new_data"}
        await peer.wait(RTT)
        acks(peer, 30)


@pytest.mark.req("5682-1")
async def test_a_real_one_is_not() -> None:
    """The second acknowledgment tells of what was sent after the timeout: the usual repetitions."""
    async with Peer() as peer:
        await timed_out(peer)
        acks(peer, 1)
        assert [n for n, _ in await sent(peer)] == [11, 12]
        acks(peer, 1, (11, 12))
        again = await sent(peer)
        assert again
        assert all(why == RTO for _, why in again)
        assert row(peer).ssthresh_bytes is not None
        await peer.wait(RTT)
        acks(peer, 13)
        await peer.sees_all()


@pytest.mark.req("5682-1")
async def test_without_new_data_the_repetitions_go_on() -> None:
    async with Peer() as peer:
        await timed_out(peer, more=1)
        acks(peer, 1)
        again = await sent(peer)
        assert again[:1] == [(1, RTO)]
        acks(peer, 11)


@pytest.mark.req("5682-1", "5682-2")
async def test_a_second_timeout_starts_it_again() -> None:
    """A delay of more than two RTOs: nothing but the first segment was repeated in that time."""
    async with Peer() as peer:
        await timed_out(peer)
        await peer.sees(ACK, seq=at(0), length=MSS, why=RTO, after=6 * RTT)
        acks(peer, 1)
        assert [why for _, why in await sent(peer)] == ["new_data", "new_data"]
        acks(peer, 2)
        assert {why for _, why in await sent(peer)} <= {"new_data"}
        assert row(peer).cwnd_bytes >= 10 * MSS
        acks(peer, 13)
        await sent(peer)
        await peer.wait(RTT)
        acks(peer, 30)


async def repaired(peer: Peer) -> None:
    """Of 10 segments the first seems lost and is repeated."""
    await flight(peer, 10, more=0)
    acks(peer, 0, (1, 4))
    await peer.sees(ACK, seq=at(0), length=MSS, why=FAST)
    assert row(peer).ssthresh_bytes == 5 * MSS


@pytest.mark.req("2883-3", "5682-2")
async def test_a_duplicate_report_of_all_that_was_repeated_takes_it_back() -> None:
    async with Peer() as peer:
        await repaired(peer)
        acks(peer, 4)
        assert row(peer).ssthresh_bytes == 5 * MSS
        acks(peer, 4, (0, 1))
        assert row(peer).ssthresh_bytes is None
        assert row(peer).cwnd_bytes >= 10 * MSS
        acks(peer, 10)


@pytest.mark.req("2883-3")
async def test_a_report_that_comes_with_the_last_acknowledgment_of_all_counts() -> None:
    async with Peer() as peer:
        app = await peer.connects(sack=True)
        peer.sends(FIN | ACK)
        await peer.sees(ACK)
        app.write(b"ab")
        app.shutdown()
        await peer.sees_all()
        peer.sends(ACK, sack=[(1, 3)])
        assert app.state == "CLOSED"
        assert peer.stack.counters.events[Event.DSACK_RECEIVED] == 1


@pytest.mark.req("2883-3")
async def test_a_report_of_anything_else_does_not() -> None:
    async with Peer() as peer:
        await repaired(peer)
        acks(peer, 4)
        acks(peer, 4, (1, 2))
        assert row(peer).ssthresh_bytes == 5 * MSS
        acks(peer, 10)


@pytest.mark.req("2883-3", "5682-2")
async def test_a_repeated_timeout_is_taken_back_with_the_first_or_not_at_all() -> None:
    """The first repetition arrived, its acknowledgment did not; the second comes twice. That tells
    that the second was for nothing, and nothing of the first."""
    async with Peer() as peer:
        await flight(peer, 10, more=0)
        acks(peer, 9)
        await peer.sees_all()
        await peer.sees(ACK, seq=at(9), length=MSS, why="tail_loss_probe", within=0.5)
        await peer.sees(ACK, seq=at(9), length=MSS, why=RTO, within=0.5)
        await peer.sees(ACK, seq=at(9), length=MSS, why=RTO, within=1)
        after = row(peer).ssthresh_bytes
        assert after is not None
        acks(peer, 10, (9, 10))
        assert row(peer).ssthresh_bytes == after


@pytest.mark.req("5682-2", "7323-11")
@pytest.mark.parametrize("early", [False, True])
async def test_the_echo_of_the_first_transmission_takes_it_back(early: bool) -> None:
    """Eifel (RFC 3522)."""
    async with Peer() as peer:
        await flight(peer, 10, more=0, ts=True)
        acks(peer, 0, (1, 4))
        again = await peer.sees(ACK, seq=at(0), length=MSS, why=FAST)
        assert again.segment.tsval is not None
        echo = again.segment.tsval - (100 if early else 0) & 0xFFFF_FFFF
        await peer.wait(0.01 if early else RTT)
        acks(peer, 10, ts=(peer.tsval, echo))
        assert (row(peer).ssthresh_bytes is None) == early


@pytest.mark.req("5682-1", "8985-1")
async def test_it_does_not_wait_for_a_repetition_that_is_lost() -> None:
    """The network was broken. What is written after that arrives, and the repetition, which left
    before, has not: it goes again at once and not with the next timeout."""
    async with Peer() as peer:
        app = await opened(peer)
        app.write(b"first ")
        for _ in range(4):
            await peer.sees(ACK | PSH, seq=1, length=6, within=3)
        await peer.wait(0.5)
        app.write(b"second")
        await peer.sees(ACK | PSH, seq=7, length=6, why="new_data")
        await peer.wait(RTT)
        peer.sends(ACK, ack=1, sack=[(7, 13)])
        await peer.sees(ACK, seq=1, length=6, why=RTO, within=RTT / 4 + 0.001)
        peer.sends(ACK, ack=13)
