"""The timestamps option: negotiation, echoes, PAWS (RFC 7323 3 to 5)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from aiotcp.options import Options
from aiotcp.reasons import Drop
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN, pack_options
from tests.support.conversation import App, Peer

MASK = 0xFFFF_FFFF
DAY = 86_400.0


async def opened(peer: Peer, *, reading: bool = True) -> tuple[App, int]:
    """With timestamps; and the TSval of the peer's SYN, which all others are told relative to."""
    base = peer.tsval
    app = await peer.connects(ts=True, sack=True, reading=reading)
    return app, base


# -- negotiation -------------------------------------------------------------------------------


@pytest.mark.req("7323-6")
@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("offered", [False, True])
async def test_a_syn_ack_has_them_if_the_syn_had_and_they_are_wanted(
    offered: bool, wanted: bool
) -> None:
    async with Peer() as peer:
        _, accepted = peer.listens(options=Options(timestamps=wanted))
        stamp = peer.tsval
        peer.sends(SYN, mss=1460, ts=(stamp, 0) if offered else None)
        seen = await peer.sees(SYN | ACK)
        assert (seen.segment.tsval is not None) == (offered and wanted)
        assert seen.segment.tsecr == (stamp if offered and wanted else 0)
        peer.sends(ACK)
        accepted[0].write(b"x")
        seen = await peer.sees(ACK | PSH, data=b"x")
        assert (seen.segment.tsval is not None) == (offered and wanted)


@pytest.mark.req("7323-6")
@pytest.mark.parametrize("answered", [False, True])
async def test_a_syn_offers_them_and_the_answer_decides(answered: bool) -> None:
    async with Peer() as peer:
        app = peer.opens()
        syn = await peer.sees(SYN)
        assert syn.segment.tsval is not None
        assert syn.segment.tsecr == 0
        peer.sends(SYN | ACK, mss=1460, ts=(77, syn.segment.tsval) if answered else None)
        seen = await peer.sees(ACK)
        assert seen.segment.tsecr == (77 if answered else 0)
        app.write(b"x")
        seen = await peer.sees(ACK | PSH, data=b"x")
        assert (seen.segment.tsval is not None) == answered


@pytest.mark.req("7323-6")
async def test_a_connection_without_them_ignores_them() -> None:
    async with Peer() as peer:
        app = await peer.connects(ts=False)
        peer.sends(ACK, data=b"x", ts=(5, 5))
        seen = await peer.sees(ACK, ack=2, within=0.1)
        assert seen.segment.tsval is None
        peer.sends(ACK, data=b"y", ts=(1, 1))  # lower: no PAWS either
        await peer.sees(ACK, ack=3, within=0.1)
        assert app.received == b"xy"


@pytest.mark.req("7323-7")
async def test_every_segment_has_them() -> None:
    """The checks of every packet (`wirecheck`) insist on it; this one sees one of each kind."""
    async with Peer() as peer:
        app, _ = await opened(peer)
        app.write(bytes(5000))
        seen = await peer.sees_all()
        peer.sends(ACK, seq=100, data=b"beyond a hole")
        peer.sends(SYN)
        peer.sends(ACK, data=b"abc")
        app.shutdown()
        seen += await peer.sees_all()
        await peer.wait(2)
        seen += await peer.sees_all()
        assert len({each.why for each in seen}) >= 5
        assert all(each.segment.tsval is not None for each in seen)


@pytest.mark.req("7323-8")
async def test_a_reset_has_them_too() -> None:
    async with Peer() as peer:
        app, base = await opened(peer)
        app.write(b"x")
        await peer.sees(ACK | PSH, length=1)
        app.abort()
        seen = await peer.sees(RST | ACK)
        assert seen.segment.tsval is not None
        assert seen.segment.tsecr == base & MASK


@pytest.mark.req("7323-14")
async def test_they_are_not_taken_off_the_mss_that_is_offered() -> None:
    """RFC 6691: the sender takes them off what it puts into a segment."""
    async with Peer() as peer:
        _, accepted = peer.listens()
        peer.sends(SYN, mss=1400, ts=(peer.tsval, 0))
        seen = await peer.sees(SYN | ACK)
        assert seen.segment.mss == 1460
        peer.sends(ACK)
        accepted[0].write(bytes(2776))
        await peer.sees(ACK, seq=1, length=1388)
        await peer.sees(ACK | PSH, seq=1389, length=1388)


@pytest.mark.req("7323-15")
async def test_the_clock_ticks_milliseconds() -> None:
    async with Peer() as peer:
        app, _ = await opened(peer)
        values = []
        for _ in range(5):
            app.write(b"x")
            seen = await peer.sees(ACK | PSH, length=1)
            assert seen.segment.tsval is not None
            values.append(seen.segment.tsval)
            peer.sends(ACK)
            await peer.wait(1.0)
        steps = {(after - before) & MASK for before, after in pairwise(values)}
        assert steps == {1000}


@pytest.mark.req("7323-15")
async def test_each_connection_has_a_clock_of_its_own() -> None:
    async with Peer() as peer:
        _, accepted = peer.listens()
        other = peer.another()
        values = []
        for each in (peer, other):
            each.stack_port = 80
            each.sends(SYN, mss=1460, ts=(each.tsval, 0))
            seen = await each.sees(SYN | ACK)
            assert seen.segment.tsval is not None
            values.append(seen.segment.tsval)
            each.sends(ACK)
        assert len(accepted) == 2
        assert abs(values[0] - values[1]) > 1000


# -- what is echoed ----------------------------------------------------------------------------


@pytest.mark.req("7323-10")
async def test_a_delayed_acknowledgment_echoes_the_earliest() -> None:
    """RFC 7323 4.3 (A): so that the sender's sample holds our delay."""
    async with Peer() as peer:
        _, base = await opened(peer)
        peer.sends(ACK, data=b"a", ts=(base + 10, 0))
        peer.sends(ACK, data=b"b", ts=(base + 20, 0))
        peer.sends(ACK, data=b"c", ts=(base + 30, 0))
        seen = await peer.sees(ACK, ack=4, within=0.1)
        assert seen.segment.tsecr == (base + 10) & MASK


@pytest.mark.req("7323-10")
async def test_a_segment_beyond_a_hole_is_not_echoed_the_one_that_fills_it_is() -> None:
    """RFC 7323 4.3 (B) and (C)."""
    async with Peer() as peer:
        _, base = await opened(peer)
        peer.sends(ACK, data=b"a" * 1000, ts=(base + 10, 0))
        seen = await peer.sees(ACK, ack=1001, within=0.1)
        assert seen.segment.tsecr == (base + 10) & MASK
        peer.sends(ACK, seq=2001, data=b"c" * 1000, ts=(base + 30, 0))
        seen = await peer.sees(ACK, ack=1001)
        assert seen.segment.tsecr == (base + 10) & MASK
        peer.sends(ACK, seq=1001, data=b"b" * 1000, ts=(base + 20, 0))
        peer.seq = 3001
        seen = await peer.sees(ACK, ack=3001)
        assert seen.segment.tsecr == (base + 20) & MASK


@pytest.mark.req("7323-10")
async def test_rfc_7323_4_3_the_figure() -> None:
    """The segments A to E of section 4.3, in the order in which they come there; the one that
    fills the hole comes with the oldest time, and that is what is echoed."""
    async with Peer() as peer:
        _, base = await opened(peer)
        peer.sends(ACK, seq=1, data=b"A" * 500, ts=(base + 1, 0))
        seen = await peer.sees(ACK, ack=501, within=0.1)
        assert seen.segment.tsecr == (base + 1) & MASK
        for letter, seq, stamp in ((b"C", 1001, 3), (b"E", 2001, 5)):
            peer.sends(ACK, seq=seq, data=letter * 500, ts=(base + stamp, 0))
            seen = await peer.sees(ACK, ack=501)
            assert seen.segment.tsecr == (base + 1) & MASK
        peer.sends(ACK, seq=501, data=b"B" * 500, ts=(base + 2, 0))
        seen = await peer.sees(ACK, ack=1501)
        assert seen.segment.tsecr == (base + 2) & MASK
        peer.sends(ACK, seq=1501, data=b"D" * 500, ts=(base + 4, 0))
        peer.seq = 2501
        seen = await peer.sees(ACK, ack=2501)
        assert seen.segment.tsecr == (base + 4) & MASK


@pytest.mark.req("7323-10")
async def test_a_pure_acknowledgment_is_remembered() -> None:
    async with Peer() as peer:
        app, base = await opened(peer)
        peer.sends(ACK, ts=(base + 500, 0))
        app.write(b"x")
        seen = await peer.sees(ACK | PSH, length=1)
        assert seen.segment.tsecr == (base + 500) & MASK


@pytest.mark.req("7323-10", "5961-3")
async def test_a_segment_with_a_bad_acknowledgment_is_not() -> None:
    async with Peer() as peer:
        app, base = await opened(peer)
        peer.sends(ACK, ack=100_000, ts=(base + 100_000, 0))
        await peer.sees(ACK)
        app.write(b"x")
        seen = await peer.sees(ACK | PSH, length=1)
        assert seen.segment.tsecr == base & MASK


# -- protection against wrapped sequence numbers -----------------------------------------------


@pytest.mark.req("7323-12")
async def test_an_older_segment_is_acknowledged_and_dropped() -> None:
    async with Peer() as peer:
        app, base = await opened(peer)
        peer.sends(ACK, data=b"new", ts=(base + 100, 0))
        await peer.sees(ACK, ack=4, within=0.1)
        peer.sends(ACK, seq=4, data=b"old", ts=(base + 99, 0))
        seen = await peer.sees(ACK, ack=4, why="ack_paws")
        assert seen.segment.tsecr == (base + 100) & MASK
        assert app.received == b"new"
        assert peer.stack.counters.dropped[Drop.PAWS] == 1


@pytest.mark.req("7323-12")
async def test_an_equal_one_is_not_older() -> None:
    async with Peer() as peer:
        app, base = await opened(peer)
        for letter in (b"a", b"b", b"c"):
            peer.sends(ACK, data=letter, ts=(base + 7, 0))
        await peer.sees(ACK, ack=4, within=0.1)
        assert app.received == b"abc"


@pytest.mark.req("7323-12")
async def test_an_older_fin_and_an_older_acknowledgment_do_nothing() -> None:
    async with Peer() as peer:
        app, base = await opened(peer)
        app.write(b"x")
        await peer.sees(ACK | PSH, length=1)
        peer.sends(FIN | ACK, seq=1, ack=2, ts=(base - 1, 0))
        await peer.sees(ACK, ack=1, why="ack_paws")
        assert not app.eof
        assert app.conn.unacked == 1


@pytest.mark.req("7323-12")
@pytest.mark.parametrize("stamp", [-1000, None])
async def test_a_reset_is_exempt(stamp: int | None) -> None:
    """RFC 7323 5.2: "a segment with RST [...] must be processed without regard to its
    timestamp"."""
    async with Peer() as peer:
        app, base = await opened(peer)
        peer.sends(RST, ts=None if stamp is None else (base + stamp, 0))
        assert isinstance(app.error, ConnectionResetError)


@pytest.mark.req("7323-13")
@pytest.mark.parametrize(("days", "accepted"), [(23, False), (25, True)])
async def test_after_24_idle_days_what_was_recent_is_void(days: float, accepted: bool) -> None:
    async with Peer() as peer:
        app, base = await opened(peer)
        await peer.wait(days * DAY)
        peer.sends(ACK, data=b"x", ts=(base - 1000, 0))
        await peer.sees(ACK, ack=2 if accepted else 1, within=0.1)
        assert bytes(app.received) == (b"x" if accepted else b"")
        if accepted:
            peer.sends(ACK, data=b"y", ts=(base - 1001, 0))  # and it is the recent one from now on
            await peer.sees(ACK, ack=2, why="ack_paws")


@pytest.mark.req("7323-12", "ST-21")
async def test_the_peer_s_clock_may_wrap() -> None:
    async with Peer() as peer:
        peer.tsval_offset = MASK - 5 - int(peer.now * 1000)
        app = await peer.connects(ts=True)
        for n in range(10):
            peer.sends(ACK, data=b"x", ts=((MASK - 5 + 3 * n) & MASK, 0))
        await peer.sees(ACK, ack=11, within=0.1)
        assert app.received == b"x" * 10


# -- segments without them ---------------------------------------------------------------------


@pytest.mark.req("7323-9")
async def test_a_segment_without_them_is_dropped_silently() -> None:
    """ "a TCP SHOULD silently drop the segment [...]. A TCP MUST NOT abort a TCP connection
    because any segment lacks an expected TSopt." """
    async with Peer() as peer:
        app, _ = await opened(peer)
        for flags in (ACK, FIN | ACK):
            peer.sends(flags, seq=1, data=b"x", ts=None)
        await peer.sees_nothing(for_s=1)
        assert (bytes(app.received), app.eof, app.state) == (b"", False, "ESTABLISHED")
        assert peer.stack.counters.dropped[Drop.NO_TIMESTAMP] == 2
        peer.sends(ACK, data=b"y")
        await peer.sees(ACK, ack=2, within=0.1)


@pytest.mark.req("7323-6", "MUST-64")
@pytest.mark.parametrize("layout", ["first", "padded", "last"])
async def test_wherever_they_stand_among_the_options(layout: str) -> None:
    async with Peer() as peer:
        app, base = await opened(peer)
        stamps = pack_options(timestamps=((base + 9) & MASK, 0))
        bare, unknown = stamps[2:], b"\xfd\x06\x01\x02\x03\x04"
        options = {
            "first": bare + b"\x00\x00",
            "padded": b"\x01" + bare + b"\x01",
            "last": unknown + bare,
        }[layout]
        peer.sends(ACK, data=b"x", options=options)
        seen = await peer.sees(ACK, ack=2, within=0.1)
        assert seen.segment.tsecr == (base + 9) & MASK
        assert app.received == b"x"
