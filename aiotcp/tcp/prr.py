"""Proportional rate reduction (RFC 9937, which obsoletes RFC 6937): how fast recovery goes from
the old window to the new one, bytes in and a window out."""

from __future__ import annotations


class ProportionalRateReduction:
    """One fast recovery. `sndcnt` is what may be sent now, whatever else comes to be believed lost
    before the next acknowledgment: cwnd is what is in the network, and this."""

    __slots__ = ("_delivered", "_out", "_recover_fs", "sndcnt", "ssthresh")

    def __init__(self, ssthresh: int, recover_fs: int) -> None:
        """`recover_fs`: RecoverFS, the bytes that recovery can still see arrive or vanish:
        outstanding, less what had been selectively acknowledged before the acknowledgment that
        began it, plus what that one acknowledged."""
        self.ssthresh = ssthresh
        self.sndcnt = 0
        self._recover_fs = max(recover_fs, 1)
        self._delivered = 0
        self._out = 0

    def on_ack(self, delivered: int, in_flight: int, mss: int, *, safe: bool) -> None:
        """`delivered` bytes were acknowledged, cumulatively or selectively. `safe`: SafeACK, the
        left edge advanced and no further loss came to light."""
        self._delivered += delivered
        if in_flight > self.ssthresh:
            target = -(-self._delivered * self.ssthresh // self._recover_fs)  # rounded up
            count = target - self._out
        else:
            # Reduction bound: at most one segment more than arrived (SSRB), and that only while
            # the recovery makes progress; else what arrived (CRB).
            limit = max(self._delivered - self._out, delivered)
            if safe:
                limit += mss
            count = min(self.ssthresh - in_flight, limit)
        if count < mss and not (self._out and in_flight):
            # "Force a fast retransmit upon entering recovery"; and nothing that is in the network
            # could ask for more later.
            count = mss
        self.sndcnt = max(count, 0)

    def on_sent(self, size: int) -> None:
        """New or repeated bytes left."""
        self._out += size
        self.sndcnt = max(self.sndcnt - size, 0)
