"""How often a connection answers what may be an attack (RFC 5961 7, RFC 9293 3.10.7.4).

A limit of its own for each connection, not one counter for the stack: a shared, predictable
counter tells an attacker what other connections do.
"""

from __future__ import annotations

import math

_PERIOD_S = 5.0
_REPEAT_S = 0.5
_LONGEST_S = 64.0
_FORGET_S = 2 * _LONGEST_S


class ChallengeLimit:
    """At most `limit` challenge ACKs in a period of 5 seconds, which the first one begins, and
    ever fewer replies to empty segments outside the window: after each the wait for the next
    doubles, from half a second, so that two desynchronized ends fall silent however long their
    round trip is."""

    __slots__ = ("_count", "_period_start", "_replied_at", "_wait", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._period_start = -math.inf
        self._count = 0
        self._replied_at = -math.inf
        self._wait = _REPEAT_S

    def allow_challenge(self, now: float) -> bool:
        if now - self._period_start >= _PERIOD_S:
            self._period_start = now
            self._count = 0
        self._count += 1
        return self._count <= self.limit

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
