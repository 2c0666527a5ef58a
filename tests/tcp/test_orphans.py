"""Connections whose program has gone: what they may still cost (ST-29, RFC 6429)."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.reasons import Why
from aiotcp.wire.tcp import ACK, FIN, PSH, RST
from tests.support.conversation import App, Peer


async def orphan(peer: Peer, *, port: int = 80, window: int = 65535) -> App:
    """A connection that was closed with 100 bytes sent: FIN-WAIT-1."""
    app = await peer.connects(port)
    app.write(b"x" * 100)
    app.close()
    await peer.sees(ACK | PSH, seq=1, length=100)
    await peer.sees(FIN | ACK, seq=101)
    return app


@pytest.mark.req("ST-29", "X-5")
async def test_beyond_max_orphans_the_oldest_is_reset() -> None:
    async with Peer(options=Options(max_orphans=2)) as peer:
        ends = [peer.another(port=60000 + n, iss=n) for n in range(4)]
        for number, end in enumerate(ends[:3]):
            await orphan(end, port=80 + number)
        await ends[0].sees(RST | ACK, why=Why.RST_ORPHAN)
        assert [end.state for end in ends[:3]] == ["CLOSED", "FIN-WAIT-1", "FIN-WAIT-1"]
        assert peer.stack.counters.orphans_reset == 1
        # One that is through makes room, and one that its program still has counts for nothing.
        ends[1].sends(RST, seq=1)
        app = await ends[3].connects(90)
        app.shutdown()
        await ends[3].sees(FIN | ACK)
        await orphan(ends[0].another(port=61000), port=91)
        assert peer.stack.counters.orphans_reset == 1
        assert app.state == "FIN-WAIT-1"


@pytest.mark.req("ST-29")
async def test_without_orphans_every_closing_connection_is_reset() -> None:
    async with Peer(options=Options(max_orphans=0)) as peer:
        await orphan(peer)
        await peer.sees(RST | ACK, why=Why.RST_ORPHAN)
        assert peer.info is None


@pytest.mark.req("ST-29", "ST-25")
async def test_an_orphan_whose_peer_is_silent_has_an_r2_of_its_own() -> None:
    async with Peer(options=Options(orphan_retries=3)) as peer:
        await orphan(peer)
        for wait in (0.2, 0.4, 0.8):
            await peer.sees(FIN | ACK, seq=1, length=100, after=wait)
        await peer.sees(RST | ACK, after=1.6, why=Why.RST_TIMEOUT)
        assert peer.info is None


@pytest.mark.req("ST-29", "MUST-37")
async def test_a_closed_window_does_not_keep_an_orphan_for_ever() -> None:
    """RFC 6429 3: that probes are answered obliges nobody to keep a connection that no program
    waits for."""
    async with Peer() as peer:
        app = await peer.connects(window=100)
        app.write(b"x" * 200)
        await peer.sees(ACK, length=100)
        peer.sends(ACK, ack=101, window=0)
        app.close()
        closed = peer.now
        for _ in range(8):
            await peer.sees(ACK, length=1, why=Why.WINDOW_PROBE, within=61)
            peer.sends(ACK, ack=101, window=0)
        await peer.sees(RST | ACK, within=61, why=Why.RST_TIMEOUT)
        assert 50 < peer.now - closed < 200
        assert peer.info is None


@pytest.mark.req("ST-29")
async def test_an_orphan_whose_peer_reads_goes_on() -> None:
    async with Peer(options=Options(orphan_retries=2)) as peer:
        app = await peer.connects(window=100)
        app.write(b"x" * 504)
        await peer.sees(ACK, length=100)
        app.close()
        for _ in range(4):
            peer.sends(ACK, window=0)
            await peer.sees(ACK, length=1, why=Why.WINDOW_PROBE, within=61)
            peer.sends(ACK, window=0)
            await peer.wait(0.1)
            peer.sends(ACK, window=100)
            (seen,) = await peer.sees_all()
            assert len(seen.payload) == 100
        peer.sends(ACK)
        await peer.sees(FIN | ACK)
        peer.sends(ACK)
        await peer.sees_nothing()
        assert peer.state == "FIN-WAIT-2"


@pytest.mark.req("MUST-37")
async def test_a_program_that_waits_keeps_its_connection_at_a_closed_window() -> None:
    async with Peer() as peer:
        app = await peer.connects(window=100)
        app.write(b"x" * 200)
        await peer.sees(ACK, length=100)
        peer.sends(ACK, ack=101, window=0)
        for _ in range(30):
            await peer.sees(ACK, length=1, why=Why.WINDOW_PROBE, within=61)
            peer.sends(ACK, ack=101, window=0)
        assert app.state == "ESTABLISHED"


@pytest.mark.req("ST-25", "MUST-37")
async def test_the_user_timeout_bounds_a_closed_window_though_probes_are_answered() -> None:
    """RFC 6429 4: an application may limit it; RFC 5482 3.2 by the user timeout."""
    async with Peer() as peer:
        app = await peer.connects(window=100, options=Options(user_timeout_s=20))
        app.write(b"x" * 200)
        await peer.sees(ACK, length=100)
        peer.sends(ACK, ack=101, window=0)
        began = peer.now
        for wait in (0.2, 0.4, 0.8, 1.6, 3.2, 6.4):
            await peer.sees(ACK, length=1, why=Why.WINDOW_PROBE, after=wait)
            peer.sends(ACK, ack=101, window=0)
        await peer.sees(RST | ACK, within=12, why=Why.RST_TIMEOUT)
        assert peer.now - began == pytest.approx(20, abs=0.3)
        assert isinstance(app.error, TimeoutError)


@pytest.mark.req("ST-25")
async def test_progress_at_a_window_that_opens_now_and_then_is_progress() -> None:
    async with Peer() as peer:
        app = await peer.connects(window=100, options=Options(user_timeout_s=5))
        app.write(b"x" * 1000)
        await peer.sees(ACK, length=100)
        for _ in range(5):
            peer.sends(ACK, window=0)
            await peer.wait(4)
            await peer.sees_all()
            peer.sends(ACK, window=100)
            (seen,) = await peer.sees_all()
            assert len(seen.payload) == 100
        assert app.state == "ESTABLISHED"
