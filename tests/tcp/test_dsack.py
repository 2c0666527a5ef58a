"""What arrives again is reported once (RFC 2883), with the examples of its section 4."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.options import Options
from aiotcp.tcp.reassembly import Reassembly
from aiotcp.wire.tcp import ACK, FIN, PSH
from tests.support.conversation import Peer

MSS = 500


def at(segment: int) -> int:
    """The sequence number of a segment of 500 bytes, the first one being 0."""
    return 1 + segment * MSS


def sends(peer: Peer, first: int, count: int = 1, **fields: tuple[int, int]) -> None:
    peer.sends(ACK, seq=at(first), data=bytes(count * MSS), **fields)  # type: ignore[arg-type]
    peer.seq = max(peer.seq, at(first + count))


@pytest.mark.req("2883-1")
async def test_example_1_a_duplicate_of_what_is_acknowledged() -> None:
    async with Peer() as peer:
        await peer.connects(sack=True)
        for n in range(8):
            sends(peer, n)
        await peer.sees_all()
        sends(peer, 6)
        await peer.sees(ACK, ack=at(8), sack=[(at(6), at(7))], why="ack_duplicate")
        sends(peer, 8)
        await peer.sees(ACK, ack=at(9), sack=(), within=0.1)  # once only


@pytest.mark.req("2883-1", "2018-2")
async def test_example_2_an_out_of_order_segment_and_a_duplicate() -> None:
    async with Peer() as peer:
        await peer.connects(sack=True)
        sends(peer, 0, 8)
        sends(peer, 9)
        await peer.sees_all()
        sends(peer, 6)
        await peer.sees(ACK, ack=at(8), sack=[(at(6), at(7)), (at(9), at(10))])
        sends(peer, 10)
        await peer.sees(ACK, ack=at(8), sack=[(at(9), at(11))])


@pytest.mark.req("2883-1", "2883-2", "2018-7")
async def test_example_3_a_duplicate_of_an_out_of_order_segment() -> None:
    async with Peer() as peer:
        await peer.connects(sack=True)
        sends(peer, 0)
        sends(peer, 2)
        sends(peer, 3)
        await peer.sees_all()
        sends(peer, 3)
        await peer.sees(ACK, ack=at(1), sack=[(at(3), at(4)), (at(2), at(4))])
        sends(peer, 5)
        await peer.sees(ACK, ack=at(1), sack=[(at(5), at(6)), (at(2), at(4))])


@pytest.mark.req("2883-2")
async def test_a_block_that_is_all_of_the_duplicate_is_repeated() -> None:
    """Else nothing would tell the peer that the first block is no news."""
    async with Peer() as peer:
        await peer.connects(sack=True)
        sends(peer, 2)
        await peer.sees(ACK, ack=1, sack=[(at(2), at(3))])
        sends(peer, 2)
        await peer.sees(ACK, ack=1, sack=[(at(2), at(3)), (at(2), at(3))])


@pytest.mark.req("2883-1")
async def test_example_4_a_part_that_was_there() -> None:
    async with Peer() as peer:
        await peer.connects(sack=True)
        sends(peer, 0, 2)
        sends(peer, 4)
        sends(peer, 2)
        await peer.sees_all()
        sends(peer, 2, 2)
        await peer.sees(ACK, ack=at(5), sack=[(at(2), at(3))])


@pytest.mark.req("2883-1")
async def test_example_5_two_parts_below_the_acknowledgment() -> None:
    async with Peer() as peer:
        await peer.connects(sack=True)
        sends(peer, 0, 2)
        sends(peer, 6)
        sends(peer, 2)
        sends(peer, 4)
        await peer.sees_all()
        sends(peer, 2, 3)
        await peer.sees(ACK, ack=at(5), sack=[(at(2), at(3)), (at(6), at(7))])


@pytest.mark.req("2883-1", "2883-2")
async def test_example_6_two_parts_above_the_acknowledgment() -> None:
    async with Peer() as peer:
        await peer.connects(sack=True)
        sends(peer, 0, 2)
        for n in (7, 3, 4):
            sends(peer, n)
        await peer.sees_all()
        sends(peer, 3, 3)
        blocks = [(at(3), at(5)), (at(3), at(6)), (at(7), at(8))]
        await peer.sees(ACK, ack=at(2), sack=blocks)


@pytest.mark.req("2883-1")
async def test_in_order_but_reaching_into_what_is_held() -> None:
    async with Peer() as peer:
        await peer.connects(sack=True)
        sends(peer, 2, 2)
        await peer.sees_all()
        sends(peer, 0, 3)
        await peer.sees(ACK, ack=at(4), sack=[(at(2), at(3))])


@pytest.mark.req("2883-1", "2018-4")
@pytest.mark.parametrize(("ts", "most"), [(False, 4), (True, 3)])
async def test_it_takes_the_place_of_a_block(ts: bool, most: int) -> None:
    async with Peer() as peer:
        await peer.connects(sack=True, ts=ts)
        sends(peer, 0)
        for n in range(2, 12, 2):
            sends(peer, n)
        await peer.sees_all()
        sends(peer, 0)
        seen = await peer.sees(ACK, ack=at(1))
        assert seen.sack[0] == (at(0), at(1))
        assert seen.sack[1:] == tuple((at(n), at(n + 1)) for n in range(10, 0, -2))[: most - 1]


@pytest.mark.req("2883-1", "2018-1")
@pytest.mark.parametrize("sack", [False, True])
async def test_only_where_both_sides_want_it(sack: bool) -> None:
    async with Peer() as peer:
        await peer.connects(sack=sack, options=Options(dsack=not sack))
        sends(peer, 0, 2)
        await peer.sees(ACK, ack=at(2), within=0.1)
        sends(peer, 0)
        await peer.sees(ACK, ack=at(2), sack=())
        sends(peer, 3)
        await peer.sees_all()
        sends(peer, 3)
        await peer.sees(ACK, ack=at(2), sack=[(at(3), at(4))] if sack else ())


@pytest.mark.req("2883-1")
async def test_of_a_batch_each_is_reported() -> None:
    """Segments that follow each other are one report, as if the link had joined them."""
    async with Peer() as peer:
        await peer.connects(sack=True)
        sends(peer, 0, 8)
        await peer.sees_all()
        with peer.batch():
            for n in (0, 1, 4, 4):
                sends(peer, n)
        await peer.sees(ACK, ack=at(8), sack=[(at(0), at(2))])
        await peer.sees(ACK, ack=at(8), sack=[(at(4), at(5))])
        await peer.sees(ACK, ack=at(8), sack=[(at(4), at(5))])


@pytest.mark.req("2883-1")
async def test_a_batch_of_nothing_else_is_answered_by_a_few() -> None:
    async with Peer() as peer:
        await peer.connects(sack=True)
        sends(peer, 0, 100)
        await peer.sees_all()
        with peer.batch():
            for n in range(0, 100, 2):
                sends(peer, n)
        assert len(await peer.sees_all()) <= 16


@pytest.mark.req("2883-1")
async def test_on_an_acknowledgment_of_its_own() -> None:
    """Data that is due as well, many segments perhaps, must not repeat it."""
    async with Peer() as peer:
        app = await peer.connects(sack=True, mss=1000, options=Options(initial_window_segments=2))
        sends(peer, 0, 2)
        await peer.sees(ACK, within=0.1)
        app.write(bytes(4000))
        await peer.sees(ACK, seq=1, length=1000)
        await peer.sees(ACK, seq=1001, length=1000)
        sends(peer, 1, 2)  # acknowledges these as well
        await peer.sees(ACK, ack=at(3), sack=[(at(1), at(2))])
        await peer.sees(ACK, seq=2001, length=1000, sack=())
        await peer.sees(ACK | PSH, seq=3001, length=1000, sack=())


@pytest.mark.req("2883-1", "7323-12")
async def test_a_late_copy_that_fails_paws() -> None:
    """RFC 2883 4.3; the first copy was late, the second has moved the timestamp on."""
    async with Peer() as peer:
        await peer.connects(sack=True, ts=True)
        late = peer.tsval
        await peer.wait(0.5)
        sends(peer, 0, 2)
        await peer.sees(ACK, ack=at(2), within=0.1)
        sends(peer, 0, ts=(late, 0))
        await peer.sees(ACK, ack=at(2), sack=[(at(0), at(1))], why="ack_paws")


@pytest.mark.req("2883-1")
async def test_a_fin_that_comes_again() -> None:
    async with Peer() as peer:
        app = await peer.connects(sack=True)
        peer.sends(FIN | ACK, data=b"bye")
        await peer.sees(ACK, ack=5)
        peer.sends(FIN | ACK, seq=1, data=b"bye")
        await peer.sees(ACK, ack=5, sack=[(1, 5)])
        app.write(b"x")
        await peer.sees(ACK | PSH, data=b"x", sack=())


@pytest.mark.req("2883-1")
async def test_what_was_never_sent_is_not_reported() -> None:
    async with Peer() as peer:
        await peer.connects(sack=True)
        sends(peer, 0)
        await peer.sees(ACK, ack=at(1), within=0.1)
        peer.sends(ACK, seq=-1000, data=bytes(1200))
        await peer.sees(ACK, ack=at(1), sack=[(1, 200)])
        peer.sends(ACK, seq=-1000, data=bytes(500))
        await peer.sees(ACK, ack=at(1), sack=())


@pytest.mark.req("2883-1", "2883-2")
@given(
    pieces=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), min_size=1, max_size=20),
    again=st.tuples(st.integers(0, 60), st.integers(1, 20)),
)
def test_the_first_part_held_and_the_block_around_it(
    pieces: list[tuple[int, int]], again: tuple[int, int]
) -> None:
    queue = Reassembly(1 << 20)
    have: set[int] = set()
    for start, length in pieces:
        queue.insert(start, bytes(length))
        have.update(range(start, start + length))
    start, end = again[0], sum(again)
    part = queue.first_held(start, end)
    present = [seq for seq in range(start, end) if seq in have]
    if part is None:
        assert not present
        return
    left, right = part
    assert left == present[0]
    assert have.issuperset(range(left, right))
    assert right == end or right not in have
    duplicate, larger, *rest = queue.dsack_blocks(4, part)
    assert duplicate == part
    assert larger in queue.ranges()
    assert larger[0] <= left < right <= larger[1]
    assert larger not in rest
    assert len(rest) == min(len(queue.ranges()) - 1, 2)
