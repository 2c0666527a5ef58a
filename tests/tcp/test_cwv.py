"""Congestion window validation: RFC 2861 in Linux's form, on its own and in the controls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.congestion import INFINITE, Phase
from aiotcp.tcp.cubic import Cubic
from aiotcp.tcp.cwv import after_idle, after_limited, remembered
from aiotcp.tcp.lossbased import LossBased
from aiotcp.tcp.reno import Reno
from tests.support.controls import ack, start

MSS = 1000
IW = 10 * MSS
BOTH = pytest.mark.parametrize("kind", [Reno, Cubic])


def made(kind: type[LossBased], cwnd: int, ssthresh: int = INFINITE, rtt: float = 0.1) -> LossBased:
    control = kind(start(MSS, rtt=rtt))
    control.cwnd = cwnd * MSS
    control.ssthresh = ssthresh if ssthresh == INFINITE else ssthresh * MSS
    return control


@pytest.mark.req("2861-1", "5681-7")
@pytest.mark.parametrize(
    ("cwnd", "idle_s", "expected"),
    [
        (80, 0.99, 80),
        (80, 1.0, 80),
        (80, 1.01, 40),
        (80, 2.0, 40),
        (80, 2.01, 20),
        (80, 3.01, 10),
        (80, 1e9, 10),  # the restart window
        (70, 3.01, 10),  # not 8.75
        (7, 1e9, 7),  # min(RW, cwnd)
    ],
)
def test_a_halving_for_each_timeout_without_sending(
    cwnd: int, idle_s: float, expected: int
) -> None:
    assert after_idle(cwnd * MSS, idle_s, 1.0, IW) == expected * MSS


@pytest.mark.req("2861-1")
@pytest.mark.parametrize(
    ("cwnd", "used", "expected"), [(80, 20, 50), (80, 1, 45), (80, 80, 80), (80, 90, 80), (8, 1, 8)]
)
def test_half_of_what_was_not_used_goes(cwnd: int, used: int, expected: int) -> None:
    assert after_limited(cwnd * MSS, used * MSS, IW) == expected * MSS


@pytest.mark.req("2861-1")
def test_the_threshold_remembers_three_quarters() -> None:
    assert remembered(80 * MSS, 20 * MSS) == 60 * MSS
    assert remembered(80 * MSS, 70 * MSS) == 70 * MSS
    assert remembered(80 * MSS, INFINITE) == INFINITE


@given(st.integers(1, 1 << 40), st.floats(0, 1e9), st.floats(0.001, 600), st.integers(1, 1 << 20))
def test_the_window_after_an_idle_time(cwnd: int, idle_s: float, rto: float, rw: int) -> None:
    window = after_idle(cwnd, idle_s, rto, rw)
    assert min(cwnd, rw) <= window <= cwnd


@BOTH
@pytest.mark.req("2861-1", "5681-7")
def test_a_control_after_an_idle_time(kind: type[LossBased]) -> None:
    control = made(kind, 80, 40)
    control.on_idle(0.5, 1.0)
    assert (control.cwnd, control.ssthresh) == (80 * MSS, 40 * MSS)
    control.on_idle(1.5, 1.0)
    assert (control.cwnd, control.ssthresh) == (40 * MSS, 60 * MSS)
    control.on_ack(ack(5 * MSS, 40 * MSS, now=2.0))  # slow start leads back
    assert control.cwnd == 45 * MSS


@BOTH
@pytest.mark.req("2861-1")
def test_a_control_of_which_the_application_uses_little(kind: type[LossBased]) -> None:
    """20 of 80 segments for longer than an RTO, which on a steady path is SRTT + 0.2 s."""
    control = made(kind, 80, 60)
    control.on_ack(ack(MSS, 80 * MSS, now=1.0, rtt=0.1))
    full = control.cwnd
    for n in range(1, 30):
        control.on_ack(ack(MSS, (10 + n % 11) * MSS, now=1 + n / 100, cwnd_limited=False))
    assert control.cwnd == full
    control.on_ack(ack(MSS, 5 * MSS, now=1.31, cwnd_limited=False))
    assert control.cwnd == (full + 20 * MSS) // 2
    assert control.ssthresh == 3 * full // 4
    control.on_ack(ack(MSS, 5 * MSS, now=1.59, cwnd_limited=False))
    assert control.cwnd == (full + 20 * MSS) // 2


@BOTH
@pytest.mark.req("2861-1")
def test_a_window_that_is_used_now_and_then_is_not_cut(kind: type[LossBased]) -> None:
    control = made(kind, 80, 40)
    for n in range(100):
        control.on_ack(ack(MSS, 5 * MSS, now=n / 10, cwnd_limited=n % 3 == 0))
    assert control.cwnd >= 80 * MSS


@BOTH
def test_recovery_and_idle_time_are_no_unused_window(kind: type[LossBased]) -> None:
    control = made(kind, 80, 40)
    control.on_congestion(80 * MSS, 1.0)
    for n in range(100):
        control.on_ack(ack(MSS, 5 * MSS, now=1 + n / 10, phase=Phase.RECOVERY, cwnd_limited=False))
    control.on_recovered(control.ssthresh, 11.0)
    cwnd = control.cwnd
    control.on_ack(ack(MSS, 5 * MSS, now=11.1, cwnd_limited=False))
    assert control.cwnd == cwnd
    control.on_idle(100.0, 1.0)
    control.on_ack(ack(MSS, MSS, now=111.1, cwnd_limited=False))
    assert control.cwnd == IW


@BOTH
@pytest.mark.req("2861-1", "9438-6")
def test_an_unused_window_does_not_grow(kind: type[LossBased]) -> None:
    for ssthresh in (5, INFINITE):
        control = made(kind, 10, ssthresh)
        for n in range(100):
            control.on_ack(ack(MSS, 2 * MSS, now=n / 50, cwnd_limited=False))
        assert control.cwnd == 10 * MSS


@BOTH
def test_slow_start_doubles_what_was_used_though_frames_leave_a_rest(kind: type[LossBased]) -> None:
    control = made(kind, 10)
    control.on_ack(ack(5 * MSS, 5 * MSS, cwnd_limited=False))
    assert control.cwnd == 15 * MSS
    control.on_ack(ack(7 * MSS, 7 * MSS, cwnd_limited=False))
    assert control.cwnd == 15 * MSS
