"""CUBIC congestion control (RFC 9438), counting bytes.

In congestion avoidance the window follows W(t) = C*(t-K)^3 + W_max, a curve of time and not of
round trips: steep away from W_max, where the last loss was, and flat around it. Where Reno would be
quicker, on short paths, it follows an estimate of Reno's window.

The RFC counts segments and takes an acknowledgment for each. Here the window is bytes, so that C
and the increments of one segment are multiplied by the MSS; and an acknowledgment, of whatever
number of segments, grows the window by its share of a window: (target - cwnd) * acked / cwnd.
"""

from __future__ import annotations

from math import cbrt
from typing import Final

from aiotcp.tcp.congestion import Start
from aiotcp.tcp.lossbased import LossBased

_C: Final = 0.4
"""Segments per second cubed (RFC 9438 5.1)."""
_BETA: Final = 0.7
_ALPHA: Final = 3 * (1 - _BETA) / (1 + _BETA)
"""Of Reno's estimate (4.3): segments per round trip, until the window is what it was."""


class Cubic(LossBased):
    """The name's variables are RFC 9438 4.1.2's; sizes are bytes."""

    __slots__ = (
        "_cwnd_prior",
        "_fraction",
        "_k",
        "_kept",
        "_seen_at",
        "_t_epoch",
        "_w_est",
        "_w_max",
    )

    name = "cubic"
    beta = _BETA

    def __init__(self, start: Start) -> None:
        LossBased.__init__(self, start)  # `super()` is an object
        self._w_max = 0.0  # undefined: it becomes the window where congestion avoidance begins
        self._cwnd_prior = 0
        self._k = 0.0
        self._w_est = 0.0
        self._t_epoch: float | None = None  # before the first acknowledgment of a stage
        self._seen_at = start.now  # up to here the epoch's time has been counted
        self._fraction = 0.0  # of a byte, on top of cwnd
        self._kept: tuple[float, int, float, float, float | None] = (0.0, 0, 0.0, 0.0, None)

    def info(self) -> dict[str, float]:
        """RFC 9438's W_max, bytes, and K, seconds."""
        return {"w_max": self._w_max, "k": self._k}

    def _avoid(self, now: float, acked: int) -> None:
        cwnd = self.cwnd
        mss = self.mss
        t_epoch = self._t_epoch
        if t_epoch is None:
            t_epoch = self._begin(now)
        self._seen_at = now
        share = acked / cwnd
        if share > 1.0:
            share = 1.0
        w_est = self._w_est
        # 4.3: "Once W_est has grown to reach [...] cwnd_prior [...] set alpha to 1".
        w_est += share * (mss if w_est >= self._cwnd_prior else _ALPHA * mss)
        self._w_est = w_est
        c = _C * mss
        t = now - t_epoch - self._k
        if c * t * t * t + self._w_max < w_est:  # the Reno-friendly region
            if w_est > cwnd:
                self.cwnd = int(w_est)
            return
        t += self._srtt
        target = c * t * t * t + self._w_max
        if target > 1.5 * cwnd:
            target = 1.5 * cwnd
        if target > cwnd:
            grown = self._fraction + (target - cwnd) * share
            whole = int(grown)
            self._fraction = grown - whole
            self.cwnd = cwnd + whole

    def _begin(self, now: float) -> float:
        """Congestion avoidance begins (4.2; K = 0 where W_max is undefined: 4.8, 4.10)."""
        cwnd = float(self.cwnd)
        self._t_epoch = now
        self._w_est = cwnd
        self._fraction = 0.0
        if self._w_max > cwnd:
            self._k = cbrt((self._w_max - cwnd) / (_C * self.mss))
        else:
            self._k = 0.0
            self._w_max = cwnd
        return now

    def _new_stage(self) -> None:
        self._t_epoch = None

    # -- time that does not count: "t MUST NOT include periods during which cwnd has not been
    #    updated due to application-limited behavior" (4.2, 5.8)

    def on_send(self, now: float, flight: int, app_limited: bool) -> None:
        if not flight and self._t_epoch is not None:
            self._pause(now)

    def _pause(self, now: float) -> None:
        if self._t_epoch is not None:
            self._t_epoch += now - self._seen_at
            self._seen_at = now

    # -- congestion ---------------------------------------------------------------------------

    def _reduce(self, flight: int) -> None:
        cwnd = self.cwnd
        self._kept = (self._w_max, self._cwnd_prior, self._k, self._w_est, self._t_epoch)
        # 4.7, fast convergence: a flow that has less than before leaves room to the newcomer.
        self._w_max = cwnd * (1 + _BETA) / 2 if cwnd < self._w_max else cwnd
        self._cwnd_prior = cwnd
        super()._reduce(flight)

    def on_timeout(self, flight: int, now: float, repeated: bool) -> None:
        super().on_timeout(flight, now, repeated)
        self._w_max = 0.0  # 4.8: the window at the beginning of the next congestion avoidance

    def undo(self, flight: int, now: float) -> None:
        if self._saved is not None and self.cwnd <= self._saved[0]:
            self._w_max, self._cwnd_prior, self._k, self._w_est, self._t_epoch = self._kept
            self._seen_at = now
        super().undo(flight, now)
