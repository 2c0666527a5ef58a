"""The retransmission timeout (RFC 6298)."""

from __future__ import annotations

from typing import Final

_ALPHA: Final = 1 / 8
_BETA: Final = 1 / 4
_GRANULARITY_S: Final = 0.001


class RtoEstimator:
    """Round-trip samples in, `rto` out; seconds throughout.

    `rto` always lies in [minimum, maximum]: it is clamped where it is read.
    """

    __slots__ = ("_backoff", "_base", "maximum", "min_rtt", "minimum", "rttvar", "srtt")

    def __init__(self, *, initial: float, minimum: float, maximum: float) -> None:
        self.minimum = minimum
        self.maximum = maximum
        self.srtt: float | None = None
        """Smoothed round-trip time; None before the first sample."""
        self.rttvar = 0.0
        self.min_rtt: float | None = None
        """The smallest sample so far."""
        self._base = initial
        self._backoff = 0

    @property
    def rto(self) -> float:
        """The timeout now, back-off included."""
        # RFC 6298 2.4 rounds up what is computed, 5.5 doubles what is in force: the floor first.
        rto = self._base
        if rto < self.minimum:
            rto = self.minimum
        if self._backoff:
            rto *= 1 << self._backoff
        return rto if rto < self.maximum else self.maximum

    @property
    def backoff(self) -> int:
        """How often the timeout has doubled since the last sample."""
        return self._backoff

    def sample(self, rtt: float, *, in_order: bool = True) -> None:
        """Take one measurement and end any back-off.

        What was not `in_order` may have overtaken others: it says nothing of the shortest round
        trip. For one sample in each round trip, which is what the gains are made for: more of them
        would make the variance forget too soon (RFC 7323, appendix G).
        """
        if in_order and (self.min_rtt is None or rtt < self.min_rtt):
            self.min_rtt = rtt
        srtt = self.srtt
        if srtt is None:  # RFC 6298 2.2
            srtt = rtt
            rttvar = rtt / 2
        else:  # RFC 6298 2.3: RTTVAR first, with the old SRTT
            rttvar = self.rttvar
            error = rtt - srtt
            rttvar += _BETA * ((error if error > 0 else -error) - rttvar)
            srtt += _ALPHA * error
        self.srtt = srtt
        self.rttvar = rttvar
        self._base = srtt + (4 * rttvar if 4 * rttvar > _GRANULARITY_S else _GRANULARITY_S)
        self._backoff = 0

    def back_off(self) -> None:
        """The timer expired: double the timeout (RFC 6298 5.5), up to the maximum."""
        if self.rto < self.maximum:
            self._backoff += 1

    def restart(self, initial: float) -> None:
        """Begin anew at `initial` until the first sample (RFC 6298 5.7: 3 s after a lost SYN)."""
        self._base = initial
        self._backoff = 0
