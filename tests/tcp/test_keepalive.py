"""Keep-alive (RFC 9293 3.8.4): probes on an idle connection, and what becomes of it."""

from __future__ import annotations

import errno

import pytest

from aiotcp.options import Options
from aiotcp.tcp.keepalive import KeepAlive
from aiotcp.wire.tcp import ACK, FIN, PSH, RST
from tests.support.conversation import App, Peer

QUICK = Options(keepalive=True, keepalive_idle_s=10, keepalive_interval_s=5, keepalive_probes=3)
HOURS = 3600.0


def set_options(app: App, **changes: object) -> None:
    app.conn.configure(**changes)
    app.stack.push(app.conn)


# -- the module --------------------------------------------------------------------------------


def test_the_deadline_follows_what_is_heard() -> None:
    keepalive = KeepAlive(10, 5, 3)
    assert keepalive.deadline(100) == 110
    assert keepalive.on_timer(110, 100, None)
    assert keepalive.due
    keepalive.probed(110.1)
    assert not keepalive.due
    assert keepalive.deadline(100) == 115.1
    assert keepalive.deadline(110.1) == 120.1  # answered in no time at all
    assert keepalive.deadline(112) == 122


@pytest.mark.req("MUST-29")
def test_an_answer_starts_the_count_anew() -> None:
    keepalive = KeepAlive(10, 5, 2)
    for now in (110, 115):
        assert keepalive.on_timer(now, 100, None)
        keepalive.probed(now)
    for now in (128, 133):  # heard at 118
        assert keepalive.on_timer(now, 118, None)
        keepalive.probed(now)
    assert not keepalive.on_timer(138, 118, None)


def test_a_user_timeout_replaces_the_count() -> None:
    keepalive = KeepAlive(10, 5, 1)
    for now in (110, 115, 120):
        assert keepalive.on_timer(now, 100, 25)
        keepalive.probed(now)
    assert not keepalive.on_timer(125, 100, 25)
    assert KeepAlive(10, 5, 1).on_timer(110, 100, 1)  # never without a probe


# -- off, and on -------------------------------------------------------------------------------


@pytest.mark.req("MUST-25")
async def test_it_is_off_by_default() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        await peer.sees_nothing(for_s=24 * HOURS)
        assert app.state == "ESTABLISHED"


@pytest.mark.req("MAY-5", "MUST-28", "SHLD-12")
@pytest.mark.parametrize("ts", [False, True])
async def test_the_probe_has_no_data_and_an_old_number(ts: bool) -> None:
    async with Peer() as peer:
        app = await peer.connects(options=Options(keepalive=True), ts=ts)
        app.write(b"hello")
        await peer.sees(ACK | PSH, seq=1, data=b"hello")
        peer.sends(ACK)
        await peer.sees(ACK, seq=5, ack=1, why="keepalive", after=2 * HOURS)
        peer.sends(ACK)
        await peer.sees(ACK, seq=5, ack=1, why="keepalive", after=2 * HOURS)


@pytest.mark.req("MAY-5")
async def test_of_a_connection_that_we_opened() -> None:
    async with Peer() as peer:
        await peer.accepts(options=QUICK)
        await peer.sees(ACK, seq=0, ack=1, why="keepalive", after=10)


@pytest.mark.req("MUST-24", "MUST-27")
async def test_it_is_switched_for_each_connection() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        await peer.wait(4)
        set_options(app, keepalive=True, keepalive_idle_s=10)
        await peer.sees(ACK, seq=0, why="keepalive", after=6)  # from the last segment on
        peer.sends(ACK)
        set_options(app, keepalive_idle_s=20)
        await peer.sees(ACK, seq=0, why="keepalive", after=20)
        peer.sends(ACK)
        set_options(app, keepalive=False)
        await peer.sees_nothing(for_s=24 * HOURS)


async def test_switched_on_late_it_probes_at_once() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        await peer.wait(100)
        set_options(app, keepalive=True, keepalive_idle_s=10)
        await peer.sees(ACK, seq=0, why="keepalive")


# -- when --------------------------------------------------------------------------------------


@pytest.mark.req("MUST-26")
async def test_whatever_arrives_puts_it_off() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=QUICK)
        await peer.wait(9)
        peer.sends(ACK, data=b"x")
        await peer.sees(ACK, ack=2, within=0.1)
        await peer.wait(8)
        peer.sends(ACK)
        await peer.wait(9)
        peer.sends(ACK, seq=peer.seq - 1)  # the peer's own keep-alive
        await peer.sees(ACK, ack=2)
        await peer.sees(ACK, seq=0, why="keepalive", after=10)
        assert app.state == "ESTABLISHED"


@pytest.mark.req("MUST-26")
async def test_what_is_discarded_does_not() -> None:
    async with Peer() as peer:
        await peer.connects(options=QUICK)
        await peer.wait(5)
        peer.sends(ACK, seq=100_000, data=b"x")
        await peer.sees(ACK, why="ack_unacceptable")
        await peer.sees(ACK, seq=0, why="keepalive", after=5)


@pytest.mark.req("MUST-26")
async def test_never_while_data_is_outstanding() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=QUICK)
        app.write(b"x")
        await peer.sees(ACK | PSH, seq=1, data=b"x")
        for _ in range(7):  # 25 s, twice the time
            await peer.sees(ACK, seq=1, length=1, why="rto_retransmit", within=15)
        peer.sends(ACK)
        await peer.sees(ACK, seq=1, why="keepalive", after=10)


@pytest.mark.req("MUST-26")
async def test_never_while_a_closed_window_is_probed() -> None:
    async with Peer() as peer:
        app = await peer.connects(window=0, options=QUICK)
        app.write(b"x")
        for _ in range(20):
            await peer.sees(ACK, seq=1, length=1, why="window_probe", within=61)
            peer.sends(ACK, ack=1, window=0)
        peer.window = 1000
        peer.sends(ACK, ack=1)
        await peer.sees(ACK | PSH, seq=1, data=b"x")
        peer.sends(ACK)
        await peer.sees(ACK, seq=1, why="keepalive", after=10)


@pytest.mark.req("MAY-5")
async def test_in_close_wait() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=QUICK)
        peer.sends(FIN | ACK)
        await peer.sees(ACK, ack=2)
        assert app.state == "CLOSE-WAIT"
        await peer.sees(ACK, seq=0, ack=2, why="keepalive", after=10)


@pytest.mark.req("MAY-5")
async def test_in_fin_wait_2() -> None:
    """Half-closed, and waiting for the peer's answer: nobody else would notice that it is gone."""
    async with Peer() as peer:
        app = await peer.connects(options=QUICK)
        app.shutdown()
        await peer.sees(FIN | ACK, seq=1)
        peer.sends(ACK)
        assert app.state == "FIN-WAIT-2"
        await peer.sees(ACK, seq=1, ack=1, why="keepalive", after=10)
        for _ in range(2):
            await peer.sees(ACK, seq=1, ack=1, why="keepalive", after=5)
        await peer.sees(RST | ACK, seq=2, why="rst_timeout", after=5)
        assert isinstance(app.error, TimeoutError)


# -- no answer ---------------------------------------------------------------------------------


@pytest.mark.req("MUST-29")
async def test_a_lost_probe_ends_nothing() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=QUICK)
        for _ in range(3):
            await peer.sees(ACK, seq=0, why="keepalive", after=10)
            await peer.sees(ACK, seq=0, why="keepalive", after=5)
            peer.sends(ACK)
        assert app.state == "ESTABLISHED"


@pytest.mark.req("MAY-5")
async def test_all_of_them_lost_end_it() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=QUICK)
        await peer.sees(ACK, seq=0, why="keepalive", after=10)
        await peer.sees(ACK, seq=0, why="keepalive", after=5)
        await peer.sees(ACK, seq=0, why="keepalive", after=5)
        await peer.sees(RST | ACK, seq=1, ack=1, why="rst_timeout", after=5)
        assert isinstance(app.error, TimeoutError)
        assert app.error.errno == errno.ETIMEDOUT
        assert peer.info is None


@pytest.mark.req("MUST-28", "MUST-27")
async def test_with_linux_s_defaults() -> None:
    """2 hours, then nine probes 75 seconds apart."""
    async with Peer() as peer:
        app = await peer.connects(options=Options(keepalive=True))
        await peer.sees(ACK, why="keepalive", after=7200)
        for _ in range(8):
            await peer.sees(ACK, why="keepalive", after=75)
        await peer.sees(RST | ACK, after=75)
        assert app.ended


@pytest.mark.req("MAY-5")
@pytest.mark.parametrize(("limit", "probes"), [(1, 1), (12, 1), (22, 3), (41, 7)])
async def test_the_user_timeout_overrides_the_count(limit: float, probes: int) -> None:
    async with Peer() as peer:
        app = await peer.connects(options=QUICK.replace(user_timeout_s=limit))
        await peer.sees(ACK, why="keepalive", after=10)
        for _ in range(probes - 1):
            await peer.sees(ACK, why="keepalive", after=5)
        await peer.sees(RST | ACK, why="rst_timeout", after=5)
        assert isinstance(app.error, TimeoutError)


@pytest.mark.req("MAY-5")
async def test_a_peer_that_knows_nothing_of_it_any_more() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=QUICK)
        await peer.sees(ACK, seq=0, ack=1, why="keepalive", after=10)
        peer.sends(RST, seq=1)
        assert isinstance(app.error, ConnectionResetError)


async def test_changing_other_options_does_not_start_the_count_anew() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=QUICK)
        await peer.sees(ACK, why="keepalive", after=10)
        await peer.sees(ACK, why="keepalive", after=5)
        set_options(app, nodelay=False, keepalive_interval_s=7)
        await peer.sees(ACK, why="keepalive", after=7)
        await peer.sees(RST | ACK, after=7)
        assert app.ended
