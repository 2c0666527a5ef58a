"""NewReno without SACK: RFC 6582 and RFC 5681 3.2, walked through; limited transmit, RFC 3042."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.newreno import NewReno, Verdict

MSS = 1000
ISS = 0
FIRST = 1
"""The first data byte; segment n of the walk-through is [FIRST + n*MSS, FIRST + (n+1)*MSS)."""


def seq(segments: int) -> int:
    return FIRST + segments * MSS


def in_recovery(*, flight: int = 10) -> NewReno:
    """Segment 0 of `flight` is lost; three duplicates have come."""
    recovery = NewReno(ISS)
    for _ in range(3):
        verdict = recovery.on_duplicate(seq(0), seq(flight), MSS)
    assert verdict is Verdict.FAST_RETRANSMIT
    return recovery


@pytest.mark.req("6582-1", "5681-3")
def test_the_third_duplicate_begins_recovery() -> None:
    recovery = NewReno(ISS)
    verdicts = [recovery.on_duplicate(seq(0), seq(10), MSS) for _ in range(3)]
    assert verdicts == [Verdict.NOTHING, Verdict.NOTHING, Verdict.FAST_RETRANSMIT]
    assert recovery.in_recovery
    assert recovery.recover == seq(10)
    assert recovery.inflation == 3 * MSS  # "cwnd set to ssthresh plus 3*SMSS"


@pytest.mark.req("5681-4", "3042-1")
def test_the_first_two_duplicates_allow_a_new_segment_each() -> None:
    recovery = NewReno(ISS)
    recovery.on_duplicate(seq(0), seq(10), MSS)
    assert recovery.inflation == MSS
    recovery.on_duplicate(seq(0), seq(11), MSS)
    assert recovery.inflation == 2 * MSS
    assert not recovery.in_recovery


@pytest.mark.req("5681-2", "5681-4")
def test_limited_transmit_is_not_part_of_the_flight_that_is_halved() -> None:
    """RFC 5681 3.2 step 2: "additional data sent in limited transmit MUST NOT be included"."""
    recovery = NewReno(ISS)
    for sent in (10, 11, 12):
        recovery.on_duplicate(seq(0), seq(sent), MSS)
    assert recovery.flight == 10 * MSS


@pytest.mark.req("5681-6")
def test_new_data_in_between_starts_the_count_anew() -> None:
    recovery = NewReno(ISS)
    recovery.on_duplicate(seq(0), seq(10), MSS)
    recovery.on_duplicate(seq(0), seq(10), MSS)
    assert recovery.on_new_ack(MSS, seq(1), MSS) is Verdict.NOTHING
    assert recovery.inflation == 0
    assert recovery.on_duplicate(seq(1), seq(10), MSS) is Verdict.NOTHING


@pytest.mark.req("6582-1")
def test_further_duplicates_inflate_by_a_segment_each() -> None:
    recovery = in_recovery()
    for count in range(4, 8):
        assert recovery.on_duplicate(seq(0), seq(10), MSS) is Verdict.NOTHING
        assert recovery.inflation == count * MSS


@pytest.mark.req("6582-2")
def test_a_partial_acknowledgment_repeats_the_next_hole_and_deflates() -> None:
    recovery = in_recovery()
    for _ in range(5):  # 8 duplicates in all
        recovery.on_duplicate(seq(0), seq(10), MSS)
    verdict = recovery.on_new_ack(4 * MSS, seq(4), MSS)
    assert verdict is Verdict.RETRANSMIT_NEXT
    assert recovery.in_recovery
    assert recovery.inflation == (8 - 4 + 1) * MSS  # less what was acknowledged, plus one


@pytest.mark.req("6582-2")
def test_a_partial_acknowledgment_of_less_than_a_segment_adds_nothing_back() -> None:
    recovery = in_recovery()
    assert recovery.on_new_ack(400, seq(0) + 400, MSS) is Verdict.RETRANSMIT_NEXT
    assert recovery.inflation == 3 * MSS - 400


@pytest.mark.req("6582-2")
def test_duplicates_after_a_partial_acknowledgment_go_on_inflating() -> None:
    """ "Do not exit the fast recovery procedure (i.e., if any duplicate ACKs subsequently
    arrive, execute step 4 of Section 3.2 of [RFC5681])" """
    recovery = in_recovery()
    recovery.on_new_ack(2 * MSS, seq(2), MSS)
    before = recovery.inflation
    for _ in range(3):
        assert recovery.on_duplicate(seq(2), seq(10), MSS) is Verdict.NOTHING
    assert recovery.inflation == before + 3 * MSS


@pytest.mark.req("6582-1")
def test_a_full_acknowledgment_ends_recovery() -> None:
    recovery = in_recovery()
    assert recovery.on_new_ack(10 * MSS, seq(10), MSS) is Verdict.RECOVERED
    assert not recovery.in_recovery
    assert recovery.inflation == 0


@pytest.mark.req("6582-1")
def test_one_byte_short_of_recover_is_partial() -> None:
    recovery = in_recovery()
    assert recovery.on_new_ack(10 * MSS - 1, seq(10) - 1, MSS) is Verdict.RETRANSMIT_NEXT


@pytest.mark.req("6582-3", "6582-4")
def test_duplicates_below_recover_after_a_timeout_start_nothing() -> None:
    recovery = in_recovery()
    recovery.on_timeout(seq(12))
    assert not recovery.in_recovery
    assert recovery.recover == seq(12)
    recovery.on_new_ack(MSS, seq(1), MSS)
    for _ in range(6):
        assert recovery.on_duplicate(seq(1), seq(12), MSS) is Verdict.NOTHING
        assert recovery.inflation == 0  # and widen nothing: they answer our own repetitions


@pytest.mark.req("6582-3")
def test_exactly_at_recover_is_not_beyond_it() -> None:
    """ "ack_number - 1 > recover": all that was sent before the timeout is acknowledged, but
    nothing more: three duplicates may still be due to it."""
    recovery = NewReno(ISS)
    recovery.on_timeout(seq(4))
    recovery.on_new_ack(4 * MSS, seq(4), MSS)
    verdicts = {recovery.on_duplicate(seq(4), seq(8), MSS) for _ in range(5)}
    assert verdicts == {Verdict.NOTHING}
    assert recovery.inflation == 0  # no more than limited transmit, and that is over


@pytest.mark.req("6582-3")
def test_beyond_recover_a_new_recovery_may_begin() -> None:
    recovery = NewReno(ISS)
    recovery.on_timeout(seq(4))
    recovery.on_new_ack(5 * MSS, seq(5), MSS)
    verdicts = [recovery.on_duplicate(seq(5), seq(9), MSS) for _ in range(3)]
    assert verdicts[-1] is Verdict.FAST_RETRANSMIT


@given(
    duplicates=st.integers(min_value=0, max_value=200),
    flight=st.integers(min_value=1, max_value=50 * MSS),
    acked=st.lists(st.integers(min_value=1, max_value=10 * MSS), max_size=10),
)
def test_inflation_is_never_negative_nor_more_than_is_outstanding(
    duplicates: int, flight: int, acked: list[int]
) -> None:
    """RFC 5681 3.2: bogus duplicates must not inflate without bound."""
    recovery = NewReno(ISS)
    una, nxt = FIRST, FIRST + flight
    for _ in range(duplicates):
        recovery.on_duplicate(una, nxt, MSS)
        assert 0 <= recovery.inflation <= nxt - una
    for size in acked:
        una = min(una + size, nxt)
        recovery.on_new_ack(size, una, MSS)
        assert recovery.inflation >= 0
