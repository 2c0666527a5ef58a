"""LISTEN (RFC 9293 3.10.7.2)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiotcp.options import Options
from aiotcp.reasons import Drop
from aiotcp.tcp.fastopen import PENALTY_S
from aiotcp.tcp.flow import Endpoint
from aiotcp.tcp.halfopen import HalfOpen
from aiotcp.tcp.terms import Terms
from aiotcp.tcp.tuning import import_for
from aiotcp.wire.tcp import ACK, RST, SYN, Segment

if TYPE_CHECKING:
    from aiotcp.tcp.tcb import Path


class Listener:
    """A port that takes connections.

    `backlog` bounds the half-open entries. Beyond it a SYN is answered without one, by a cookie
    (RFC 4987 3.6); where that is off, it is dropped, not reset (ST-28), so that an honest client
    tries again.
    """

    __slots__ = (
        "_close",
        "_terms",
        "backlog",
        "closed",
        "cookies_until",
        "fast_open_pending",
        "fast_open_resets",
        "half_open",
        "local",
        "options",
        "promote",
        "transparent",
    )

    def __init__(
        self,
        local: Endpoint,
        options: Options,
        backlog: int,
        *,
        transparent: bool = False,
        promote: Callable[[HalfOpen, Segment, float], Drop | None],
        close: Callable[[Listener], None],
    ) -> None:
        self.local = local
        """What was bound; the wildcard address where that was."""
        self.transparent = transparent
        """Takes connections to addresses that are not the stack's, too; port 0 is every port."""
        self.options = options
        self.backlog = max(backlog, 1)
        self.half_open = 0
        """Entries in SYN-RECEIVED."""
        self.cookies_until = -math.inf
        """Until when an ACK may complete a handshake that has no record: only if cookies were sent
        in the lifetime of one, or guessing at them would be an attack that is always open."""
        self.fast_open_pending = 0
        """RFC 7413 4.2, PendingFastOpenRequests: connections in SYN-RECEIVED."""
        self.fast_open_resets: deque[float] = deque()
        """Until when those that were reset in that state count as well."""
        self.closed = False
        self._terms: Terms | None = None
        import_for(options)
        self.promote = promote
        """Makes a connection of an entry; the segment is its first."""
        self._close = close

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.half_open}/{self.backlog} half-open"
        return f"<Listener {self.local} {state}>"

    def terms_on(self, path: Path) -> Terms:
        """Those of a connection by `path` that begins now."""
        terms = self._terms
        if terms is None or terms.path is not path or terms.options is not self.options:
            terms = self._terms = Terms(path, self.options)
        return terms

    def screen(self, segment: Segment) -> Drop | None:
        """What a segment is to LISTEN: None for a SYN to answer, else why it is dropped.

        LISTEN_ACK is for the owner to answer with a reset (ST-3), LISTEN_BACKLOG with a cookie if
        `Options.syn_cookies` allows.
        """
        if segment.flags & RST:
            return Drop.LISTEN_RST
        if segment.flags & ACK:
            return Drop.LISTEN_ACK
        if not segment.flags & SYN:
            return Drop.LISTEN_NO_SYN
        if self.half_open >= self.backlog or self.options.syn_cookies == "always":
            return Drop.LISTEN_BACKLOG
        return None

    def configure(self, **changes: Any) -> None:
        """Change options of the connections to come. Raises as `Options`."""
        self.options = self.options.replace(**changes)
        import_for(self.options)

    def takes_fast_open(self, now: float) -> bool:
        """RFC 7413 4.2: beyond the limit "the server MUST disable TFO for all new connection
        requests"; 5.1: and count those "that have just been reset [...] until a timeout period has
        passed", so that resets from forged addresses do not fuel a flood."""
        resets = self.fast_open_resets
        while resets and resets[0] <= now:
            resets.popleft()
        return self.fast_open_pending + len(resets) < self.options.tfo_queue

    def fast_open_over(self, now: float, *, reset: bool) -> None:
        """A connection has left SYN-RECEIVED."""
        self.fast_open_pending -= 1
        if reset:
            self.fast_open_resets.append(now + PENALTY_S)

    def close(self) -> None:
        """Stop listening. Half-open entries are forgotten, connections live on. Idempotent."""
        if not self.closed:
            self.closed = True
            self._close(self)
