"""What a stack knows of the MTUs of its paths (RFC 1191 6.2, RFC 8201 5.2).

A path is a destination address. Only what is less than the first hop's MTU is kept, for a time:
RFC 8201 5.3, "an implementation should "age" cached values". Strangers can make a stack learn
(a report about a connection that they have opened themselves), so the table is bounded.
"""

from __future__ import annotations

from collections.abc import Callable


class Known:
    """The MTU of one path."""

    __slots__ = ("mtu", "searching", "until")

    def __init__(self, mtu: int, until: float, searching: bool) -> None:
        self.mtu = mtu
        """Largest IP packet, bytes."""
        self.until = until
        """When it is forgotten."""
        self.searching = searching
        """A black hole was found and the search is not over: more may be possible."""


class PathMtuCache:
    """MTUs by destination address; the oldest entry gives way beyond `limit`."""

    __slots__ = ("_known", "_on_evicted", "changes", "limit")

    def __init__(self, limit: int, on_evicted: Callable[[], None]) -> None:
        """`on_evicted` is called for each entry that gives way before its time."""
        self.limit = limit
        self._on_evicted = on_evicted
        self.changes = 0
        """Grows whenever something was learned: what connections compare to notice it."""
        self._known: dict[bytes, Known] = {}  # the least recently learned first

    def __len__(self) -> int:
        return len(self._known)

    def find(self, destination: bytes, now: float) -> Known | None:
        """What is known of the path to `destination`, packed as in IP headers."""
        known = self._known.get(destination)
        if known is not None and now >= known.until:
            del self._known[destination]
            return None
        return known

    def learn(self, destination: bytes, known: Known) -> None:
        """Replaces what was known of it."""
        self._known.pop(destination, None)
        self._known[destination] = known
        self.changes += 1
        if len(self._known) > self.limit:
            del self._known[next(iter(self._known))]
            self._on_evicted()

    def forget(self, destination: bytes) -> None:
        """The path carries whatever the first hop does."""
        self._known.pop(destination, None)
