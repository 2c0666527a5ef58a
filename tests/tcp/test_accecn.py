"""Accurate ECN on the wire (RFC 9768): who agrees to what, and what is fed back."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.wire import tcp
from aiotcp.wire.tcp import ACK, AE, CWR, ECE, RST, SYN, pack_options
from tests.support.conversation import App, Peer, Seen

pytestmark = pytest.mark.req("8311-1")

NOT_ECT, ECT_1, ECT_0, CE = range(4)
ASK = SYN | AE | CWR | ECE
ACE = 0b010 << 6, 0b011 << 6, 0b100 << 6, 0b110 << 6
"""The flags that say with which codepoint a SYN or SYN+ACK arrived (tables 2 and 3)."""
START = 5 << 6
"""The ACE field before any mark has arrived."""
MSS = 1000
OPTIONS = Options(ecn="accurate", cc="reno", receive_buffer=65535)


def ace(count: int) -> int:
    """The flags after so many marks."""
    return (5 + count & 7) << 6


async def agreed(peer: Peer, options: Options = OPTIONS, *, handshake: int = NOT_ECT) -> App:
    """A connection that the peer has opened."""
    _, accepted = peer.listens(options=options)
    peer.sends(ASK, mss=MSS)
    await peer.sees(SYN | ACK | ACE[NOT_ECT])
    peer.sends(ACK | ACE[handshake])
    return accepted[0]


async def asked(peer: Peer, *, answer: int = ACE[NOT_ECT], ecn: int = NOT_ECT) -> App:
    """A connection that the stack has opened, before its last ACK was seen."""
    app = peer.opens(options=OPTIONS)
    await peer.sees(ASK)
    peer.sends(SYN | ACK | answer, mss=MSS, ecn=ecn)
    return app


def option(seen: Seen) -> tuple[int | None, ...] | None:
    return seen.segment.accecn


def window(peer: Peer) -> int:
    assert peer.info is not None
    return peer.info.cwnd_bytes // MSS


# -- as a server (3.1) --------------------------------------------------------------------------


@pytest.mark.parametrize("codepoint", range(4))
async def test_a_syn_ack_says_how_the_syn_arrived(codepoint: int) -> None:
    async with Peer() as peer:
        _, accepted = peer.listens(options=OPTIONS)
        peer.sends(ASK, ecn=codepoint)
        seen = await peer.sees(SYN | ACK | ACE[codepoint])
        assert (seen.ecn, option(seen)) == (NOT_ECT, (1, 0, 1))
        peer.sends(ACK | ACE[NOT_ECT])
        accepted[0].write(b"hello")
        assert (await peer.sees(ACK | START, data=b"hello")).ecn == ECT_0


@pytest.mark.parametrize("flags", [AE, CWR, ECE, AE | ECE, AE | CWR])
async def test_other_combinations_on_a_syn_are_understood_as_all_three(flags: int) -> None:
    """3.1.3"""
    async with Peer() as peer:
        peer.listens(options=OPTIONS)
        peer.sends(SYN | flags)
        await peer.sees(SYN | ACK | ACE[NOT_ECT])
        peer.sends(RST)


@pytest.mark.parametrize("mode", ["passive", "on"])
async def test_a_server_of_rfc_3168_answers_as_such(mode: str) -> None:
    """Table 2's second block."""
    async with Peer() as peer:
        _, accepted = peer.listens(options=Options(ecn=mode))
        peer.sends(ASK)
        await peer.sees(SYN | ACK | ECE)
        peer.sends(ACK)
        peer.sends(ACK, data=b"hello", ecn=CE)
        await peer.sees(ACK | ECE, ack=6)
        assert accepted[0].received == b"hello"


async def test_a_repeated_syn_is_answered_as_the_latest_arrived_and_without_option() -> None:
    """3.1.5, 3.2.3.2.2"""
    async with Peer() as peer:
        peer.listens(options=OPTIONS)
        peer.sends(ASK, seq=0)
        assert option(await peer.sees(SYN | ACK | ACE[NOT_ECT])) is not None
        peer.sends(ASK, ecn=CE)
        assert option(await peer.sees(SYN | ACK | ACE[CE])) is None
        peer.sends(RST)


async def test_a_syn_ack_that_is_not_answered_is_repeated_without_option_then_without_ecn() -> None:
    """3.2.3.2.2; "a TCP Server in AccECN mode MUST NOT set ECT [...] if it has received or sent"
    such a SYN or SYN+ACK, but counts on."""
    async with Peer() as peer:
        _, accepted = peer.listens(options=OPTIONS)
        peer.sends(ASK)
        await peer.sees(SYN | ACK | ACE[NOT_ECT])
        assert option(await peer.sees(SYN | ACK | ACE[NOT_ECT], after=1)) is None
        assert option(await peer.sees(SYN | ACK, after=2)) is None
        peer.sends(ACK | ACE[NOT_ECT])
        accepted[0].write(b"hello")
        assert (await peer.sees(ACK | START, data=b"hello")).ecn == NOT_ECT
        peer.sends(ACK, data=b"hello", ecn=CE)
        await peer.sees(ACK | ace(1), ack=6)


async def test_a_client_that_falls_back_gets_no_ect() -> None:
    async with Peer() as peer:
        _, accepted = peer.listens(options=OPTIONS)
        peer.sends(ASK, seq=0)
        await peer.sees(SYN | ACK | ACE[NOT_ECT])
        peer.sends(SYN)
        await peer.sees(SYN | ACK | ACE[NOT_ECT])  # it may have got the first one
        peer.sends(ACK)  # it has not: an ACE field of 0
        accepted[0].write(b"hello")
        assert (await peer.sees(ACK | START, data=b"hello")).ecn == NOT_ECT


@pytest.mark.parametrize("first", [ASK, SYN | ECE | CWR])
async def test_two_kinds_of_feedback_in_one_handshake_are_reset(first: int) -> None:
    """3.1.5: "MUST reset the connection with a RST packet" """
    async with Peer() as peer:
        peer.listens(options=OPTIONS)
        peer.sends(first, seq=0)
        await peer.sees(SYN | ACK | (ECE if first != ASK else ACE[NOT_ECT]))
        peer.sends(ASK if first != ASK else SYN | ECE | CWR)
        await peer.sees(RST, seq=1)
        assert peer.state == "CLOSED"


@pytest.mark.parametrize("codepoint", [ECT_1, ECT_0, CE])
async def test_a_syn_ack_that_was_tampered_with_ends_ect(codepoint: int) -> None:
    """3.2.2.3: it was not ECN-capable when it left; marks are still believed."""
    async with Peer() as peer:
        app = await agreed(peer, handshake=codepoint)
        assert window(peer) == (5 if codepoint == CE else 10)
        app.write(bytes(5 * MSS))
        assert {seen.ecn for seen in await peer.sees_all()} == {NOT_ECT}


# -- as a client --------------------------------------------------------------------------------


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("codepoint", range(4))
async def test_the_ack_of_a_syn_ack_says_how_that_arrived(codepoint: int, ipv6: bool) -> None:
    """3.2.2.1, even where there is data to send: a pure one goes first."""
    async with Peer(ipv6=ipv6) as peer:
        app = peer.opens(options=OPTIONS)
        app.write(b"hello")
        await peer.sees(ASK)
        peer.sends(SYN | ACK | ACE[NOT_ECT], mss=MSS, ecn=codepoint)
        first = await peer.sees(ACK | ACE[codepoint], ack=1)
        second = await peer.sees(ACK | ace(int(codepoint == CE)), data=b"hello")
        assert (first.ecn, second.ecn) == (NOT_ECT, ECT_0)
        assert option(first) == option(second) == (1, 0, 1)
        app.write(b"hello")
        assert option(await peer.sees(ACK | ace(int(codepoint == CE)), data=b"hello")) is None


@pytest.mark.parametrize("codepoint", range(4))
async def test_a_syn_that_was_tampered_with_ends_ect(codepoint: int) -> None:
    async with Peer() as peer:
        app = await asked(peer, answer=ACE[codepoint])
        await peer.sees(ACK | ACE[NOT_ECT])
        assert window(peer) == (5 if codepoint == CE else 10)
        app.write(bytes(5 * MSS))
        ecn = {seen.ecn for seen in await peer.sees_all()}
        assert ecn == {ECT_0 if codepoint == NOT_ECT else NOT_ECT}


async def test_the_reserved_answer_agrees() -> None:
    """3.1.3: (1,0,1)"""
    async with Peer() as peer:
        app = await asked(peer, answer=AE | ECE)
        await peer.sees(ACK | ACE[NOT_ECT])
        app.write(b"hello")
        assert (await peer.sees(ACK | START, data=b"hello")).ecn == ECT_0


@pytest.mark.parametrize(("answer", "ecn"), [(0, NOT_ECT), (AE | CWR | ECE, NOT_ECT), (ECE, ECT_0)])
async def test_answers_of_older_servers(answer: int, ecn: int) -> None:
    """Table 2: none, a reflection of what was sent, RFC 3168's."""
    async with Peer() as peer:
        app = await asked(peer, answer=answer)
        await peer.sees(ACK)
        app.write(b"hello")
        assert (await peer.sees(ACK, data=b"hello")).ecn == ecn
        peer.sends(ACK, data=b"hello", ecn=CE)
        await peer.sees(ACK | (ECE if answer == ECE else 0), ack=6, within=0.1)


async def test_syns_ask_twice_and_then_no_more() -> None:
    """3.1.4.1; a client that is agreed with nevertheless may send ECT."""
    async with Peer() as peer:
        app = peer.opens(options=OPTIONS)
        await peer.sees(ASK)
        await peer.sees(ASK, after=1)
        await peer.sees(SYN, after=2)
        peer.sends(SYN | ACK | ACE[NOT_ECT])
        await peer.sees(ACK | ACE[NOT_ECT])
        app.write(b"hello")
        assert (await peer.sees(ACK | START, data=b"hello")).ecn == ECT_0


async def test_a_syn_ack_that_comes_again_is_answered_as_before() -> None:
    async with Peer() as peer:
        app = await asked(peer, ecn=ECT_0)
        await peer.sees(ACK | ACE[ECT_0])
        peer.sends(SYN | ACK | ACE[NOT_ECT], seq=0, ecn=CE)
        seen = await peer.sees(ACK | ACE[CE], why="challenge_ack")
        assert option(seen) is None  # nor ever again: this may have been what was in the way
        app.write(b"hello")
        assert option(await peer.sees(ACK | ace(1), data=b"hello")) is None


async def test_simultaneous_open() -> None:
    async with Peer() as peer:
        app = peer.opens(options=OPTIONS)
        await peer.sees(ASK)
        peer.sends(ASK, seq=0, ecn=ECT_1)
        await peer.sees(SYN | ACK | ACE[ECT_1])
        peer.sends(SYN | ACK | ACE[NOT_ECT])
        await peer.sees_all()
        assert app.state == "ESTABLISHED"
        app.write(b"hello")
        assert (await peer.sees(ACK | START, data=b"hello")).ecn == ECT_0


# -- feedback -----------------------------------------------------------------------------------


async def test_marks_are_counted_and_told_at_once() -> None:
    async with Peer() as peer:
        app = await agreed(peer)
        peer.sends(ACK | ace(0), data=bytes(100), ecn=ECT_0)
        assert option(await peer.sees(ACK | ace(0), within=0.1)) == (101, None, None)
        peer.sends(ACK | ace(0), data=bytes(100), ecn=CE)
        assert option(await peer.sees(ACK | ace(1), why="ack_congestion")) == (101, 100, None)
        peer.sends(ACK | ace(0), data=bytes(100), ecn=CE)
        peer.sends(ACK | ace(0), data=bytes(100), ecn=CE)
        assert option(await peer.sees(ACK | ace(3))) == (101, 300, None)
        peer.sends(ACK | ace(0), data=bytes(100), ecn=NOT_ECT)
        assert option(await peer.sees(ACK | ace(3), within=0.1)) is None
        app.write(b"hello")
        await peer.sees(ACK | ace(3), data=b"hello")


async def test_a_mark_that_arrives_twice_counts_once() -> None:
    """ "for every Acceptable packet": what repeats what is known is none (RFC 9293 3.10.7.4)."""
    async with Peer() as peer:
        await agreed(peer)
        for _ in range(2):
            peer.sends(ACK | ace(0), seq=1, data=bytes(100), ecn=CE)
            await peer.sees(ACK | ace(1), ack=101)


async def test_sack_has_precedence_over_the_option() -> None:
    """3.2.3.3: two blocks at least, where there is one for each."""
    async with Peer() as peer:
        _, accepted = peer.listens(options=OPTIONS)
        peer.sends(ASK, mss=MSS, sack_permitted=True, ts=(peer.tsval, 0))
        await peer.sees(SYN | ACK | ACE[NOT_ECT])
        peer.sends(ACK | ACE[NOT_ECT])
        assert accepted
        for number, codepoint in ((1, ECT_0), (3, ECT_1), (5, CE), (7, CE)):
            peer.sends(ACK | ace(0), seq=1 + number * 100, data=bytes(100), ecn=codepoint)
        seen = await peer.sees_all()
        assert [len(each.sack) for each in seen] == [1, 2, 3, 3]
        assert [option(each) is not None for each in seen] == [True, False, False, False]
        assert all(len(each.options) <= 40 for each in seen)


async def test_marks_halve_the_window_once_and_no_cwr_answers() -> None:
    async with Peer() as peer:
        app = await agreed(peer)
        app.write(bytes(400 * MSS))
        assert {each.ecn for each in await peer.sees_all()} == {ECT_0}
        peer.sends(ACK | ace(1), ack=1 + MSS)
        assert window(peer) == 5
        for acked in range(2, 11):
            peer.sends(ACK | ace(acked), ack=1 + acked * MSS)
            seen = await peer.sees_all()
            assert all(each.flags & ~tcp.PSH == ACK | START for each in seen)
        assert window(peer) == 5
        peer.sends(ACK | ace(10), ack=1 + 11 * MSS)
        await peer.sees_all()
        peer.sends(ACK | ace(11), ack=1 + 12 * MSS)  # of the next window
        assert window(peer) == 2


async def test_a_counter_that_stays_is_no_mark() -> None:
    """As ECE would be: it is a bit of the field."""
    async with Peer() as peer:
        app = await agreed(peer)
        app.write(bytes(400 * MSS))
        await peer.sees_all()
        for acked in range(1, 11):
            peer.sends(ACK | ace(0), ack=1 + acked * MSS)
            await peer.sees_all()
        assert window(peer) == 20


async def test_a_frame_whose_counter_has_cwr_set_is_one_segment() -> None:
    """A link that cuts frames takes CWR off all but the first segment."""
    async with Peer(offload=True) as peer:
        app = await agreed(peer)
        app.write(bytes(2 * MSS))
        first = await peer.sees_all()
        peer.sends(ACK | ace(0), ack=1 + 2 * MSS, data=b"mark", ecn=CE)
        app.write(bytes(2 * MSS))
        second = await peer.sees_all()
        assert [each.flags & (AE | CWR | ECE) for each in first] == [ace(0)] * 2
        assert {each.flags & (AE | CWR | ECE) for each in second} == {ace(1)}
        assert ace(1) & CWR


async def test_options_are_read() -> None:
    """They tell apart what the counter of three bits can't: eight marks at once, or none."""
    async with Peer() as peer:
        app = await agreed(peer)
        app.write(bytes(10 * MSS))
        await peer.sees_all()
        told = tcp.pack_accecn(tcp.ACCECN0, (1 + 2 * MSS, 8 * MSS))
        peer.sends(ACK | ace(8), ack=1 + 10 * MSS, options=pack_options(accecn=told))
        assert window(peer) == 5


async def test_a_frame_of_many_marked_segments_counts_as_so_many() -> None:
    """As a link with offload delivers them: they were marked one by one."""
    async with Peer(offload=True) as peer:
        await agreed(peer)
        peer.sends(ACK | ace(0), data=bytes(4 * MSS + 1), ecn=CE, gso_size=MSS)
        assert option(await peer.sees(ACK | ace(5))) == (1, 4 * MSS + 1, None)
