"""TCP_CORK holds back what does not fill a segment; TCP_QUICKACK acknowledges at once."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.tcp.cork import Cork
from aiotcp.wire.tcp import ACK, FIN, PSH, URG
from tests.support.conversation import App, Peer

MSS = 1000


def cork(app: App, corked: bool = True) -> None:
    app.conn.set_cork(corked)
    app.stack.push(app.conn)


# -- the module --------------------------------------------------------------------------------


def test_the_ceiling_counts_from_the_first_piece() -> None:
    held = Cork()
    assert held.deadline == float("inf")
    assert held.holds(10)
    assert held.holds(10.1)
    held.on_timer(10.15)
    assert held.holds(10.15)
    held.on_timer(10.2)
    assert not held.holds(10.15)
    assert held.deadline == float("inf")  # whether it goes is not for the timer to say
    held.emptied()
    held.on_timer(11)
    assert held.holds(11)


def test_flushing_nothing_does_nothing() -> None:
    held = Cork()
    held.flush()
    assert held.holds(1)
    held.flush()
    assert not held.holds(1)


# -- cork --------------------------------------------------------------------------------------


@pytest.mark.req("8985-7")
async def test_a_loss_probe_that_takes_what_is_held_leaves_the_cork_in() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=MSS, sack=True)
        app.write(bytes(2 * MSS))
        assert len(await peer.sees_all()) == 2
        cork(app)
        app.write(b"held")
        await peer.sees(ACK | PSH, data=b"held", why="tail_loss_probe", within=0.19)
        peer.sends(ACK, ack=2 * MSS + 5)
        await peer.sees_nothing(for_s=0.2)
        app.write(b"held again")
        await peer.sees_nothing(for_s=0.19)
        await peer.sees(ACK | PSH, data=b"held again", after=0.01)


async def test_pieces_wait_until_the_cork_is_out() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=MSS)
        cork(app)
        app.write(b"head")
        app.write(b"er, ")
        await peer.sees_nothing(for_s=0.19)
        app.write(b"body")
        cork(app, False)
        await peer.sees(ACK | PSH, seq=1, data=b"header, body")


async def test_full_segments_go() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=MSS)
        cork(app)
        app.write(bytes(2500))
        await peer.sees(ACK, seq=1, length=MSS)
        await peer.sees(ACK, seq=1001, length=MSS)
        app.write(bytes(500))
        await peer.sees(ACK | PSH, seq=2001, length=MSS)
        app.write(bytes(1))
        await peer.sees_nothing(for_s=0.19)
        peer.sends(ACK)  # as with Nagle this would do
        await peer.sees(ACK | PSH, seq=3001, length=1, after=0.01)


async def test_no_longer_than_200_ms() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=MSS)
        cork(app)
        await peer.wait(1)
        app.write(b"x")
        await peer.wait(0.15)
        app.write(b"y")
        await peer.sees(ACK | PSH, seq=1, data=b"xy", after=0.05)
        peer.sends(ACK)
        app.write(b"z")  # and again
        await peer.sees(ACK | PSH, seq=3, data=b"z", after=0.2)


async def test_a_held_piece_is_no_reason_to_probe() -> None:
    async with Peer() as peer:
        options = Options(rto_min_s=0.01, rto_initial_s=0.01)
        app = await peer.connects(mss=MSS, options=options)
        cork(app)
        app.write(b"x")
        await peer.sees(ACK | PSH, seq=1, data=b"x", why="new_data", after=0.2)
        assert app.conn.soft_error is None


@pytest.mark.req("MUST-36")
async def test_a_closed_window_is_probed_all_the_same() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=MSS, window=0)
        cork(app)
        app.write(b"xy")
        await peer.sees(ACK, seq=1, data=b"x", why="window_probe", after=0.2)


@pytest.mark.req("MUST-36")
async def test_a_window_that_closes_meanwhile_is_probed() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=MSS)
        cork(app)
        app.write(b"xy")
        peer.sends(ACK, window=0)
        await peer.sees(ACK, seq=1, data=b"x", why="window_probe", after=0.4)
        peer.sends(ACK, ack=1)
        await peer.sees(ACK | PSH, seq=1, data=b"xy")


async def test_the_end_of_the_stream_pulls_it() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=MSS)
        cork(app)
        app.write(b"x")
        app.shutdown()
        await peer.sees(FIN | ACK | PSH, seq=1, data=b"x")


async def test_urgent_data_does_not_wait() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=MSS)
        cork(app)
        app.write(b"x")
        app.write(b"!", urgent=True)
        await peer.sees(URG | ACK | PSH, seq=1, data=b"x!")


@pytest.mark.req("MUST-30")
async def test_urgent_data_does_not_wait_for_nagle_either() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=MSS, options=Options(nodelay=False))
        app.write(b"x")
        await peer.sees(ACK | PSH, seq=1, data=b"x")
        app.write(b"y")
        await peer.sees_nothing()
        app.write(b"!", urgent=True)
        await peer.sees(URG | ACK | PSH, seq=2, data=b"y!")


async def test_with_large_frames() -> None:
    async with Peer(offload=True) as peer:
        app = await peer.connects(mss=MSS)
        cork(app)
        app.write(bytes(3500))
        assert [seen.seq for seen in await peer.sees_all()] == [1, 1001, 2001]
        cork(app, False)
        await peer.sees(ACK | PSH, seq=3001, length=500)


async def test_without_the_cork_nagle_is_as_before() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=MSS, options=Options(nodelay=False))
        app.write(b"x")
        await peer.sees(ACK | PSH, seq=1, data=b"x")
        cork(app)
        app.write(b"y")
        cork(app, False)
        await peer.sees_nothing(for_s=0.1)
        peer.sends(ACK)
        await peer.sees(ACK | PSH, seq=2, data=b"y")


# -- quick acknowledgments ---------------------------------------------------------------------


@pytest.mark.req("MUST-40")
async def test_quickack_acknowledges_at_once() -> None:
    async with Peer() as peer:
        await peer.connects(options=Options(quickack=True))
        for number in range(1, 5):
            peer.sends(ACK, data=b"x")
            await peer.sees(ACK, ack=number + 1, why="ack_quick")


@pytest.mark.req("MUST-58")
async def test_quickack_acknowledges_a_batch_once() -> None:
    async with Peer() as peer:
        await peer.connects(options=Options(quickack=True))
        with peer.batch():
            for _ in range(3):
                peer.sends(ACK, data=b"x")
        await peer.sees(ACK, ack=4, why="ack_quick")


async def test_quickack_is_switched() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        peer.sends(ACK, data=b"x")
        await peer.sees_nothing(for_s=0.02)
        app.conn.configure(quickack=True)
        app.stack.push(app.conn)
        await peer.sees(ACK, ack=2, why="ack_quick")
        peer.sends(ACK, data=b"x")
        await peer.sees(ACK, ack=3, why="ack_quick")
        app.conn.configure(quickack=False)
        peer.sends(ACK, data=b"x")
        await peer.sees(ACK, ack=4, why="ack_delayed", after=0.04)
