"""The retransmission timeout (RFC 6298)."""

from __future__ import annotations

from typing import Final

from aiotcp.mypyc import mypyc_attr

_ALPHA: Final = 1 / 8
_BETA: Final = 1 / 4
_GRANULARITY_S: Final = 0.001


@mypyc_attr(acyclic=True)
class RtoEstimator:
    """Round-trip samples in, `rto` out; seconds throughout.

    `rto` always lies in [minimum, maximum].
    """

    __slots__ = ("_base", "backoff", "maximum", "min_rtt", "minimum", "rto", "rttvar", "srtt")

    def __init__(self, initial: float, minimum: float, maximum: float) -> None:
        self.srtt: float | None = None
        """Smoothed round-trip time; None before the first sample."""
        self.rttvar = 0.0
        self.min_rtt: float | None = None
        """The smallest sample so far."""
        self._base = initial
        self.backoff = 0
        """How often the timeout has doubled since the last sample."""
        self.minimum = minimum
        self.maximum = maximum
        rto = initial if initial > minimum else minimum
        self.rto = rto if rto < maximum else maximum
        """The timeout now, back-off included."""

    def bound(self, minimum: float, maximum: float) -> None:
        """Where `rto` is to lie from now on."""
        self.minimum = minimum
        self.maximum = maximum
        self._change()

    def _change(self) -> None:
        # RFC 6298 2.4 rounds up what is computed, 5.5 doubles what is in force: the floor first.
        rto = max(self._base, self.minimum) * (1 << self.backoff)
        self.rto = min(rto, self.maximum)

    def sample(self, rtt: float, *, in_order: bool = True) -> None:
        """Take one measurement and end any back-off.

        What was not `in_order` may have overtaken others: it says nothing of the shortest round
        trip. For one sample in each round trip, which is what the gains are made for: more of them
        would make the variance forget too soon (RFC 7323, appendix G).
        """
        if in_order:
            least = self.min_rtt
            if least is None or rtt < least:
                self.min_rtt = rtt
        srtt = self.srtt
        if srtt is None:  # RFC 6298 2.2
            srtt = rtt
            rttvar = rtt / 2
        else:  # RFC 6298 2.3: RTTVAR first, with the old SRTT
            rttvar = self.rttvar
            error = rtt - srtt
            rttvar += _BETA * (abs(error) - rttvar)
            srtt += _ALPHA * error
        self.srtt = srtt
        self.rttvar = rttvar
        spread = 4 * rttvar
        rto = self._base = srtt + (spread if spread > _GRANULARITY_S else _GRANULARITY_S)
        self.backoff = 0
        least = self.minimum
        if rto <= least:  # as it mostly is
            self.rto = least
        else:
            self.rto = rto if rto < self.maximum else self.maximum

    def back_off(self) -> None:
        """The timer expired: double the timeout (RFC 6298 5.5), up to the maximum."""
        if self.rto < self.maximum:
            self.backoff += 1
            self._change()

    def restart(self, initial: float) -> None:
        """Begin anew at `initial` until the first sample (RFC 6298 5.7: 3 s after a lost SYN)."""
        self._base = initial
        self.backoff = 0
        self._change()
