"""The retransmission timer at work: RFC 6298 with Karn's rule (RFC 9293 3.8.1)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from aiotcp.options import Options
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN
from tests.support.conversation import App, Peer

EXACT = Options(rto_min_s=0.001, timestamps=False)
"""No floor, so that the numbers are those of the RFC."""

MSS = 1000


async def opened(peer: Peer, *, rtt: float = 0.3, options: Options = EXACT) -> App:
    """The handshake took `rtt`: SRTT = rtt, RTTVAR = rtt / 2, RTO = 3 * rtt."""
    app = peer.opens(options=options)
    await peer.sees(SYN)
    await peer.wait(rtt)
    ts = (peer.tsval, 0) if options.timestamps else None
    peer.sends(SYN | ACK, mss=MSS, ts=ts)
    await peer.sees(ACK, seq=1)
    return app


def rto(peer: Peer) -> float:
    info = peer.info
    assert info is not None
    assert info.rto_s is not None
    return info.rto_s


@pytest.mark.req("6298-1", "MUST-18")
async def test_the_handshake_gives_the_first_sample() -> None:
    async with Peer() as peer:
        app = await opened(peer, rtt=0.3)
        assert rto(peer) == pytest.approx(0.9)
        app.write(b"x")
        await peer.sees(ACK | PSH, data=b"x", why="new_data")
        await peer.sees(ACK, data=b"x", why="rto_retransmit", after=0.9)
        peer.sends(ACK)


@pytest.mark.req("6298-1")
async def test_data_gives_the_next_one() -> None:
    async with Peer() as peer:
        app = await opened(peer, rtt=0.3)
        app.write(b"x")
        await peer.sees(ACK | PSH, length=1)
        await peer.wait(0.1)
        peer.sends(ACK)
        # RTTVAR = 3/4 * 0.15 + 1/4 * 0.2 = 0.1625, SRTT = 7/8 * 0.3 + 1/8 * 0.1 = 0.275
        assert rto(peer) == pytest.approx(0.275 + 4 * 0.1625, abs=1e-3)


@pytest.mark.req("6298-5", "MUST-19", "6298-2")
async def test_each_expiry_doubles_the_wait_up_to_the_ceiling() -> None:
    async with Peer() as peer:
        app = await opened(peer, rtt=0.3, options=EXACT.replace(rto_max_s=20))
        app.write(b"x")
        await peer.sees(ACK | PSH, data=b"x")
        for after in (0.9, 1.8, 3.6, 7.2, 14.4, 20, 20, 20):
            await peer.sees(ACK, seq=1, data=b"x", why="rto_retransmit", after=after)


@pytest.mark.req("6298-2")
async def test_the_floor() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        app.write(b"x")
        await peer.sees(ACK | PSH, data=b"x")
        for after in (0.2, 0.4, 0.8, 1.6):
            await peer.sees(ACK, data=b"x", after=after)


@pytest.mark.req("6298-3", "MUST-18")
@pytest.mark.parametrize("late", [0.0, 0.05, 0.5])
async def test_karn_what_was_repeated_is_no_sample(late: float) -> None:
    """Nobody knows which of the two transmissions is acknowledged; the back-off stays (5.5, 5.6)
    until a segment that was sent once is."""
    async with Peer() as peer:
        app = await opened(peer, rtt=0.3)
        app.write(b"x")
        await peer.sees(ACK | PSH, data=b"x")
        await peer.sees(ACK, data=b"x", after=0.9)
        await peer.wait(late)
        peer.sends(ACK)
        assert rto(peer) == pytest.approx(1.8)
        app.write(b"y")
        await peer.sees(ACK | PSH, data=b"y")
        await peer.wait(0.3)
        peer.sends(ACK)
        assert rto(peer) < 0.9


@pytest.mark.req("6298-3", "7323-11")
async def test_timestamps_tell_which_one_was_acknowledged() -> None:
    async with Peer() as peer:
        app = await opened(peer, rtt=0.3, options=EXACT.replace(timestamps=True))
        app.write(b"x")
        await peer.sees(ACK | PSH, data=b"x")
        await peer.sees(ACK, data=b"x", after=0.9)
        await peer.wait(0.3)
        peer.sends(ACK)  # echoes the second transmission
        assert rto(peer) == pytest.approx(0.3 + 4 * 0.1125, abs=0.01)


@pytest.mark.req("7323-11")
async def test_an_echo_counts_only_with_news() -> None:
    """RFC 7323 4.1: TSecr of a segment that acknowledges nothing new is no sample."""
    async with Peer() as peer:
        app = await opened(peer, rtt=0.3, options=EXACT.replace(timestamps=True))
        await peer.wait(100)
        peer.sends(ACK, data=b"data")  # echoes what was sent 100 s ago
        await peer.sees(ACK, within=0.1)
        assert rto(peer) == pytest.approx(0.9, abs=0.01)
        assert app.received == b"data"


@pytest.mark.req("6298-7")
@pytest.mark.parametrize("timestamps", [False, True])
async def test_every_round_trip_gives_a_sample(timestamps: bool) -> None:
    """The path becomes faster: each round of five segments shows, however they are
    acknowledged."""
    async with Peer() as peer:
        app = await opened(peer, rtt=0.3, options=EXACT.replace(timestamps=timestamps))
        acked, smoothed = 1, [0.3]
        for round_ in range(10):
            app.write(bytes(5 * 900))
            assert len(await peer.sees_all()) == 5
            await peer.wait(0.1)
            for _ in range(1 + round_ % 5):  # one acknowledgment or several
                acked += 5 * 900 // (1 + round_ % 5)
                peer.sends(ACK, ack=acked)
            acked = 1 + (round_ + 1) * 5 * 900
            peer.sends(ACK, ack=acked)
            info = peer.info
            assert info is not None
            assert info.rtt_s is not None
            smoothed.append(info.rtt_s)
        assert all(after < before for before, after in pairwise(smoothed))


@pytest.mark.req("6298-4")
async def test_the_timer_starts_with_the_first_segment() -> None:
    """5.1: "Every time a packet containing data is sent [...], if the timer is not running, start
    it running". Later segments do not put it off."""
    async with Peer() as peer:
        app = await opened(peer, rtt=0.3)
        app.write(b"1")
        await peer.sees(ACK | PSH, seq=1, length=1)
        await peer.wait(0.6)
        app.write(b"2")
        await peer.sees(ACK | PSH, seq=2, length=1)
        await peer.sees(ACK, seq=1, data=b"12", why="rto_retransmit", after=0.3)


@pytest.mark.req("5681-2")
async def test_small_segments_are_repeated_as_one() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        for letter in b"abcdefgh":
            app.write(bytes([letter]))
        assert len(await peer.sees_all()) == 8
        app.shutdown()
        await peer.sees(FIN | ACK, seq=9)
        await peer.sees(FIN | ACK | PSH, seq=1, data=b"abcdefgh", after=0.2)


@pytest.mark.req("6298-4")
async def test_an_acknowledgment_of_new_data_restarts_it() -> None:
    """5.3"""
    async with Peer() as peer:
        app = await opened(peer, rtt=0.3)
        app.write(b"1")
        app.write(b"2")
        await peer.sees(ACK | PSH, seq=1, length=1)
        await peer.sees(ACK | PSH, seq=2, length=1)
        await peer.wait(0.3)
        peer.sends(ACK, ack=2)
        wait = rto(peer)
        await peer.sees(ACK | PSH, seq=2, length=1, why="rto_retransmit", after=wait)


@pytest.mark.req("6298-4")
async def test_a_duplicate_acknowledgment_does_not() -> None:
    async with Peer() as peer:
        app = await opened(peer, rtt=0.3)
        app.write(b"1")
        await peer.sees(ACK | PSH, seq=1, length=1)
        await peer.wait(0.6)
        peer.sends(ACK, ack=1)
        await peer.sees(ACK, seq=1, length=1, why="rto_retransmit", after=0.3)


@pytest.mark.req("6298-4")
async def test_it_stops_when_all_is_acknowledged() -> None:
    """5.2"""
    async with Peer() as peer:
        app = await opened(peer, rtt=0.3)
        app.write(b"1")
        await peer.sees(ACK | PSH, length=1)
        peer.sends(ACK)
        await peer.sees_nothing(for_s=1000)
        assert app.state == "ESTABLISHED"


@pytest.mark.req("6298-5")
async def test_the_earliest_segment_is_repeated_and_no_other() -> None:
    async with Peer() as peer:
        app = await opened(peer, rtt=0.3)
        app.write(bytes(5 * MSS))
        assert len(await peer.sees_all()) == 5
        await peer.sees(ACK, seq=1, length=MSS, why="rto_retransmit", after=0.9)
        await peer.sees_nothing(for_s=1)


@pytest.mark.req("6298-6", "5681-8")
async def test_a_lost_syn_starts_data_with_three_seconds_and_one_segment() -> None:
    async with Peer() as peer:
        app = peer.opens(options=EXACT)
        await peer.sees(SYN)
        await peer.sees(SYN, why="open_retransmit", after=1)
        peer.sends(SYN | ACK, mss=MSS)
        await peer.sees(ACK, seq=1)
        app.write(bytes(5 * MSS))
        await peer.sees(ACK, seq=1, length=MSS)
        await peer.sees(ACK, seq=1, length=MSS, why="rto_retransmit", after=3)


@pytest.mark.req("6298-6", "5681-8")
async def test_a_lost_syn_ack_does_so_too() -> None:
    async with Peer() as peer:
        _, accepted = peer.listens(options=EXACT)
        peer.sends(SYN, mss=MSS)
        await peer.sees(SYN | ACK)
        await peer.sees(SYN | ACK, why="open_reply_retransmit", after=1)
        peer.sends(ACK)
        app = accepted[0]
        app.write(bytes(5 * MSS))
        await peer.sees(ACK, seq=1, length=MSS)
        await peer.sees(ACK, seq=1, length=MSS, why="rto_retransmit", after=3)


@pytest.mark.req("ST-26", "6298-5")
async def test_a_fin_is_repeated_like_data() -> None:
    async with Peer() as peer:
        app = await opened(peer, rtt=0.3)
        app.shutdown()
        await peer.sees(FIN | ACK, seq=1)
        for after in (0.9, 1.8, 3.6):
            await peer.sees(FIN | ACK, seq=1, why="rto_retransmit", after=after)
        peer.sends(ACK)
        await peer.sees_nothing(for_s=100)
        assert app.state == "FIN-WAIT-2"


@pytest.mark.req("ST-26")
async def test_data_and_fin_in_one_segment_are_repeated_together() -> None:
    async with Peer() as peer:
        app = await peer.connects(window=0)
        app.write(b"last words")
        app.shutdown()
        peer.sends(ACK, window=1000)
        await peer.sees(FIN | ACK | PSH, seq=1, data=b"last words")
        await peer.sees(FIN | ACK | PSH, seq=1, data=b"last words", why="rto_retransmit", after=0.2)
        peer.sends(ACK, ack=11)  # the text, not the FIN
        await peer.sees(FIN | ACK, seq=11, within=1)
        peer.sends(ACK, ack=12)


async def test_what_is_acknowledged_in_part_is_repeated_in_part() -> None:
    async with Peer() as peer:
        app = await opened(peer)
        app.write(b"0123456789")
        await peer.sees(ACK | PSH, seq=1, length=10)
        peer.sends(ACK, ack=5)
        await peer.sees(ACK | PSH, seq=5, data=b"456789", why="rto_retransmit", within=2)


async def test_a_repetition_carries_the_latest_acknowledgment() -> None:
    async with Peer() as peer:
        app = await opened(peer)
        app.write(b"x")
        await peer.sees(ACK | PSH, seq=1, ack=1, length=1)
        peer.sends(ACK, ack=1, data=b"abc")
        await peer.sees(ACK, ack=4, within=0.1)
        await peer.sees(ACK | PSH, seq=1, ack=4, data=b"x", within=1)


async def test_an_acknowledgment_that_comes_late_ends_the_repetitions() -> None:
    async with Peer() as peer:
        app = await opened(peer)
        app.write(bytes(4 * MSS))
        assert len(await peer.sees_all()) == 4
        await peer.sees(ACK, seq=1, length=MSS, after=0.9)
        peer.sends(ACK, ack=4001)
        await peer.sees_nothing(for_s=100)


@pytest.mark.req("MUST-19", "5681-2")
async def test_after_a_timeout_the_rest_follows_in_slow_start() -> None:
    async with Peer() as peer:
        app = await opened(peer)
        app.write(bytes(10 * MSS))
        assert len(await peer.sees_all()) == 10
        await peer.sees(ACK, seq=1, length=MSS, after=0.9)
        sizes = []
        for upto in (1, 3, 7):
            peer.sends(ACK, ack=1 + upto * MSS)
            sizes.append(len(await peer.sees_all()))
        assert sizes == [
            2,
            4,
            3,
        ]  # doubling, one acknowledgment for both or not; then all is repeated
        peer.sends(ACK, ack=10_001)
        await peer.sees_nothing(for_s=100)


@pytest.mark.parametrize("offload", [False, True])
async def test_every_byte_is_repeated_as_it_was(offload: bool) -> None:
    data = bytes(range(256)) * 40
    async with Peer(offload=offload) as peer:
        app = await peer.connects(mss=MSS)
        app.write(data)
        await peer.sees_all()
        got = bytearray()
        while len(got) < len(data):
            await peer.wait(30)
            for seen in await peer.sees_all():
                if seen.seq <= 1 + len(got) < seen.end:
                    got += seen.payload[1 + len(got) - seen.seq :]
            peer.sends(ACK, ack=1 + len(got))
        assert got == data
        await peer.sees_all()


@pytest.mark.req("ST-24")
async def test_an_abort_ends_the_repetitions() -> None:
    async with Peer() as peer:
        app = await opened(peer)
        app.write(b"x")
        await peer.sees(ACK | PSH, length=1)
        app.abort()
        await peer.sees(RST | ACK, seq=2)
        await peer.sees_nothing(for_s=1000)
