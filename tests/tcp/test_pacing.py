"""How fast paced data leaves."""

from __future__ import annotations

import pytest

from aiotcp.tcp.congestion import INFINITE
from aiotcp.tcp.pacing import window_rate


@pytest.mark.parametrize(
    ("cwnd", "ssthresh", "expected"),
    [
        (10_000, INFINITE, 200_000),  # slow start
        (10_000, 20_001, 200_000),
        (10_000, 20_000, 120_000),  # from half of ssthresh on
        (10_000, 5_000, 120_000),
    ],
)
def test_the_rate_of_a_window(cwnd: int, ssthresh: int, expected: float) -> None:
    assert window_rate(cwnd, ssthresh, 0.1) == pytest.approx(expected)


@pytest.mark.parametrize("srtt", [None, 0.0])
def test_no_rate_without_a_round_trip(srtt: float | None) -> None:
    assert window_rate(10_000, INFINITE, srtt) is None
