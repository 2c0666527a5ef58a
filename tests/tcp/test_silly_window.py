"""No silly windows, from either side (RFC 9293 3.8.6.2)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from aiotcp.options import Options
from aiotcp.wire.tcp import ACK, FIN, PSH
from tests.support.conversation import App, Peer

MSS = 1000

# -- the sender --------------------------------------------------------------------------------


async def waiting(peer: Peer, *, options: Options | None = None, window: int = 4000) -> App:
    """The peer's window of 4000 bytes is full and acknowledged; 3000 more bytes wait."""
    app = await peer.connects(mss=MSS, window=window, options=options)
    app.write(bytes(window + 3000))
    sent = await peer.sees_all()
    assert sent[-1].end == 1 + window
    return app


@pytest.mark.req("MUST-38")
@pytest.mark.parametrize("window", [1, 10, 100, 999])
async def test_a_little_window_is_not_filled(window: int) -> None:
    async with Peer() as peer:
        await waiting(peer)
        peer.sends(ACK, window=window)
        await peer.sees_nothing(for_s=0.19)
        peer.sends(ACK, window=1000)
        await peer.sees(ACK, seq=4001, length=MSS)


@pytest.mark.req("MUST-38")
@pytest.mark.parametrize("options", [Options(), Options(rto_min_s=10)])
async def test_the_override_timer_ends_the_wait(options: Options) -> None:
    """RFC 9293 3.8.6.2.1: between 0.1 and 1 second."""
    async with Peer() as peer:
        await waiting(peer, options=options)
        peer.sends(ACK, window=100)
        seen = await peer.sees(ACK, seq=4001, length=100, within=1)
        assert seen.at >= 0.1
        await peer.sees_nothing()


@pytest.mark.req("MUST-38")
async def test_half_of_the_largest_window_is_worth_a_segment() -> None:
    """Fs = 1/2: a peer whose whole buffer is smaller than two segments must not starve."""
    async with Peer() as peer:
        app = await peer.connects(mss=MSS, window=1600)
        app.write(bytes(5000))
        await peer.sees(ACK, seq=1, length=MSS)
        await peer.sees_nothing()  # 600 bytes are open still
        peer.sends(ACK, window=799)
        await peer.sees_nothing(for_s=0.1)
        peer.sends(ACK, window=800)
        await peer.sees(ACK, seq=1001, length=800)


@pytest.mark.req("MUST-38")
async def test_the_end_of_the_queue_goes_if_all_of_it_fits() -> None:
    """Rule (2): "if the data is pushed and all queued data can be sent now"."""
    async with Peer() as peer:
        app = await peer.connects(mss=MSS, window=4000)
        app.write(bytes(4050))
        assert len(await peer.sees_all()) == 4
        peer.sends(ACK, window=49)
        await peer.sees_nothing(for_s=0.1)
        peer.sends(ACK, window=50)
        await peer.sees(ACK | PSH, seq=4001, length=50)


@pytest.mark.req("MUST-38", "SHLD-28")
async def test_a_window_that_opens_in_small_steps_is_used_in_segments() -> None:
    async with Peer() as peer:
        app = await waiting(peer)
        sizes = []
        for window in range(100, 3100, 100):
            peer.sends(ACK, ack=4001, window=window)
            sizes += [len(seen.payload) for seen in await peer.sees_all()]
        assert sizes == [MSS, MSS, MSS]
        assert app.conn.unsent == 0


# -- the receiver ------------------------------------------------------------------------------

SMALL = Options(receive_buffer=4000, mss=MSS)


async def full(peer: Peer, options: Options = SMALL) -> App:
    app = await peer.connects(options=options, reading=False)
    for _ in range(4):
        peer.sends(ACK, data=bytes(MSS))
    await peer.sees(ACK, ack=2001, window=2000)
    await peer.sees(ACK, ack=4001, window=0)
    return app


@pytest.mark.req("MUST-39")
async def test_reading_byte_by_byte_moves_the_edge_by_segments() -> None:
    async with Peer() as peer:
        app = await full(peer)
        updates = []
        for _ in range(4000):
            app.read(1)
            updates += [seen.window for seen in await peer.sees_all()]
        # The first as soon as there is room for a segment; while the peer has that room, the
        # next for two more.
        assert updates == [1000, 3000]


@pytest.mark.req("MUST-39", "SHLD-14")
async def test_no_silly_window_in_the_answer_to_a_probe() -> None:
    async with Peer() as peer:
        app = await full(peer)
        app.read(999)
        await peer.sees_nothing()
        peer.sends(ACK, seq=4001, data=b"p")
        await peer.sees(ACK, ack=4001, window=0)
        app.read(1)
        await peer.sees(ACK, ack=4001, window=1000, why="window_update")


@pytest.mark.req("MUST-39")
async def test_a_buffer_of_less_than_two_segments() -> None:
    """min(Fr * RCV.BUFF, Eff.snd.MSS), Fr = 1/2."""
    async with Peer() as peer:
        app = await peer.connects(options=Options(receive_buffer=1500), reading=False)
        peer.sends(ACK, data=bytes(1460))
        await peer.sees(ACK, ack=1461, window=40, within=0.1)
        app.read(749)
        await peer.sees_nothing()
        app.read(1)
        await peer.sees(ACK, ack=1461, window=790, why="window_update")


@pytest.mark.req("MUST-39")
async def test_small_segments_do_not_make_the_window_small() -> None:
    """Data comes in small pieces and is read at once: the edge keeps its distance in segments."""
    async with Peer() as peer:
        await peer.connects(options=SMALL)
        edges = []
        for _ in range(100):
            peer.sends(ACK, data=bytes(50))
            edges += [seen.ack + seen.window for seen in await peer.sees_all()]
            await peer.wait(0.05)
            edges += [seen.ack + seen.window for seen in await peer.sees_all()]
        steps = {after - before for before, after in pairwise(edges)}
        assert steps <= {0, *range(MSS, 4000)}
        assert edges[-1] > 4000


@pytest.mark.req("MUST-39")
async def test_reading_much_at_once_is_told_at_once() -> None:
    async with Peer() as peer:
        app = await full(peer)
        app.read()
        await peer.sees(ACK, ack=4001, window=4000, why="window_update")


async def test_no_window_update_after_the_peer_s_fin() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=SMALL, reading=False)
        for _ in range(3):
            peer.sends(ACK, data=bytes(MSS))
        await peer.sees(ACK, ack=2001)
        peer.sends(FIN | ACK, data=bytes(MSS))
        await peer.sees(ACK, ack=4002)
        app.read()
        await peer.sees_nothing(for_s=1)
