"""SYN-RECEIVED of a passive open, before there is a connection (RFC 9293 3.10.7.4, RFC 4987)."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.reasons import Drop, Why
from aiotcp.wire.tcp import ACK, RST, SYN
from tests.support.conversation import Peer


@pytest.mark.req("4987-3", "MUST-19")
async def test_syn_ack_is_repeated_five_times_with_back_off_and_then_forgotten() -> None:
    async with Peer() as peer:
        peer.listens(80)
        peer.sends(SYN)
        first = await peer.sees(SYN | ACK, seq=0, ack=1, why=Why.OPEN_REPLY)
        for wait in (1, 2, 4, 8, 16):
            again = await peer.sees(SYN | ACK, after=wait, why=Why.OPEN_REPLY_RETRANSMIT)
            assert again.segment.seq == first.segment.seq
        await peer.sees_nothing(for_s=31)
        assert peer.state == "SYN-RECEIVED"
        await peer.sees_nothing(for_s=2)
        assert peer.state == "CLOSED"
        assert peer.states[-1] == "LISTEN"


async def test_the_number_of_repetitions_is_an_option() -> None:
    async with Peer() as peer:
        peer.listens(80, options=Options(synack_retries=1))
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        await peer.sees(SYN | ACK, after=1)
        await peer.sees_nothing(for_s=3600)
        assert peer.info is None


@pytest.mark.req("4987-3")
@pytest.mark.parametrize("patient", [0, 3, 6])
async def test_each_repeats_in_its_own_time(patient: int) -> None:
    """An entry of a patient listener, whenever it began, does not hold those of others up; nor does
    one that is over, by an ACK or a reset, and that is not repeated."""
    async with Peer() as peer:
        peer.listens(80, options=Options(rto_initial_s=4, synack_retries=1))
        peer.listens(81, options=Options(rto_initial_s=1, synack_retries=1))
        ends = [peer.another(port=port) for port in range(7)]
        due: list[tuple[float, Peer]] = []
        for number, end in enumerate(ends, 1):
            end.port, end.stack_port = number, 80 if number - 1 == patient else 81
            end.sends(SYN)
            await end.sees(SYN | ACK)
            due.append((peer.now + (4 if end.stack_port == 80 else 1), end))
            await peer.wait(0.1)
        for end in (ends[1], ends[4]):
            end.sends(RST)
        ends[2].sends(ACK)
        over = (ends[1], ends[2], ends[4])
        for at, end in sorted(due, key=lambda each: each[0]):
            if end not in over:
                await end.sees(SYN | ACK, after=at - peer.now, why=Why.OPEN_REPLY_RETRANSMIT)
        await peer.wait(40)
        assert [row.state for row in peer.stack.connections()] == ["ESTABLISHED"]


async def test_a_syn_that_comes_again_is_answered_again() -> None:
    async with Peer() as peer:
        peer.listens(80)
        peer.sends(SYN, seq=0)
        first = await peer.sees(SYN | ACK)
        await peer.wait(0.5)
        peer.sends(SYN, seq=0)
        again = await peer.sees(SYN | ACK, ack=1, why=Why.OPEN_REPLY_RETRANSMIT)
        assert again.segment.seq == first.segment.seq
        await peer.sees(SYN | ACK, after=0.5)  # the timer goes on from the first


async def test_a_syn_that_comes_twice_at_once_is_answered_once_and_the_timer_runs() -> None:
    async with Peer() as peer:
        peer.listens(80)
        with peer.batch():
            peer.sends(SYN, seq=0)
            peer.sends(SYN, seq=0)
        await peer.sees(SYN | ACK, why=Why.OPEN_REPLY)
        await peer.sees(SYN | ACK, after=1)


@pytest.mark.req("5961-4")
async def test_forged_resets_are_challenged_seldom() -> None:
    async with Peer() as peer:
        peer.listens(80)
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        for offset in range(1000):
            peer.sends(RST, seq=2 + offset)
        await peer.sees(ACK, seq=1, ack=1, why=Why.CHALLENGE_ACK)
        await peer.sees_nothing()
        assert peer.stack.counters.dropped[Drop.RST_CHALLENGED] == 1000
        assert peer.state == "SYN-RECEIVED"


async def test_the_window_of_a_challenge_is_scaled() -> None:
    """RFC 7323 2.2: only the windows of SYNs are not, and the edge never moves left (SHLD-14)."""
    async with Peer() as peer:
        _, accepted = peer.listens(80, options=Options(receive_buffer=2**20))
        peer.sends(SYN, mss=1460, wscale=7)
        syn = await peer.sees(SYN | ACK)
        peer.sends(RST, seq=2)
        challenge = await peer.sees(ACK, why=Why.CHALLENGE_ACK)
        assert syn.window <= challenge.window < syn.window + 32  # a unit of the scale
        peer.sends(ACK, seq=1)
        assert accepted[0].state == "ESTABLISHED"
        peer.seq = 1
        peer.sends(ACK, data=b"x")
        await peer.sees(ACK, ack=2, within=0.5)


@pytest.mark.req("ST-28", "4987-1")
async def test_beyond_the_backlog_syns_are_dropped_not_reset() -> None:
    async with Peer() as peer:
        peer.listens(80, backlog=3, options=Options(syn_cookies="off"))
        others = [peer.another(port=60000 + n, iss=n) for n in range(5)]
        for other in others:
            other.sends(SYN, seq=0)
        for other in others[:3]:
            await other.sees(SYN | ACK)
        await peer.sees_nothing(for_s=0.5)
        assert peer.stack.counters.dropped[Drop.LISTEN_BACKLOG] == 2
        others[0].sends(ACK, seq=1)  # one is established: there is room again
        others[3].sends(SYN, seq=0)
        await others[3].sees(SYN | ACK)


async def test_closing_the_listener_forgets_its_half_open_entries() -> None:
    async with Peer() as peer:
        listener, _ = peer.listens(80)
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        listener.close()
        await peer.sees_nothing(for_s=100)
        assert peer.info is None


async def test_an_ack_after_the_listener_was_closed_is_reset() -> None:
    async with Peer() as peer:
        listener, accepted = peer.listens(80)
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        listener.close()
        peer.sends(ACK)
        await peer.sees(RST, seq=1)
        assert not accepted


@pytest.mark.req("7323-12", "7323-9")
async def test_timestamps_count_from_the_first_segment_on() -> None:
    async with Peer() as peer:
        _, accepted = peer.listens(80)
        peer.sends(SYN, ts=(1000, 0))
        await peer.sees(SYN | ACK)
        peer.sends(ACK, ts=None)
        await peer.sees_nothing()
        peer.sends(ACK, ts=(999, 0))
        await peer.sees(ACK, ack=1, why=Why.ACK_PAWS)
        assert not accepted
        peer.sends(ACK, ts=(1000, 0))
        assert accepted
        assert peer.stack.counters.dropped[Drop.NO_TIMESTAMP] == 1
        assert peer.stack.counters.dropped[Drop.PAWS] == 1
