"""Fast retransmit and fast recovery without SACK: NewReno (RFC 6582), limited transmit (3042).

Sequence numbers and byte counts in, a verdict out. The window of RFC 6582, inflated by one SMSS
for each duplicate acknowledgment, is kept in two parts: `cwnd` belongs to the congestion control,
`inflation` is here.
"""

from __future__ import annotations

import enum  # noqa: F401 (compiled, what derives from Words derives from this)
from typing import Final

from aiotcp.mypyc import mypyc_attr
from aiotcp.words import Words

DUP_THRESH: Final = 3


class Verdict(Words):
    """What an acknowledgment asks of the sender."""

    NOTHING = "nothing"
    FAST_RETRANSMIT = "fast_retransmit"
    """Third duplicate: reduce, and repeat the segment at `snd_una`."""
    RETRANSMIT_NEXT = "retransmit_next"
    """Partial acknowledgment: repeat the segment at `snd_una`, stay in recovery."""
    RECOVERED = "recovered"
    """Everything up to `recover` arrived."""


@mypyc_attr(acyclic=True)
class NewReno:
    """The state between two acknowledgments."""

    __slots__ = ("dup_acks", "flight", "in_recovery", "inflation", "recover")

    def __init__(self, iss: int) -> None:
        self.dup_acks = 0
        self.in_recovery = False
        self.flight = 0
        """Bytes outstanding when the first duplicate came. What limited transmit sends after that
        is not part of the flight that ssthresh is computed from (RFC 5681 3.2 step 2)."""
        self.inflation = 0
        """Bytes by which duplicate acknowledgments widen cwnd: each tells of a departed segment."""
        self.recover = iss
        """RFC 6582 3.2 step 1: one above the highest sequence sent when recovery last began."""

    def on_duplicate(self, snd_una: int, snd_nxt: int, mss: int) -> Verdict:
        """An acknowledgment that repeats `snd_una` while data is outstanding."""
        self.dup_acks += 1
        outstanding = snd_nxt - snd_una
        if self.dup_acks == 1:
            self.flight = outstanding
        if self.in_recovery:
            # RFC 5681 3.2 step 4, and its MAY: never more than what can have left the network.
            self.inflation = min(self.inflation + mss, outstanding)
        elif snd_una < self.recover:
            self.inflation = 0  # after a timeout: our own repetitions make duplicates, too
        elif self.dup_acks < DUP_THRESH:
            # Limited transmit (RFC 3042): the first two allow one new segment each.
            self.inflation = min(self.dup_acks * mss, outstanding)
        elif self.dup_acks == DUP_THRESH and snd_una > self.recover:
            # RFC 6582 3.2 step 2: "the Cumulative Acknowledgment field covers more than recover".
            self.in_recovery = True
            self.recover = snd_nxt
            self.inflation = min(DUP_THRESH * mss, outstanding)
            return Verdict.FAST_RETRANSMIT
        else:
            self.inflation = 0
        return Verdict.NOTHING

    def on_new_ack(self, acked: int, snd_una: int, mss: int) -> Verdict:
        """`acked` new bytes were acknowledged, up to `snd_una`."""
        self.dup_acks = 0
        if not self.in_recovery:
            self.inflation = 0
            return Verdict.NOTHING
        if snd_una >= self.recover:
            self.in_recovery = False
            self.inflation = 0
            return Verdict.RECOVERED
        # Partial acknowledgment, step 5: deflate by what was acknowledged; "If the partial ACK
        # acknowledges at least one SMSS of new data, then add back SMSS bytes".
        self.inflation = max(self.inflation - acked, 0)
        if acked >= mss:
            self.inflation += mss
        return Verdict.RETRANSMIT_NEXT

    def end(self) -> None:
        """Recovery is over, or is taken back."""
        self.in_recovery = False
        self.dup_acks = 0
        self.inflation = 0

    def on_timeout(self, snd_nxt: int) -> None:
        """RFC 6582 4: after a timeout, the highest sequence sent so far becomes `recover`."""
        self.end()
        self.recover = snd_nxt
