"""Fast recovery with SACK on the wire: RFC 6675, 9937 (6937), 2018 8, 2883 and 3042."""

from __future__ import annotations

import random

import pytest

from aiotcp.wire.tcp import ACK, PSH
from tests.support.conversation import Peer
from tests.support.losses import MSS, RENO, RTT, acks, at, flight, opened, row, sent

FAST, LIMITED = "fast_retransmit", "limited_transmit"


async def first_lost(peer: Peer, count: int = 10) -> None:
    """Of `count` segments the first is lost; three later ones have arrived, and it is repeated."""
    await flight(peer, count)
    for n in (2, 3):
        acks(peer, 0, (1, n))
        assert await sent(peer) == [(count + n - 2, LIMITED)]
    acks(peer, 0, (1, 4))
    assert await sent(peer) == [(0, FAST)]


@pytest.mark.req("6675-1", "6675-4", "3042-1", "9937-4")
async def test_the_third_segment_beyond_a_hole_shows_the_loss() -> None:
    """The first two let one new segment out each; the hole is repeated at once, and the window is
    half of the flight that the first of them met."""
    async with Peer() as peer:
        await first_lost(peer)
        assert row(peer).ssthresh_bytes == 5 * MSS


@pytest.mark.req("3042-1")
async def test_limited_transmit_needs_room_in_the_peers_window() -> None:
    async with Peer() as peer:
        await flight(peer, 10, window=11 * MSS)
        acks(peer, 0, (1, 2), window=11 * MSS)
        assert await sent(peer) == [(10, LIMITED)]
        acks(peer, 0, (1, 3), window=11 * MSS)
        await peer.sees_nothing()


@pytest.mark.req("6675-1", "6675-4")
async def test_one_acknowledgment_may_tell_all() -> None:
    async with Peer() as peer:
        await flight(peer, 10)
        acks(peer, 0, (1, 4))
        assert await sent(peer) == [(0, FAST)]
        assert row(peer).ssthresh_bytes == 5 * MSS


@pytest.mark.req("9937-1", "9937-2", "9937-3", "9937-4", "6675-2", "6675-5")
async def test_the_window_follows_what_arrives() -> None:
    """RecoverFS is 12 outstanding, less 2 that had arrived before: 10; ssthresh 5. One segment for
    every two that arrive, until no more than ssthresh are in the network; then one for each."""
    async with Peer() as peer:
        await first_lost(peer)
        table = []
        for n in range(5, 13):
            acks(peer, 0, (1, n))
            table.append([which for which, _ in await sent(peer)])
        #                5   6   7     8   9   10    11    12: of 12 all but the first
        assert table == [[], [], [12], [], [], [13], [14], [15]]
        acks(peer, 12)  # the repetition: all that was outstanding when it began
        assert await sent(peer) == [(16, "new_data")]
        assert row(peer).cwnd_bytes == row(peer).ssthresh_bytes == 5 * MSS


@pytest.mark.req("6675-3", "6675-2", "6675-7")
async def test_holes_are_repeated_before_new_data_goes() -> None:
    async with Peer() as peer:
        await flight(peer, 20)
        acks(peer, 0, (1, 2), (4, 5), (7, 9))
        order = await sent(peer)
        assert len(order) == 2  # 4 of 20 have arrived: half as many may leave
        for n in range(10, 21):
            acks(peer, 0, (7, n), (4, 5), (1, 2))
            order += await sent(peer)
        assert order[:5] == [(n, FAST) for n in (0, 2, 3, 5, 6)]
        assert len(order) > 5
        assert order[5:] == [(20 + n, "new_data") for n in range(len(order) - 5)]


@pytest.mark.req("6675-5", "6675-4")
async def test_one_reduction_for_all_losses_of_a_window() -> None:
    async with Peer() as peer:
        await flight(peer, 20)
        acks(peer, 0, (1, 4))
        assert await sent(peer) == [(0, FAST)]
        acks(peer, 0, (1, 4), (5, 9))
        repeated = await sent(peer)
        acks(peer, 0, (1, 4), (5, 9), (11, 20))
        repeated += await sent(peer)
        assert [n for n, why in repeated if why == FAST] == [4, 9, 10]
        assert row(peer).ssthresh_bytes == 10 * MSS
        await peer.wait(RTT)
        acks(peer, 4, (5, 9), (11, 20))  # a partial acknowledgment: recovery goes on
        await sent(peer)
        assert row(peer).cwnd_bytes == 10 * MSS
        acks(peer, 20)
        await sent(peer)
        assert (row(peer).cwnd_bytes, row(peer).ssthresh_bytes) == (10 * MSS, 10 * MSS)


@pytest.mark.req("6675-5")
async def test_a_loss_after_the_recovery_point_is_another_one() -> None:
    async with Peer() as peer:
        await first_lost(peer)
        for n in range(5, 13):
            acks(peer, 0, (1, n))
        assert [which for which, _ in await sent(peer)] == [12, 13, 14, 15]
        await peer.wait(RTT)
        acks(peer, 12)
        assert await sent(peer) == [(16, "new_data")]
        acks(peer, 12, (13, 16))
        assert (12, FAST) in await sent(peer)
        assert row(peer).ssthresh_bytes == 2 * MSS + MSS // 2


@pytest.mark.req("6675-6", "6298-5")
async def test_after_a_timeout_in_recovery_nothing_reduces_again_below_the_recovery_point() -> None:
    async with Peer() as peer:
        await first_lost(peer)
        await peer.sees(ACK, seq=at(0), length=MSS, why="rto_retransmit", within=3 * RTT)
        after = row(peer).ssthresh_bytes
        for n in range(5, 13):  # late, or from the repetitions
            acks(peer, 0, (1, n))
            await sent(peer)
        assert row(peer).ssthresh_bytes == after
        acks(peer, 12)
        await sent(peer)
        assert row(peer).ssthresh_bytes == after


@pytest.mark.req("6675-7")
@pytest.mark.parametrize("seed", range(5))
async def test_what_arrived_is_never_repeated(seed: int) -> None:
    """Neither in fast recovery nor after timeouts, whatever the pattern."""
    draw = random.Random(seed)
    async with Peer() as peer:
        await flight(peer, 30, more=0)
        arriving = sorted(draw.sample(range(1, 30), 18))
        have: set[int] = set()
        told: set[int] = set()
        repeated: set[int] = set()
        for _ in range(100):
            again: list[int] = []
            for n in arriving:
                have.add(n)
                edge = next(n for n in range(31) if n not in have)
                ends = [m for m in range(edge + 1, 31) if m - 1 in have and m not in have][-3:]
                begins = [max(n for n in range(m) if n not in have) + 1 for m in ends]
                blocks = list(zip(begins, ends, strict=True))
                acks(peer, edge, *blocks)
                told.update(range(edge), *(range(*block) for block in blocks))
                now = [n for n, _ in await sent(peer)]
                assert not told.intersection(now)
                again += now
            if len(have) == 30:
                break
            await peer.wait(RTT)
            now = [n for n, _ in await sent(peer)]
            assert not told.intersection(now)
            again += now
            repeated.update(again)
            arriving = [n for n in again if draw.random() < 0.8]
        assert len(repeated) >= 12
        assert len(have) == 30


@pytest.mark.req("9937-3", "6675-2")
async def test_with_nothing_in_the_network_one_segment_may_always_leave() -> None:
    """Three small segments arrive that were sent after all the rest, which is lost: what arrived is
    less than a segment, and nothing else would let one go before the timeout."""
    async with Peer() as peer:
        options = RENO.replace(initial_window_segments=10)
        app = await opened(peer, options=options)
        app.write(bytes(8 * MSS))
        assert len(await sent(peer)) == 8
        await peer.wait(0.04)
        app.write(bytes(50))
        await peer.sees(ACK | PSH, seq=at(8), length=50)
        await peer.wait(0.06)
        acks(peer, 0, (1, 2))
        await peer.sees_nothing()
        await peer.wait(0.04)
        end = at(8) + 50
        peer.sends(ACK, ack=1, sack=[(at(8), end), (at(1), at(2))])
        assert await sent(peer) == [(0, FAST)]
        await peer.wait(RTT)
        peer.sends(ACK, ack=at(2), sack=[(at(8), end)])
        assert [which for which, _ in await sent(peer)][:1] == [2]
        peer.sends(ACK, ack=end)


# -- retransmission timer ----------------------------------------------------------------------


@pytest.mark.req("6298-4", "6675-4")
async def test_the_repetition_of_the_first_hole_restarts_the_timer() -> None:
    """On a path whose round trip never varies the RTO is hardly more than that: set when the flight
    left, it would expire right after the loss was seen."""
    async with Peer() as peer:
        app = await opened(peer, rtt=0.4)
        for n in range(20):
            app.write(bytes(MSS))
            assert len(await sent(peer)) == 1
            await peer.wait(0.4)
            acks(peer, n + 1)
        rto = row(peer).rto_s
        assert rto is not None
        assert 0.4 < rto < 0.41
        app.write(bytes(6 * MSS))
        assert len(await sent(peer)) == 6
        await peer.wait(0.4)
        acks(peer, 20, (21, 24))
        assert await sent(peer) == [(20, FAST)]
        await peer.sees_nothing(for_s=0.399)
        await peer.wait(0.001)
        acks(peer, 26)
        await peer.sees_nothing(for_s=1)


# -- SACK blocks -------------------------------------------------------------------------------


@pytest.mark.req("2018-5", "2018-6")
async def test_a_peer_that_takes_back_what_it_had() -> None:
    """RFC 2018 8. The hole is filled, and the acknowledgment stops before what had been reported:
    the timer sends it again, all of it."""
    async with Peer() as peer:
        await flight(peer, 10, more=0)
        acks(peer, 0, (1, 10))
        assert await sent(peer) == [(0, FAST)]
        await peer.wait(RTT)
        acks(peer, 1)
        await peer.sees_nothing(for_s=row(peer).rto_s - 0.001)  # type: ignore[operator]
        repeated = []
        for n in range(1, 10):
            await peer.wait(0.5 if n == 1 else RTT)
            repeated += await sent(peer)
            acks(peer, n + 1)
        assert sorted(set(repeated)) == [(n, "rto_retransmit") for n in range(1, 10)]


@pytest.mark.req("2018-5", "6675-1")
@pytest.mark.parametrize(
    "block",
    [
        (20, 30),  # never sent
        (5, 11),  # partly
        (5, 5),
        (7, 5),
        (-3, 2),  # from below the left edge
        (-1e6, -9e5),
    ],
)
async def test_blocks_that_are_nonsense_tell_nothing(block: tuple[float, float]) -> None:
    async with Peer() as peer:
        await flight(peer, 10, more=0)
        acks(peer, 0, (1, 2), block)
        await peer.sees_nothing()
        acks(peer, 0, block, (1, 3))
        await peer.sees_nothing()
        acks(peer, 0, (1, 4), block)
        assert await sent(peer) == [(0, FAST)]
        acks(peer, 10)


@pytest.mark.req("6675-1")
@pytest.mark.parametrize("offload", [False, True])
async def test_blocks_of_single_bytes_split_nothing(offload: bool) -> None:
    """A hostile peer: 2,000 blocks, each of one byte, would make 4,000 records."""
    async with Peer(offload=offload) as peer:
        app = await flight(peer, 10, more=0)
        for n in range(1, 9_999, 15):
            blocks = [(at(0) + seq, at(0) + seq + 1) for seq in range(n, min(n + 15, 9_999), 5)]
            peer.sends(ACK, ack=1, sack=blocks)
        assert len(list(app.conn.scoreboard)) < 20
        assert app.conn.scoreboard.sacked_bytes == 0
        await peer.sees_nothing()
        acks(peer, 10)


@pytest.mark.req("2883-3")
async def test_a_duplicate_report_is_no_duplicate_acknowledgment() -> None:
    async with Peer() as peer:
        await flight(peer, 10, more=0)
        acks(peer, 4)
        for _ in range(5):
            acks(peer, 4, (2, 3))
            await peer.sees_nothing()
        for _ in range(5):  # and of what is beyond the left edge: the second block holds it
            acks(peer, 4, (6, 7), (6, 8))
            await peer.sees_nothing()
        acks(peer, 10)


# -- frames of many segments ----------------------------------------------------------------------


@pytest.mark.req("6675-1", "6675-7", "6675-4")
async def test_a_hole_in_a_large_frame_is_all_that_is_repeated() -> None:
    async with Peer(offload=True) as peer:
        app = await flight(peer, 20)
        acks(peer, 5, (6, 10))
        assert (5, FAST) in await sent(peer)
        board = app.conn.scoreboard
        parts = [(r.start - app.conn.iss, r.end - app.conn.iss) for r in board if r.sacked]
        assert parts == [(at(6), at(10))]
        assert board.sacked_bytes == 4 * MSS
        await peer.wait(RTT)
        acks(peer, 20)
        await sent(peer)


@pytest.mark.req("9937-2", "9937-3", "6675-2")
async def test_large_frames_are_accounted_by_bytes() -> None:
    """20 segments in one frame, the first lost, all others told of in one acknowledgment: what is
    in the network after it is at most what has arrived, and at most ssthresh."""
    async with Peer(offload=True) as peer:
        await flight(peer, 20)
        acks(peer, 0, (1, 20))
        got = await sent(peer)
        assert got[0] == (0, FAST)
        assert got[1:] == [(20 + n, "new_data") for n in range(9)]  # 10 in all: ssthresh
        await peer.wait(RTT)
        acks(peer, 29)
        assert [n for n, _ in await sent(peer)] == list(range(29, 39))


@pytest.mark.req("6675-1", "6675-7", "6675-4")
async def test_of_several_frames_that_left_together_only_what_is_lost_is_repeated() -> None:
    """Two frames: a hole in each, one at the border, and the end is still awaited."""
    options = RENO.replace(initial_window_segments=100)
    async with Peer(offload=True) as peer:
        app = await opened(peer, ts=True, wscale=7, options=options)
        peer.window = 1 << 20
        peer.sends(ACK, ts=(peer.tsval, 0))
        app.write(bytes(MSS))  # the first one is never quite usual
        assert await sent(peer) == [(0, "new_data")]
        await peer.wait(RTT)
        acks(peer, 1, ts=(peer.tsval, 0))
        app.write(bytes(200 * MSS))
        assert [n for n, _ in await sent(peer)] == list(range(1, 101))
        await peer.wait(RTT)
        board = app.conn.scoreboard
        acks(peer, 6, (7, 64), (67, 71), (72, 91), ts=(peer.tsval, 0))
        repeated = [n for n, why in await sent(peer) if why == FAST]
        assert repeated == [6, 64, 65, 66, 71]
        assert board.sacked_bytes == 80 * MSS
        await peer.wait(RTT)
        acks(peer, 101, ts=(peer.tsval, 0))
        assert all(why == "new_data" for _, why in await sent(peer))
        assert (board.sacked_bytes, board.lost_bytes) == (0, 0)


@pytest.mark.req("6675-3", "6675-7")
async def test_neighbouring_losses_are_repeated_as_one_frame() -> None:
    async with Peer(offload=True) as peer:
        await flight(peer, 20, more=0)
        acks(peer, 0, (1, 2), (6, 20))
        assert [which for which, _ in await sent(peer)] == [0, 2, 3, 4, 5]
        await peer.wait(RTT)
        acks(peer, 20)


@pytest.mark.req("6675-4")
async def test_flight_size_is_what_is_outstanding() -> None:
    """An application that has no more to send: the segments that have arrived beyond the hole are
    part of the flight that is halved (RFC 5681 2), however few are in the network by then."""
    async with Peer() as peer:
        await flight(peer, 20, more=0)
        for n in range(2, 4):
            acks(peer, 0, (1, n))
        acks(peer, 0, (1, 3), (4, 20))
        assert await sent(peer) == [(0, FAST), (3, FAST)]
        assert row(peer).ssthresh_bytes == 10 * MSS
        await peer.wait(RTT)
        acks(peer, 20)
