"""How fast paced data leaves."""

from __future__ import annotations

_SLOW_START = 2.0
_AVOIDANCE = 1.2


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
