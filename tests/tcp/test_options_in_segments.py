"""TCP options as they come: in any place, of any kind, damaged (RFC 9293 3.1 and 3.2)."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiotcp.sim import run
from aiotcp.wire.tcp import ACK, FIN, PSH, SYN
from tests.support.conversation import Peer

MSS_500 = b"\x02\x04\x01\xf4"
TIMESTAMPS = b"\x08\x0a\x00\x00\x00\x05\x00\x00\x00\x00"


def padded(options: bytes, with_: bytes = b"\x00") -> bytes:
    return options + with_ * (-len(options) % 4)


async def mss_after(options: bytes) -> int:
    """Payload of the largest segment that the stack sends after a SYN with these options."""
    async with Peer() as peer:
        _, accepted = peer.listens()
        peer.sends(SYN, options=options)
        await peer.sees(SYN | ACK)
        peer.sends(ACK)
        accepted[0].write(bytes(2000))
        sizes = [len(seen.payload) for seen in await peer.sees_all()]
        peer.sends(ACK)
        return max(sizes)


@pytest.mark.req("MUST-4", "MUST-64")
@pytest.mark.parametrize(
    "options",
    [
        MSS_500,
        b"\x01\x01\x01\x01" + MSS_500,
        b"\x01" + MSS_500 + b"\x01\x01\x01",
        b"\x01" + MSS_500 + b"\x00\x00\x00",
        b"\x01\x01\x01" + MSS_500 + b"\x00",
        MSS_500 + b"\x00\x02\x04\x00",  # what follows the end is not looked at
        MSS_500 + b"\x00" + bytes(35),
    ],
)
async def test_end_and_no_operation_around_mss_at_odd_offsets(options: bytes) -> None:
    assert await mss_after(options) == 500


@pytest.mark.req("MUST-6")
@pytest.mark.parametrize(
    "unknown",
    [
        b"\x9e\x04\xab\xcd",
        b"\xfd\x02",
        b"\x1e\x08" + bytes(6),  # MPTCP
        b"\x13\x12" + bytes(16),  # MD5 signature
        b"\xfe\x24" + bytes(34),
    ],
)
@pytest.mark.parametrize("first", [True, False])
async def test_unknown_options_are_skipped_by_their_length(unknown: bytes, first: bool) -> None:
    options = unknown + MSS_500 if first else MSS_500 + unknown
    assert await mss_after(padded(options)) == 500


@pytest.mark.req("MUST-5", "MUST-6", "MUST-65")
@pytest.mark.parametrize(
    "options",
    [
        MSS_500,
        b"\x9e\x04\xab\xcd",
        b"\x03\x03\x07\x00",
        b"\x04\x02\x01\x01",
        padded(TIMESTAMPS),
        b"\x05\x0a" + bytes(8) + b"\x01\x01",
        b"\x01" * 40,
    ],
    ids=["mss", "unknown", "wscale", "sack-permitted", "timestamps", "sack", "forty"],
)
async def test_an_option_may_come_in_any_segment(options: bytes) -> None:
    """What has no place there (MSS, window scale and such mean something on SYNs only) is ignored:
    neither the window nor the size of segments changes."""
    async with Peer() as peer:
        app = await peer.connects(window=3000)
        peer.sends(PSH | ACK, data=b"hello", options=options)
        await peer.sees(ACK, ack=6, within=0.5)
        app.write(bytes(4000))
        await peer.sees(ACK, seq=1, length=1460)
        await peer.sees(ACK, seq=1461, length=1460)
        peer.sends(ACK, options=options, window=20000)
        await peer.sees(ACK, seq=2921, length=1080)
        peer.sends(FIN | ACK, options=options)
        await peer.sees(ACK, ack=7)
        assert app.received == b"hello"
        assert app.eof


@pytest.mark.req("MUST-7", "MUST-68")
@pytest.mark.parametrize(
    "illegal",
    [
        b"\x02\x00",
        b"\x02\x01",
        b"\x02\x05\x01\xf4",  # one past the end
        b"\x02\xff\x01\xf4",
        b"\x02",  # no room for a length
        b"\x9e\x00\x02\x04",
        b"\x03\x00",
        b"\x08\x0b" + bytes(8),
        b"\x05\x01",
    ],
)
async def test_illegal_lengths_are_survived(illegal: bytes) -> None:
    """What stood before counts, and the segment is processed."""
    options = MSS_500 + b"\x01" * (-len(illegal) % 4) + illegal
    assert await mss_after(options) == 500


@pytest.mark.req("MUST-7")
@pytest.mark.parametrize(
    "wrong", [b"\x02\x03\x01", b"\x02\x05\x01\xf4\x00", b"\x03\x04\x07\x07", b"\x04\x03\x00"]
)
async def test_a_known_option_of_a_wrong_length_is_skipped(wrong: bytes) -> None:
    assert await mss_after(padded(wrong)) == 536


@pytest.mark.req("MUST-7", "X-2")
@settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.binary(max_size=40).map(padded), st.booleans())
def test_no_options_at_all_can_do_harm(options: bytes, on_syn: bool) -> None:
    """Whatever 40 bytes hold, the handshake or the text is answered."""

    async def talk() -> None:
        async with Peer() as peer:
            peer.listens()
            peer.sends(SYN, options=options if on_syn else b"")
            await peer.sees(SYN | ACK, ack=1)
            peer.sends(ACK)
            peer.sends(PSH | ACK, data=b"hello", options=b"" if on_syn else options)
            if not on_syn:
                await peer.sees(ACK, ack=6, within=0.5)
            else:
                await peer.sees_all()
                await peer.wait(0.5)
                await peer.sees_all()

    run(talk())


@pytest.mark.req("MUST-14", "SHLD-5", "MAY-3", "MUST-65")
@pytest.mark.parametrize("passive", [True, False])
async def test_syns_carry_mss_and_nothing_else_does(passive: bool) -> None:
    async with Peer() as peer:
        if passive:
            peer.listens()
            peer.sends(SYN)
            syn = await peer.sees(SYN | ACK)
            peer.sends(ACK)
        else:
            peer.opens()
            syn = await peer.sees(SYN)
            peer.sends(SYN | ACK)
            ack = await peer.sees(ACK)
            assert ack.segment.mss is None
        assert syn.segment.mss == 1460


@pytest.mark.req("7323-2", "7323-6", "2018-1")
@pytest.mark.parametrize("wscale", [None, 3])
@pytest.mark.parametrize("ts", [None, (77, 0)])
@pytest.mark.parametrize("sack", [False, True])
async def test_a_syn_ack_carries_what_the_syn_offered(
    wscale: int | None, ts: tuple[int, int] | None, sack: bool
) -> None:
    async with Peer() as peer:
        peer.listens()
        peer.sends(SYN, mss=1460, wscale=wscale, ts=ts, sack_permitted=sack)
        reply = (await peer.sees(SYN | ACK)).segment
        assert (reply.wscale is not None) == (wscale is not None)
        assert (reply.tsval is not None) == (ts is not None)
        assert reply.tsecr == (77 if ts else 0)
        assert reply.sack_permitted == sack


async def test_a_syn_offers_all_of_it() -> None:
    async with Peer() as peer:
        peer.opens()
        syn = (await peer.sees(SYN)).segment
        assert syn.mss == 1460
        assert syn.wscale is not None
        assert syn.sack_permitted
        assert syn.tsval is not None
        assert syn.tsecr == 0
