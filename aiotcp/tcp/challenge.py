"""How often a connection answers what may be an attack (RFC 5961 7, RFC 9293 3.10.7.4).

A limit of its own for each connection, not one counter for the stack: a shared, predictable
counter tells an attacker what other connections do.
"""

from __future__ import annotations

import math

_PERIOD_S = 5.0
_REPEAT_S = 0.5


class ChallengeLimit:
    """At most `limit` challenge ACKs in a period of 5 seconds, which the first one begins, and one
    reply per half second to empty segments outside the window, so that two desynchronized ends
    never answer each other without end."""

    __slots__ = ("_count", "_period_start", "_replied_at", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._period_start = -math.inf
        self._count = 0
        self._replied_at = -math.inf

    def allow_challenge(self, now: float) -> bool:
        if now - self._period_start >= _PERIOD_S:
            self._period_start = now
            self._count = 0
        self._count += 1
        return self._count <= self.limit

    def allow_reply(self, now: float) -> bool:
        """For an unacceptable segment that carries no data."""
        if now - self._replied_at < _REPEAT_S:
            return False
        self._replied_at = now
        return True
