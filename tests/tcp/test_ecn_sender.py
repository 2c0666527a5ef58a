"""What a sender makes of congestion marks (RFC 3168 6.1.2), and of those that can't be true."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.tcp.ecn import SUSPICIOUS_ROUNDS, Reaction
from aiotcp.wire.tcp import ACK, CWR, ECE
from tests.support.conversation import App, Peer
from tests.tcp.test_ecn import ECT_0, MSS, NOT_ECT, PASSIVE, agreed, at


async def sending(peer: Peer, *, flight: int = 10, options: Options = PASSIVE) -> App:
    app = await agreed(peer, options.replace(initial_window_segments=flight))
    app.write(bytes(400 * MSS))
    assert len(await peer.sees_all()) == flight
    return app


def window(peer: Peer) -> int:
    assert peer.info is not None
    return peer.info.cwnd_bytes // MSS


# -- the sender (6.1.2) -------------------------------------------------------------------------


@pytest.mark.req("3168-4")
async def test_an_echo_halves_the_window_once_and_is_answered_by_cwr() -> None:
    async with Peer() as peer:
        await sending(peer, flight=10)
        peer.sends(ACK | ECE, ack=at(1))
        assert window(peer) == 5
        for acked in range(2, 6):
            peer.sends(ACK | ECE, ack=at(acked))
            await peer.sees_nothing()
        peer.sends(ACK | ECE, ack=at(6))
        seen = await peer.sees(ACK | CWR, seq=at(10), length=MSS)
        assert (seen.ecn, seen.why) == (ECT_0, "new_data")
        for acked in range(7, 11):  # the same window of data, still
            peer.sends(ACK | ECE, ack=at(acked))
            assert (await peer.sees(ACK, length=MSS)).ecn == ECT_0
        assert window(peer) == 5
        peer.sends(ACK, ack=at(11))  # the peer has got CWR
        await peer.sees_all()
        peer.sends(ACK | ECE, ack=at(12))  # a mark of the next window
        assert window(peer) == 2


@pytest.mark.req("5682-2", "3168-4")
@pytest.mark.parametrize("marked", [True, False])
async def test_a_spurious_timeout_is_not_taken_back_against_a_mark(marked: bool) -> None:
    """RFC 4015 3.2 step 9: with ECN-Echo in the acceptable ACK the sender "MUST refrain from
    reversing congestion control state"."""
    async with Peer() as peer:
        await sending(peer, flight=10)
        peer.sends(ACK, ack=at(1))
        await peer.sees_all()
        before = window(peer)
        await peer.sees(ACK, seq=at(1), length=MSS, why="rto_retransmit", within=1)
        peer.sends(ACK, ack=at(2))  # F-RTO: the originals were late
        await peer.sees_all()
        peer.sends(ACK | (ECE if marked else 0), ack=at(3))
        await peer.sees_all()
        assert (window(peer) < before // 2) == marked


@pytest.mark.req("3168-4")
@pytest.mark.parametrize("taken_back", [True, False])
def test_a_reduction_that_was_taken_back_answers_no_mark(taken_back: bool) -> None:
    reaction = Reaction(0, ect=True)
    assert not reaction.react(10, marked=False, acked=10)
    reaction.reduced(100)
    if taken_back:
        reaction.unreduced(50)
    assert reaction.react(60, marked=True, acked=10) == taken_back


@pytest.mark.req("3168-4")
async def test_cwr_goes_with_the_first_segment_of_a_frame() -> None:
    async with Peer(offload=True) as peer:
        await sending(peer, flight=40)
        peer.sends(ACK | ECE, ack=at(40))
        seen = await peer.sees_all()
        assert [each.flags & CWR for each in seen] == [CWR] + [0] * 19
        assert {each.ecn for each in seen} == {ECT_0}


@pytest.mark.req("3168-4")
async def test_an_echo_does_not_add_to_what_loss_has_done() -> None:
    """ "the TCP sender's congestion window should be reduced only once in response to a series of
    dropped and/or CE packets from a single window of data" """
    async with Peer() as peer:
        await sending(peer, flight=10)
        for _ in range(3):
            peer.sends(ACK, ack=1)
            await peer.sees_all()
        assert window(peer) == 5
        peer.sends(ACK | ECE, ack=at(5))
        peer.sends(ACK | ECE, ack=at(8))
        await peer.sees_all()
        assert window(peer) == 5


@pytest.mark.req("3168-4")
@pytest.mark.parametrize("by_timer", [False, True])
async def test_cwr_tells_of_every_reduction(by_timer: bool) -> None:
    """ "reduces its congestion window for any reason (because of a retransmit timeout, a Fast
    Retransmit, or in response to an ECN Notification)"; not on a repetition."""
    async with Peer() as peer:
        await sending(peer, flight=10)
        peer.sends(ACK, ack=at(1))
        await peer.sees_all()
        if by_timer:
            await peer.sees(ACK, seq=at(1), length=MSS, why="rto_retransmit", within=2)
        else:
            for _ in range(3):
                peer.sends(ACK, ack=at(1))
            seen = await peer.sees_all()
            assert [each.flags & CWR for each in seen] == [0] * len(seen)
        peer.sends(ACK, ack=peer.ack)
        seen = await peer.sees_all()
        assert seen
        assert [each.flags & CWR for each in seen] == [CWR] + [0] * (len(seen) - 1)
        assert {each.ecn for each in seen} == {ECT_0}


@pytest.mark.req("3168-4")
async def test_loss_does_not_add_to_what_an_echo_has_done() -> None:
    async with Peer() as peer:
        await sending(peer, flight=10)
        peer.sends(ACK | ECE, ack=at(1))
        assert window(peer) == 5
        for _ in range(3):
            peer.sends(ACK | ECE, ack=at(1))
        await peer.sees(ACK, seq=at(1), length=MSS, why="fast_retransmit")
        peer.sends(ACK, ack=at(10))
        seen = await peer.sees_all()
        assert peer.info is not None
        assert peer.info.ssthresh_bytes == 5 * MSS
        assert [each.flags & CWR for each in seen] == [CWR] + [0] * (len(seen) - 1)


# -- peers and paths that mishandle it ----------------------------------------------------------


async def rounds(peer: Peer, count: int, flags: int) -> list[int]:
    """Acknowledge all that is there, so many times: the codepoints of what is sent last."""
    seen = []
    for _ in range(count):
        peer.sends(ACK | flags, ack=peer.ack)
        seen = await peer.sees_all()
        assert seen
    return [each.ecn for each in seen]


@pytest.mark.req("SHLD-8")
async def test_marks_without_end_are_not_believed() -> None:
    """A path that marks all, or a peer that never stops to echo: ECN is left, the window grows."""
    async with Peer() as peer:
        await sending(peer)
        assert set(await rounds(peer, SUSPICIOUS_ROUNDS, ECE)) == {ECT_0}
        assert window(peer) == 1
        assert set(await rounds(peer, 10, ECE)) == {NOT_ECT}
        assert window(peer) > 5


@pytest.mark.req("3168-4")
async def test_marks_in_every_window_are_believed_where_there_was_one_without() -> None:
    async with Peer() as peer:
        await sending(peer)
        peer.sends(ACK, ack=at(1))
        await peer.sees_all()
        assert set(await rounds(peer, 3 * SUSPICIOUS_ROUNDS, ECE)) == {ECT_0}
        assert window(peer) == 1


@pytest.mark.req("SHLD-8")
async def test_a_path_that_lets_no_ect_through() -> None:
    """The first flight is lost: it is repeated without ECT, and what follows has none either."""
    async with Peer() as peer:
        app = await agreed(peer)
        app.write(bytes(20 * MSS))
        assert len(await peer.sees_all()) == 10
        again = await peer.sees(ACK, seq=1, length=MSS, within=5)
        assert (again.why, again.ecn) == ("rto_retransmit", NOT_ECT)
        peer.sends(ACK, ack=at(1))
        while peer.ack < at(20):
            seen = await peer.sees_all()
            assert seen
            assert {each.ecn for each in seen} == {NOT_ECT}
            peer.sends(ACK, ack=max(each.end for each in seen))
