"""The receive window: no silly increments, never to the left, told when it is worth it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.window import advertise, scale_for, worth_update

NXT = 2**32 + 1000
MSS = 1000


def offer(offered: int, held: int, *, buffer: int = 8000, mss: int = MSS, shift: int = 0) -> int:
    """The field, when `offered` bytes are open still and `held` wait for the application."""
    return advertise(NXT, NXT + offered, held, buffer, mss, shift)


def update(offered: int, held: int, *, buffer: int = 8000, mss: int = MSS) -> bool:
    return worth_update(NXT, NXT + offered, held, buffer, mss)


@pytest.mark.req("7323-1")
@pytest.mark.parametrize(
    ("buffer", "shift"),
    [(1, 0), (65535, 0), (65536, 1), (131070, 1), (131071, 2), (512 * 1024, 4), (2**30, 14)],
)
def test_the_smallest_scale_that_can_tell_the_buffer(buffer: int, shift: int) -> None:
    assert scale_for(buffer) == shift


@pytest.mark.parametrize("buffer", [65535, 131070, 10**6, 0xFFFF << 14, 2**30])
def test_no_scale_is_larger_than_fourteen(buffer: int) -> None:
    shift = scale_for(buffer)
    assert shift <= 14
    assert shift == 14 or 0xFFFF << shift >= buffer


@pytest.mark.req("MUST-39")
def test_the_edge_stays_until_a_segment_is_free() -> None:
    assert offer(3000, 4001) == 3000  # 999 more are free, not told
    assert offer(3000, 4000) == 4000


@pytest.mark.req("MUST-39")
def test_half_a_small_buffer_counts_as_a_segment() -> None:
    assert offer(0, 1001, buffer=2000, mss=1460) == 0
    assert offer(0, 1000, buffer=2000, mss=1460) == 1000


@pytest.mark.req("SHLD-14")
def test_a_full_buffer_closes_the_window() -> None:
    assert offer(0, 8000) == 0


@pytest.mark.req("SHLD-14", "7323-5")
def test_what_the_scale_can_not_tell_is_rounded_up() -> None:
    assert offer(100, 7900, shift=4) << 4 == 112
    assert offer(96, 7904, shift=4) << 4 == 96


@pytest.mark.req("7323-5")
def test_rounding_ends_at_twice_the_buffer() -> None:
    """A peer that sends single bytes could otherwise push the edge ahead without end."""
    assert offer(1, 8000, buffer=8000, shift=14) == 0


def test_the_field_has_sixteen_bits() -> None:
    assert offer(0, 0, buffer=200_000) == 0xFFFF
    assert offer(0, 0, buffer=200_000, shift=1) == 0xFFFF
    assert offer(0, 0, buffer=200_000, shift=2) << 2 == 200_000


@pytest.mark.req("MUST-39")
@pytest.mark.parametrize(
    ("offered", "held", "worth"),
    [
        (8000, 0, False),  # nothing to tell
        (6001, 0, False),
        (6000, 0, True),  # two segments, and that is much of a small buffer
        (0, 7001, False),  # closed, and no room for a segment yet
        (0, 7000, True),  # closed, and room for one: the peer waits for it
        (999, 6001, True),
        (1000, 6000, False),  # it has room for one
        (1000, 5000, True),  # and now for two more
    ],
)
def test_when_an_update_is_worth_a_segment(offered: int, held: int, worth: bool) -> None:
    assert update(offered, held) is worth


@pytest.mark.parametrize(
    ("offered", "held", "worth"),
    [
        (700_000, 100_000, False),  # two segments and many more, but the peer has plenty
        (500_000, 250_000, True),  # a quarter of the buffer
        (100_000, 800_000, True),  # nearly closed
        (100_000, 898_001, False),
    ],
)
def test_a_large_buffer_asks_for_more(offered: int, held: int, worth: bool) -> None:
    assert update(offered, held, buffer=1_000_000) is worth


@pytest.mark.req("MUST-39")
def test_reading_byte_by_byte_from_a_full_buffer() -> None:
    """RFC 9293 3.8.6.2.2: the window moves in steps of a segment."""
    told = [held for held in range(8000, 6999, -1) if update(0, held)]
    assert told == [7000]
    assert offer(0, 7000) == 1000


# -- a receiver, simulated ---------------------------------------------------------------------

_STEP = st.tuples(
    st.sampled_from(["data", "read", "ack"]), st.integers(min_value=1, max_value=5000)
)


@given(
    steps=st.lists(_STEP, max_size=100),
    buffer=st.integers(min_value=1, max_value=300_000),
    mss=st.integers(min_value=64, max_value=9000),
    surplus=st.integers(min_value=0, max_value=4),
)
@pytest.mark.req("SHLD-14", "MUST-39", "7323-5", "X-5")
def test_the_edge_moves_right_in_steps_or_not_at_all(
    steps: list[tuple[str, int]], buffer: int, mss: int, surplus: int
) -> None:
    shift = min(scale_for(buffer) + surplus, 14)
    granule = 1 << shift
    rcv_nxt, held, edge = NXT, 0, NXT + min(buffer, 0xFFFF)
    for step, size in steps:
        if step == "data":
            size = min(size, edge - rcv_nxt)
            rcv_nxt += size
            held += size
        elif step == "read":
            held -= min(size, held)
        field = advertise(rcv_nxt, edge, held, buffer, mss, shift)
        assert 0 <= field <= 0xFFFF
        told = rcv_nxt + (field << shift)
        if told < edge:  # only where rounding up would offer more than twice the buffer
            assert edge - told < granule
            assert edge - rcv_nxt + held + granule > 2 * buffer
        elif told - edge >= granule:
            assert told - edge >= min(mss, buffer // 2) - granule
            assert told - rcv_nxt <= buffer - held
        edge = max(edge, told)
        assert held + edge - rcv_nxt <= 2 * buffer or edge == NXT + min(buffer, 0xFFFF)


@given(
    buffer=st.integers(min_value=2, max_value=300_000),
    mss=st.integers(min_value=64, max_value=9000),
    held=st.integers(min_value=0, max_value=300_000),
)
@pytest.mark.req("MUST-36")
def test_a_closed_window_always_opens_again(buffer: int, mss: int, held: int) -> None:
    """However slowly the application reads, before it has read all the peer is told."""
    shift = scale_for(buffer)
    held = min(held, buffer)
    if worth_update(NXT, NXT, held, buffer, mss):
        assert advertise(NXT, NXT, held, buffer, mss, shift) > 0
    assert worth_update(NXT, NXT, 0, buffer, mss)
    assert advertise(NXT, NXT, 0, buffer, mss, shift) > 0
