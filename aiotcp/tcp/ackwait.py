"""Whether an acknowledgment had better wait for the next batch of packets.

What a peer sends at once, a batch that is full ends in the middle of, where many connections share
a link. If both parts were acknowledged, the peer would send two smaller pieces in answer, and two
again for each of those: more frames, more acknowledgments and more work for each of them, on both
sides. So the first part's waits for the next batch, which is there at once or not at all, and
covers both. RFC 5681 4.2 lets a receiver wait for a second full-sized segment, not for a whole
train, but an acknowledgment for a whole batch is already what receive offload makes of that, and
what waits here waits for no clock, but for the programs that run until the loop looks at its link
again. Where they take their time, acknowledgments leave with the batch (`Turns`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from aiotcp.reasons import Why
from aiotcp.tcp.tcb import State

if TYPE_CHECKING:
    from aiotcp.tcp.connection import Connection

_ESTABLISHED: Final = State.ESTABLISHED
_SECOND_SEGMENT: Final = Why.ACK_SECOND_SEGMENT
_LONG_S: Final = 0.02
"""A peer would feel it, and its clock of acknowledgments stand still for so long."""
_PAUSE_S: Final = 1.0
"""After a turn that long none waits, then one finds out whether they are shorter now."""


class Turns:
    """How long what waited had to, as a measure of the turns of the loop."""

    __slots__ = ("_not_before", "waits_since")

    def __init__(self) -> None:
        self.waits_since = math.inf
        """When the latest batch ended with one that waits; infinity if none does."""
        self._not_before = -math.inf

    def begins(self, now: float) -> bool:
        """An acknowledgment would wait from now on: whether it may."""
        if now < self._not_before:
            return False
        self.waits_since = now
        return True

    def ends(self, now: float) -> None:
        """It waits no more."""
        if now - self.waits_since > _LONG_S:
            self._not_before = now + _PAUSE_S
        self.waits_since = math.inf


def may_wait(conn: Connection) -> bool:
    """Whether nothing else is to go out, and the peer has window enough not to feel it."""
    acks = conn.acks
    return (
        acks.due is _SECOND_SEGMENT
        and not acks.quick
        and conn.state is _ESTABLISHED
        and conn.snd_una == conn.snd_nxt == conn.sending.end
        and not conn.received_bytes
        and not conn.reassembly.cost
        and not conn.dsacks
        and conn.user is not None
        and conn.ecn is None
        and 2 * acks.pending <= conn.rcv_adv - conn.rcv_nxt
    )
