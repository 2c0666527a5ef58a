"""HyStart++ (RFC 9406): slow start that hears the queue grow, and ends before the queue is full.

A round-trip time that has grown since the round before leads to conservative slow start (CSS),
which grows a quarter as fast. If the round trip is back below what it was when CSS began, that was
no queue of ours and slow start goes on; if not, after five rounds congestion avoidance begins.

Two notes on RFC 9406 4.2:

- L, the most segments that one acknowledgment may count for, is infinite here, paced or not. It is
  to keep small what an acknowledgment lets out at once. On a link with segmentation offload that is
  a frame of tens of segments anyway, one acknowledgment answers all of them (a receiver like ours
  answers several frames with one), and L = 8 would turn doubling into growth by a fifth.
- Rounds need no sequence numbers: `windowEnd`, SND.NXT when the round began, is what had been
  delivered then and what was in the network. Before the first loss, which ends all this, nothing
  else has been sent. The first acknowledgment of something beyond belongs to the new round: it is
  the head of a train, which sees the queue that the train before left behind. (With the tail of
  the old one counted in, where it is longest, windows of some hundred segments sent in one go
  would go to and fro between slow start and CSS in each round.)

A round with fewer than N_RTT_SAMPLE samples, as where few frames make a window, decides nothing.
"""

from __future__ import annotations

from math import inf
from typing import Final

from aiotcp.mypyc import mypyc_attr

_MIN_RTT_THRESH_S: Final = 0.004
_MAX_RTT_THRESH_S: Final = 0.016
_MIN_RTT_DIVISOR: Final = 8
_N_RTT_SAMPLE: Final = 8
_CSS_GROWTH_DIVISOR: Final = 4
_CSS_ROUNDS: Final = 5


@mypyc_attr(acyclic=True)
class HyStart:
    """One initial slow start: acknowledgments in, growth out, until `finished`."""

    __slots__ = ("_baseline", "_css_rounds", "_last_min", "_min", "_samples", "_window_end", "css")

    def __init__(self) -> None:
        self.css = False
        """In conservative slow start."""
        self._css_rounds = 0
        self._baseline = inf
        self._last_min = inf
        self._min = inf
        self._samples = 0
        self._window_end = 0

    @property
    def finished(self) -> bool:
        """The queue has kept what it was given: `ssthresh` is to be `cwnd` (RFC 9406 4.2)."""
        return self._css_rounds >= _CSS_ROUNDS

    def grow(self, acked: int, flight: int, rtt: float | None, delivered: int, merged: int) -> int:
        """By how many bytes the window may grow for this acknowledgment; the names are `Ack`'s."""
        if delivered > self._window_end:
            self._window_end = delivered + flight
            self._css_rounds += self.css  # the round in which it began counts, whole or not
            self._last_min, self._min, self._samples = self._min, inf, 0
        step = acked // _CSS_GROWTH_DIVISOR if self.css else acked
        if rtt is not None:
            self._samples += merged
            if rtt < self._min:
                self._min = rtt
            if self._samples >= _N_RTT_SAMPLE:
                self._judge()
        return step

    def _judge(self) -> None:
        if self.css:
            if self._min < self._baseline:  # "slow start exit was spurious"
                self.css = False
                self._css_rounds = 0
                self._baseline = inf
        elif self._last_min < inf:
            threshold = max(
                _MIN_RTT_THRESH_S, min(self._last_min / _MIN_RTT_DIVISOR, _MAX_RTT_THRESH_S)
            )
            if self._min >= self._last_min + threshold:
                self.css = True
                self._baseline = self._min
