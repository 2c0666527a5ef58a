"""When to acknowledge: RFC 9293 3.8.6.3, RFC 5681 4.2."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.reasons import Why
from aiotcp.tcp.ackpolicy import AckPolicy

MSS = 1460
DELAY = 0.04


def policy() -> AckPolicy:
    return AckPolicy(DELAY)


@pytest.mark.req("SHLD-18", "MUST-40")
def test_one_segment_may_wait() -> None:
    acks = policy()
    acks.on_text(MSS, MSS, 10.0)
    assert acks.due is None
    assert acks.deadline == 10.0 + DELAY
    acks.on_timer(10.0 + DELAY)
    assert acks.due is Why.ACK_DELAYED


def test_a_stale_timer_does_nothing() -> None:
    acks = policy()
    acks.on_timer(10.0)
    assert acks.due is None
    acks.on_text(MSS, MSS, 10.0)
    acks.on_timer(10.01)
    assert acks.due is None


@pytest.mark.req("SHLD-18")
def test_small_segments_that_follow_do_not_put_it_off() -> None:
    acks = policy()
    for n in range(5):
        acks.on_text(10, 10, 10.0 + n / 100)
    assert acks.deadline == 10.0 + DELAY


@pytest.mark.req("SHLD-19")
def test_every_second_full_segment() -> None:
    acks = policy()
    for _ in range(3):
        acks.on_text(MSS, MSS, 1.0)
        assert acks.due is None
        acks.on_text(MSS, MSS, 1.0)
        assert acks.due is Why.ACK_SECOND_SEGMENT
        acks.sent()
        assert acks.due is None


@pytest.mark.req("SHLD-19")
def test_full_sized_is_what_the_peer_sends() -> None:
    acks = policy()
    acks.on_text(600, 600, 1.0)
    acks.on_text(600, 600, 1.0)
    assert acks.due is Why.ACK_SECOND_SEGMENT


def test_tiny_segments_are_no_full_ones() -> None:
    acks = policy()
    for _ in range(10):
        acks.on_text(50, 50, 1.0)
    assert acks.due is None


def test_a_full_segment_after_a_small_one() -> None:
    """A peer with Nagle's algorithm holds the rest back until both are acknowledged."""
    acks = policy()
    acks.on_text(MSS, MSS, 1.0)
    acks.sent()
    acks.on_text(100, 100, 1.0)
    assert acks.due is None
    acks.on_text(MSS, MSS, 1.0)
    assert acks.due is Why.ACK_SECOND_SEGMENT


@pytest.mark.req("MUST-58")
def test_a_frame_of_many_segments_is_acknowledged_at_once() -> None:
    acks = policy()
    acks.on_text(40 * MSS, MSS, 1.0)
    assert acks.due is Why.ACK_SECOND_SEGMENT


@pytest.mark.req("5681-5")
def test_out_of_order_at_once() -> None:
    acks = policy()
    acks.on_out_of_order()
    assert acks.due is Why.ACK_OUT_OF_ORDER
    assert acks.duplicates == 1


@pytest.mark.req("5681-5", "2018-7")
def test_each_one_above_a_hole_counts() -> None:
    acks = policy()
    for _ in range(3):
        acks.on_out_of_order()
    assert acks.duplicates == 3
    acks.sent()
    assert acks.duplicates == 0


@pytest.mark.req("MUST-59")
def test_a_hole_that_the_batch_fills_needs_one_acknowledgment() -> None:
    acks = policy()
    acks.on_out_of_order()
    acks.on_out_of_order()
    acks.on_text(MSS, MSS, 1.0)
    assert acks.due is Why.ACK_OUT_OF_ORDER
    assert acks.duplicates == 0


def test_the_first_reason_stands() -> None:
    acks = policy()
    acks.at_once(Why.ACK_FIN)
    acks.at_once(Why.CHALLENGE_ACK)
    acks.on_out_of_order()
    assert acks.due is Why.ACK_FIN


@pytest.mark.req("SHLD-18")
def test_a_segment_that_goes_anyway_carries_it() -> None:
    acks = policy()
    acks.on_text(MSS, MSS, 1.0)
    acks.sent()
    assert acks.deadline == math.inf
    acks.on_text(MSS, MSS, 2.0)
    assert acks.due is None  # counting began anew


@given(
    sizes=st.lists(st.integers(min_value=1, max_value=MSS), max_size=60),
    gap=st.floats(min_value=0, max_value=0.1),
)
@pytest.mark.req("MUST-40", "SHLD-19")
def test_never_late_and_never_two_segments_behind(sizes: list[int], gap: float) -> None:
    acks = policy()
    now, waiting, oldest = 0.0, 0, math.inf
    for size in sizes:
        now += gap
        if acks.deadline <= now:  # the timer fires on time
            assert acks.deadline <= oldest + 0.5
            acks.on_timer(acks.deadline)
            assert acks.due is not None
            acks.sent()
            waiting, oldest = 0, math.inf
        acks.on_text(size, size, now)
        waiting += size
        oldest = min(oldest, now)
        if waiting >= 2 * MSS:
            assert acks.due is not None
        if acks.due is not None:
            acks.sent()
            waiting, oldest = 0, math.inf
        else:
            assert acks.deadline <= oldest + 0.5
