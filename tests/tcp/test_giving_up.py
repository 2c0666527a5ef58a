"""Failures: R1, R2, the user timeout, and what the user is told of them (RFC 9293 3.8.3)."""

from __future__ import annotations

import errno
from itertools import pairwise

import pytest

from aiotcp.options import Options
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN
from tests.support.conversation import App, Peer

UNREACHABLE = 3
"""ICMP type; codes 0 and 1 are network and host."""


async def silence(peer: Peer, options: Options | None = None) -> App:
    """A byte is under way, and the peer says nothing any more."""
    app = await peer.connects(options=options)
    app.write(b"x")
    await peer.sees(ACK | PSH, seq=1, data=b"x")
    return app


async def rings(peer: Peer, flags: int, times: int) -> list[float]:
    """When the same segment comes `times` times more."""
    return [(await peer.sees(flags, length=None, within=61)).at for _ in range(times)]


@pytest.mark.req("MUST-20", "SHLD-11", "ST-25", "MUST-19")
async def test_the_default_r2() -> None:
    async with Peer() as peer:
        app = await silence(peer)
        times = await rings(peer, ACK, 15)
        waits = [round(after - before, 3) for before, after in pairwise([0.0, *times])]
        assert waits[:9] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2]
        assert set(waits[9:]) == {60}
        await peer.sees(RST | ACK, why="rst_timeout", after=60)
        assert app.ended_at is not None
        assert app.ended_at > 100
        assert isinstance(app.error, TimeoutError)
        assert app.error.errno == errno.ETIMEDOUT
        assert peer.info is None


@pytest.mark.req("MUST-21", "ST-25")
@pytest.mark.parametrize("retries", [3, 5])
async def test_r2_by_connection(retries: int) -> None:
    async with Peer() as peer:
        app = await silence(peer, Options(retries2=retries))
        times = await rings(peer, ACK, retries)
        await peer.sees(RST | ACK, within=60)
        assert times[-1] == pytest.approx(0.2 * (2**retries - 1))
        assert app.ended_at == pytest.approx(0.2 * (2 ** (retries + 1) - 1))


@pytest.mark.req("MUST-20")
async def test_progress_starts_the_count_anew() -> None:
    async with Peer() as peer:
        app = await silence(peer, Options(retries2=3))
        for n in range(10):
            await rings(peer, ACK, 3)
            app.write(b"y")  # so that something is always outstanding
            await peer.sees(ACK | PSH, seq=2 + n, length=1)
            peer.sends(ACK, ack=2 + n)
            await peer.sees_all()
        assert app.state == "ESTABLISHED"
        peer.sends(ACK)


@pytest.mark.req("MUST-22", "MUST-23", "MUST-19")
async def test_a_syn_that_nobody_answers() -> None:
    async with Peer() as peer:
        app = peer.opens()
        await peer.sees(SYN)
        times = await rings(peer, SYN, 7)
        assert times == pytest.approx([1, 3, 7, 15, 31, 63, 123], abs=1e-3)
        await peer.sees_nothing(for_s=61)  # and nobody to send a RST to
        assert app.ended_at == pytest.approx(183, abs=1e-3)
        assert app.ended_at is not None
        assert app.ended_at >= 180
        assert isinstance(app.error, TimeoutError)
        assert app.error.errno == errno.ETIMEDOUT


@pytest.mark.req("MUST-21", "MUST-22")
async def test_r2_of_a_syn_is_an_option() -> None:
    async with Peer() as peer:
        app = peer.opens(options=Options(syn_retries=1))
        await peer.sees(SYN)
        await peer.sees(SYN, after=1)
        await peer.sees_nothing(for_s=3)
        assert app.ended_at == pytest.approx(3, abs=1e-3)


@pytest.mark.req("ST-25", "MUST-21")
async def test_the_user_timeout() -> None:
    async with Peer() as peer:
        app = await silence(peer, Options(user_timeout_s=5))
        assert await rings(peer, ACK, 4) == pytest.approx([0.2, 0.6, 1.4, 3.0], abs=1e-3)
        await peer.sees(RST | ACK, why="rst_timeout", after=2)
        assert app.ended_at == pytest.approx(5, abs=1e-3)
        assert isinstance(app.error, TimeoutError)


@pytest.mark.req("ST-25")
async def test_the_user_timeout_counts_from_the_last_progress() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=Options(user_timeout_s=5))
        app.write(b"one")
        await peer.sees(ACK | PSH, seq=1, length=3)
        app.write(b"two")
        await peer.sees(ACK | PSH, seq=4, length=3)
        await peer.wait(4)
        await peer.sees_all()
        peer.sends(ACK, ack=4)
        await peer.wait(4.9)
        await peer.sees_all()
        assert app.state == "ESTABLISHED"
        await peer.sees(RST | ACK, within=0.11)
        assert app.ended_at == pytest.approx(9, abs=1e-3)


@pytest.mark.req("ST-25", "MUST-22")
async def test_the_user_timeout_of_an_attempt() -> None:
    async with Peer() as peer:
        app = peer.opens(options=Options(user_timeout_s=5))
        await peer.sees(SYN)
        await rings(peer, SYN, 2)
        await peer.sees_nothing(for_s=3)
        assert app.ended_at == pytest.approx(5, abs=1e-3)
        assert isinstance(app.error, TimeoutError)


@pytest.mark.req("ST-25")
async def test_an_idle_connection_has_no_timeout() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=Options(user_timeout_s=5))
        await peer.sees_nothing(for_s=7 * 86400)
        assert app.state == "ESTABLISHED"


@pytest.mark.req("ST-26", "ST-25")
async def test_a_fin_that_nobody_acknowledges() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=Options(retries2=3))
        app.shutdown()
        await peer.sees(FIN | ACK)
        await rings(peer, FIN | ACK, 3)
        await peer.sees(RST | ACK, within=10, why="rst_timeout")
        assert app.state == "CLOSED"
        assert isinstance(app.error, TimeoutError)


@pytest.mark.req("ST-25", "X-5")
async def test_an_orphan_is_given_up_as_well() -> None:
    async with Peer() as peer:
        app = await silence(peer)
        app.close()
        await peer.sees(FIN | ACK, seq=2)
        for _ in range(15):
            await peer.wait(60)
        seen = await peer.sees_all()
        assert seen[-1].flags == RST | ACK
        assert peer.stack.connections() == []


# -- what the user is told meanwhile -----------------------------------------------------------


@pytest.mark.req("SHLD-9", "MUST-20", "MUST-47")
async def test_r1_is_reported_and_nothing_else_changes() -> None:
    async with Peer() as peer:
        app = await silence(peer)
        await rings(peer, ACK, 2)
        assert app.soft_errors == []
        await rings(peer, ACK, 1)
        assert [type(error) for error in app.soft_errors] == [TimeoutError]
        assert app.conn.soft_error is app.soft_errors[0]
        await rings(peer, ACK, 3)
        assert len(app.soft_errors) == 1  # once
        assert app.state == "ESTABLISHED"
        peer.sends(ACK)
        assert app.conn.soft_error is None  # over


@pytest.mark.req("SHLD-9", "SHLD-10")
@pytest.mark.parametrize("retries", [3, 6])
async def test_r1_is_an_option(retries: int) -> None:
    async with Peer() as peer:
        app = await silence(peer, Options(retries1=retries))
        await rings(peer, ACK, retries - 1)
        assert app.soft_errors == []
        await rings(peer, ACK, 1)
        assert len(app.soft_errors) == 1


@pytest.mark.req("SHLD-9", "MUST-22")
async def test_r1_of_a_syn() -> None:
    async with Peer() as peer:
        app = peer.opens()
        await peer.sees(SYN)
        await rings(peer, SYN, 3)
        assert [type(error) for error in app.soft_errors] == [TimeoutError]


@pytest.mark.req("MUST-47", "SHLD-25", "MUST-56", "5461-2")
@pytest.mark.parametrize("code", [0, 1])
async def test_a_soft_error_is_reported_at_once_and_explains_the_end(code: int) -> None:
    number = (errno.ENETUNREACH, errno.EHOSTUNREACH)[code]
    async with Peer() as peer:
        app = await peer.connects(options=Options(retries2=4))
        app.write(b"x")
        sent = await peer.sees(ACK | PSH, data=b"x")
        peer.reports(UNREACHABLE, code, sent)
        assert [error.errno for error in app.soft_errors] == [number]
        assert app.state == "ESTABLISHED"
        await rings(peer, ACK, 4)  # with the third, R1 tells it again
        await peer.sees(RST | ACK, within=10)
        assert [error.errno for error in app.soft_errors] == [number, number]
        assert app.error is not None
        assert app.error.errno == number


@pytest.mark.req("MUST-47")
async def test_a_soft_error_that_was_overcome_is_forgotten() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=Options(retries2=4))
        app.write(b"x")
        sent = await peer.sees(ACK | PSH, data=b"x")
        peer.reports(UNREACHABLE, 1, sent)
        peer.sends(ACK)
        assert app.conn.soft_error is None
        app.write(b"y")
        await peer.sees(ACK | PSH, data=b"y")
        await rings(peer, ACK, 4)
        await peer.sees(RST | ACK, within=10)
        assert isinstance(app.error, TimeoutError)
