"""Urgent data (RFC 9293 3.8.5, RFC 6093): the pointer names the octet that follows it."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, URG
from tests.support.conversation import Peer, Seen

MSS = 1000
WIDE = Options(initial_window_segments=100)


def end_of_urgent(seen: Seen) -> int:
    """The number that the pointer of a segment with URG tells."""
    assert seen.flags & URG
    return seen.seq + seen.segment.urgent


# -- sending -----------------------------------------------------------------------------------


@pytest.mark.req("MUST-30", "MUST-62")
async def test_the_pointer_names_the_octet_that_follows() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        app.write(b"abc", urgent=True)
        seen = await peer.sees(URG | ACK | PSH, seq=1, data=b"abc")
        assert seen.segment.urgent == 3  # not 2, as RFC 793 had it in one place


@pytest.mark.req("MUST-62")
async def test_what_was_written_before_is_sent_in_urgent_mode_too() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=MSS, window=0, options=WIDE)
        app.write(bytes(2500))
        app.write(b"!", urgent=True)
        app.write(bytes(1000))
        peer.window = 60_000
        peer.sends(ACK)
        sent = await peer.sees_all()
        assert [seen.seq for seen in sent] == [1, 1001, 2001, 3001]
        assert [end_of_urgent(seen) for seen in sent[:3]] == [2502, 2502, 2502]
        assert not sent[3].flags & URG


@pytest.mark.req("MUST-62")
async def test_after_it_urgent_mode_is_over() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        app.write(b"!", urgent=True)
        await peer.sees(URG | ACK | PSH, seq=1, length=1)
        app.write(b"more")
        await peer.sees(ACK | PSH, seq=2, data=b"more")


@pytest.mark.req("MUST-30", "MUST-31")
async def test_urgent_data_of_any_length() -> None:
    """The field has 16 bits: until the end is near it points as far as it can."""
    async with Peer() as peer:
        app = await peer.connects(mss=1460, wscale=7, window=1_000_000, options=WIDE)
        app.write(bytes(200_000), urgent=True)
        sent = await peer.sees_all()
        while sent[-1].end <= 200_000:
            peer.sends(ACK)
            sent += await peer.sees_all()
        for seen in sent:
            assert end_of_urgent(seen) == min(200_001, seen.seq + 0xFFFF)


@pytest.mark.req("MUST-30")
@pytest.mark.parametrize("offload", [False, True])
async def test_with_segmentation_offload_each_segment_has_its_own_pointer(offload: bool) -> None:
    async with Peer(offload=offload) as peer:
        app = await peer.connects(mss=MSS)
        app.write(bytes(5000), urgent=True)
        sent = await peer.sees_all()
        assert [end_of_urgent(seen) for seen in sent] == [5001] * 5
        peer.sends(ACK)
        app.write(bytes(3000))  # and afterwards large frames again
        assert [seen.flags for seen in await peer.sees_all()] == [ACK, ACK, ACK | PSH]


@pytest.mark.req("MUST-30")
async def test_a_peer_with_a_closed_window_is_told() -> None:
    """RFC 9293 3.8.5: the pointer is there to make a receiver read that has stopped reading."""
    async with Peer() as peer:
        app = await peer.connects(window=0)
        app.write(bytes(100))
        app.write(b"!", urgent=True)
        seen = await peer.sees(URG | ACK, seq=1, length=1, why="window_probe", within=0.3)
        assert end_of_urgent(seen) == 102
        peer.sends(ACK, ack=1, window=0, data=b"x")
        seen = await peer.sees(URG | ACK, seq=1, ack=2, within=0.1)  # an acknowledgment tells, too
        assert end_of_urgent(seen) == 102


@pytest.mark.req("MUST-30", "MUST-62")
async def test_a_repetition_points_to_the_same_place() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        app.write(b"ab!", urgent=True)
        await peer.sees(URG | ACK | PSH, seq=1, length=3)
        seen = await peer.sees(URG | ACK | PSH, seq=1, length=3, why="rto_retransmit", after=0.2)
        assert end_of_urgent(seen) == 4


@pytest.mark.req("MUST-62")
async def test_the_pointer_moves_on() -> None:
    async with Peer() as peer:
        app = await peer.connects(window=0)
        app.write(b"ab!", urgent=True)
        app.write(b"cd!", urgent=True)
        peer.sends(ACK, window=100)
        seen = await peer.sees(URG | ACK | PSH, seq=1, length=6)
        assert end_of_urgent(seen) == 7


async def test_a_reset_is_not_urgent() -> None:
    async with Peer() as peer:
        app = await peer.connects(window=0)
        app.write(b"!", urgent=True)
        app.abort()
        seen = await peer.sees(RST | ACK)
        assert seen.segment.urgent == 0


# -- receiving ---------------------------------------------------------------------------------


@pytest.mark.req("MUST-30", "MUST-32", "MUST-33")
async def test_urgent_data_is_told_and_delivered_in_its_place() -> None:
    async with Peer() as peer:
        app = await peer.connects(reading=False)
        peer.sends(URG | ACK | PSH, data=b"abc!def", urgent=4)
        await peer.sees(ACK, within=0.1)
        assert app.conn.urgent_news
        assert app.conn.urgent_remaining == 4
        assert app.read(2) == b"ab"
        assert app.conn.urgent_remaining == 2
        assert app.read(2) == b"c!"
        assert app.conn.urgent_remaining == 0
        assert app.read() == b"def"


@pytest.mark.req("MUST-31", "MUST-32", "MUST-33")
async def test_the_pointer_may_lie_far_beyond_the_segment() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        peer.sends(URG | ACK, data=b"ab", urgent=5000)
        await peer.sees(ACK, within=0.1)
        assert app.conn.urgent_news
        assert app.conn.urgent_remaining == 4998
        for _ in range(4):
            peer.sends(ACK, data=bytes(1000))
        assert app.conn.urgent_remaining == 998
        peer.sends(ACK, data=bytes(1000))
        assert app.conn.urgent_remaining == 0
        await peer.sees_all()
        await peer.wait(0.1)
        await peer.sees_all()


@pytest.mark.req("MUST-32")
async def test_news_only_when_the_pointer_advances() -> None:
    """ "RCV.UP <- max(RCV.UP, SEG.UP), and signal the user [...] if the user has already been
    signaled (or is still in "urgent mode") for this continuous sequence of urgent data, do not
    signal the user again." """
    async with Peer() as peer:
        app = await peer.connects(reading=False)
        peer.sends(URG | ACK, data=b"ab", urgent=10)
        assert app.conn.urgent_news
        app.conn.urgent_news = False
        peer.sends(URG | ACK, data=b"cd", urgent=8)  # the same place
        assert not app.conn.urgent_news
        peer.sends(URG | ACK, data=b"ef", urgent=3)  # an earlier one
        assert not app.conn.urgent_news
        assert app.conn.urgent_remaining == 10
        peer.sends(URG | ACK, data=b"gh", urgent=9)
        assert app.conn.urgent_news
        assert app.conn.urgent_remaining == 15
        await peer.sees(ACK, ack=9, within=0.1)


@pytest.mark.req("MUST-32")
async def test_news_without_data() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        peer.sends(URG | ACK, urgent=100)
        assert app.conn.urgent_news
        assert app.conn.urgent_remaining == 100


@pytest.mark.req("MUST-32")
async def test_a_pointer_to_what_was_read_long_ago_is_no_news() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        peer.sends(ACK, data=b"hello")
        await peer.sees(ACK, within=0.1)
        peer.sends(URG | ACK, seq=1, data=b"hello", urgent=5)
        await peer.sees(ACK, ack=6)
        assert not app.conn.urgent_news
        assert app.conn.urgent_remaining == 0


@pytest.mark.req("MUST-33")
async def test_a_fin_is_not_counted() -> None:
    async with Peer() as peer:
        app = await peer.connects(reading=False)
        peer.sends(URG | FIN | ACK, data=b"abc", urgent=3)
        await peer.sees(ACK, ack=5)
        assert app.conn.urgent_remaining == 3
        assert app.read(2) == b"ab"
        assert app.conn.urgent_remaining == 1
        assert app.read() == b"c"
        assert app.conn.urgent_remaining == 0


@pytest.mark.req("MUST-32", "SHLD-31")
async def test_news_from_a_segment_above_a_hole() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        peer.sends(URG | ACK, seq=101, data=b"x" * 100, urgent=100)
        await peer.sees(ACK, ack=1)
        assert app.conn.urgent_news
        assert app.conn.urgent_remaining == 200


@pytest.mark.req("MUST-30")
async def test_after_the_peer_s_fin_there_is_nothing_urgent() -> None:
    """RFC 9293 3.10.7.4, sixth: CLOSE-WAIT and later: "This should not occur [...]. Ignore the
    URG." """
    async with Peer() as peer:
        app = await peer.connects()
        peer.sends(FIN | ACK)
        await peer.sees(ACK, ack=2)
        peer.sends(URG | ACK, urgent=10)
        assert not app.conn.urgent_news
        assert app.conn.urgent_remaining == 0
