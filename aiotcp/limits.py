"""How often a stack answers strangers."""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """`rate` events per second in the long run, `burst` at once.

    With `random`, evenly distributed over [0, 1), each event costs between half a token and one and
    a half: a known number could be counted down by one stranger and so tell what others do
    (CVE-2020-25705).
    """

    __slots__ = ("_at", "_random", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: int, random: Callable[[], float] | None = None) -> None:
        self.rate = rate
        self.burst = burst
        self._random = random
        self._tokens = float(burst)
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Whether one more may happen at loop time `now`."""
        self._tokens = min(self.burst, self._tokens + max(now - self._at, 0.0) * self.rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1 if self._random is None else 0.5 + self._random()
        return True
