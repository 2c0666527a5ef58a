"""Congestion control and fast recovery on the wire, without SACK: RFC 5681, 6582, 3042, 6928."""

from __future__ import annotations

import pytest

from aiotcp.info import ConnectionInfo
from aiotcp.options import Options
from aiotcp.tcp.congestion import Phase
from aiotcp.wire.tcp import ACK, PSH, SYN
from tests.support.conversation import App, Peer, Seen

MSS = 1000
RENO = Options(cc="reno", sack=False)


def at(segments: int) -> int:
    """The sequence number at which so many segments end."""
    return 1 + segments * MSS


def row(peer: Peer) -> ConnectionInfo:
    info = peer.info
    assert info is not None
    return info


def segments(seen: list[Seen]) -> list[tuple[float, int]]:
    """Which segments were sent: their numbers, counted from 0, and how much of each."""
    return [((each.seq - 1) / MSS, len(each.payload)) for each in seen]


async def sending(
    peer: Peer, *, flight: int, more: int = 1000, options: Options = RENO, mss: int = MSS
) -> App:
    """`flight` segments are under way (the initial window), and `more` wait behind them."""
    options = options.replace(initial_window_segments=flight)
    app = await peer.connects(mss=mss, window=60_000, options=options)
    app.write(bytes((flight + more) * mss))
    sent = await peer.sees_all()
    assert len(sent) == flight
    return app


def duplicate(peer: Peer, ack: int) -> None:
    peer.sends(ACK, ack=at(ack))


async def lost(peer: Peer, *, flight: int, more: int = 1000) -> App:
    """Of `flight` segments the first is lost, and the third duplicate has come."""
    app = await sending(peer, flight=flight, more=more)
    for _ in range(2):
        duplicate(peer, 0)
        await peer.sees_all()
    duplicate(peer, 0)
    seen = await peer.sees(ACK, seq=at(0), length=MSS, why="fast_retransmit")
    assert seen.at == peer.now
    return app


# -- windows -----------------------------------------------------------------------------------


@pytest.mark.req("6928-1", "5681-1")
@pytest.mark.parametrize(("mss", "count"), [(1000, 10), (1460, 10), (536, 10)])
@pytest.mark.parametrize("passive", [False, True])
async def test_the_initial_window(mss: int, count: int, passive: bool) -> None:
    async with Peer() as peer:
        app = await (peer.connects(mss=mss) if passive else peer.accepts(mss=mss))
        app.write(bytes(60_000))
        assert len(await peer.sees_all()) == count


@pytest.mark.req("6928-1")
async def test_the_initial_window_of_large_segments() -> None:
    async with Peer(mtu=9000) as peer:
        app = await peer.connects(mss=8960)
        app.write(bytes(60_000))
        assert [len(seen.payload) for seen in await peer.sees_all()] == [8960, 8960]


@pytest.mark.req("5681-1", "MUST-19")
async def test_slow_start_doubles_in_a_round_trip() -> None:
    """Each acknowledgment of a segment lets two out."""
    async with Peer() as peer:
        app = await sending(peer, flight=10)
        acked, rounds = 0, []
        for count in (10, 20, 40):
            for n in range(count):
                peer.sends(ACK, ack=at(acked + n + 1), window=200_000)
            acked += count
            rounds.append(len(await peer.sees_all()))
        assert rounds == [20, 40, 65]  # then the peer's window is full
        assert app.conn.cc.ssthresh > 1 << 30


@pytest.mark.req("5681-1", "MUST-19")
async def test_congestion_avoidance_adds_one_segment_in_a_round_trip() -> None:
    async with Peer() as peer:
        await lost(peer, flight=10)
        await peer.sees_all()
        peer.sends(ACK, ack=at(12))  # all of it, limited transmit included
        sent = await peer.sees_all()
        first = int(segments(sent)[0][0])
        acked, rounds = first, []
        count = len(sent)
        for _ in range(8):
            for n in range(count):
                peer.sends(ACK, ack=at(acked + n + 1))
            acked += count
            count = len(await peer.sees_all())
            rounds.append(count)
        # Slow start up to ssthresh = 5, from there on one segment more in each round.
        assert rounds == [4, 5, 6, 7, 8, 9, 10, 11]


@pytest.mark.req("5681-1")
async def test_an_acknowledgment_of_part_of_a_segment_is_worth_its_bytes() -> None:
    """RFC 5681 3.1: "N is the number of previously unacknowledged bytes acknowledged in the
    incoming ACK", so that ACK division gains nothing."""
    async with Peer() as peer:
        await sending(peer, flight=4)
        for n in range(1, 11):
            peer.sends(ACK, ack=1 + n * 100)
        assert len(await peer.sees_all()) == 2


@pytest.mark.req("5681-7")
async def test_after_an_idle_time_the_window_is_the_initial_one() -> None:
    async with Peer() as peer:
        app = await sending(peer, flight=4, more=12)
        peer.sends(ACK, ack=at(4))
        assert len(await peer.sees_all()) == 8
        peer.sends(ACK, ack=at(12))
        assert len(await peer.sees_all()) == 4
        peer.sends(ACK, ack=at(16))
        assert row(peer).cwnd_bytes > 12 * MSS
        await peer.wait(10)
        app.write(bytes(50 * MSS))
        assert len(await peer.sees_all()) == 4


@pytest.mark.req("5681-7")
async def test_a_short_pause_changes_nothing() -> None:
    async with Peer() as peer:
        app = await sending(peer, flight=4, more=4)
        for acked in (4, 8):
            peer.sends(ACK, ack=at(acked))
            await peer.sees_all()
        cwnd = row(peer).cwnd_bytes
        assert cwnd >= 8 * MSS
        await peer.wait(0.1)
        app.write(bytes(50 * MSS))
        assert len(await peer.sees_all()) == cwnd // MSS


# -- the timer ---------------------------------------------------------------------------------


@pytest.mark.req("5681-2", "MUST-19", "6298-5")
async def test_a_timeout_leaves_one_segment() -> None:
    async with Peer() as peer:
        await sending(peer, flight=10)
        await peer.sees(ACK, seq=at(0), length=MSS, why="rto_retransmit", within=0.3)
        await peer.sees_nothing()
        assert row(peer).cwnd_bytes == MSS
        assert row(peer).ssthresh_bytes == 5 * MSS


@pytest.mark.req("5681-2")
async def test_a_second_timeout_of_the_same_segment_keeps_ssthresh() -> None:
    async with Peer() as peer:
        await sending(peer, flight=10)
        for _ in range(4):
            await peer.sees(ACK, seq=at(0), length=MSS, why="rto_retransmit", within=10)
            assert row(peer).ssthresh_bytes == 5 * MSS


@pytest.mark.req("5681-2")
async def test_a_timeout_of_another_segment_halves_again() -> None:
    async with Peer() as peer:
        await sending(peer, flight=10)
        await peer.sees(ACK, seq=at(0), length=MSS, within=0.3)
        peer.sends(ACK, ack=at(10))
        assert len(await peer.sees_all()) == 2
        await peer.sees(ACK, seq=at(10), length=MSS, why="rto_retransmit", within=1)
        assert row(peer).ssthresh_bytes == 2 * MSS


# -- duplicates --------------------------------------------------------------------------------


@pytest.mark.req("3042-1", "5681-4")
async def test_the_first_two_duplicates_let_new_segments_out() -> None:
    async with Peer() as peer:
        await sending(peer, flight=4)
        for n in (4, 5):
            duplicate(peer, 0)
            await peer.sees(ACK, seq=at(n), length=MSS, why="limited_transmit")
        assert row(peer).cwnd_bytes == 4 * MSS  # "MUST NOT change cwnd"


@pytest.mark.req("3042-1")
async def test_only_if_the_peer_s_window_allows() -> None:
    async with Peer() as peer:
        options = RENO.replace(initial_window_segments=4)
        app = await peer.connects(mss=MSS, window=5000, options=options)
        app.write(bytes(20 * MSS))
        await peer.sees_all()
        duplicate(peer, 0)
        await peer.sees(ACK, seq=at(4), length=MSS, why="limited_transmit")
        duplicate(peer, 0)
        await peer.sees_nothing()


@pytest.mark.req("3042-1")
async def test_only_if_there_is_something_new() -> None:
    async with Peer() as peer:
        await sending(peer, flight=4, more=0)
        duplicate(peer, 0)
        duplicate(peer, 0)
        await peer.sees_nothing()
        duplicate(peer, 0)
        await peer.sees(ACK, seq=at(0), length=MSS, why="fast_retransmit")


@pytest.mark.req("5681-3", "6582-1", "MUST-19")
async def test_the_third_duplicate_repeats_the_segment() -> None:
    async with Peer() as peer:
        await lost(peer, flight=10)
        await peer.sees_nothing()
        # FlightSize without limited transmit's two segments, halved.
        assert row(peer).ssthresh_bytes == 5 * MSS


@pytest.mark.req("5681-6")
@pytest.mark.parametrize("what", ["window", "data", "ack", "nothing outstanding"])
async def test_what_is_no_duplicate(what: str) -> None:
    async with Peer() as peer:
        await sending(peer, flight=4, more=0)
        if what == "nothing outstanding":
            peer.sends(ACK, ack=at(4))
        for n in range(1, 10):
            if what == "window":
                peer.sends(ACK, ack=at(0), window=60_000 - n)
            elif what == "data":
                peer.sends(ACK, ack=at(0), data=b"x")
            elif what == "ack":
                peer.sends(ACK, ack=at(0) + n)
            else:
                peer.sends(ACK, ack=at(4))
        assert all(not seen.payload for seen in await peer.sees_all())
        await peer.wait(0.1)
        assert all(not seen.payload for seen in await peer.sees_all())


@pytest.mark.req("6582-1", "5681-3")
async def test_further_duplicates_let_new_data_out() -> None:
    """cwnd = 5 + 3 segments; 10 are outstanding and two of limited transmit. RFC 5681 3.2,
    steps 4 and 5: each duplicate inflates it by one."""
    async with Peer() as peer:
        await lost(peer, flight=10)
        new = []
        for _ in range(4, 10):
            duplicate(peer, 0)
            new.append(len(await peer.sees_all()))
        # Outstanding are 12, of which 1 was repeated: cwnd has to reach 13.
        assert new == [0, 0, 0, 0, 1, 1]


@pytest.mark.req("6582-1")
async def test_a_full_acknowledgment_ends_recovery() -> None:
    async with Peer() as peer:
        app = await lost(peer, flight=10)
        peer.sends(ACK, ack=at(12))
        sent = await peer.sees_all()
        # cwnd = min(ssthresh, max(FlightSize, SMSS) + SMSS)
        assert segments(sent) == [(12, MSS), (13, MSS)]
        assert app.conn.recovery.phase is not Phase.RECOVERY


@pytest.mark.req("6582-2")
async def test_a_partial_acknowledgment_repeats_the_next_hole() -> None:
    """Segments 0, 3 and 6 of ten are lost: one is repeated for each round trip, without waiting
    for three duplicates or for the timer, and recovery goes on until all that was outstanding at
    its beginning is acknowledged."""
    async with Peer() as peer:
        app = await lost(peer, flight=10)
        await peer.sees_nothing()
        peer.sends(ACK, ack=at(3))
        sent = await peer.sees_all()
        assert segments(sent)[0] == (3, MSS)
        assert sent[0].why == "partial_ack_retransmit"
        peer.sends(ACK, ack=at(6))
        sent = await peer.sees_all()
        assert segments(sent)[0] == (6, MSS)
        assert sent[0].why == "partial_ack_retransmit"
        assert row(peer).ssthresh_bytes == 5 * MSS  # reduced once
        assert app.conn.recovery.phase is Phase.RECOVERY
        peer.sends(ACK, ack=at(12))
        assert app.conn.recovery.phase is not Phase.RECOVERY
        assert {seen.why for seen in await peer.sees_all()} == {"new_data"}


@pytest.mark.req("6582-3", "6582-4")
async def test_duplicates_after_a_timeout_start_no_recovery() -> None:
    """They are answers to what the timer repeated although it had arrived."""
    async with Peer() as peer:
        await sending(peer, flight=10)
        await peer.sees(ACK, seq=at(0), length=MSS, within=0.3)
        peer.sends(ACK, ack=at(2))
        # RFC 5682 2.1 step 2b: first two new ones, to see whether the timeout was spurious.
        assert segments(await peer.sees_all()) == [(10, MSS), (11, MSS)]
        cwnd = row(peer).cwnd_bytes
        duplicate(peer, 2)
        seen = await peer.sees_all()
        assert {each.why for each in seen} <= {"rto_retransmit"}
        for _ in range(6):
            duplicate(peer, 2)
        await peer.sees_nothing()
        assert (row(peer).cwnd_bytes, row(peer).ssthresh_bytes) == (cwnd, 5 * MSS)


@pytest.mark.req("6582-4", "5681-2")
async def test_a_timeout_during_recovery_ends_it() -> None:
    async with Peer() as peer:
        app = await lost(peer, flight=10)
        await peer.sees(ACK, seq=at(0), length=MSS, why="rto_retransmit", within=0.3)
        await peer.sees_nothing()
        assert app.conn.recovery.phase is not Phase.RECOVERY
        assert row(peer).cwnd_bytes == MSS
        peer.sends(ACK, ack=at(12))
        await peer.sees_all()


@pytest.mark.req("6582-1", "MUST-19")
async def test_the_transfer_is_exact_through_it_all() -> None:
    """A peer that keeps what it gets and acknowledges it; every seventh segment is lost once."""
    data = bytes(range(256)) * 400
    async with Peer() as peer:
        app = await peer.connects(mss=MSS, window=60_000, options=RENO)
        app.write(data)
        kept: dict[int, bytes] = {}
        edge = 1
        count = 0
        dropped: set[int] = set()
        while edge <= len(data):
            for seen in await peer.sees_all() or [await peer.sees(ACK, length=None, within=60)]:
                count += 1
                if count % 7 == 0 and seen.seq not in dropped:
                    dropped.add(seen.seq)
                    continue
                kept[seen.seq] = seen.payload
                while edge in kept:
                    edge += len(kept[edge])
                peer.sends(ACK, ack=edge)
        assert len(dropped) > 10
        got, position = b"", 1
        while position <= len(data):
            got += kept[position]
            position += len(kept[position])
        assert got == data


@pytest.mark.req("5681-8")
@pytest.mark.parametrize("passive", [False, True])
async def test_one_segment_after_a_lost_syn(passive: bool) -> None:
    async with Peer() as peer:
        if passive:
            _, accepted = peer.listens()
            peer.sends(SYN, mss=MSS)
            await peer.sees(SYN | ACK)
            await peer.sees(SYN | ACK, after=1)
            peer.sends(ACK)
            app = accepted[0]
        else:
            app = peer.opens()
            await peer.sees(SYN)
            await peer.sees(SYN, after=1)
            peer.sends(SYN | ACK, mss=MSS)
            await peer.sees(ACK)
        app.write(bytes(3000))
        await peer.sees(ACK, seq=1, length=MSS)
        await peer.sees_nothing(for_s=0.1)
        peer.sends(ACK)
        await peer.sees(ACK, seq=1001, length=MSS)
        await peer.sees(ACK | PSH, seq=2001, length=MSS)
