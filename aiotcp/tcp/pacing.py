"""How fast paced data leaves."""

from __future__ import annotations

from typing import Final

_SLOW_START: Final = 2.0
_AVOIDANCE: Final = 1.2

_BURST_S: Final = 0.001
"""A timer of the loop is good to about this."""
_LARGEST_BURST: Final = 65536


def window_rate(cwnd: int, ssthresh: int, srtt: float | None) -> float | None:
    """The pacing rate of a control that has a window and no rate of its own, bytes per second; None
    (no pacing) without a round-trip time.

    Linux's: 2 * cwnd / srtt while the window doubles in a round trip, so that pacing does not keep
    it from that, and 1.2 * cwnd / srtt from half of `ssthresh` on, so that a window that was not
    filled is filled again.
    """
    if not srtt:
        return None
    return (_SLOW_START if 2 * cwnd < ssthresh else _AVOIDANCE) * cwnd / srtt


def burst(rate: float, mss: int) -> int:
    """How much leaves at once at `rate`, bytes: what a millisecond carries, and at least two
    segments, as in Linux."""
    return max(min(int(rate * _BURST_S), _LARGEST_BURST), 2 * mss)
