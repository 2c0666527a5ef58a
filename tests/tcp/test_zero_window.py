"""A closed window: probing the peer's, and keeping our own closed (RFC 9293 3.8.6.1)."""

from __future__ import annotations

import errno

import pytest

from aiotcp.options import Options
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN, URG
from tests.support.conversation import App, Peer

STEADY = Options(rto_min_s=1.0)
"""The retransmission timeout is one second, since round trips take no time here."""


async def blocked(peer: Peer, data: bytes = b"abcdefghij") -> App:
    """The peer's window is closed, and `data` waits."""
    app = await peer.connects(options=STEADY, window=0)
    app.write(data)
    await peer.sees_nothing()
    return app


@pytest.mark.req("MUST-36", "SHLD-29", "SHLD-30")
async def test_probes_begin_after_one_timeout_and_their_intervals_double() -> None:
    async with Peer() as peer:
        await blocked(peer)
        for after in (1, 2, 4, 8, 16, 32, 60, 60, 60):
            await peer.sees(ACK, seq=1, data=b"a", why="window_probe", after=after)
            peer.sends(ACK, ack=1, window=0)


@pytest.mark.req("SHLD-29")
async def test_the_first_probe_counts_from_the_moment_that_the_window_closed() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=STEADY, window=1000)
        await peer.wait(100)
        app.write(bytes(1500))
        await peer.sees(ACK, seq=1, length=1000)
        await peer.wait(0.5)
        peer.sends(ACK, window=0)
        await peer.sees(ACK, seq=1001, length=1, why="window_probe", after=1)


@pytest.mark.req("MUST-37")
async def test_hours_of_a_closed_window() -> None:
    async with Peer() as peer:
        app = await blocked(peer)
        for _ in range(200):
            await peer.sees(ACK, seq=1, data=b"a", within=61)
            peer.sends(ACK, ack=1, window=0)
        assert peer.now > 3 * 3600
        peer.sends(ACK, ack=1, window=5000)
        await peer.sees(ACK | PSH, seq=1, data=b"abcdefghij", why="new_data")
        assert app.state == "ESTABLISHED"


@pytest.mark.req("MUST-37", "MUST-20", "ST-25")
async def test_a_peer_that_answers_no_probe_is_given_up() -> None:
    async with Peer() as peer:
        app = await blocked(peer)
        for _ in range(15):
            await peer.sees(ACK, seq=1, data=b"a", why="window_probe", within=61)
        await peer.sees(RST | ACK, within=61, why="rst_timeout")
        assert isinstance(app.error, TimeoutError)
        assert app.error.errno == errno.ETIMEDOUT


@pytest.mark.req("MUST-37")
async def test_one_answer_in_time_is_enough() -> None:
    async with Peer() as peer:
        app = await blocked(peer)
        for n in range(60):
            await peer.sees(ACK, seq=1, data=b"a", within=61)
            if n % 14 == 13:
                peer.sends(ACK, ack=1, window=0)
        assert app.state == "ESTABLISHED"


async def test_the_byte_of_a_probe_may_be_taken() -> None:
    async with Peer() as peer:
        await blocked(peer)
        await peer.sees(ACK, seq=1, data=b"a", after=1)
        peer.sends(ACK, ack=2, window=0)
        await peer.sees(ACK, seq=2, data=b"b", why="window_probe", after=1)
        peer.sends(ACK, ack=3, window=100)
        await peer.sees(ACK | PSH, seq=3, data=b"cdefghij")


async def test_a_window_update_that_nobody_asked_for() -> None:
    async with Peer() as peer:
        await blocked(peer)
        await peer.wait(0.5)
        peer.sends(ACK, window=100)
        await peer.sees(ACK | PSH, seq=1, data=b"abcdefghij")


@pytest.mark.req("MUST-36")
async def test_the_timer_after_a_probe_is_again_that_of_retransmission() -> None:
    async with Peer() as peer:
        await blocked(peer)
        for after in (1, 2, 4):
            await peer.sees(ACK, data=b"a", after=after)
            peer.sends(ACK, ack=1, window=0)
        peer.sends(ACK, ack=1, window=100)
        await peer.sees(ACK | PSH, data=b"abcdefghij")
        await peer.sees(ACK | PSH, data=b"abcdefghij", why="rto_retransmit", after=1)


@pytest.mark.req("MUST-36", "ST-23")
async def test_a_fin_alone_is_a_probe_too() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=STEADY, window=0)
        app.shutdown()
        await peer.sees_nothing()
        await peer.sees(FIN | ACK, seq=1, why="window_probe", after=1)
        peer.sends(ACK, ack=2)
        assert app.state == "FIN-WAIT-2"


@pytest.mark.req("MUST-36", "ST-23")
@pytest.mark.parametrize("state", ["CLOSING", "LAST-ACK"])
async def test_a_fin_that_was_taken_as_a_probe_is_not_sent_again(state: str) -> None:
    async with Peer() as peer:
        app = await peer.connects(options=STEADY, window=0)
        if state == "LAST-ACK":
            peer.sends(FIN | ACK)
            await peer.sees(ACK, ack=2)
        app.shutdown()
        await peer.sees(FIN | ACK, seq=1, why="window_probe", after=1)
        if state == "CLOSING":
            peer.sends(FIN | ACK, ack=1)
            await peer.sees(ACK, ack=2)
        peer.sends(ACK, ack=2)
        assert app.state == ("TIME-WAIT" if state == "CLOSING" else "CLOSED")
        await peer.sees_nothing()
        if state == "CLOSING":
            peer.sends(FIN | ACK, seq=1, ack=2)
            await peer.sees(ACK, seq=2, ack=2)


@pytest.mark.req("MUST-36", "ST-23")
async def test_data_and_fin_behind_a_closed_window() -> None:
    async with Peer() as peer:
        app = await blocked(peer, b"ab")
        app.shutdown()
        await peer.sees(ACK, seq=1, data=b"a", after=1)
        peer.sends(ACK, ack=1, window=0)
        peer.sends(ACK, ack=1, window=100)
        await peer.sees(FIN | ACK | PSH, seq=1, data=b"ab")


@pytest.mark.req("ST-25", "MUST-21")
async def test_the_user_timeout_bounds_the_wait_for_a_closed_window() -> None:
    """As TCP_USER_TIMEOUT has it: data that waits for a closed window counts as well."""
    async with Peer() as peer:
        app = await peer.connects(options=STEADY.replace(user_timeout_s=10.0), window=0)
        app.write(b"abc")
        for after in (1, 2, 4):
            await peer.sees(ACK, data=b"a", after=after)
            peer.sends(ACK, ack=1, window=0)
        await peer.sees(RST | ACK, why="rst_timeout", within=10)
        assert app.ended_at == pytest.approx(11)
        assert isinstance(app.error, TimeoutError)


# -- our own window, closed --------------------------------------------------------------------

SMALL = Options(receive_buffer=3000)


async def full(peer: Peer, options: Options = SMALL) -> App:
    """The program does not read; 3000 bytes wait and the window is closed."""
    app = await peer.connects(options=options, reading=False)
    for n in range(3):
        peer.sends(ACK, data=bytes([n]) * 1000)
    await peer.sees(ACK, ack=2001, window=1000, why="ack_second_segment")
    await peer.sees(ACK, ack=3001, window=0, within=0.1)
    return app


@pytest.mark.req("MAY-8", "MUST-37", "ST-7")
async def test_the_stack_keeps_its_window_closed_for_hours() -> None:
    async with Peer() as peer:
        app = await full(peer)
        for _ in range(200):
            await peer.wait(60)
            peer.sends(ACK, data=b"x", seq=3001)
            await peer.sees(ACK, ack=3001, window=0, why="window_probe_reply")
        assert app.state == "ESTABLISHED"
        assert len(app.read()) == 3000
        await peer.sees(ACK, ack=3001, window=3000, why="window_update")
        peer.sends(ACK, data=b"x", seq=3001)
        assert app.read() == b"x"


@pytest.mark.req("ST-7", "ST-8")
async def test_text_at_a_closed_window_is_not_taken() -> None:
    async with Peer() as peer:
        app = await full(peer)
        peer.sends(ACK, seq=3001, data=b"probe")
        await peer.sees(ACK, ack=3001, window=0)
        assert app.conn.readable == 3000


@pytest.mark.req("ST-8")
async def test_an_acknowledgment_counts_though_the_window_is_closed() -> None:
    async with Peer() as peer:
        app = await full(peer)
        app.write(b"abc")
        await peer.sees(ACK | PSH, seq=1, data=b"abc")
        peer.sends(ACK, seq=3001, ack=4, data=b"probe")
        await peer.sees(ACK, ack=3001, window=0)
        assert app.conn.unacked == 0


@pytest.mark.req("MUST-66", "ST-8")
@pytest.mark.parametrize("data", [b"", b"x"])
async def test_a_reset_counts_though_the_window_is_closed(data: bytes) -> None:
    async with Peer() as peer:
        app = await full(peer)
        peer.sends(RST, seq=3001, data=data)
        assert app.state == "CLOSED"
        assert isinstance(app.error, ConnectionResetError)


@pytest.mark.req("MUST-66", "ST-8")
@pytest.mark.parametrize("data", [b"", b"x"])
async def test_urgent_news_count_though_the_window_is_closed(data: bytes) -> None:
    async with Peer() as peer:
        app = await full(peer)
        peer.sends(ACK | URG, seq=3001, data=data, urgent=50)
        assert app.conn.urgent_news
        assert app.conn.urgent_remaining == 3050
        if data:
            await peer.sees(ACK, ack=3001, window=0)


@pytest.mark.req("ST-7")
async def test_a_fin_at_a_closed_window_waits() -> None:
    async with Peer() as peer:
        app = await full(peer)
        peer.sends(FIN | ACK, seq=3001)
        await peer.sees(ACK, ack=3001, window=0)
        assert app.state == "ESTABLISHED"
        app.read()
        await peer.sees(ACK, ack=3001, window=3000)
        peer.sends(FIN | ACK)
        await peer.sees(ACK, ack=3002)
        assert app.eof


@pytest.mark.req("5961-2", "ST-11")
async def test_a_syn_at_a_closed_window_is_challenged() -> None:
    async with Peer() as peer:
        app = await full(peer)
        peer.sends(SYN, seq=3001)
        await peer.sees(ACK, ack=3001, window=0, why="challenge_ack")
        assert app.state == "ESTABLISHED"
