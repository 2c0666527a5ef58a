"""ECN on the wire (RFC 3168): who agrees, what is ECN-capable, what is echoed."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.wire.tcp import ACK, AE, CWR, ECE, FIN, RST, SYN
from tests.support.conversation import App, Peer

NOT_ECT, ECT_1, ECT_0, CE = range(4)
SETUP = SYN | ECE | CWR
MSS = 1000
ON = Options(ecn="on", cc="reno", initial_window_segments=10, receive_buffer=65535)
PASSIVE = ON.replace(ecn="passive")


def at(segments: int) -> int:
    """The sequence number at which so many segments end."""
    return 1 + segments * MSS


async def agreed(peer: Peer, options: Options = PASSIVE) -> App:
    """A connection that the peer has opened with an ECN-setup SYN."""
    _, accepted = peer.listens(options=options)
    peer.sends(SETUP, mss=MSS)
    await peer.sees(SYN | ACK | ECE)
    peer.sends(ACK)
    return accepted[0]


# -- agreeing (6.1.1) --------------------------------------------------------------------------


@pytest.mark.req("3168-1", "SHLD-8")
@pytest.mark.parametrize("mode", ["passive", "on", "accurate"])
async def test_a_setup_syn_is_answered_by_ece(mode: str) -> None:
    async with Peer() as peer:
        app = await agreed(peer, Options(ecn=mode))
        app.write(b"hello")
        assert (await peer.sees(ACK, data=b"hello")).ecn == ECT_0


@pytest.mark.req("3168-1")
@pytest.mark.parametrize(
    ("mode", "flags"),
    [
        ("off", ECE | CWR),
        *(("passive", flags) for flags in (0, ECE, CWR, AE, AE | ECE, AE | CWR)),
        ("accurate", 0),
    ],
)
async def test_any_other_syn_is_not(mode: str, flags: int) -> None:
    """ "a SYN packet with at least one of the ECE and CWR flags not set a "non-ECN-setup SYN
    packet"", and who gets one answers without ECE, and sends no ECT."""
    async with Peer() as peer:
        _, accepted = peer.listens(options=Options(ecn=mode))
        peer.sends(SYN | flags)
        assert (await peer.sees(SYN | ACK)).ecn == NOT_ECT
        peer.sends(ACK)
        accepted[0].write(b"hello")
        assert (await peer.sees(ACK, data=b"hello")).ecn == NOT_ECT
        peer.sends(ACK | ECE, data=b"hello", ecn=CE)
        await peer.sees(ACK, within=0.1)


@pytest.mark.req("3168-1")
@pytest.mark.parametrize("ipv6", [False, True])
async def test_asking(ipv6: bool) -> None:
    async with Peer(ipv6=ipv6) as peer:
        app = peer.opens(options=ON)
        assert (await peer.sees(SETUP)).ecn == NOT_ECT
        peer.sends(SYN | ACK | ECE)
        assert (await peer.sees(ACK)).ecn == NOT_ECT
        app.write(b"hello")
        assert (await peer.sees(ACK, data=b"hello")).ecn == ECT_0


@pytest.mark.req("3168-1")
@pytest.mark.parametrize("flags", [0, CWR, ECE | CWR])
async def test_answers_that_do_not_agree(flags: int) -> None:
    """6.1.1.2: with both flags some peer has sent back what it got, reserved bits and all."""
    async with Peer() as peer:
        app = peer.opens(options=ON)
        await peer.sees(SETUP)
        peer.sends(SYN | ACK | flags)
        await peer.sees(ACK)
        app.write(b"hello")
        assert (await peer.sees(ACK, data=b"hello")).ecn == NOT_ECT


@pytest.mark.req("3168-1")
@pytest.mark.parametrize("mode", ["off", "passive"])
async def test_who_does_not_ask_gets_nothing(mode: str) -> None:
    async with Peer() as peer:
        app = peer.opens(options=Options(ecn=mode))
        await peer.sees(SYN)
        peer.sends(SYN | ACK | ECE)
        await peer.sees(ACK)
        app.write(b"hello")
        assert (await peer.sees(ACK, data=b"hello")).ecn == NOT_ECT


@pytest.mark.req("3168-5")
async def test_a_syn_that_times_out_is_sent_again_without() -> None:
    async with Peer() as peer:
        app = peer.opens(options=ON)
        await peer.sees(SETUP)
        await peer.sees(SYN, after=1)
        await peer.sees(SYN, after=2)
        peer.sends(SYN | ACK)
        await peer.sees(ACK)
        app.write(b"hello")
        assert (await peer.sees(ACK, data=b"hello")).ecn == NOT_ECT


@pytest.mark.req("3168-5", "3168-3")
async def test_a_late_answer_to_the_first_syn() -> None:
    """Who "has sent no non-ECN-setup SYN" may send ECT: we have, but go on to echo marks."""
    async with Peer() as peer:
        app = peer.opens(options=ON)
        await peer.sees(SETUP)
        await peer.sees(SYN, after=1)
        peer.sends(SYN | ACK | ECE)
        await peer.sees(ACK)
        app.write(b"hello")
        assert (await peer.sees(ACK, data=b"hello")).ecn == NOT_ECT
        peer.sends(ACK, data=b"hello", ecn=CE)
        await peer.sees(ACK | ECE, ack=6)


@pytest.mark.req("3168-5")
async def test_a_setup_syn_that_is_refused_is_sent_again_without() -> None:
    """6.1.1.1: "a host that receives a RST in response to the transmission of an ECN-setup SYN
    packet MAY resend a SYN with CWR and ECE cleared"; a second one is the peer's own word."""
    async with Peer() as peer:
        app = peer.opens(options=ON)
        await peer.sees(SETUP)
        peer.sends(RST | ACK, seq=0, ack=1)
        await peer.sees(SYN, why="open_retransmit")
        peer.sends(RST | ACK, seq=0, ack=1)
        await peer.sees_nothing(for_s=10)
        assert isinstance(app.error, ConnectionRefusedError)


@pytest.mark.req("3168-5")
async def test_a_client_that_falls_back() -> None:
    """Our SYN+ACK was lost, and the SYN comes again without ECN: "a non-ECN-setup SYN/ACK"."""
    async with Peer() as peer:
        _, accepted = peer.listens(options=PASSIVE)
        peer.sends(SETUP, seq=0)
        await peer.sees(SYN | ACK | ECE)
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        peer.sends(ACK)
        accepted[0].write(b"hello")
        assert (await peer.sees(ACK, data=b"hello")).ecn == NOT_ECT


@pytest.mark.req("3168-1")
async def test_a_syn_ack_is_repeated_as_it_was() -> None:
    async with Peer() as peer:
        peer.listens(options=PASSIVE)
        peer.sends(SETUP)
        await peer.sees(SYN | ACK | ECE)
        await peer.sees(SYN | ACK | ECE, after=1)
        peer.sends(RST)


@pytest.mark.req("3168-1")
async def test_simultaneous_open() -> None:
    async with Peer() as peer:
        app = peer.opens(options=ON)
        await peer.sees(SETUP)
        peer.sends(SETUP, seq=0)
        assert (await peer.sees(SYN | ACK | ECE)).ecn == NOT_ECT
        peer.sends(SYN | ACK | ECE)
        await peer.sees_all()
        assert app.state == "ESTABLISHED"
        app.write(b"hello")
        assert (await peer.sees(ACK, data=b"hello")).ecn == ECT_0


# -- what may be ECN-capable (6.1.4 to 6.1.6) ---------------------------------------------------


@pytest.mark.req("3168-2")
@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("offload", [False, True])
async def test_new_data_is_and_nothing_else(ipv6: bool, offload: bool) -> None:
    """That no test sends anything else that is, `wirecheck` sees to; here is that it would."""
    async with Peer(ipv6=ipv6, offload=offload) as peer:
        app = await agreed(peer)
        app.write(bytes(5 * MSS))
        seen = await peer.sees_all()
        assert [each.ecn for each in seen] == [ECT_0] * 5
        for _ in range(3):
            peer.sends(ACK, ack=1)
        again = await peer.sees(ACK | CWR * 0, seq=1, length=MSS)
        assert again.ecn == NOT_ECT
        peer.sends(ACK, ack=at(5), data=b"hello")
        assert (await peer.sees(ACK, ack=6, within=0.1)).ecn == NOT_ECT
        app.shutdown()
        assert (await peer.sees(FIN | ACK, seq=at(5))).ecn == NOT_ECT
        peer.sends(FIN | ACK, ack=at(5) + 1)
        assert (await peer.sees(ACK, ack=7)).ecn == NOT_ECT


@pytest.mark.req("3168-2")
async def test_a_repetition_after_a_timeout_is_not() -> None:
    async with Peer() as peer:
        app = await agreed(peer)
        app.write(bytes(2 * MSS))
        assert [each.ecn for each in await peer.sees_all()] == [ECT_0] * 2
        peer.sends(ACK, ack=at(1))
        seen = await peer.sees(ACK, seq=at(1), length=MSS, within=2)
        assert (seen.why, seen.ecn) == ("rto_retransmit", NOT_ECT)


@pytest.mark.req("3168-2")
async def test_a_window_probe_is_not() -> None:
    """Nor is what repeats its octet, when the window opens."""
    async with Peer() as peer:
        app = await agreed(peer)
        peer.sends(ACK, window=0)
        app.write(bytes(100))
        seen = await peer.sees(ACK, seq=1, length=1, within=2)
        assert (seen.why, seen.ecn) == ("window_probe", NOT_ECT)
        peer.ack = 1
        peer.sends(ACK, ack=1, window=50_000)
        assert (await peer.sees(ACK, seq=1, length=100)).ecn == NOT_ECT
        app.write(bytes(100))
        assert (await peer.sees(ACK, seq=101, length=100)).ecn == ECT_0


@pytest.mark.req("3168-2")
async def test_a_reset_is_not() -> None:
    async with Peer() as peer:
        app = await agreed(peer)
        app.write(bytes(100))
        await peer.sees(ACK, length=100)
        app.abort()
        assert (await peer.sees(RST | ACK)).ecn == NOT_ECT


async def test_the_dscp_is_the_users_and_the_rest_is_not() -> None:
    async with Peer() as peer:
        app = await agreed(peer, PASSIVE.replace(traffic_class=0xBB))
        app.write(b"hello")
        assert (await peer.sees(ACK, data=b"hello")).traffic_class == 0xB8 | ECT_0


# -- the receiver (6.1.3) -----------------------------------------------------------------------


@pytest.mark.req("3168-3")
async def test_a_mark_is_echoed_until_cwr() -> None:
    async with Peer() as peer:
        app = await agreed(peer)
        peer.sends(ACK, data=b"one", ecn=ECT_0)
        await peer.sees(ACK, ack=4, within=0.1)
        peer.sends(ACK, data=b"two", ecn=CE)
        await peer.sees(ACK | ECE, ack=7, why="ack_congestion")  # at once
        peer.sends(ACK, data=b"three", ecn=ECT_0)
        await peer.sees(ACK | ECE, ack=12, within=0.1)
        app.write(b"hello")
        assert (await peer.sees(ACK | ECE, data=b"hello")).ecn == ECT_0
        peer.sends(ACK | CWR, data=b"four", ecn=ECT_0)
        await peer.sees(ACK, ack=16)  # at once, too: the peer waits for it
        peer.sends(ACK, data=b"five", ecn=ECT_0)
        await peer.sees(ACK, ack=20, within=0.1)


@pytest.mark.req("3168-3")
async def test_a_mark_on_the_segment_with_cwr_is_a_new_one() -> None:
    async with Peer() as peer:
        await agreed(peer)
        peer.sends(ACK, data=b"one", ecn=CE)
        await peer.sees(ACK | ECE)
        peer.sends(ACK | CWR, data=b"two", ecn=CE)
        await peer.sees(ACK | ECE)
        peer.sends(ACK | CWR, data=b"three", ecn=ECT_0)
        await peer.sees(ACK)


@pytest.mark.req("3168-3")
async def test_any_mark_of_a_batch_counts() -> None:
    """ "if any of the received data packets are CE packets, then the returning ACK has the
    ECN-Echo flag set" """
    async with Peer() as peer:
        await agreed(peer)
        with peer.batch():
            for codepoint in (ECT_0, CE, ECT_0, ECT_0):
                peer.sends(ACK, data=bytes(MSS), ecn=codepoint)
        await peer.sees(ACK | ECE, ack=at(4))


@pytest.mark.req("3168-3")
async def test_a_mark_on_a_frame_of_many_segments() -> None:
    async with Peer(offload=True) as peer:
        await agreed(peer)
        peer.sends(ACK, data=bytes(9 * MSS), ecn=CE, gso_size=MSS)
        await peer.sees(ACK | ECE, ack=at(9))


@pytest.mark.req("3168-3")
async def test_marks_where_they_mean_nothing() -> None:
    """On pure acknowledgments (6.1.4), and outside of the window (6.1.5): "the TCP data receiver
    SHOULD ignore the CE codepoint on out-of-window packets"."""
    async with Peer() as peer:
        app = await agreed(peer)
        peer.sends(ACK, ecn=CE)
        peer.sends(ACK, data=b"one", ecn=ECT_0)
        await peer.sees(ACK, ack=4, within=0.1)
        peer.sends(ACK, seq=1, data=b"one", ecn=CE)
        await peer.sees(ACK, ack=4)
        peer.sends(ACK, seq=200_000, data=b"far", ecn=CE)
        await peer.sees(ACK, ack=4)
        app.write(b"hello")
        await peer.sees(ACK, data=b"hello")


@pytest.mark.req("3168-3")
async def test_a_mark_on_what_is_ahead_of_its_turn() -> None:
    async with Peer() as peer:
        await agreed(peer)
        peer.sends(ACK, seq=at(1), data=bytes(MSS), ecn=CE)
        await peer.sees(ACK | ECE, ack=1)
        peer.sends(ACK, seq=1, data=bytes(MSS))
        await peer.sees(ACK | ECE, ack=at(2))
