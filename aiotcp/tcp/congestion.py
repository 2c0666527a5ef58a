"""What a congestion control is: bytes and seconds in, `cwnd` and `ssthresh` out.

An algorithm knows no connection, no sequence numbers and no clock, so that it can be tested with
numbers and exchanged by name. The connection tells it what happened; loss recovery decides which
bytes to repeat, the algorithm only how many may be in the network.
"""

from __future__ import annotations

from typing import Protocol

INFINITE = 1 << 62
"""The initial ssthresh: arbitrarily high (RFC 5681 3.1)."""


class CongestionControl(Protocol):
    """One connection's congestion control. All sizes are bytes, all times seconds."""

    name: str
    cwnd: int
    ssthresh: int

    def on_ack(self, acked: int, flight: int, now: float, rtt: float | None) -> None:
        """`acked` new bytes were acknowledged outside of recovery.

        `flight` is what was in the network before this acknowledgment, `rtt` a sample if it
        gave one.
        """

    def on_loss(self, flight: int, now: float) -> None:
        """Loss was inferred from acknowledgments with `flight` bytes in the network."""

    def on_recovered(self, flight: int, now: float) -> None:
        """The loss is repaired, with `flight` bytes still in the network."""

    def on_timeout(self, flight: int, now: float, repeated: bool) -> None:
        """The retransmission timer expired; `repeated`: again for the same segment."""

    def on_idle(self, idle_s: float, rto: float) -> None:
        """Nothing was in the network for `idle_s`, and data is about to be sent."""

    def set_mss(self, mss: int) -> None:
        """The path's MSS changed."""


def initial_window(mss: int, segments: int) -> int:
    """RFC 6928 2: min(10*MSS, max(2*MSS, 14600)) for the usual `segments` of 10, in bytes."""
    return min(segments * mss, max(2 * mss, segments * 1460))
