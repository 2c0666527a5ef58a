"""Reno congestion control: RFC 5681 by hand, initial windows of RFC 6928."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.congestion import INFINITE, Phase, initial_window
from aiotcp.tcp.reno import Reno
from tests.support.controls import ack, start

MSS = 1000
T = 0.0


def reno(*, cwnd: int | None = None, ssthresh: int = INFINITE, segments: int = 10) -> Reno:
    control = Reno(start(MSS, segments))
    if cwnd is not None:
        control.cwnd = cwnd
    control.ssthresh = ssthresh
    return control


def a_round(control: Reno, segments_per_ack: int = 1) -> None:
    """One round trip with the window full: every segment of it is acknowledged."""
    flight = control.cwnd - control.cwnd % MSS
    while flight > 0:
        acked = min(segments_per_ack * MSS, flight)
        control.on_ack(ack(acked, control.cwnd))
        flight -= acked


@pytest.mark.req("6928-1")
@pytest.mark.parametrize(
    ("mss", "expected"),
    [
        (1000, 10_000),  # 10 segments
        (1460, 14_600),
        (2000, 14_600),  # 14600 bytes
        (7300, 14_600),
        (9000, 18_000),  # 2 segments
    ],
)
def test_the_initial_window(mss: int, expected: int) -> None:
    assert initial_window(mss, 10) == expected
    assert Reno(start(mss)).cwnd == expected


@pytest.mark.req("5681-8")
def test_one_segment_after_a_lost_syn() -> None:
    assert Reno(start(MSS, syn_lost=True)).cwnd == MSS


@pytest.mark.req("5681-1", "MUST-19")
@pytest.mark.parametrize("segments_per_ack", [1, 2, 8])
def test_slow_start_doubles_in_a_round_trip(segments_per_ack: int) -> None:
    """By the bytes acknowledged: neither delayed nor stretched acknowledgments slow it down."""
    control = reno(cwnd=8 * MSS)
    a_round(control, segments_per_ack)
    assert control.cwnd == 16 * MSS
    a_round(control, segments_per_ack)
    assert control.cwnd == 32 * MSS


@pytest.mark.req("5681-1")
def test_slow_start_ends_at_ssthresh() -> None:
    control = reno(cwnd=8 * MSS, ssthresh=12 * MSS)
    a_round(control)
    assert control.cwnd == 12 * MSS


@pytest.mark.req("5681-1", "MUST-19")
@pytest.mark.parametrize("segments_per_ack", [1, 2])
def test_congestion_avoidance_adds_a_segment_in_a_round_trip(segments_per_ack: int) -> None:
    control = reno(cwnd=10 * MSS, ssthresh=10 * MSS)
    for expected in (11, 12, 13):
        a_round(control, segments_per_ack)
        assert control.cwnd == expected * MSS


def test_an_unused_window_does_not_grow() -> None:
    avoiding = reno(cwnd=10 * MSS, ssthresh=10 * MSS)
    starting = reno(cwnd=10 * MSS)
    for _ in range(100):
        avoiding.on_ack(ack(MSS, 2 * MSS, cwnd_limited=False))
        starting.on_ack(ack(MSS, 2 * MSS, cwnd_limited=False))
    assert avoiding.cwnd == starting.cwnd == 10 * MSS


@pytest.mark.req("5681-3", "MUST-19")
def test_loss_halves_the_flight() -> None:
    control = reno(cwnd=20 * MSS)
    control.on_congestion(16 * MSS, T)  # equation (4): FlightSize, not cwnd
    assert control.ssthresh == 8 * MSS
    assert control.cwnd == 8 * MSS


@pytest.mark.req("5681-2")
def test_never_below_two_segments() -> None:
    control = reno()
    control.on_congestion(MSS, T)
    assert control.ssthresh == 2 * MSS
    control.on_timeout(MSS, T, repeated=False)
    assert control.ssthresh == 2 * MSS


@pytest.mark.req("6582-1")
@pytest.mark.parametrize(("flight", "expected"), [(0, 2), (3, 4), (20, 8)])
def test_after_recovery_no_burst(flight: int, expected: int) -> None:
    """RFC 6582 3.2 step 3: min (ssthresh, max(FlightSize, SMSS) + SMSS)."""
    control = reno(cwnd=16 * MSS)
    control.on_congestion(16 * MSS, T)
    control.on_recovered(flight * MSS, T)
    assert control.cwnd == expected * MSS


@pytest.mark.req("5681-2", "MUST-19")
def test_a_timeout_restarts_from_one_segment() -> None:
    control = reno(cwnd=16 * MSS)
    control.on_timeout(12 * MSS, T, repeated=False)
    assert (control.cwnd, control.ssthresh) == (MSS, 6 * MSS)


@pytest.mark.req("5681-2")
def test_a_repeated_timeout_leaves_ssthresh() -> None:
    control = reno(cwnd=16 * MSS)
    control.on_timeout(12 * MSS, T, repeated=False)
    control.on_timeout(MSS, T, repeated=True)
    assert (control.cwnd, control.ssthresh) == (MSS, 6 * MSS)


@pytest.mark.req("5681-1")
def test_slow_start_after_a_timeout_takes_one_segment_for_each_acknowledgment() -> None:
    """RFC 3465 2.3: one acknowledgment may cover much that was not lost at all."""
    control = reno(cwnd=16 * MSS)
    control.on_timeout(12 * MSS, T, repeated=False)
    control.on_ack(ack(9 * MSS, MSS, phase=Phase.LOSS))
    assert control.cwnd == 2 * MSS


@pytest.mark.req("5681-7", "2861-1")
@pytest.mark.parametrize(
    ("cwnd", "idle", "expected"), [(40, 0.9, 40), (40, 1.5, 20), (40, 2.5, 10), (4, 9.0, 4)]
)
def test_idle_for_longer_than_the_timeout(cwnd: int, idle: float, expected: int) -> None:
    """Halved for each RTO, down to RFC 5681's restart window."""
    control = reno(cwnd=cwnd * MSS, ssthresh=50 * MSS)
    control.on_idle(idle, 1.0)
    assert (control.cwnd, control.ssthresh) == (expected * MSS, 50 * MSS)


def test_a_larger_segment_always_fits() -> None:
    control = Reno(start(500, syn_lost=True))
    control.set_mss(1400)
    assert control.cwnd == 1400


_EVENT = st.one_of(
    st.tuples(st.just("ack"), st.integers(1, 200 * MSS), st.integers(0, 200 * MSS)),
    st.tuples(st.just("loss"), st.just(0), st.integers(0, 200 * MSS)),
    st.tuples(st.just("timeout"), st.integers(0, 1), st.integers(0, 200 * MSS)),
    st.tuples(st.just("recovered"), st.just(0), st.integers(0, 200 * MSS)),
    st.tuples(st.just("idle"), st.integers(0, 10), st.just(0)),
)


@given(st.lists(_EVENT, max_size=60))
def test_cwnd_always_holds_a_segment_and_grows_by_what_is_acknowledged_at_most(
    events: list[tuple[str, int, int]],
) -> None:
    control = reno()
    for event, number, flight in events:
        before = control.cwnd
        if event == "ack":
            control.on_ack(ack(number, flight))
            assert before <= control.cwnd <= before + max(number, MSS)
        elif event == "loss":
            control.on_congestion(flight, T)
        elif event == "timeout":
            control.on_timeout(flight, T, bool(number))
        elif event == "recovered":
            control.on_recovered(flight, T)
        else:
            control.on_idle(number, 1.0)
        assert control.cwnd >= MSS
        assert control.ssthresh >= 2 * MSS
