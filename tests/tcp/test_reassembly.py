"""Segments ahead of their turn: exact, bounded, reported in the order of RFC 2018."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.reassembly import Reassembly

BASE = 2**32 - 20
"""The left edge: everything held lies above it."""


def held(*pieces: tuple[int, bytes], limit: int = 1 << 20) -> Reassembly:
    queue = Reassembly(limit)
    for offset, data in pieces:
        queue.insert(BASE + offset, data)
    return queue


def ready(queue: Reassembly, offset: int) -> tuple[bytes, int]:
    out: list[bytes] = []
    rcv_nxt = queue.pop_ready(BASE + offset, out.append)
    return b"".join(out), rcv_nxt - BASE


def blocks(queue: Reassembly, limit: int = 4) -> list[tuple[int, int]]:
    return [(left - BASE, right - BASE) for left, right in queue.sack_blocks(limit)]


@pytest.mark.req("SHLD-31")
def test_second_and_third_wait_for_the_first() -> None:
    queue = held((5, b"56789"), (10, b"abcde"))
    assert ready(queue, 4) == (b"", 4)
    assert ready(queue, 5) == (b"56789abcde", 15)
    assert not queue


@pytest.mark.req("ST-19")
def test_overlaps_are_kept_once() -> None:
    queue = held((10, b"abcdef"), (7, b"789ab"), (13, b"defgh"))
    assert ready(queue, 7) == (b"789abcdefgh", 18)


def test_one_segment_may_fill_several_gaps() -> None:
    queue = held((5, b"5"), (8, b"8"), (4, b"456789a"))
    assert ready(queue, 4) == (b"456789a", 11)


def test_what_was_kept_first_stays() -> None:
    """A copy that differs changes nothing that was acknowledged."""
    queue = held((5, b"good"), (4, b"?EVIL?"))
    assert ready(queue, 5) == (b"good?", 10)


def test_news_and_no_news() -> None:
    queue = Reassembly(1000)
    assert queue.insert(BASE + 5, b"56789") is True
    assert queue.insert(BASE + 6, b"67") is False
    assert queue.insert(BASE + 8, b"89a") is True


def test_what_the_stream_has_passed_is_cut_off() -> None:
    queue = held((5, b"56789"), (20, b"later"))
    assert ready(queue, 7) == (b"789", 10)
    assert ready(queue, 12) == (b"", 12)
    assert blocks(queue) == [(20, 25)]


def test_data_is_copied() -> None:
    memory = bytearray(b"56789")
    queue = Reassembly(1000)
    queue.insert(BASE + 5, memoryview(memory))
    memory[:] = b"reuse"
    assert ready(queue, 5) == (b"56789", 10)


@pytest.mark.req("X-5")
def test_small_chunks_cost_more_than_their_bytes() -> None:
    queue = Reassembly(10_000)
    kept = sum(queue.insert(BASE + 2 * n, b"x") is True for n in range(1000))
    assert kept * 100 < 10_000
    assert queue.held_bytes == kept
    assert queue.insert(BASE + 10_000, b"x") is None
    assert queue.insert(BASE, b"x") is False  # held already: needs no room


def test_room_comes_back() -> None:
    queue = Reassembly(1200)
    assert queue.insert(BASE + 1, b"x" * 800) is True
    assert queue.insert(BASE + 900, b"x" * 800) is None
    ready(queue, 1)
    assert queue.insert(BASE + 900, b"x" * 800) is True


# -- SACK blocks (RFC 2018 4) ------------------------------------------------------------------


def test_nothing_held_no_blocks() -> None:
    assert blocks(Reassembly(1000)) == []
    assert blocks(held((5, b"5")), limit=0) == []


@pytest.mark.req("2018-3")
def test_rfc_2018_case_2() -> None:
    """Section 7: "the first segment is dropped but the remaining 7 are received", 500 bytes each:
    the left edge of the one block stays, its right edge grows."""
    queue = Reassembly(1 << 20)
    for n in range(1, 8):
        queue.insert(BASE + 500 * n, bytes(500))
        assert blocks(queue) == [(500, 500 * (n + 1))]


@pytest.mark.req("2018-3")
def test_rfc_2018_case_3() -> None:
    """Section 7: the 2nd, 4th, 6th and 8th of eight segments are lost; then the 4th comes, then
    the 2nd. 5000 of the RFC is 0 here."""
    queue = Reassembly(1 << 20)
    queue.insert(BASE + 1000, bytes(500))
    assert blocks(queue) == [(1000, 1500)]
    queue.insert(BASE + 2000, bytes(500))
    assert blocks(queue) == [(2000, 2500), (1000, 1500)]
    queue.insert(BASE + 3000, bytes(500))
    assert blocks(queue) == [(3000, 3500), (2000, 2500), (1000, 1500)]
    queue.insert(BASE + 1500, bytes(500))
    assert blocks(queue) == [(1000, 2500), (3000, 3500)]
    queue.insert(BASE + 500, bytes(500))
    assert ready(queue, 500)[1] == 2500
    assert blocks(queue) == [(3000, 3500)]


@pytest.mark.req("2018-3")
def test_a_repetition_brings_its_block_to_the_front() -> None:
    queue = held((10, b"abc"), (20, b"abc"), (30, b"abc"))
    queue.insert(BASE + 11, b"b")
    assert blocks(queue) == [(10, 13), (30, 33), (20, 23)]


@pytest.mark.req("2018-4")
def test_no_more_blocks_than_fit() -> None:
    queue = held(*((10 * n, b"abc") for n in range(1, 9)))
    assert blocks(queue, 3) == [(80, 83), (70, 73), (60, 63)]


def test_old_blocks_are_reported_too_when_there_is_room() -> None:
    queue = held(*((10 * n, b"abc") for n in range(1, 5)), *((10, b"abc") for _ in range(40)))
    assert blocks(queue)[0] == (10, 13)
    assert sorted(blocks(queue)) == [(10, 13), (20, 23), (30, 33), (40, 43)]


# -- properties --------------------------------------------------------------------------------

STREAM = bytes(range(256)) * 2

_PIECES = st.lists(
    st.tuples(st.integers(min_value=0, max_value=len(STREAM) - 1), st.integers(1, 60)), max_size=60
)


@pytest.mark.req("ST-19", "SHLD-31")
@given(pieces=_PIECES)
def test_any_order_and_overlap_yields_the_stream(pieces: list[tuple[int, int]]) -> None:
    queue = Reassembly(1 << 20)
    arrived: set[int] = set()
    out = bytearray()
    for offset, size in pieces:
        end = min(offset + size, len(STREAM))
        arrived.update(range(offset, end))
        if end > len(out):  # as the core does: what lies at or below the edge is not for here
            if offset <= len(out):
                out += STREAM[len(out) : end]
            else:
                new = queue.insert(BASE + offset, STREAM[offset:end])
                assert new is not None
        chunk, edge = ready(queue, len(out))
        out += chunk
        assert edge == len(out)

        expected = 0
        while expected in arrived:
            expected += 1
        assert out == STREAM[:expected]
        above = {seq for seq in arrived if seq >= expected}
        assert queue.held_bytes == len(above)
        covered: set[int] = set()
        for left, right in queue.ranges():
            span = set(range(left - BASE, right - BASE))
            assert span
            assert span <= above
            assert not covered & span
            assert left - BASE - 1 not in above  # neighbours are one range
            covered |= span
        assert covered == above
        assert set(blocks(queue, 100)) == {(a - BASE, b - BASE) for a, b in queue.ranges()}


@given(pieces=_PIECES, limit=st.integers(min_value=0, max_value=3000))
@pytest.mark.req("X-5")
def test_never_more_than_the_limit(pieces: list[tuple[int, int]], limit: int) -> None:
    queue = Reassembly(limit)
    for offset, size in pieces:
        queue.insert(BASE + 1 + offset, STREAM[offset : offset + size])
        assert queue.held_bytes <= limit
