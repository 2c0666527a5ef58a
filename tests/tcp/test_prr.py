"""Proportional rate reduction (RFC 9937), by numbers; segments of 1,000 bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.prr import ProportionalRateReduction

MSS = 1000


@pytest.mark.req("9937-2", "9937-4")
def test_more_in_the_network_than_ssthresh_one_leaves_for_two_that_arrive() -> None:
    """RecoverFS 10, ssthresh 5: the repetition is forced, and is the first of the five."""
    prr = ProportionalRateReduction(5 * MSS, 10 * MSS)
    flight = 9 * MSS  # of 10 one was lost
    leaves = []
    for _ in range(4):
        flight -= MSS
        prr.on_ack(MSS, flight, MSS, safe=False)
        room = prr.sndcnt // MSS * MSS
        leaves.append(room)
        prr.on_sent(room)
        flight += room
    assert leaves == [MSS, 0, 0, MSS]
    assert flight == 7 * MSS


@pytest.mark.req("9937-2")
def test_the_proportion_is_rounded_up() -> None:
    prr = ProportionalRateReduction(7 * MSS, 9 * MSS)
    prr.on_sent(1)
    prr.on_ack(10, 8 * MSS, MSS, safe=False)
    assert prr.sndcnt == 8 - 1  # 10 * 7 / 9 = 7.8


@pytest.mark.req("9937-3")
@pytest.mark.parametrize(
    ("delivered", "flight", "safe", "room"),
    [
        (1000, 3000, False, 1000),  # CRB: what arrived
        (1000, 3000, True, 2000),  # SSRB: and one more
        (3000, 3000, True, 2000),  # but never beyond ssthresh
        (3000, 5000, True, 0),
    ],
)
def test_at_ssthresh_or_below(delivered: int, flight: int, safe: bool, room: int) -> None:
    prr = ProportionalRateReduction(5 * MSS, 10 * MSS)
    prr.on_ack(4 * MSS, 6 * MSS, MSS, safe=False)
    prr.on_sent(4 * MSS)  # nothing is left of what has arrived so far
    prr.on_ack(delivered, flight, MSS, safe=safe)
    assert prr.sndcnt == room


@pytest.mark.req("9937-3")
def test_what_was_not_used_can_be_later() -> None:
    prr = ProportionalRateReduction(5 * MSS, 10 * MSS)
    prr.on_ack(3 * MSS, 4 * MSS, MSS, safe=False)
    prr.on_sent(MSS)  # the application had no more
    prr.on_ack(MSS, 1 * MSS, MSS, safe=False)
    assert prr.sndcnt == 3 * MSS  # 4 arrived, 1 left


@pytest.mark.req("9937-4")
@pytest.mark.parametrize(("delivered", "flight"), [(0, 9000), (1, 9000), (0, 0)])
def test_one_segment_is_forced_on_entry(delivered: int, flight: int) -> None:
    prr = ProportionalRateReduction(5 * MSS, 10 * MSS)
    prr.on_ack(delivered, flight, MSS, safe=False)
    assert prr.sndcnt == MSS


@pytest.mark.req("9937-3")
def test_one_segment_is_allowed_when_the_network_is_empty() -> None:
    """The last that was in flight arrived, less than a segment, and all others are lost: nothing
    would come that could let more out."""
    prr = ProportionalRateReduction(5 * MSS, 10 * MSS)
    prr.on_ack(2 * MSS, 6 * MSS, MSS, safe=False)
    prr.on_sent(2 * MSS)
    prr.on_ack(50, 0, MSS, safe=False)
    assert prr.sndcnt == MSS
    prr.on_sent(MSS)
    prr.on_ack(0, MSS, MSS, safe=False)
    assert prr.sndcnt == 0  # once


@pytest.mark.req("9937-2", "9937-3")
@given(
    st.integers(2, 60),
    st.integers(2, 60),
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.booleans()), max_size=60),
)
def test_it_ends_near_ssthresh_and_sends_no_more_than_arrives(
    ssthresh: int, flight: int, steps: list[tuple[int, int, bool]]
) -> None:
    """Above ssthresh never more than the proportion; below never more than what arrived, and one
    for each acknowledgment that was safe; and never above ssthresh."""
    prr = ProportionalRateReduction(ssthresh * MSS, flight * MSS)
    in_flight, arrived, out, bonus = flight * MSS, 0, 0, 1
    for arrives, lost, safe in steps:
        before = in_flight
        in_flight = max(in_flight - (arrives + lost) * MSS, 0)
        got = min(arrives * MSS, before)
        arrived += got
        bonus += safe or not in_flight
        prr.on_ack(got, in_flight, MSS, safe=safe)
        room = prr.sndcnt // MSS * MSS
        if room > MSS:
            assert in_flight + room <= max(ssthresh * MSS, before)
        prr.on_sent(room)
        in_flight += room
        out += room
        assert out <= arrived + bonus * MSS
