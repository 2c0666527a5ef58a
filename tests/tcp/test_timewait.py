"""TIME-WAIT (RFC 9293 3.6.1, RFC 1337, RFC 6191)."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.reasons import Drop, Why
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN
from tests.support.conversation import Peer
from tests.support.states import go_to

TWO_MSL = 60.0


@pytest.mark.req("MUST-13")
@pytest.mark.parametrize("ipv6", [False, True])
async def test_the_active_closer_stays_for_two_msl(ipv6: bool) -> None:
    async with Peer(ipv6=ipv6) as peer:
        await go_to(peer, "TW")
        await peer.sees_nothing(for_s=TWO_MSL - 0.1)
        assert peer.state == "TIME-WAIT"
        await peer.sees_nothing(for_s=0.2)
        assert peer.info is None
        assert peer.states[-1] == "CLOSED"
        peer.sends(FIN | ACK, seq=1)
        await peer.sees(RST, seq=2)


@pytest.mark.req("MUST-13")
async def test_the_passive_closer_does_not_stay() -> None:
    async with Peer() as peer:
        await go_to(peer, "LA")
        peer.sends(ACK, ack=2)
        assert peer.info is None


@pytest.mark.req("ST-18", "MUST-13")
async def test_a_fin_that_comes_again_is_acknowledged_and_the_wait_begins_anew() -> None:
    async with Peer() as peer:
        await go_to(peer, "TW")
        for _ in range(3):
            await peer.wait(TWO_MSL - 1)
            peer.sends(FIN | ACK, seq=1)
            await peer.sees(ACK, seq=2, ack=2, why=Why.ACK_TIME_WAIT)
        await peer.wait(TWO_MSL - 1)
        assert peer.state == "TIME-WAIT"
        await peer.wait(2)
        assert peer.state == "CLOSED"


async def test_a_fin_with_its_text_again_is_acknowledged_as_well() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        app.shutdown()
        await peer.sees(FIN | ACK)
        peer.sends(FIN | ACK, data=b"last words")
        await peer.sees(ACK, ack=12)
        await peer.wait(TWO_MSL - 1)
        peer.sends(FIN | ACK, seq=1, data=b"last words")
        await peer.sees(ACK, seq=2, ack=12)
        await peer.wait(2)
        assert peer.state == "TIME-WAIT"


@pytest.mark.req("1337-1")
@pytest.mark.parametrize("away", [-1, 0, 1, 100, 70_000])
@pytest.mark.parametrize("flags", [RST, RST | ACK], ids=["RST", "RST-ACK"])
async def test_a_reset_does_not_end_it(away: int, flags: int) -> None:
    """RFC 1337 3, F1: "Ignore RST segments in TIME-WAIT state"."""
    async with Peer() as peer:
        await go_to(peer, "TW")
        peer.sends(flags, seq=2 + away)
        await peer.sees_nothing(for_s=1)
        assert peer.state == "TIME-WAIT"
        assert peer.stack.counters.dropped[Drop.TIME_WAIT_RST] == 1


@pytest.mark.req("1337-2")
async def test_old_duplicates_are_acknowledged_and_change_nothing() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        peer.sends(PSH | ACK, data=b"x" * 1000)
        await peer.sees(ACK, ack=1001, within=0.5)
        app.shutdown()
        await peer.sees(FIN | ACK)
        peer.sends(FIN | ACK)
        await peer.sees(ACK, ack=1002)
        ends = peer.now + TWO_MSL
        await peer.wait(10)
        peer.sends(PSH | ACK, seq=1, data=b"x" * 1000)
        await peer.sees(ACK, seq=2, ack=1002)
        await peer.wait(10)
        peer.sends(ACK, seq=500)
        await peer.sees(ACK, seq=2, ack=1002)
        assert len(app.received) == 1000
        await peer.wait(ends - peer.now - 0.1)
        assert peer.state == "TIME-WAIT"
        await peer.wait(0.2)
        assert peer.state == "CLOSED"  # an old segment does not prolong the wait


@pytest.mark.req("1337-2", "X-1")
async def test_a_flood_of_old_segments_is_not_answered_one_by_one() -> None:
    async with Peer() as peer:
        await go_to(peer, "TW")
        for _ in range(500):
            peer.sends(ACK, seq=-100)
            await peer.wait(0.01)
        assert len(await peer.sees_all()) <= 11


async def test_a_silent_segment_is_not_answered() -> None:
    """The exact ACK tells nothing new: answering would be the start of an endless exchange."""
    async with Peer() as peer:
        await go_to(peer, "TW")
        peer.sends(ACK)
        await peer.sees_nothing()


@pytest.mark.req("7323-7")
async def test_its_segments_carry_timestamps() -> None:
    async with Peer() as peer:
        app = await peer.connects(ts=True, wscale=3)
        app.shutdown()
        await peer.sees(FIN | ACK)
        peer.sends(FIN | ACK)
        await peer.sees(ACK, ack=2)
        assert peer.state == "TIME-WAIT"
        await peer.wait(1)
        peer.sends(FIN | ACK, seq=1)
        again = await peer.sees(ACK, ack=2)
        assert again.segment.tsval is not None


# -- RFC 6191, MAY-2: a new connection in the meantime ----------------------------------------

CLOSED_AT = 2
"""RCV.NXT in TIME-WAIT: the peer's SYN and FIN took 0 and 1."""


async def to_time_wait(peer: Peer, *, ts: bool) -> int:
    """The stack closes; it listens again. Returns the last TSval of the peer."""
    app = await peer.connects(ts=ts)
    peer.stack.listen(app.conn.local, lambda conn: None)
    app.shutdown()
    await peer.sees(FIN | ACK)
    last = peer.tsval
    peer.sends(FIN | ACK, ts=(last, 0) if ts else None)
    await peer.sees(ACK, ack=CLOSED_AT)
    assert peer.state == "TIME-WAIT"
    return last


@pytest.mark.req("6191-1", "6191-2", "MAY-2", "SHLD-4")
@pytest.mark.parametrize(
    ("before", "stamp", "beyond", "accepted"),
    [
        # Timestamps before. The SYN: a later, equal, earlier one or none; its number beyond or not.
        (True, 1, True, True),
        (True, 1, False, True),
        (True, 0, True, True),
        (True, 0, False, False),
        (True, -1, True, False),
        (True, -1, False, False),
        (True, None, True, True),
        (True, None, False, False),
        # No timestamps before.
        (False, 1, True, True),
        (False, 1, False, True),
        (False, None, True, True),
        (False, None, False, False),
    ],
)
async def test_which_syn_opens_a_new_connection(
    before: bool, stamp: int | None, beyond: bool, accepted: bool
) -> None:
    """RFC 6191 2."""
    async with Peer() as peer:
        last = await to_time_wait(peer, ts=before)
        ts = None if stamp is None else (last + stamp & 0xFFFF_FFFF, 0)
        peer.sends(SYN, seq=CLOSED_AT - (not beyond), ts=ts)  # CLOSED_AT - 1 was the FIN's
        (answer,) = await peer.sees_all()
        if accepted:
            assert answer.flags == SYN | ACK
            assert peer.state == "SYN-RECEIVED"
        else:
            # "Otherwise, silently drop"; RFC 9293 has a challenge ACK, and so have we.
            assert answer.flags == ACK
            assert answer.why == Why.CHALLENGE_ACK
            assert peer.state == "TIME-WAIT"


@pytest.mark.req("MAY-2")
async def test_the_new_connection_s_numbers_are_beyond_the_old_ones() -> None:
    """MAY-2 (1): "assigns its initial sequence number for the new connection to be larger than the
    largest sequence number it used on the previous connection incarnation"."""
    async with Peer() as peer:
        app = await peer.connects(options=Options(send_buffer=1 << 20))
        peer.stack.listen(app.conn.local, lambda conn: None)
        app.write(b"x" * 1_000_000)
        while app.conn.unsent or app.conn.unacked:
            await peer.sees_all()
            peer.sends(ACK)
        app.shutdown()
        fin = await peer.sees(FIN | ACK, seq=1_000_001)
        peer.sends(FIN | ACK)
        await peer.sees(ACK)
        peer.sends(SYN, seq=peer.seq + 1)
        reply = await peer.sees(SYN | ACK)
        beyond = (reply.segment.seq - fin.segment.seq) % 2**32
        assert 0 < beyond < 2**31


@pytest.mark.req("MAY-2", "6191-1")
async def test_without_a_listener_a_syn_does_not_end_it() -> None:
    """There is no new connection to end it for: an active opener waits in peace."""
    async with Peer() as peer:
        await go_to(peer, "TW")
        peer.sends(SYN, seq=1000, ts=(1, 0))
        await peer.sees(ACK, seq=2, ack=2, why=Why.CHALLENGE_ACK)
        assert peer.state == "TIME-WAIT"


@pytest.mark.req("MAY-2", "ST-28")
async def test_nor_does_one_for_which_there_is_no_room() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        peer.stack.listen(app.conn.local, lambda conn: None, backlog=1)
        other = peer.another()
        other.sends(SYN)
        await other.sees(SYN | ACK)
        app.shutdown()
        await peer.sees(FIN | ACK)
        peer.sends(FIN | ACK)
        await peer.sees(ACK)
        peer.sends(SYN, seq=1000)
        await peer.sees_all()
        assert peer.state == "TIME-WAIT"


@pytest.mark.req("6191-1")
async def test_timestamps_that_we_do_not_use_decide_nothing() -> None:
    """ "TCP Timestamps would be enabled for the new incarnation" only if we would answer them."""
    async with Peer(options=Options(timestamps=False)) as peer:
        await to_time_wait(peer, ts=False)
        peer.sends(SYN, seq=CLOSED_AT - 1, ts=(2**31, 0))
        await peer.sees(ACK, why=Why.CHALLENGE_ACK)
        assert peer.state == "TIME-WAIT"


# -- limits -----------------------------------------------------------------------------------


async def test_the_oldest_gives_way_when_there_are_too_many() -> None:
    async with Peer(options=Options(max_time_wait=3)) as peer:
        peers = [peer.another(port=50100 + n) for n in range(5)]
        for number, other in enumerate(peers):
            app = await other.connects(port=100 + number)
            app.shutdown()
            await other.sees(FIN | ACK)
            other.sends(FIN | ACK)
            await other.sees(ACK)
        assert [other.state for other in peers] == ["CLOSED"] * 2 + ["TIME-WAIT"] * 3
        assert peer.stack.counters.time_wait_evicted == 2


async def test_the_wait_is_an_option() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=Options(time_wait_s=5))
        app.shutdown()
        await peer.sees(FIN | ACK)
        peer.sends(FIN | ACK)
        await peer.sees(ACK)
        await peer.wait(4.9)
        assert peer.state == "TIME-WAIT"
        await peer.wait(0.2)
        assert peer.state == "CLOSED"
