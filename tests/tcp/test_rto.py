"""The retransmission timeout: RFC 6298 by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.rto import RtoEstimator


def estimator(*, initial: float = 1.0, minimum: float = 0.2, maximum: float = 60.0) -> RtoEstimator:
    return RtoEstimator(initial=initial, minimum=minimum, maximum=maximum)


@pytest.mark.req("6298-1")
def test_one_second_before_the_first_sample() -> None:
    rto = estimator()
    assert rto.rto == 1.0
    assert rto.srtt is None


@pytest.mark.req("6298-1", "MUST-18")
def test_first_sample() -> None:
    rto = estimator()
    rto.sample(0.5)
    assert rto.srtt == 0.5
    assert rto.rttvar == 0.25
    assert rto.rto == 1.5  # 0.5 + 4 * 0.25


@pytest.mark.req("6298-1", "MUST-18")
def test_later_samples_take_the_variance_first() -> None:
    rto = estimator()
    rto.sample(0.5)
    rto.sample(0.1)
    # RTTVAR = 3/4 * 0.25 + 1/4 * |0.5 - 0.1|; then SRTT = 7/8 * 0.5 + 1/8 * 0.1
    assert rto.rttvar == pytest.approx(0.2875)
    assert rto.srtt == pytest.approx(0.45)
    assert rto.rto == pytest.approx(0.45 + 4 * 0.2875)


@pytest.mark.req("6298-1")
def test_the_granularity_of_the_clock_is_the_least_variance() -> None:
    rto = estimator(minimum=0.001)
    for _ in range(200):
        rto.sample(0.1)
    assert rto.rto == pytest.approx(0.101)  # SRTT + max(G, 4 * RTTVAR), G = 1 ms


@pytest.mark.req("6298-2")
def test_floor_and_ceiling() -> None:
    rto = estimator()
    rto.sample(0.01)
    assert rto.rto == 0.2
    rto = estimator()
    rto.sample(100.0)
    assert rto.rto == 60.0


@pytest.mark.req("6298-5", "MUST-19")
def test_back_off_doubles_up_to_the_ceiling() -> None:
    rto = estimator()
    seen = []
    for _ in range(9):
        seen.append(rto.rto)
        rto.back_off()
    assert seen == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.req("6298-2", "6298-5")
def test_back_off_doubles_the_floor_not_what_lies_below_it() -> None:
    rto = estimator()
    rto.sample(0.01)  # 0.01 + 4 * 0.005 = 0.03: the timer runs with the floor of 0.2
    seen = []
    for _ in range(4):
        seen.append(rto.rto)
        rto.back_off()
    assert seen == pytest.approx([0.2, 0.4, 0.8, 1.6])


@pytest.mark.req("6298-5")
def test_a_sample_ends_the_back_off() -> None:
    rto = estimator()
    rto.back_off()
    rto.back_off()
    assert (rto.rto, rto.backoff) == (4.0, 2)
    rto.sample(0.5)
    assert (rto.rto, rto.backoff) == (1.5, 0)


@pytest.mark.req("6298-6")
def test_after_a_lost_syn_it_starts_at_three_seconds() -> None:
    rto = estimator()
    rto.back_off()
    rto.restart(3.0)
    assert (rto.rto, rto.backoff) == (3.0, 0)
    rto.back_off()
    assert rto.rto == 6.0


def test_the_smallest_sample_is_kept() -> None:
    rto = estimator()
    assert rto.min_rtt is None
    for rtt in (0.3, 0.2, 0.25):
        rto.sample(rtt)
    assert rto.min_rtt == 0.2


_EVENTS = st.lists(
    st.one_of(st.floats(min_value=0, max_value=1e4), st.just("back off"), st.just("restart")),
    max_size=50,
)


@given(
    events=_EVENTS,
    minimum=st.floats(min_value=0.001, max_value=1),
    maximum=st.floats(min_value=1, max_value=600),
)
def test_always_between_floor_and_ceiling(
    events: list[float | str], minimum: float, maximum: float
) -> None:
    rto = estimator(minimum=minimum, maximum=maximum)
    for event in events:
        before = rto.rto
        if event == "back off":
            rto.back_off()
            assert rto.rto == pytest.approx(min(2 * before, maximum))
        elif event == "restart":
            rto.restart(3.0)
        else:
            assert isinstance(event, float)
            rto.sample(event)
        assert minimum <= rto.rto <= maximum
