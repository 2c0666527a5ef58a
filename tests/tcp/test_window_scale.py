"""The window scale option (RFC 7323 2)."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.wire.tcp import ACK, PSH, SYN
from tests.support.conversation import Peer

WIDE = Options(initial_window_segments=100)
LARGE = Options(receive_buffer=1_000_000)  # shift 4


@pytest.mark.req("7323-1", "7323-2")
@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("offered", [None, 0, 7])
async def test_in_force_only_if_both_syns_have_it(offered: int | None, wanted: bool) -> None:
    async with Peer() as peer:
        options = LARGE.replace(window_scaling=wanted)
        _, accepted = peer.listens(options=options)
        peer.sends(SYN, mss=1460, wscale=offered)
        seen = await peer.sees(SYN | ACK)
        both = wanted and offered is not None
        assert seen.segment.wscale == (4 if both else None)
        peer.sends(ACK, window=1280)
        accepted[0].write(bytes(1280))
        seen = await peer.sees(ACK | PSH, length=1280)
        # As the peer reads our window, and as we have read the one of the peer.
        assert seen.segment.window == (1_000_000 >> 4 if both else 65535)


@pytest.mark.req("7323-1")
@pytest.mark.parametrize("answered", [None, 0, 9])
async def test_the_same_for_connections_that_the_stack_opens(answered: int | None) -> None:
    async with Peer() as peer:
        app = peer.opens(options=LARGE)
        syn = await peer.sees(SYN)
        assert syn.segment.wscale == 4
        peer.sends(SYN | ACK, mss=1460, wscale=answered)
        seen = await peer.sees(ACK)
        assert seen.segment.window == (65535 if answered is None else 1_000_000 >> 4)
        peer.sends(ACK, window=2 << (answered or 0))
        app.write(b"abc")
        await peer.sees_all()
        assert app.conn.snd_wnd == 2 << (answered or 0)


@pytest.mark.req("7323-1")
async def test_on_a_later_segment_it_means_nothing() -> None:
    async with Peer() as peer:
        app = await peer.connects(wscale=None)
        peer.sends(ACK, data=b"x", wscale=7, window=1460)
        await peer.sees(ACK, within=0.1)
        app.write(bytes(5000))
        assert (await peer.sees_all())[-1].end == 1461


@pytest.mark.req("7323-3")
async def test_the_window_of_a_syn_ack_is_never_scaled() -> None:
    async with Peer() as peer:
        app = peer.opens(options=WIDE)
        app.write(bytes(5000))
        await peer.sees(SYN)
        peer.sends(SYN | ACK, mss=1000, wscale=7, window=2000)
        sent = await peer.sees_all()
        assert sent[-1].end == 2001
        peer.sends(ACK, window=128_000)
        assert (await peer.sees_all())[-1].end == 5001


@pytest.mark.req("7323-3")
@pytest.mark.parametrize(("buffer", "window"), [(1000, 1000), (65535, 65535), (1_000_000, 65535)])
@pytest.mark.parametrize("passive", [False, True])
async def test_nor_is_that_of_our_syns(passive: bool, buffer: int, window: int) -> None:
    async with Peer() as peer:
        options = Options(receive_buffer=buffer)
        if passive:
            peer.listens(options=options)
            peer.sends(SYN, mss=1460, wscale=2)
            seen = await peer.sees(SYN | ACK)
        else:
            peer.opens(options=options)
            seen = await peer.sees(SYN)
        assert seen.segment.window == window


@pytest.mark.req("7323-4")
@pytest.mark.parametrize("shift", [14, 15, 255])
async def test_a_shift_of_more_than_fourteen_is_fourteen(shift: int) -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=1024, wscale=shift, options=WIDE)
        peer.sends(ACK, window=4 << 14)
        app.write(bytes(200_000))
        assert (await peer.sees_all())[-1].end == 1 + (4 << 14)


@pytest.mark.req("7323-5", "SHLD-14")
async def test_the_edge_does_not_move_left_for_want_of_bits() -> None:
    """Single bytes arrive and nobody reads: each window is rounded up to what the scale can
    tell. The checks of every packet (`wirecheck`) watch the edge."""
    async with Peer() as peer:
        app = await peer.connects(wscale=0, options=LARGE, reading=False)
        for _ in range(100):
            peer.sends(ACK, data=b"x")
            await peer.sees(ACK, within=0.1)
        assert app.conn.readable == 100
