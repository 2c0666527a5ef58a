"""What a stack has done, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from aiotcp.reasons import Drop, Event
from aiotcp.tcp.tcb import State

_ESTABLISHED: Final = frozenset({State.ESTABLISHED, State.CLOSE_WAIT})
_OPENING: Final = frozenset({State.SYN_SENT, State.SYN_RECEIVED})
_NOWHERE: Final = frozenset({State.CLOSED, State.LISTEN})


class Tally(Counter[Any]):
    """A Counter in which counting is quick: `Counter` has a method of its own for `del`, and for
    its sake each assignment takes the long way. (To delete what is not there is an error here.)"""

    __setitem__ = dict.__setitem__
    __delitem__ = dict.__delitem__


@dataclass(slots=True)
class Counters:
    """Totals since the stack began."""

    packets_received: int = 0
    bytes_received: int = 0
    packets_sent: int = 0
    """Frames: one may be many packets on the wire."""
    bytes_sent: int = 0
    connections_opened: int = 0
    """Active opens."""
    connections_accepted: int = 0
    """Passive opens that were completed."""
    syn_cookies_accepted: int = 0
    """Those of them that a cookie completed, without a half-open entry (RFC 4987 3.6)."""
    fast_opens_accepted: int = 0
    """Passive opens that did not wait for the handshake (RFC 7413)."""
    fast_opens_overflowed: int = 0
    """Those that had to wait, for there were too many (`Options.tfo_queue`)."""
    fast_open_cookies_evicted: int = 0
    """Servers whose cookie gave way to those of others (`Options.max_tfo_servers`)."""
    time_wait_evicted: int = 0
    """TIME-WAIT records that gave way to newer ones (`Options.max_time_wait`)."""
    memory_pressures: int = 0
    """How often memory became scarce (`Options.memory_limit`)."""
    orphans_reset: int = 0
    """Closed connections that gave way to newer ones (`Options.max_orphans`)."""
    challenge_acks_withheld: int = 0
    """Challenge ACKs that the limit of the stack held back (`Options.challenge_ack_rate`)."""
    path_mtus_evicted: int = 0
    """Path MTUs that were forgotten before their time (`Options.max_path_mtus`)."""
    established: int = 0
    """Connections in ESTABLISHED and CLOSE-WAIT now: no total."""
    established_resets: int = 0
    """Connections that went from these states to CLOSED."""
    attempts_failed: int = 0
    """Handshakes, active and passive, that came to nothing."""
    sent: Counter[str] = field(default_factory=Tally)
    """Frames by their reason (`aiotcp.reasons.Why`)."""
    dropped: Counter[Drop] = field(default_factory=Tally)
    """Received packets that were discarded, by the one reason of each."""

    events: Counter[Event] = field(default_factory=Tally)
    """What connections went through beside (`aiotcp.reasons.Event`)."""

    def moved(self, old: State, new: State) -> None:
        """A connection, or what was to become one, went from one state to another."""
        if new is State.ESTABLISHED:
            self.established += 1
        elif old in _ESTABLISHED:
            if new is State.CLOSED:
                self.established_resets += 1
            self.established -= new is not State.CLOSE_WAIT
        elif old in _OPENING and new in _NOWHERE:
            self.attempts_failed += 1

    def as_dict(self) -> dict[str, int]:
        """One flat table: `sent_<reason>`, `dropped_<reason>` and `event_<name>` beside the totals.
        Under Linux's names: `PacketStack.nstat`."""
        table = {
            "packets_received": self.packets_received,
            "bytes_received": self.bytes_received,
            "packets_sent": self.packets_sent,
            "bytes_sent": self.bytes_sent,
            "connections_opened": self.connections_opened,
            "connections_accepted": self.connections_accepted,
            "syn_cookies_accepted": self.syn_cookies_accepted,
            "fast_opens_accepted": self.fast_opens_accepted,
            "fast_opens_overflowed": self.fast_opens_overflowed,
            "fast_open_cookies_evicted": self.fast_open_cookies_evicted,
            "time_wait_evicted": self.time_wait_evicted,
            "memory_pressures": self.memory_pressures,
            "orphans_reset": self.orphans_reset,
            "challenge_acks_withheld": self.challenge_acks_withheld,
            "path_mtus_evicted": self.path_mtus_evicted,
            "established": self.established,
            "established_resets": self.established_resets,
            "attempts_failed": self.attempts_failed,
        }
        table.update((f"sent_{why}", count) for why, count in sorted(self.sent.items()))
        table.update((f"dropped_{drop}", count) for drop, count in sorted(self.dropped.items()))
        table.update((f"event_{event}", count) for event, count in sorted(self.events.items()))
        return table
