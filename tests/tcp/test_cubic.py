"""CUBIC: RFC 9438 by hand. Windows in segments of 1000 bytes."""

from __future__ import annotations

from itertools import pairwise
from math import cbrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.congestion import INFINITE, Phase
from aiotcp.tcp.cubic import Cubic
from aiotcp.tcp.reno import Reno
from tests.support.controls import ack, start

MSS = 1000
ALPHA = 3 * 0.3 / 1.7


def cubic(cwnd: float, *, rtt: float = 0.1) -> Cubic:
    control = Cubic(start(MSS, rtt=rtt))
    control.cwnd = int(cwnd * MSS)
    return control


def w_cubic(t: float, w_max: float, cwnd_epoch: float) -> float:
    """RFC 9438 figures 1 and 2, in segments."""
    return 0.4 * (t - cbrt((w_max - cwnd_epoch) / 0.4)) ** 3 + w_max


def lose(control: Cubic, now: float = 0.0) -> None:
    """One loss with the window full, repaired at once."""
    control.on_congestion(control.cwnd, now)
    control.on_recovered(control.ssthresh, now)


def run(
    control: Cubic | Reno, begin: float, seconds: float, rtt: float = 0.1, per_ack: int = 10
) -> float:
    """The window full and acknowledged evenly for so long; the time at the end."""
    now, end = begin, begin + seconds
    while now < end:
        acked = per_ack * MSS
        now += rtt * acked / control.cwnd
        control.on_ack(ack(acked, control.cwnd, now=now, rtt=rtt))
    return now


# -- the curve ---------------------------------------------------------------------------------


@pytest.mark.req("9438-1")
@pytest.mark.parametrize("per_ack", [5, 44])
def test_growth_after_a_loss_follows_the_curve(per_ack: int) -> None:
    """W_max 2000, K = cbrt(600/0.4) = 11.4 s. Each acknowledgment aims a round trip ahead, and
    gets there within it."""
    control = cubic(2000)
    lose(control)
    assert control.cwnd == 1400 * MSS
    now = run(control, 0.0, 0.1, per_ack=per_ack)
    first = now
    for seconds in (2.0, 5.0, 8.0, 11.0, 14.0, 18.0):
        now = run(control, now, seconds - now, per_ack=per_ack)
        segments = control.cwnd / MSS
        assert w_cubic(now - first, 2000, 1400) * 0.995 < segments
        assert segments < w_cubic(now + 0.1, 2000, 1400) * 1.005


@pytest.mark.req("9438-1")
def test_concave_before_the_plateau_and_convex_after_it() -> None:
    control = cubic(2000)
    lose(control)
    windows, now = [], 0.0
    for _ in range(24):
        windows.append(control.cwnd / MSS)
        now = run(control, now, 1.0)
    steps = [after - before for before, after in pairwise(windows)]
    flat = min(range(len(steps)), key=steps.__getitem__)
    assert flat in (10, 11)  # around K = 11.4 s
    assert steps[1:flat] == sorted(steps[1:flat], reverse=True)
    assert steps[flat:] == sorted(steps[flat:])
    assert steps[flat] < 1
    assert abs(windows[11] - 2000) < 5


@pytest.mark.req("9438-1")
def test_one_acknowledgment_by_hand() -> None:
    """W_max 1000: K = cbrt(300/0.4) = 9.0856 s; 50 ms later W(t + RTT) = W(0.15) = 714.62, and an
    acknowledgment of one of 700 segments is worth (714.62 - 700) / 700 of a segment."""
    assert w_cubic(0.15, 1000, 700) == pytest.approx(714.62, abs=0.01)
    for segments, worth in ((1, 20), (44, 918), (700, 14_615)):
        control = cubic(1000)
        lose(control)
        control.on_ack(ack(0, 700 * MSS, now=5.0, rtt=0.1))
        control.on_ack(ack(segments * MSS, 700 * MSS, now=5.05, rtt=0.1))
        assert control.cwnd == pytest.approx(700 * MSS + worth, abs=2)


@pytest.mark.req("9438-1")
def test_half_of_the_window_more_in_a_round_trip_at_most() -> None:
    """`target` <= 1.5 * cwnd, however far the curve has come."""
    control = cubic(100)
    lose(control)
    control.on_ack(ack(MSS, 70 * MSS, now=0.0, rtt=0.1))
    before = control.cwnd
    control.on_ack(ack(before, before, now=1000.0, rtt=0.1))
    assert control.cwnd == pytest.approx(1.5 * before, abs=1)
    before = control.cwnd
    control.on_ack(ack(10 * before, before, now=1000.1, rtt=0.1))
    assert control.cwnd == pytest.approx(1.5 * before, abs=1)


@pytest.mark.req("9438-1")
def test_the_curve_is_the_same_whatever_the_round_trip() -> None:
    windows = []
    for rtt in (0.05, 0.1, 0.2):
        control = cubic(2000, rtt=rtt)
        lose(control)
        run(control, 0.0, 8.0, rtt=rtt)
        windows.append(control.cwnd / MSS)
    assert max(windows) < min(windows) * 1.02


def test_a_window_without_a_loss_begins_at_its_own_plateau() -> None:
    """4.10: HyStart++ ended slow start, W_max is undefined: K = 0."""
    control = cubic(1000)
    control.ssthresh = control.cwnd
    first = run(control, 0.0, 0.01)
    now = run(control, first, 10.0)
    assert control.cwnd / MSS == pytest.approx(1000 + 0.4 * (now - first) ** 3, rel=0.01)


# -- Reno-friendly -------------------------------------------------------------------------------


@pytest.mark.req("9438-3")
def test_on_a_short_path_it_follows_reno_s_estimate() -> None:
    """W_max 20 at 10 ms: alpha = 0.53 segments for each round trip up to 20, from there on one."""
    control = cubic(20, rtt=0.01)
    lose(control)
    control.on_ack(ack(0, 14 * MSS, now=0.0, rtt=0.01))
    rounds = round(6 / ALPHA)
    for n in range(rounds):
        control.on_ack(ack(control.cwnd, control.cwnd, now=(n + 1) / 100, rtt=0.01))
    assert control.cwnd / MSS == pytest.approx(14 + rounds * ALPHA, abs=0.01)
    control.on_ack(ack(control.cwnd, control.cwnd, now=(rounds + 1) / 100, rtt=0.01))
    at_prior = control.cwnd
    assert at_prior > 20 * MSS
    for n in range(10):
        control.on_ack(ack(control.cwnd, control.cwnd, now=(rounds + 2 + n) / 100, rtt=0.01))
    assert control.cwnd == pytest.approx(at_prior + 10 * MSS, abs=10)


@pytest.mark.req("9438-3")
@pytest.mark.parametrize("every", [100, 400])
def test_as_much_as_reno_gets_from_a_short_path(every: int) -> None:
    """One loss in `every` segments at 5 ms (3.2, 4.3): the averages are about the same."""
    averages = []
    for kind in (Reno, Cubic):
        control = kind(start(MSS, rtt=0.005))
        control.cwnd = control.ssthresh = 20 * MSS
        now, total = 0.0, 0.0
        for n in range(1, 20_001):
            now += 0.005 * MSS / control.cwnd
            control.on_ack(ack(MSS, control.cwnd, now=now, rtt=0.005))
            total += control.cwnd
            if n % every == 0:
                control.on_congestion(control.cwnd, now)
                control.on_recovered(control.ssthresh, now)
        averages.append(total / 20_000)
    reno, friendly = averages
    assert 0.9 < friendly / reno < 1.2


@pytest.mark.req("9438-1")
def test_the_average_window_is_figure_6_s() -> None:
    """Table 1: 187 segments at 0.1 s and one loss in 10,000 packets."""
    control = cubic(100)
    control.ssthresh = control.cwnd
    now, weighed = 0.0, 0.0
    began = 0.0
    for n in range(4, 200_001, 4):
        step = 0.1 * 4 * MSS / control.cwnd
        now += step
        control.on_ack(ack(4 * MSS, control.cwnd, now=now, rtt=0.1))
        if n % 10_000 == 0:
            lose(control, now)
        if n == 50_000:
            began = now
        if n > 50_000:
            weighed += control.cwnd * step
    assert weighed / (now - began) / MSS == pytest.approx(187, rel=0.05)


# -- decrease ------------------------------------------------------------------------------------


@pytest.mark.req("9438-2")
def test_a_loss_leaves_seven_tenths_of_the_flight() -> None:
    control = cubic(100)
    control.on_congestion(90 * MSS, 0.0)
    assert control.ssthresh == control.cwnd == 63 * MSS
    small = cubic(3)
    small.on_congestion(2 * MSS, 0.0)
    assert small.ssthresh == small.cwnd == 2 * MSS


@pytest.mark.req("9438-2")
def test_a_mark_does_too_and_may_leave_one_segment() -> None:
    control = cubic(100)
    control.on_ecn(90 * MSS, 0.0)
    assert control.ssthresh == control.cwnd == 63 * MSS
    small = cubic(2)
    for _ in range(3):
        small.on_ecn(small.cwnd, 0.0)
    assert (small.cwnd, small.ssthresh) == (MSS, 2 * MSS)


@pytest.mark.req("9438-4")
def test_fast_convergence() -> None:
    """A second loss below W_max = 1000 leaves the plateau at 0.85 of the window; one above it at
    the window. Seen by where the curve is flat."""
    for grown, w_max in ((900, 0.85 * 900), (1100, 1100)):
        control = cubic(1000)
        lose(control)
        control.cwnd = grown * MSS
        lose(control)
        epoch = control.cwnd / MSS
        first = run(control, 0.0, 0.01)
        run(control, first, cbrt((w_max - epoch) / 0.4))
        assert control.cwnd / MSS == pytest.approx(w_max, rel=0.005)


@pytest.mark.req("9438-5", "5681-2")
def test_a_timeout() -> None:
    """4.8: one segment, ssthresh by beta; then W_max is the window where congestion avoidance
    begins, and K = 0."""
    control = cubic(1000)
    control.on_timeout(1000 * MSS, 0.0, repeated=False)
    assert (control.cwnd, control.ssthresh) == (MSS, 700 * MSS)
    control.on_timeout(MSS, 1.0, repeated=True)
    assert (control.cwnd, control.ssthresh) == (MSS, 700 * MSS)
    control.on_recovered(0, 2.0)
    while control.cwnd < control.ssthresh:
        control.on_ack(ack(control.cwnd, control.cwnd, now=2.0, rtt=0.1))
    first = run(control, 3.0, 0.01)
    now = run(control, first, 6.0)
    assert control.cwnd / MSS == pytest.approx(700 + 0.4 * (now - first) ** 3, rel=0.01)


# -- undo ----------------------------------------------------------------------------------------


@pytest.mark.req("9438-5", "5682-2")
@pytest.mark.parametrize("what", ["loss", "timeout"])
def test_after_a_spurious_event_all_goes_on_as_if_there_had_been_none(what: str) -> None:
    """4.9.2, with the second loss below W_max, so that fast convergence is undone, too."""
    spared, struck = cubic(1000), cubic(1000)
    for control in (spared, struck):
        lose(control)
        run(control, 0.0, 5.0)
    assert spared.cwnd == struck.cwnd
    if what == "loss":
        struck.on_congestion(struck.cwnd, 5.05)
        struck.on_recovered(struck.ssthresh, 5.06)
        struck.on_ack(ack(MSS, struck.cwnd, now=5.07, rtt=0.1))
    else:
        struck.on_timeout(struck.cwnd, 5.05, repeated=False)
        struck.on_timeout(MSS, 5.06, repeated=True)
        struck.on_ack(ack(MSS, MSS, now=5.07, rtt=0.1, phase=Phase.LOSS))
    assert struck.cwnd < spared.cwnd
    struck.undo(struck.cwnd, 5.1)
    assert (struck.cwnd, struck.ssthresh) == (spared.cwnd, spared.ssthresh)
    for control in (spared, struck):
        run(control, 5.2, 10.0)
    assert struck.cwnd == pytest.approx(spared.cwnd, abs=MSS)
    assert struck.cwnd / MSS == pytest.approx(w_cubic(15.2, 1000, 700), rel=0.02)


@pytest.mark.req("9438-5")
def test_what_has_grown_beyond_the_old_window_is_kept() -> None:
    control = cubic(20)
    control.on_congestion(20 * MSS, 0.0)
    control.on_recovered(control.ssthresh, 0.0)
    now = run(control, 0.0, 10.0)
    assert control.cwnd > 21 * MSS
    before = (control.cwnd, control.ssthresh)
    control.undo(control.cwnd, now)
    assert (control.cwnd, control.ssthresh) == before


# -- time that does not count --------------------------------------------------------------------


@pytest.mark.req("9438-6")
def test_an_idle_time_does_not_count() -> None:
    windows = []
    for idle in (0.0, 100.0):
        control = cubic(1000)
        lose(control)
        now = run(control, 0.0, 5.0) + idle
        control.on_send(now, 0, True)
        run(control, now, 1.0)
        windows.append(control.cwnd)
    assert windows[0] == windows[1]


@pytest.mark.req("9438-6")
def test_application_limited_time_does_not_count() -> None:
    """Far below the window, but never for an RTO, so that validation has nothing to say."""
    control = cubic(1000)
    lose(control)
    now = run(control, 0.0, 5.0)
    spared = cubic(1000)
    lose(spared)
    run(spared, 0.0, 5.0)
    for _ in range(1000):
        for _ in range(2):
            now += 0.1
            before = control.cwnd
            control.on_ack(ack(MSS, 400 * MSS, now=now, rtt=0.1, cwnd_limited=False))
            assert control.cwnd == before
        now += 1e-6
        control.on_ack(ack(0, control.cwnd, now=now, rtt=0.1))
    run(control, now, 1.0)
    run(spared, 5.0, 1.0)
    assert control.cwnd == pytest.approx(spared.cwnd, rel=0.002)


@pytest.mark.req("9438-6", "2861-1")
def test_after_validation_the_curve_leads_back_to_the_plateau() -> None:
    control = cubic(1000)
    lose(control)
    now = run(control, 0.0, 5.0)
    before = control.cwnd
    control.on_idle(1.5, 1.0)
    control.on_send(now + 1.5, 0, True)
    assert control.cwnd == before // 2
    while control.cwnd < control.ssthresh:
        control.on_ack(ack(MSS, control.cwnd, now=now + 1.6, rtt=0.1))
    assert control.cwnd == control.ssthresh == 3 * before // 4
    first = run(control, now + 1.7, 0.01)
    end = run(control, first, 4.0)
    expected = w_cubic(end - first, 1000, 0.75 * before / MSS)
    assert control.cwnd / MSS == pytest.approx(expected, rel=0.01)


# -- whatever happens ----------------------------------------------------------------------------


_TIME = st.floats(0, 10)
_SIZE = st.integers(0, 200 * MSS)
_EVENT = st.one_of(
    st.tuples(st.just("ack"), _TIME, st.integers(1, 200 * MSS), st.booleans()),
    st.tuples(st.just("ack"), st.floats(0, 0.1), st.integers(1, 200 * MSS), st.just(True)),
    st.tuples(
        st.sampled_from(["loss", "mark", "recovered", "undo", "send"]),
        _TIME,
        _SIZE,
        st.just(False),
    ),
    st.tuples(st.sampled_from(["timeout", "idle"]), _TIME, _SIZE, st.booleans()),
)


@given(st.lists(_EVENT, max_size=80), st.sampled_from([Cubic, Reno]))
def test_a_window_holds_a_segment_and_grows_by_what_is_acknowledged_at_most(
    events: list[tuple[str, float, int, bool]], kind: type[Cubic | Reno]
) -> None:
    control = kind(start(MSS, rtt=0.1))
    now, largest = 0.0, control.cwnd
    for event, seconds, size, flag in events:
        now += seconds
        before = control.cwnd
        if event == "ack":
            control.on_ack(ack(size, size, now=now, rtt=0.1, cwnd_limited=flag))
            # A segment for what rounds to it, and for Reno's estimate that overtakes the curve.
            assert control.cwnd <= before + max(size, 2 * MSS)
            largest = max(largest, control.cwnd)
        elif event == "loss":
            control.on_congestion(size, now)
            assert control.cwnd <= max(before, 2 * MSS)
        elif event == "mark":
            control.on_ecn(size, now)
            assert control.cwnd <= before
        elif event == "timeout":
            control.on_timeout(size, now, flag)
            assert control.cwnd == MSS
        elif event == "recovered":
            control.on_recovered(size, now)
        elif event == "undo":
            control.undo(size, now)
            assert before <= control.cwnd <= largest
        elif event == "idle":
            control.on_idle(seconds, 1.0)
            control.on_send(now, 0, flag)
            assert control.cwnd <= before
        else:
            control.on_send(now, size, flag)
        assert control.cwnd >= MSS
        assert control.ssthresh >= 2 * MSS
        assert isinstance(control.cwnd, int)
        assert isinstance(control.ssthresh, int)
        largest = max(largest, control.cwnd)


@pytest.mark.req("9438-6")
@given(st.lists(st.tuples(st.floats(0, 1000), st.integers(0, 100 * MSS)), max_size=50))
def test_no_time_makes_an_unused_window_grow(acks: list[tuple[float, int]]) -> None:
    control = cubic(100)
    control.ssthresh = 80 * MSS
    now = run(control, 0.0, 1.0)
    before = control.cwnd
    for seconds, acked in acks:
        now += seconds
        control.on_ack(ack(acked, 50 * MSS, now=now, rtt=0.1, cwnd_limited=False))
        assert control.cwnd <= before


def test_infinite_slow_start_threshold_until_something_happens() -> None:
    assert cubic(10).ssthresh == INFINITE
