"""Keep-alive (RFC 9293 3.8.4): whether the peer of an idle connection is still there.

Nothing happens when a segment arrives: the owner notes the time, and when the deadline comes up it
turns out whether it was of use.
"""

from __future__ import annotations

import math


class KeepAlive:
    """The time of the last segment in; when to probe, and when to give up, out. Times in seconds.

    To be asked only while nothing is outstanding (MUST-26).
    """

    __slots__ = ("_probed_at", "_unanswered", "due", "idle_s", "interval_s", "probes")

    def __init__(self, idle_s: float, interval_s: float, probes: int) -> None:
        self.idle_s = idle_s
        """Silence before the first probe (MUST-27)."""
        self.interval_s = interval_s
        """Between probes."""
        self.probes = probes
        """So many without an answer end the connection: one alone must not (MUST-29)."""
        self.due = False
        """A probe is to be sent."""
        self._probed_at = -math.inf
        self._unanswered = 0

    @property
    def unanswered(self) -> int:
        """Probes since the last segment that came; what came since the last one is not known."""
        return self._unanswered

    def deadline(self, heard_at: float) -> float:
        """When `on_timer` has something to do, if the last segment came at `heard_at`."""
        if self._probed_at > heard_at:
            return self._probed_at + self.interval_s
        return heard_at + self.idle_s

    def on_timer(self, now: float, heard_at: float, user_timeout: float | None) -> bool:
        """The deadline has come: a probe is `due`, or nobody is there any more (False).

        As in Linux a user timeout replaces the count: "this option [...] will override keepalive
        to determine when to close a connection due to keepalive failure" (tcp(7)). It counts from
        the last segment, and is looked at when a probe has had its interval.
        """
        if self._probed_at <= heard_at:
            self._unanswered = 0
        if user_timeout is not None:
            if self._unanswered and now - heard_at >= user_timeout:
                return False
        elif self._unanswered >= self.probes:
            return False
        self.due = True
        return True

    def probed(self, now: float) -> None:
        """The probe left."""
        self.due = False
        self._probed_at = now
        self._unanswered += 1
