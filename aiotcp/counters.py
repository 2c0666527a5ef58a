"""What a stack has done, in numbers."""

from __future__ import annotations

from collections import Counter
from typing import Final

from aiotcp.reasons import Drop, Event
from aiotcp.tally import Tally
from aiotcp.tcp.tcb import State

_ESTABLISHED: Final = State.ESTABLISHED
_CLOSE_WAIT: Final = State.CLOSE_WAIT
_CLOSED: Final = State.CLOSED
_OPENING: Final = frozenset({State.SYN_SENT, State.SYN_RECEIVED})
_NOWHERE: Final = frozenset({State.CLOSED, State.LISTEN})


_TOTALS: Final = (
    "packets_received",
    "bytes_received",
    "packets_sent",
    "bytes_sent",
    "connections_opened",
    "connections_accepted",
    "syn_cookies_accepted",
    "fast_opens_accepted",
    "fast_opens_overflowed",
    "fast_open_cookies_evicted",
    "time_wait_evicted",
    "memory_pressures",
    "orphans_reset",
    "challenge_acks_withheld",
    "path_mtus_evicted",
    "established",
    "established_resets",
    "attempts_failed",
)
_COUNTED: Final = tuple(name for name in _TOTALS if name != "packets_sent")  # which is a sum


class Counters:
    """Totals since the stack began."""

    __slots__ = (*_COUNTED, "dropped", "events", "sent")

    def __init__(self) -> None:
        self.packets_received = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self.connections_opened = 0
        """Active opens."""
        self.connections_accepted = 0
        """Passive opens that were completed."""
        self.syn_cookies_accepted = 0
        """Those of them that a cookie completed, without a half-open entry (RFC 4987 3.6)."""
        self.fast_opens_accepted = 0
        """Passive opens that did not wait for the handshake (RFC 7413)."""
        self.fast_opens_overflowed = 0
        """Those that had to wait, for there were too many (`Options.tfo_queue`)."""
        self.fast_open_cookies_evicted = 0
        """Servers whose cookie gave way to those of others (`Options.max_tfo_servers`)."""
        self.time_wait_evicted = 0
        """TIME-WAIT records that gave way to newer ones (`Options.max_time_wait`)."""
        self.memory_pressures = 0
        """How often memory became scarce (`Options.memory_limit`)."""
        self.orphans_reset = 0
        """Closed connections that gave way to newer ones (`Options.max_orphans`)."""
        self.challenge_acks_withheld = 0
        """Challenge ACKs that the limit of the stack held back (`Options.challenge_ack_rate`)."""
        self.path_mtus_evicted = 0
        """Path MTUs that were forgotten before their time (`Options.max_path_mtus`)."""
        self.established = 0
        """Connections in ESTABLISHED and CLOSE-WAIT now: no total."""
        self.established_resets = 0
        """Connections that went from these states to CLOSED."""
        self.attempts_failed = 0
        """Handshakes, active and passive, that came to nothing."""
        self.sent: Counter[str] = Tally()
        """Frames by their reason (`aiotcp.reasons.Why`)."""
        self.dropped: Counter[Drop] = Tally()
        """Received packets that were discarded, by the one reason of each."""
        self.events: Counter[Event] = Tally()
        """What connections went through beside (`aiotcp.reasons.Event`)."""

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name}={number}" for name, number in self.as_dict().items())
        return f"Counters({numbers})"

    @property
    def packets_sent(self) -> int:
        """Frames, whatever their reason: one may be many packets on the wire."""
        return sum(self.sent.values())

    def moved(self, old: State, new: State) -> None:
        """A connection, or what was to become one, went from one state to another."""
        self.on_state(None, old, new)

    def on_state(self, conn: object, old: State, new: State) -> None:
        """The same, as connections tell it."""
        if new is _ESTABLISHED:
            self.established += 1
        elif old is _ESTABLISHED or old is _CLOSE_WAIT:
            if new is _CLOSED:
                self.established_resets += 1
            if new is not _CLOSE_WAIT:
                self.established -= 1
        elif new in _NOWHERE and old in _OPENING:
            self.attempts_failed += 1

    def as_dict(self) -> dict[str, int]:
        """One flat table: `sent_<reason>`, `dropped_<reason>` and `event_<name>` beside the totals.
        Under Linux's names: `PacketStack.nstat`."""
        table = {name: getattr(self, name) for name in _TOTALS}
        table.update((f"sent_{why}", count) for why, count in sorted(self.sent.items()))
        table.update((f"dropped_{drop}", count) for drop, count in sorted(self.dropped.items()))
        table.update((f"event_{event}", count) for event, count in sorted(self.events.items()))
        return table
