"""Which part of a segment counts (RFC 9293 3.4, table 6, and 3.10.7.4)."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.reasons import Drop, Why
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN, URG
from tests.support.conversation import App, Peer

SMALL = Options(receive_buffer=1000, window_scaling=False)
"""The window reaches from 1 to 1000, or is closed."""


async def with_window(peer: Peer, *, closed: bool) -> App:
    """A connection with room for 1000 bytes, or for none."""
    app = await peer.connects(options=SMALL, reading=False)
    if closed:
        peer.sends(PSH | ACK, data=b"x" * 1000)
        await peer.sees(ACK, ack=1001, window=0, within=0.5)
    return app


@pytest.mark.req("ST-7")
@pytest.mark.parametrize(
    ("length", "closed", "away", "acceptable"),
    [
        # RCV.WND 0, SEG.LEN 0: SEG.SEQ = RCV.NXT
        (0, True, -1, False),
        (0, True, 0, True),
        (0, True, 1, False),
        # RCV.WND > 0, SEG.LEN 0: RCV.NXT =< SEG.SEQ < RCV.NXT+RCV.WND
        (0, False, -1, False),
        (0, False, 0, True),
        (0, False, 999, True),
        (0, False, 1000, False),
        (0, False, 2**31 - 1, False),
        # RCV.WND 0, SEG.LEN > 0: not acceptable
        (1, True, -1, False),
        (1, True, 0, False),
        (1, True, 1, False),
        # RCV.WND > 0, SEG.LEN > 0: the first or the last byte is in the window
        (10, False, -10, False),
        (10, False, -9, True),
        (10, False, 0, True),
        (10, False, 999, True),
        (10, False, 1000, False),
        (10, False, -(2**31) + 10, False),
    ],
)
async def test_the_four_cases(length: int, closed: bool, away: int, acceptable: bool) -> None:
    """An unacceptable segment is acknowledged and dropped: its window and text do not count.

    Each segment offers a larger window, which shows (by what is sent then) whether it was taken.
    """
    async with Peer() as peer:
        app = await with_window(peer, closed=closed)
        rcv_nxt = 1001 if closed else 1
        peer.sends(ACK, window=0)
        app.write(b"waiting")
        await peer.sees_nothing()
        peer.sends(ACK, seq=rcv_nxt + away, data=b"y" * length, window=5000)
        answers = await peer.sees_all()
        moved = [each for each in answers if each.payload == b"waiting"]
        told = [each for each in answers if not each.payload and each.seq == 1]
        if closed and length and away == 0:
            # "special allowance should be made to accept valid ACKs": a probe of the window.
            assert moved
            assert moved[0].ack == rcv_nxt
        elif acceptable and away >= 0:
            assert moved
        elif acceptable:  # an old part: SND.WL1 says that the window is old, too
            await peer.sees(ACK, ack=2, within=0.5)
        else:
            assert not moved
            assert [each.ack for each in told] == [rcv_nxt]
            dropped = peer.stack.counters.dropped
            assert dropped[Drop.OUT_OF_WINDOW] + dropped[Drop.DUPLICATE_DATA] == 1
        await peer.sees_all()


@pytest.mark.req("ST-8", "MUST-66", "MUST-32")
async def test_a_closed_window_still_takes_ack_urg_and_rst() -> None:
    async with Peer() as peer:
        app = await with_window(peer, closed=True)
        app.write(b"out")
        await peer.sees(ACK, seq=1, data=b"out")
        peer.sends(ACK, seq=1001, ack=4, data=b"z")  # a probe that acknowledges
        await peer.sees(ACK, seq=4, ack=1001, window=0, why=Why.WINDOW_PROBE_REPLY)
        assert app.conn.unacked == 0
        peer.sends(URG | ACK, seq=1001, urgent=20)
        assert app.conn.urgent_remaining == 1020
        peer.sends(RST, seq=1001)
        assert app.conn.ended
        assert peer.state == "CLOSED"


@pytest.mark.req("ST-8", "MUST-66")
async def test_a_reset_with_text_in_a_closed_window() -> None:
    async with Peer() as peer:
        app = await with_window(peer, closed=True)
        peer.sends(RST, seq=1001, data=b"because")
        assert app.conn.ended


@pytest.mark.req("ST-8")
async def test_a_fin_in_a_closed_window_is_acknowledged_later() -> None:
    """A FIN takes a number, so the window must have room for it; its ACK does count."""
    async with Peer() as peer:
        app = await with_window(peer, closed=True)
        peer.sends(FIN | ACK, seq=1001)
        await peer.sees(ACK, ack=1001, window=0)
        assert not app.eof
        app.read()
        await peer.sees(ACK, ack=1001, window=1000, why=Why.WINDOW_UPDATE)
        peer.sends(FIN | ACK, seq=1001)
        await peer.sees(ACK, ack=1002)
        assert app.eof


@pytest.mark.req("ST-15")
async def test_the_window_is_that_of_the_newest_segment() -> None:
    """ "SND.WL1 < SEG.SEQ or (SND.WL1 = SEG.SEQ and SND.WL2 =< SEG.ACK)"; an old one that was
    delayed must not change it."""
    async with Peer() as peer:
        app = await peer.connects(window=100)
        peer.sends(PSH | ACK, data=b"ab", window=200)
        await peer.sees(ACK, ack=3, within=0.5)
        peer.sends(ACK, seq=3, window=300)
        peer.sends(ACK, seq=2, window=5000)  # older by its number
        await peer.sees_all()
        app.write(b"x" * 1000)
        await peer.sees(ACK, seq=1, length=300)
        peer.sends(ACK, seq=3, ack=301, window=300)
        await peer.sees(ACK, seq=301, length=300)
        peer.sends(ACK, seq=3, ack=300, window=5000)  # older by what it acknowledges
        await peer.sees_nothing()
        peer.sends(ACK, seq=3, ack=601, window=400)
        await peer.sees(ACK, seq=601, length=400)


@pytest.mark.req("ST-19")
@pytest.mark.parametrize(
    ("pieces", "stream"),
    [
        ([(1, b"abcdef"), (4, b"defghi")], b"abcdefghi"),  # the old half is cut off
        ([(1, b"abc"), (1, b"abcdef")], b"abcdef"),
        ([(4, b"def"), (1, b"abcdefgh")], b"abcdefgh"),  # around what waits
        ([(4, b"def"), (1, b"abcd")], b"abcdef"),
        ([(4, b"def"), (8, b"hi"), (1, b"abc"), (5, b"efgh")], b"abcdefghi"),
        ([(-4, b"?????abc"), (4, b"d")], b"abcd"),
    ],
)
async def test_overlap_is_cut_off_and_every_byte_delivered_once(
    pieces: list[tuple[int, bytes]], stream: bytes
) -> None:
    async with Peer() as peer:
        app = await peer.connects()
        for seq, data in pieces:
            peer.sends(ACK, seq=seq, data=data)
        await peer.wait(0.5)
        assert (await peer.sees_all())[-1].ack == 1 + len(stream)
        assert app.received == stream


@pytest.mark.req("ST-19")
@pytest.mark.parametrize("with_fin", [False, True])
async def test_what_lies_beyond_the_window_is_cut_off(with_fin: bool) -> None:
    """The FIN as well: it comes after what was cut off."""
    async with Peer() as peer:
        app = await with_window(peer, closed=False)
        flags = FIN | ACK if with_fin else ACK
        peer.sends(flags, seq=1, data=b"x" * 1200)
        await peer.sees(ACK, ack=1001, window=0, within=0.5)
        assert app.read() == b"x" * 1000
        assert not app.eof
        await peer.sees(ACK, ack=1001, window=1000)
        peer.sends(flags, seq=1001, data=b"x" * 200)
        await peer.sees(ACK, ack=1201 + with_fin, within=0.5)
        assert app.read() == b"x" * 200
        assert app.eof == with_fin


@pytest.mark.req("ST-20")
@pytest.mark.parametrize("ahead", [b"", b"ghi"])
async def test_a_fin_waits_for_what_is_missing(ahead: bytes) -> None:
    async with Peer() as peer:
        app = await peer.connects()
        peer.sends(FIN | ACK, seq=7, data=ahead)
        await peer.sees(ACK, ack=1)
        peer.sends(ACK, seq=4, data=b"def")
        await peer.sees(ACK, ack=1)
        assert app.state == "ESTABLISHED"
        peer.sends(ACK, seq=1, data=b"abc")
        await peer.sees(ACK, ack=8 + len(ahead))
        assert app.received == b"abcdef" + ahead
        assert app.eof
        assert app.state == "CLOSE-WAIT"


@pytest.mark.req("ST-20")
async def test_a_fin_ahead_that_comes_again_in_its_turn() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        peer.sends(FIN | ACK, seq=4)
        await peer.sees(ACK, ack=1)
        peer.sends(FIN | ACK, seq=1, data=b"abc")
        await peer.sees(ACK, ack=5)
        assert app.received == b"abc"
        assert app.eof


@pytest.mark.req("ST-14", "X-1")
async def test_answers_to_what_was_never_sent_are_few() -> None:
    """Two ends that have lost each other must not keep each other busy."""
    async with Peer() as peer:
        await peer.connects()
        for _ in range(200):
            peer.sends(ACK, ack=5000)
            peer.sends(ACK, seq=-5000)
            await peer.wait(0.01)
        assert len(await peer.sees_all()) <= 8


@pytest.mark.req("ST-6")
@pytest.mark.parametrize("with_fin", [False, True])
async def test_text_and_fin_of_a_syn_ack_are_taken(with_fin: bool) -> None:
    """3.10.7.3: "If there are other controls or text in the segment, then continue processing"."""
    async with Peer() as peer:
        app = peer.opens()
        await peer.sees(SYN)
        peer.sends(SYN | ACK | (FIN if with_fin else 0), data=b"welcome")
        ack = await peer.sees(ACK, seq=1, ack=8 + with_fin)
        assert ack.why in (Why.OPEN_ACK, Why.ACK_FIN)
        assert app.received == b"welcome"
        assert app.eof == with_fin
        assert app.state == ("CLOSE-WAIT" if with_fin else "ESTABLISHED")


@pytest.mark.req("ST-4")
@pytest.mark.parametrize("ack", [0, -1, 2, 2**31 - 1, 2**31])
@pytest.mark.parametrize("flags", [ACK, SYN | ACK, FIN | ACK])
async def test_a_wrong_acknowledgment_in_syn_sent_is_reset_and_the_attempt_goes_on(
    ack: int, flags: int
) -> None:
    async with Peer() as peer:
        app = peer.opens()
        await peer.sees(SYN)
        peer.sends(flags, seq=0, ack=ack)
        reset = await peer.sees(RST)
        assert (reset.segment.seq - peer.wire_number(ack)) % 2**32 == 0
        assert app.state == "SYN-SENT"
        await peer.sees(SYN, after=1)
        peer.sends(RST | ACK, seq=0, ack=ack)  # and a RST with a wrong one is dropped
        await peer.sees_nothing()
        peer.sends(SYN | ACK)
        await peer.sees(ACK, seq=1, ack=1)
        assert app.state == "ESTABLISHED"


@pytest.mark.req("ST-3")
async def test_what_listen_makes_of_a_syn_with_more_in_it() -> None:
    """Text and FIN of a SYN are not kept: not acknowledged, they are sent again."""
    async with Peer() as peer:
        _, accepted = peer.listens()
        peer.sends(SYN | FIN | PSH | URG, data=b"hasty", urgent=3)
        await peer.sees(SYN | ACK, ack=1)
        peer.sends(FIN | PSH | ACK, seq=1, data=b"hasty")
        await peer.sees(ACK, ack=7)
        assert accepted[0].received == b"hasty"
        assert accepted[0].eof


@pytest.mark.req("ST-1", "ST-2")
@pytest.mark.parametrize("ipv6", [False, True])
async def test_closed_answers_everything_but_a_reset(ipv6: bool) -> None:
    async with Peer(ipv6=ipv6) as peer:
        peer.sends(SYN | FIN, seq=7, data=b"hello")
        await peer.sees(RST | ACK, seq=0, ack=14, why=Why.RST_NO_CONNECTION)
        peer.sends(0, seq=7)
        await peer.sees(RST | ACK, seq=0, ack=7)
        peer.sends(FIN | ACK, seq=7, ack=99, data=b"hello")
        await peer.sees(RST, seq=99)
        for flags in (RST, RST | ACK, RST | SYN, RST | FIN):
            peer.sends(flags, seq=7)
        await peer.sees_nothing()
        assert peer.stack.counters.dropped[Drop.TCP_RST_NO_CONNECTION] == 4
        assert peer.stack.counters.dropped[Drop.TCP_NO_CONNECTION] == 3
