"""The maximum segment size (RFC 9293 3.7.1, RFC 6691)."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.wire.tcp import ACK, SYN
from tests.support.conversation import Peer

FAMILIES = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])


async def largest_sent(peer: Peer, **handshake: object) -> int:
    """Payload of the first segment of a large write."""
    app = await peer.connects(**handshake)  # type: ignore[arg-type]
    app.write(bytes(20_000))
    sizes = [len(seen.payload) for seen in await peer.sees_all()]
    assert len(set(sizes)) == 1
    return sizes[0]


@pytest.mark.req("MUST-67", "MUST-14", "6691-1", "7323-14")
@pytest.mark.parametrize("passive", [True, False])
@pytest.mark.parametrize(
    ("mtu", "ipv6", "mss"),
    [
        (1500, False, 1460),
        (1500, True, 1440),
        (9000, False, 8960),
        (1280, True, 1220),
        (576, False, 536),
    ],
)
async def test_the_advertised_mss_is_the_mtu_less_fixed_headers(
    mtu: int, ipv6: bool, mss: int, passive: bool
) -> None:
    """RFC 6691 2: "the MSS value to be sent in an MSS Option should be equal to the effective MTU
    minus the fixed IP and TCP headers", whatever options the segments will carry."""
    async with Peer(mtu=mtu, ipv6=ipv6) as peer:
        if passive:
            peer.listens()
            peer.sends(SYN, mss=1460, ts=(1, 0), sack_permitted=True)
            syn = await peer.sees(SYN | ACK)
        else:
            peer.opens()
            syn = await peer.sees(SYN)
        assert syn.segment.mss == mss
        assert syn.segment.tsval is not None


@FAMILIES
@pytest.mark.req("MUST-15")
async def test_a_peer_without_an_mss_option_gets_the_default(ipv6: bool) -> None:
    async with Peer(ipv6=ipv6) as peer:
        assert await largest_sent(peer, mss=None) == (1220 if ipv6 else 536)


@FAMILIES
@pytest.mark.req("MUST-15", "MUST-16")
async def test_the_default_has_room_for_options_as_well(ipv6: bool) -> None:
    async with Peer(ipv6=ipv6) as peer:
        assert await largest_sent(peer, mss=None, ts=True) == (1220 if ipv6 else 536) - 12


@pytest.mark.req("MUST-16", "7323-14", "MUST-14")
@pytest.mark.parametrize("mss", [1460, 1000, 536, 100])
async def test_segments_are_as_large_as_the_peer_takes_less_options(mss: int) -> None:
    """Eff.snd.MSS = min(SendMSS + 20, MMS_S) - TCPhdrsize - IPoptionsize."""
    async with Peer() as peer:
        assert await largest_sent(peer, mss=mss) == mss
    async with Peer() as peer:
        assert await largest_sent(peer, mss=mss, ts=True) == mss - 12


@FAMILIES
@pytest.mark.req("MUST-16")
async def test_segments_fit_the_link_whatever_the_peer_takes(ipv6: bool) -> None:
    async with Peer(ipv6=ipv6, mtu=1300) as peer:
        assert await largest_sent(peer, mss=8960) == 1300 - (60 if ipv6 else 40)


@pytest.mark.req("MUST-16")
async def test_room_for_sack_blocks_is_taken_from_the_payload() -> None:
    """While a hole is open our own segments carry SACK blocks, and still fit the peer's MSS."""
    async with Peer() as peer:
        app = await peer.connects(mss=1000, ts=True, sack=True)
        peer.sends(ACK, seq=101, data=b"x" * 100)
        await peer.sees(ACK, ack=1, sack=[(101, 201)])
        app.write(bytes(3000))
        seen = await peer.sees_all()
        assert [len(each.payload) for each in seen[:2]] == [1000 - 12 - 12] * 2
        assert all(each.sack == ((101, 201),) for each in seen)


@pytest.mark.parametrize("offer", [0, 1, 20])
async def test_an_absurd_mss_does_not_lead_to_a_flood_of_tiny_segments(offer: int) -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=offer)
        app.write(bytes(200))
        assert {len(seen.payload) for seen in await peer.sees_all()} <= {48, 200 % 48}


@pytest.mark.req("SHLD-6")
async def test_a_smaller_mss_can_be_advertised() -> None:
    """Where the MTU of the network varies: "advertise an MSS from the smallest effective MTU"."""
    async with Peer(options=Options(mss=1200)) as peer:
        peer.opens()
        assert (await peer.sees(SYN)).segment.mss == 1200
    async with Peer(options=Options(mss=9000)) as peer:
        peer.opens()
        assert (await peer.sees(SYN)).segment.mss == 1460
