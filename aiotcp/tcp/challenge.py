"""How often a connection answers what may be an attack (RFC 5961 7, RFC 9293 3.10.7.4).

Each connection has a limit of its own. The stack has one above them, which must tell an attacker
nothing of what other connections do: how many are left of a known number would (CVE-2016-5696), so
the number is drawn anew for each second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

_PERIOD_S: Final = 5.0
_REPEAT_S: Final = 0.5
_LONGEST_S: Final = 64.0
_FORGET_S: Final = 2 * _LONGEST_S


class SharedLimit:
    """About `rate` events a second, by all connections of a stack together: in each second between
    half of it and one and a half, as chance will have it."""

    __slots__ = ("_left", "_random", "_second", "on_limit", "rate")

    def __init__(
        self, rate: int, random: Callable[[], float], on_limit: Callable[[], None]
    ) -> None:
        """`random` is evenly distributed over [0, 1); `on_limit` is called for each refusal."""
        self.rate = rate
        self.on_limit = on_limit
        self._random = random
        self._second = -1
        self._left = 0

    def take(self, now: float) -> bool:
        """Whether one more may happen at time `now`."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._left = max(int(self.rate * (0.5 + self._random())), 1)
        if not self._left:
            self.on_limit()
            return False
        self._left -= 1
        return True


class ChallengeLimit:
    """At most `limit` challenge ACKs in a period of 5 seconds, which the first one begins, and
    ever fewer replies to empty segments outside the window: after each the wait for the next
    doubles, from half a second, so that two desynchronized ends fall silent however long their
    round trip is."""

    __slots__ = ("_count", "_period_start", "_replied_at", "_wait", "limit", "shared")

    def __init__(self, limit: int, shared: SharedLimit | None = None) -> None:
        self.limit = limit
        self.shared = shared
        """That of the stack, on top."""
        self._period_start = -math.inf
        self._count = 0
        self._replied_at = -math.inf
        self._wait = _REPEAT_S

    def allow_challenge(self, now: float) -> bool:
        if now - self._period_start >= _PERIOD_S:
            self._period_start = now
            self._count = 0
        self._count += 1
        if self._count > self.limit:
            return False
        return self.shared is None or self.shared.take(now)

    def allow_reply(self, now: float, *, keep_alive: bool = False) -> bool:
        """For an unacceptable segment that carries no data. A `keep_alive` is owed its answer
        each time, if not more than two come in a second."""
        since = now - self._replied_at
        if since < (_REPEAT_S if keep_alive else self._wait):
            return False
        if not keep_alive:
            self._wait = _REPEAT_S if since >= _FORGET_S else min(2 * self._wait, _LONGEST_S)
        self._replied_at = now
        return True
