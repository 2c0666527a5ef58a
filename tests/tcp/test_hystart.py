"""HyStart++ by RFC 9406's numbers, on its own and in the controls."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.congestion import INFINITE
from aiotcp.tcp.cubic import Cubic
from aiotcp.tcp.hystart import HyStart
from aiotcp.tcp.lossbased import LossBased
from aiotcp.tcp.reno import Reno
from tests.support.controls import ack, start

MSS = 1000
FLIGHT = 20 * MSS
BOTH = pytest.mark.parametrize("kind", [Reno, Cubic])


class Path:
    """Rounds of 20 segments, each acknowledged on its own."""

    def __init__(self) -> None:
        self.hystart = HyStart()
        self.delivered = 0

    def one(self, rtt: float | None, segments: int = 1) -> int:
        acked = segments * MSS
        self.delivered += acked
        return self.hystart.grow(acked, FLIGHT - acked, rtt, self.delivered, 1)

    def round(self, rtt: float | None, count: int = 20) -> int:
        return sum(self.one(rtt) for _ in range(count))


@pytest.mark.req("9406-1")
@pytest.mark.parametrize(
    ("last", "threshold"),
    [
        (0.001, 0.004),  # MIN_RTT_THRESH
        (0.032, 0.004),
        (0.080, 0.010),  # an eighth
        (0.128, 0.016),
        (0.500, 0.016),  # MAX_RTT_THRESH
    ],
)
def test_the_delay_that_ends_slow_start(last: float, threshold: float) -> None:
    path = Path()
    path.round(last)
    path.round(last + threshold - 1e-6)
    assert not path.hystart.css
    path = Path()
    path.round(last)
    path.round(last + threshold + 1e-6)
    assert path.hystart.css


@pytest.mark.req("9406-1")
def test_eight_samples_are_needed() -> None:
    path = Path()
    path.round(0.05)
    path.round(0.2, 7)
    path.round(None, 5)
    assert not path.hystart.css
    path.one(0.2)
    assert path.hystart.css


@pytest.mark.req("9406-1")
def test_a_round_of_fewer_samples_decides_nothing() -> None:
    path = Path()
    for n in range(10):
        for _ in range(4):  # frames of five segments
            path.one(0.05 + n / 10, 5)
    assert not path.hystart.css


@pytest.mark.req("9406-1")
def test_it_is_the_least_of_a_round_that_counts() -> None:
    """Jitter, however large: one sample without it is enough."""
    path = Path()
    path.round(0.05)
    for _ in range(20):
        path.one(0.05)
        path.round(0.5, 19)
    assert not path.hystart.css


@pytest.mark.req("9406-1")
def test_the_queue_of_one_round_is_compared_with_the_round_before() -> None:
    """3 ms more in each round: below the threshold, as the RFC has it."""
    path = Path()
    for n in range(10):
        path.round(0.02 + n * 0.003)
    assert not path.hystart.css


@pytest.mark.req("9406-2")
def test_conservative_slow_start_grows_a_quarter_as_fast_for_five_rounds() -> None:
    path = Path()
    assert path.round(0.05) == 20 * MSS
    # The eighth sample of the round tells; that round is the first of the five.
    assert path.round(0.06) == 8 * MSS + 12 * MSS // 4
    for _ in range(4):
        assert path.round(0.06) == 5 * MSS
    assert not path.hystart.finished
    path.one(0.06)
    assert path.hystart.finished


@pytest.mark.req("9406-2")
def test_a_round_trip_below_the_baseline_resumes_slow_start() -> None:
    path = Path()
    path.round(0.05)
    path.round(0.06)
    path.round(0.06)
    assert path.hystart.css
    assert path.round(0.059) == 8 * MSS // 4 + 12 * MSS
    assert not path.hystart.css
    path.round(0.067)  # and the next queue is found again, with five rounds of its own
    assert path.hystart.css
    path.round(0.067, 80)
    assert not path.hystart.finished
    path.one(0.067)
    assert path.hystart.finished


@pytest.mark.req("9406-1")
def test_one_acknowledgment_of_many_segments_counts_in_full() -> None:
    """L is infinite: see the module."""
    assert Path().one(0.05, 44) == 44 * MSS


@BOTH
@pytest.mark.req("9406-2", "9438-1")
def test_a_control_ends_slow_start_before_it_loses(kind: type[LossBased]) -> None:
    control = kind(start(MSS))
    delivered, end, rtt, windows = 0, 0, 0.05, [control.cwnd]
    while control.ssthresh == INFINITE:
        flight = control.cwnd - MSS
        delivered += MSS
        control.on_ack(ack(MSS, control.cwnd, delivered=delivered, rtt=rtt, flight=flight))
        if delivered > end:  # a round trip later
            end = delivered + flight
            windows.append(control.cwnd)
            rtt += 0.008 if control.cwnd > 100 * MSS else 0.0  # a queue begins
        assert len(windows) < 20
    assert control.ssthresh == control.cwnd
    # Doubled until there was a queue, and then by a quarter in each of five rounds.
    growth = [after / before for before, after in pairwise(windows[1:])]
    assert growth[:3] == pytest.approx([2, 2, 2], rel=0.1)
    assert growth[-4:] == pytest.approx([1.25] * 4, rel=0.02)
    assert len([factor for factor in growth if factor > 1.5]) == 5
    before = control.cwnd
    control.on_ack(ack(MSS, before, now=100.0, rtt=rtt))
    assert control.cwnd - before < MSS


@BOTH
@pytest.mark.req("9406-2")
def test_a_window_that_is_not_used_builds_no_queue(kind: type[LossBased]) -> None:
    """What makes its round trips longer is no reason to end slow start."""
    control = kind(start(MSS))
    control.cwnd = 3 * FLIGHT
    for n in range(400):
        rtt = 0.05 + n // 20 * 0.02
        delivered = n * MSS
        if n % 2:
            control.on_usual_ack(0.0, MSS, FLIGHT, rtt, False, delivered, 1)
        else:
            control.on_ack(
                ack(MSS, FLIGHT, delivered=delivered, rtt=rtt, flight=FLIGHT, cwnd_limited=False)
            )
    assert control.ssthresh == INFINITE
    assert control.cwnd == 3 * FLIGHT


@BOTH
@pytest.mark.req("9406-3")
@pytest.mark.parametrize("event", ["loss", "timeout", "mark"])
def test_only_before_the_first_loss(kind: type[LossBased], event: str) -> None:
    control = kind(start(MSS))
    if event == "loss":
        control.on_congestion(10 * MSS, 0.0)
        control.on_recovered(control.ssthresh, 0.0)
    elif event == "timeout":
        control.on_timeout(10 * MSS, 0.0, repeated=False)
        control.on_recovered(0, 0.0)
    else:
        control.on_ecn(10 * MSS, 0.0)
    control.cwnd, control.ssthresh = 20 * MSS, 1000 * MSS
    delivered = 0
    for rtt in (0.05, 0.05, 0.1, 0.2):
        for _ in range(20):
            delivered += MSS
            before = control.cwnd
            control.on_ack(ack(MSS, before, delivered=delivered, rtt=rtt, flight=20 * MSS))
            assert control.cwnd == before + MSS


@given(st.lists(st.tuples(st.integers(0, 99), st.floats(0.0001, 10) | st.none()), max_size=200))
def test_growth_is_bounded_by_what_is_acknowledged(acks: list[tuple[int, float | None]]) -> None:
    hystart = HyStart()
    delivered = 0
    for segments, rtt in acks:
        delivered += segments * MSS
        step = hystart.grow(segments * MSS, FLIGHT, rtt, delivered, 1)
        assert segments * MSS // 4 <= step <= segments * MSS
