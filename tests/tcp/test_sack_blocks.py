"""The receiver's side of SACK (RFC 2018 2 to 4): what holes look like to the peer."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.wire.tcp import ACK, FIN, PSH, SYN
from tests.support.conversation import Peer

MSS = 500


def at(segment: int) -> int:
    """The sequence number of a segment of 500 bytes, the first one being 0."""
    return 1 + segment * MSS


@pytest.mark.req("2018-1")
@pytest.mark.parametrize("offered", [False, True])
@pytest.mark.parametrize("wanted", [False, True])
async def test_only_if_both_sides_permit_it(offered: bool, wanted: bool) -> None:
    async with Peer() as peer:
        peer.listens(options=Options(sack=wanted))
        peer.sends(SYN, mss=1460, sack_permitted=offered)
        seen = await peer.sees(SYN | ACK)
        assert seen.segment.sack_permitted == (offered and wanted)
        peer.sends(ACK)
        peer.sends(ACK, seq=at(1), data=bytes(MSS))
        await peer.sees(ACK, ack=1, sack=[(at(1), at(2))] if offered and wanted else ())


@pytest.mark.req("2018-1")
@pytest.mark.parametrize("answered", [False, True])
async def test_the_same_for_connections_that_the_stack_opens(answered: bool) -> None:
    async with Peer() as peer:
        await peer.accepts(sack=answered)
        peer.sends(ACK, seq=at(1), data=bytes(MSS))
        await peer.sees(ACK, ack=1, sack=[(at(1), at(2))] if answered else ())


@pytest.mark.req("2018-1")
async def test_permission_on_a_later_segment_means_nothing() -> None:
    async with Peer() as peer:
        await peer.connects(sack=False)
        peer.sends(ACK, data=b"x", sack_permitted=True)
        await peer.sees(ACK, ack=2, within=0.1)
        peer.sends(ACK, seq=at(1), data=bytes(MSS))
        await peer.sees(ACK, ack=2, sack=())


@pytest.mark.req("2018-2", "2018-3", "2018-7")
async def test_rfc_2018_case_2() -> None:
    """Section 7, case 2: the first of eight segments is lost."""
    async with Peer() as peer:
        await peer.connects(sack=True)
        for n in range(1, 8):
            peer.sends(ACK, seq=at(n), data=bytes(MSS))
            await peer.sees(ACK, ack=1, sack=[(at(1), at(n + 1))])


@pytest.mark.req("2018-2", "2018-3", "2018-7")
async def test_rfc_2018_case_3() -> None:
    """Section 7, case 3: the 2nd, 4th, 6th and 8th of eight segments are lost."""
    async with Peer() as peer:
        await peer.connects(sack=True)
        peer.sends(ACK, seq=at(0), data=bytes(MSS))
        await peer.sees(ACK, ack=at(1), sack=(), within=0.1)
        peer.sends(ACK, seq=at(2), data=bytes(MSS))
        await peer.sees(ACK, ack=at(1), sack=[(at(2), at(3))])
        peer.sends(ACK, seq=at(4), data=bytes(MSS))
        await peer.sees(ACK, ack=at(1), sack=[(at(4), at(5)), (at(2), at(3))])
        peer.sends(ACK, seq=at(6), data=bytes(MSS))
        await peer.sees(ACK, ack=at(1), sack=[(at(6), at(7)), (at(4), at(5)), (at(2), at(3))])
        peer.sends(ACK, seq=at(3), data=bytes(MSS))
        await peer.sees(ACK, ack=at(1), sack=[(at(2), at(5)), (at(6), at(7))])
        peer.sends(ACK, seq=at(1), data=bytes(MSS))
        await peer.sees(ACK, ack=at(5), sack=[(at(6), at(7))])
        peer.sends(ACK, seq=at(5), data=bytes(MSS))
        peer.seq = at(7)
        await peer.sees(ACK, ack=at(7), sack=())


@pytest.mark.req("2018-4")
@pytest.mark.parametrize(("ts", "most"), [(False, 4), (True, 3)])
async def test_as_many_blocks_as_fit(ts: bool, most: int) -> None:
    async with Peer() as peer:
        await peer.connects(sack=True, ts=ts)
        blocks: list[tuple[int, int]] = []
        for n in range(1, 12, 2):
            peer.sends(ACK, seq=at(n), data=bytes(MSS))
            blocks.insert(0, (at(n), at(n + 1)))
            seen = await peer.sees(ACK, ack=1, sack=blocks[:most])
            assert len(seen.options) <= 40


@pytest.mark.req("2018-2")
async def test_data_that_is_sent_carries_the_blocks_too() -> None:
    """ "SACK options SHOULD be included in all ACKs which do not ACK the highest sequence number
    in the data receiver's queue." """
    async with Peer() as peer:
        app = await peer.connects(sack=True, mss=1000)
        peer.sends(ACK, seq=at(1), data=bytes(MSS))
        await peer.sees(ACK, ack=1, sack=[(at(1), at(2))])
        app.write(bytes(1500))
        await peer.sees(ACK, seq=1, length=1000 - 12, sack=[(at(1), at(2))])
        await peer.sees(ACK | PSH, seq=989, length=512, sack=[(at(1), at(2))])


@pytest.mark.req("2018-2", "2018-7")
async def test_a_repeated_segment_is_answered_with_all_blocks() -> None:
    async with Peer() as peer:
        await peer.connects(sack=True)
        for n in (1, 3, 5):
            peer.sends(ACK, seq=at(n), data=bytes(MSS))
        await peer.sees_all()
        peer.sends(ACK, seq=at(1), data=bytes(MSS))
        seen = await peer.sees(ACK, ack=1)
        assert set(seen.sack) == {(at(n), at(n + 1)) for n in (1, 3, 5)}


@pytest.mark.req("2018-2", "ST-20")
async def test_a_fin_beyond_a_hole() -> None:
    """It waits; the text before it is reported, the FIN itself is no text."""
    async with Peer() as peer:
        app = await peer.connects(sack=True)
        peer.sends(FIN | ACK, seq=at(1), data=bytes(MSS))
        await peer.sees(ACK, ack=1, sack=[(at(1), at(2))])
        assert not app.eof
        peer.sends(ACK, seq=at(0), data=bytes(MSS))
        peer.seq = at(2) + 1
        await peer.sees(ACK, ack=at(2) + 1, sack=())
        assert app.eof
