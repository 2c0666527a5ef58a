"""Blind attacks on a connection (RFC 5961, as RFC 9293 3.10.7.4 includes it)."""

from __future__ import annotations

import random

import pytest

from aiotcp.options import Options
from aiotcp.reasons import Drop, Why
from aiotcp.tcp.challenge import SharedLimit
from aiotcp.wire.tcp import ACK, PSH, RST, SYN
from tests.support.conversation import Peer
from tests.support.states import go_to

SYNCHRONIZED = ["ES", "F1", "F2", "CW", "CL", "LA"]
WINDOW = 65535


@pytest.mark.req("5961-1", "ST-9")
@pytest.mark.parametrize("state", SYNCHRONIZED)
async def test_a_reset_counts_at_rcv_nxt_only(state: str) -> None:
    """3.2: in the window elsewhere it is challenged, outside it is nothing."""
    async with Peer() as peer:
        place = await go_to(peer, state)
        right_edge = place.rcv + WINDOW
        for outside in (place.rcv - 1, right_edge, place.rcv - 70_000, place.rcv + 2**31 - 1):
            peer.sends(RST, seq=outside)
        await peer.sees_nothing()
        for inside in (place.rcv + 1, right_edge - 1):
            peer.sends(RST, seq=inside)
            await peer.sees(ACK, seq=place.nxt, ack=place.rcv, why=Why.CHALLENGE_ACK)
        assert peer.state != "CLOSED"
        peer.sends(RST, seq=place.rcv)
        assert peer.state == "CLOSED"


@pytest.mark.req("5961-1")
async def test_the_answer_to_a_challenge_resets() -> None:
    """3.2: a peer that really has no connection answers the challenge with the exact RST."""
    async with Peer() as peer:
        app = await peer.connects()
        peer.sends(RST, seq=10)
        challenge = await peer.sees(ACK)
        peer.sends(RST, seq=challenge.ack)
        assert isinstance(app.error, ConnectionResetError)


@pytest.mark.req("5961-2", "ST-11")
@pytest.mark.parametrize("state", SYNCHRONIZED)
@pytest.mark.parametrize("away", [-70_000, -1, 0, 1, WINDOW, 2**31 - 1])
@pytest.mark.parametrize("flags", [SYN, SYN | ACK], ids=["SYN", "SYN-ACK"])
async def test_a_syn_is_challenged_whatever_its_number(state: str, away: int, flags: int) -> None:
    async with Peer() as peer:
        place = await go_to(peer, state)
        peer.sends(flags, seq=place.rcv + away, mss=500)
        await peer.sees(ACK, seq=place.nxt, ack=place.rcv, why=Why.CHALLENGE_ACK)
        assert peer.stack.counters.dropped[Drop.SYN_CHALLENGED] == 1


@pytest.mark.req("5961-2", "7323-9", "7323-12")
@pytest.mark.parametrize("ts", [None, (1, 0)], ids=["without", "old"])
async def test_a_syn_is_challenged_whatever_its_timestamp(ts: tuple[int, int] | None) -> None:
    """A peer that has restarted knows nothing of the old connection's timestamps; if its SYN were
    dropped in silence it could not call for as long as we believe in the old connection."""
    async with Peer() as peer:
        app = await peer.connects(ts=True)
        peer.sends(SYN, seq=-12345, ts=ts)
        challenge = await peer.sees(ACK, seq=1, ack=1)
        peer.sends(RST, seq=challenge.ack, ts=None)
        assert isinstance(app.error, ConnectionResetError)


@pytest.mark.req("5961-3", "MAY-12", "ST-14")
async def test_text_with_an_acknowledgment_out_of_range_is_not_taken() -> None:
    """5.2: acceptable is (SND.UNA - MAX.SND.WND) =< SEG.ACK =< SND.NXT."""
    async with Peer() as peer:
        app = await peer.connects(window=2000)
        app.write(b"x" * 1000)
        await peer.sees(ACK, seq=1, length=1000)
        peer.sends(ACK, window=500)  # MAX.SND.WND stays
        una = 1001
        for ack in (una - 65535 - 1, una - 2**31, una + 1, una + 2**31 - 1):
            await peer.wait(1)
            peer.sends(PSH | ACK, seq=1, ack=ack, data=b"injected")
            await peer.sees(ACK, seq=una, ack=1)
        assert app.received == b""
        peer.sends(PSH | ACK, ack=una - 2000, data=b"late but plausible")
        await peer.sees(ACK, ack=19, within=0.5)
        assert app.received == b"late but plausible"


@pytest.mark.req("5961-3")
async def test_the_largest_window_is_that_after_scaling() -> None:
    async with Peer() as peer:
        app = await peer.connects(wscale=4, window=500_000)
        peer.sends(PSH | ACK, ack=1 - 400_000, data=b"hello")
        await peer.sees(ACK, ack=6, within=0.5)
        assert app.received == b"hello"
        peer.sends(PSH | ACK, seq=6, ack=1 - 500_001, data=b"injected")
        await peer.sees(ACK, ack=6)


@pytest.mark.req("5961-4")
@pytest.mark.parametrize(
    ("flags", "dropped"), [(RST, Drop.RST_CHALLENGED), (SYN, Drop.SYN_CHALLENGED)]
)
async def test_challenges_are_limited_per_connection(flags: int, dropped: Drop) -> None:
    async with Peer() as peer:
        await peer.connects()
        other = peer.another()
        await other.connects(port=81)
        for offset in range(1000):
            peer.sends(flags, seq=2 + offset)
        assert len(await peer.sees_all()) == 10
        assert peer.stack.counters.dropped[dropped] == 1000
        other.sends(flags, seq=7)  # no counter is shared: that would tell of other connections
        await other.sees(ACK, why=Why.CHALLENGE_ACK)
        await peer.wait(5)
        peer.sends(flags, seq=7)
        await peer.sees(ACK, why=Why.CHALLENGE_ACK)


@pytest.mark.req("5961-4")
async def test_the_limit_is_an_option() -> None:
    async with Peer(options=Options(challenge_acks=2)) as peer:
        await peer.connects()
        for offset in range(100):
            peer.sends(RST, seq=2 + offset)
        assert len(await peer.sees_all()) == 2


@pytest.mark.req("5961-4")
async def test_too_old_acknowledgments_count_as_challenges_too() -> None:
    async with Peer() as peer:
        await peer.connects()
        for _ in range(100):
            peer.sends(ACK, ack=-100_000)
        assert len(await peer.sees_all()) <= 10


def test_the_limit_of_the_stack_can_not_be_counted() -> None:
    """CVE-2016-5696: of a known number per second a stranger could count what is left, and so
    learn whether other connections exist and what their numbers are."""
    withheld: list[int] = []
    limit = SharedLimit(1000, random.Random(1).random, lambda: withheld.append(1))
    seconds = [sum(limit.take(n + 0.5) for _ in range(2000)) for n in range(200)]
    assert len(set(seconds)) > 150
    assert all(500 <= allowed < 1500 for allowed in seconds)
    assert 940 < sum(seconds) / 200 < 1060
    assert len(withheld) == 200 * 2000 - sum(seconds)


def test_the_smallest_limit_lets_something_through() -> None:
    limit = SharedLimit(1, lambda: 0.0, lambda: None)
    assert [limit.take(n / 2) for n in range(4)] == [True, False, True, False]


@pytest.mark.req("5961-4")
async def test_the_stack_has_a_limit_too() -> None:
    async with Peer(options=Options(challenge_ack_rate=10)) as peer:
        others = [peer.another(port=60000 + n) for n in range(30)]
        for number, other in enumerate(others):
            await other.connects(100 + number)
            other.sends(RST, seq=2)
        answers = [len(await other.sees_all()) for other in others]
        assert set(answers) == {0, 1}
        assert 5 <= sum(answers) <= 15
        assert peer.stack.counters.challenge_acks_withheld == 30 - sum(answers)
        await peer.wait(1)
        others[-1].sends(RST, seq=2)
        await others[-1].sees(ACK, why=Why.CHALLENGE_ACK)


@pytest.mark.req("ST-1")
async def test_resets_to_strangers_are_limited() -> None:
    async with Peer(options=Options(rst_rate=20)) as peer:
        listener, _ = peer.listens(81)
        for number in range(100):
            peer.stack_port = 80 if number % 2 else 81
            peer.sends(ACK, seq=number)
        answers = await peer.sees_all()
        assert 10 <= len(answers) <= 40
        assert all(answer.flags == RST for answer in answers)
        assert peer.stack.counters.dropped[Drop.TCP_RST_RATE_LIMIT] == 100 - len(answers)
        await peer.wait(1)
        peer.sends(ACK, seq=1)
        await peer.sees(RST)
        listener.close()
