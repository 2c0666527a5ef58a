"""Pacing: when the next burst may leave. Bytes and seconds in, a time out.

A timer of the loop is good to about a millisecond, so what leaves at once is a quantum and not a
segment, and a release that comes late is followed by as much as the rate has earned meanwhile.
"""

from __future__ import annotations

from typing import Final

_SLACK_S: Final = 0.001
"""Coming so much early is on time: timers do."""
_LATE_S: Final = 0.002
"""What a late release makes up for at most, beyond a quantum."""


class Pacer:
    """One connection's departures."""

    __slots__ = ("release_at",)

    def __init__(self) -> None:
        self.release_at = 0.0
        """When the next burst may leave."""

    def ready(self, now: float) -> bool:
        return now >= self.release_at - _SLACK_S

    def on_sent(self, size: int, rate: float, quantum: int, now: float) -> None:
        """`size` bytes left, at `rate` bytes per second and at most `quantum` at once."""
        earliest = now - _LATE_S - quantum / rate
        self.release_at = max(self.release_at, earliest) + size / rate
