"""The path MTU of one connection: what is known, and the search for more (RFC 4821, RFC 8899).

Sizes are IP packets in bytes, headers included; times are seconds. Numbers in, numbers out: the
connection says what was delivered, lost or reported, and reads `mtu`, the size to cut for, and
`next_probe`, the size to try.

    low             mtu              high        ceiling
     |---------------|-----------------|------------|
     was delivered   in use, at most   untried      known, or believed, not to pass

Classical discovery (RFC 1191, RFC 8201) is one half: `mtu` begins at the ceiling and reports lower
it. The other half needs no reports: full-sized segments that time out again and again show a black
hole, `mtu` falls to a size that passes nearly everywhere, and probes search upwards from there.
"""

from __future__ import annotations

import math

MAX_PROBES = 3
"""RFC 8899 5.1.2: so many probes of one size must be lost before it counts as too large."""

BLACK_HOLE_TIMEOUTS = 2
"""Consecutive timeouts of a full-sized segment that show a black hole. RFC 4821 7.7 waits for R1,
one more. To be wrong costs little here: the first probe tries the size that was given up."""

HALVING_TIMEOUTS = 5
"""So many show that even the size that passes nearly everywhere does not."""

_TUNNELS = (1280, 1400, 1420, 1440, 1460, 1480, 1492)
COMMON_SIZES = (*_TUNNELS, 1500, 4352, 8166, 9000, 17914, 32000, 65535)
"""RFC 4821 7.3: "it may be appropriate to probe at certain common or expected MTU sizes"."""


class PathMtu:
    """One connection's estimate of the path's MTU."""

    __slots__ = (
        "_at_top",
        "_suspect",
        "acked",
        "base",
        "ceiling",
        "failures",
        "floor",
        "high",
        "low",
        "mtu",
        "probing",
        "raise_at",
        "ready_at",
        "searching",
    )

    def __init__(
        self,
        *,
        ceiling: int,
        floor: int,
        base: int,
        known: int | None = None,
        searching: bool = False,
    ) -> None:
        """ceiling: the first hop's MTU, or what the peer's MSS allows, if that is less.
        floor: never below. base: passes nearly everywhere (RFC 8899's BASE_PLPMTU).
        known: what others found out about this path. searching: begin to probe, from `known` or
        from `base`."""
        self.ceiling = ceiling
        self.floor = floor
        self.base = min(max(base, floor), ceiling)
        self.mtu = min(known or (self.base if searching else ceiling), ceiling)
        """The largest packet to send, probes apart (eff_pmtu)."""
        self.low = min(self.base, self.mtu)
        """Expected to pass (search_low)."""
        self.high = ceiling if searching else self.mtu
        """The largest size still worth a probe (search_high)."""
        self.acked = 0
        """The largest packet that was acknowledged (RFC 5927 7.2, maxsizeacked)."""
        self.searching = searching and self.high > self.mtu
        self.probing = 0
        """Size of the probe in flight, 0 without."""
        self.failures = 0
        """Consecutive probes of one size that were lost (PROBE_COUNT)."""
        self.ready_at = -math.inf
        """No probe before."""
        self.raise_at = math.inf
        """When the search is to begin anew (PMTU_RAISE_TIMER); infinity: never lowered."""
        self._at_top = True
        self._suspect = ceiling + 1

    @property
    def next_probe(self) -> int:
        """The size to try next; 0 if the search has converged.

        First the whole of what is possible, since most paths carry it; then upwards in the sizes
        that occur, because a failure costs more than a success; then halfway.
        """
        low, high = self.low, self.high
        if not self.searching or high <= low:
            return 0
        if self._at_top:
            return high
        for size in COMMON_SIZES:
            if low < size <= high:
                return size
        return (low + high + 1) // 2 if high - low > low >> 5 else 0

    # -- what happened ------------------------------------------------------------------------

    def on_delivered(self, size: int) -> None:
        """An ordinary packet of `size` was acknowledged: an implicit probe (RFC 4821 7.1)."""
        self.acked = max(self.acked, size)
        self.low = max(self.low, size)

    def on_probe_delivered(self, now: float, lifetime: float) -> None:
        """RFC 4821 7.6.1. `lifetime`: see `_converge`."""
        self.mtu = max(self.mtu, self.probing)
        self.high = max(self.high, self.mtu)
        self.on_delivered(self.probing)
        self.probing = self.failures = 0
        self._at_top = False
        self._converge(now, lifetime)

    def on_probe_lost(self, now: float, wait: float, lifetime: float, *, sure: bool = True) -> None:
        """RFC 4821 7.6.2 to 7.6.4. No other probe for `wait`; not `sure`: others were lost, too."""
        size, self.probing = self.probing, 0
        self.ready_at = now + wait
        if not sure or size > self.high:
            return
        self.failures += not self._at_top  # one chance before the others, which do not wait for it
        self._at_top = False
        if self.failures >= MAX_PROBES or size >= self._suspect:  # it has timed out before
            self.failures = 0
            self.high = min(self.high, max(size - 1, self.low))
            self._converge(now, lifetime)

    def on_report(self, mtu: int, now: float, lifetime: float) -> None:
        """A router, or another connection, tells of an MTU below that in use, and is believed."""
        self.mtu = self.high = mtu = max(mtu, self.floor)
        self.low = min(self.low, mtu)
        self.acked = min(self.acked, mtu)
        self.searching = False
        self.probing = self.failures = 0
        self.raise_at = now + lifetime

    def limit_search(self, mtu: int, now: float, lifetime: float) -> None:
        """A router tells of an MTU that is not below the one in use: no more than a bound."""
        if self.searching and self.low <= mtu < self.high:
            self.high = mtu
            self.failures = 0
            self._at_top = mtu > self.mtu
            self._suspect = self.ceiling + 1
            self._converge(now, lifetime)

    def on_timeout(self, timeouts: int, size: int) -> bool:
        """A packet of `size` timed out, the `timeouts`th time in a row: whether `mtu` fell.

        RFC 4821 7.7, but for one step: to the base at once, even if more was delivered, for that
        may have been on another path; "upon additional successive timeouts" it is halved.
        """
        if timeouts < BLACK_HOLE_TIMEOUTS:
            return False
        if self.mtu > self.base:
            low = self.base
        elif timeouts >= HALVING_TIMEOUTS:
            low = max(self.mtu >> 1, self.floor)
        else:
            return False
        if low >= self.mtu or size <= low:
            return False
        if self.mtu > self.base:
            self._suspect = self.mtu
        self.mtu = self.low = low
        self.acked = min(self.acked, low)
        self._search()
        return True

    def raise_again(self, now: float) -> None:
        """`raise_at` has come: RFC 4821 7.3, "search_high should be reset to its initial value"."""
        self.raise_at = math.inf
        self._suspect = self.ceiling + 1
        self._search()

    def jump(self) -> None:
        """`raise_at` has come, and nothing probes: RFC 1191 6.3, the first hop's MTU again."""
        self.raise_at = math.inf
        self.mtu = self.high = self.ceiling

    def _search(self) -> None:
        self.low = self.mtu  # 7.1: "When probing upward, eff_pmtu always equals search_low"
        self.high = self.ceiling
        self.searching = self.high > self.low
        self.probing = self.failures = 0
        self._at_top = True

    def _converge(self, now: float, lifetime: float) -> None:
        """RFC 4821 7.3: "When probing has converged, a timer SHOULD be set", if more may be had."""
        if self.searching and not self.next_probe:
            self.searching = False
            self.raise_at = now + lifetime if self.mtu < self.ceiling else math.inf
