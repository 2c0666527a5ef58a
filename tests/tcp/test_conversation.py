"""The scripted peer itself: handshakes both ways, and that it fails when it should."""

from __future__ import annotations

import pytest

from aiotcp.wire.tcp import ACK, FIN
from tests.support.conversation import Peer


@pytest.mark.parametrize("ipv6", [False, True])
async def test_peer_connects_and_talks(ipv6: bool) -> None:
    async with Peer(ipv6=ipv6) as peer:
        app = await peer.connects(port=80)
        peer.sends(ACK, data=b"hello")
        await peer.sees(ACK, ack=6, within=0.5)
        assert app.received == b"hello"
        app.write(b"world")
        await peer.sees(ACK, seq=1, ack=6, data=b"world")
        peer.sends(ACK)
        app.shutdown()
        await peer.sees(FIN | ACK, seq=6)
        assert peer.states == ["LISTEN", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1"]


@pytest.mark.own_numbers
@pytest.mark.parametrize("passive", [False, True])
async def test_peer_brings_the_stack_s_numbers_near_the_wrap(passive: bool) -> None:
    async with Peer(iss=2**32 - 3, stack_iss=2**32 - 10) as peer:
        app = await (peer.connects() if passive else peer.accepts(ts=True, wscale=7, sack=True))
        assert peer.irs is not None
        assert (peer.irs + 20) & 0xFFFF_FFFF < 20
        app.write(b"x" * 100)
        await peer.sees(ACK, seq=1, data=b"x" * 100)
        peer.sends(ACK, data=b"y" * 100)
        await peer.sees(ACK, seq=101, ack=101, within=0.5)


async def test_what_is_not_seen_fails() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        app.write(b"unseen")
        with pytest.raises(AssertionError, match="expected nothing"):
            await peer.sees_nothing()
        await peer.sees(ACK, data=b"unseen")


async def test_a_segment_too_early_fails() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        app.write(b"x")
        with pytest.raises(AssertionError, match="after"):
            await peer.sees(ACK, data=b"x", after=1)
