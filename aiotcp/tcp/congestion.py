"""What a congestion control is: bytes and seconds in, a window and a rate out.

An algorithm knows no connection, no sequence numbers and no clock, so that it can be tested with
numbers and exchanged by name. The connection tells it what happened; loss recovery decides which
bytes to repeat, the algorithm only how many may be in the network, and how fast they leave.

A control of one's own is a subclass of `CongestionControl` that overrides what it cares about; it
goes into `Options.cc` in place of a name. See docs/congestion.md for an example.
"""

from __future__ import annotations

from typing import ClassVar, Final

from aiotcp.mypyc import mypyc_attr
from aiotcp.tcp.told import Ack, Lost, Phase, RateSample, Start

__all__ = [
    "INFINITE",
    "Ack",
    "CongestionControl",
    "Lost",
    "Phase",
    "RateSample",
    "Start",
    "initial_window",
]

INFINITE: Final = 1 << 62
"""The initial ssthresh: arbitrarily high (RFC 5681 3.1)."""


@mypyc_attr(allow_interpreted_subclasses=True)
class CongestionControl:
    """One connection's congestion control. All sizes are bytes, all times seconds.

    The connection reads `cwnd`, `ssthresh`, `pacing_rate` and `send_quantum` whenever it likes;
    the methods are where they change. The base class never changes them.
    """

    __slots__ = ("cwnd", "mss", "pacing_rate", "send_quantum", "ssthresh")

    name: ClassVar[str]
    """What `Options.cc`, `tcp_info` and TCP_CONGESTION call it."""

    own_recovery: ClassVar[bool] = False
    """True: `cwnd` holds in fast recovery, too. False: from `on_congestion` to `on_recovered`
    proportional rate reduction (RFC 9937) leads from the old window to `ssthresh`."""

    def __init__(self, start: Start) -> None:
        self.mss = start.mss
        self.cwnd = start.initial_window
        """How much may be in the network."""
        self.ssthresh = INFINITE
        """Where slow start ends; also where a reduction leads to."""
        self.pacing_rate: float | None = None
        """Bytes per second at which data may leave; None: as fast as `cwnd` allows."""
        self.send_quantum = 65536
        """The most to send at once while paced, bytes."""

    def info(self) -> dict[str, float]:
        """What it knows beside what every control has, for `TcpInfo.cc_info`: numbers by name,
        bytes and seconds."""
        return {}

    def on_send(self, now: float, flight: int, app_limited: bool) -> None:
        """Data is about to be sent with `flight` bytes in the network. `app_limited`: the
        application had left the network idle, wholly or in part."""

    def on_ack(self, ack: Ack) -> None:
        """An acknowledgment delivered something, or showed a loss. In every phase; of one that
        begins or ends a phase, after `on_congestion` or `on_recovered`."""

    def on_usual_ack(
        self, now: float, acked: int, flight: int, rtt: float, limited: bool, total: int, count: int
    ) -> bool:
        """A short form of `on_ack` for nearly all: no loss, no mark, no repair, and `advanced`.
        `flight` is `Ack.prior_flight`, `total` and `count` are `delivered` and `merged`. True: that
        is all. False, as in each control that does not know better: `on_ack` follows."""
        return False

    def on_packet_lost(self, lost: Lost) -> None:
        """For each packet believed lost; before `on_congestion` and `on_ack`."""

    def on_congestion(self, flight: int, now: float) -> None:
        """Fast recovery begins with `flight` bytes in the network: a loss was inferred from
        acknowledgments. `ssthresh` is to be what the window becomes."""

    def on_ecn(self, flight: int, now: float) -> None:
        """The network marked a packet: as `on_congestion`, at most once in a window, but there is
        nothing to repair (RFC 3168 6.1.2)."""

    def on_recovered(self, flight: int, now: float) -> None:
        """What was lost is repaired, with `flight` bytes still in the network: the end of fast
        recovery, or of the phase after a timeout, in which slow start may still be going on."""

    def on_timeout(self, flight: int, now: float, repeated: bool) -> None:
        """The retransmission timer expired with `flight` bytes in the network before all of them
        counted as lost; `repeated`: again for the same segment."""

    def undo(self, flight: int, now: float) -> None:
        """The last `on_congestion` or `on_timeout` was for nothing (RFC 4015): take it back."""

    def on_idle(self, idle_s: float, rto: float) -> None:
        """Nothing was in the network for `idle_s`, and data is about to be sent. Not always told
        of if that is no longer than the `rto`."""

    def set_mss(self, mss: int) -> None:
        """The path's MSS changed."""
        self.mss = mss
        self.cwnd = max(self.cwnd, mss)


def initial_window(mss: int, segments: int) -> int:
    """RFC 6928 2: min(10*MSS, max(2*MSS, 14600)) for the usual `segments` of 10, in bytes."""
    least = segments * 1460
    if least < 2 * mss:
        least = 2 * mss
    window = segments * mss
    return window if window < least else least
