"""Congestion window validation (RFC 2861): a window that is not used is no longer known to fit.

In Linux's form: the restart window (RFC 5681 4.1) is the floor of it all. RFC 5681 would go there
at once after one RTO without sending; to halve for each RTO forgets as much of the path as time
has passed. `ssthresh` remembers what the window was, so that slow start leads back in a few round
trips if the path is still as it was.
"""

from __future__ import annotations


def after_idle(cwnd: int, idle_s: float, rto: float, restart_window: int) -> int:
    """The window after `idle_s` seconds without anything sent: halved for each `rto` of them, not
    below min(restart_window, cwnd). Bytes."""
    floor = min(restart_window, cwnd)
    left = idle_s - rto
    while left > 0 and cwnd > floor:
        cwnd >>= 1
        left -= rto
    return max(cwnd, floor)


def after_limited(cwnd: int, used: int, restart_window: int) -> int:
    """The window after an RTO in which no more than `used` bytes of it were in the network: half of
    what was not used goes (RFC 2861 3.2). Bytes; never more than `cwnd`."""
    used = max(used, restart_window)
    return (cwnd + used) // 2 if used < cwnd else cwnd


def remembered(cwnd: int, ssthresh: int) -> int:
    """`ssthresh` beside a window that is validated: at least 3/4 of what the window was. Bytes."""
    return max(ssthresh, 3 * cwnd // 4)
