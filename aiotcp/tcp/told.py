"""What a congestion control is told; `congestion` has all of it, too."""

from __future__ import annotations

import enum  # noqa: F401 (compiled, what derives from Words derives from this)
from collections.abc import Callable

from aiotcp.mypyc import mypyc_attr
from aiotcp.words import Words


class Phase(Words):
    """What loss recovery is doing while an acknowledgment is processed."""

    OPEN = "open"
    """Nothing is being repaired."""
    RECOVERY = "recovery"
    """Fast recovery, from `on_congestion` to `on_recovered`."""
    LOSS = "loss"
    """After a timeout, from `on_timeout` to `on_recovered`."""


class Start:
    """What a control is told when it is made: the handshake is complete."""

    __slots__ = ("initial_window", "mss", "now", "random", "restart_window", "rtt", "selective")

    def __init__(
        self,
        mss: int,
        initial_window: int,
        restart_window: int,
        now: float,
        rtt: float | None,
        random: Callable[[], float],
        selective: bool = True,
    ) -> None:
        self.mss = mss
        """Payload bytes of a full segment."""
        self.initial_window = initial_window
        """Bytes (RFC 6928); one segment if the SYN was lost (RFC 5681 3.1)."""
        self.restart_window = restart_window
        """Bytes: RFC 5681 4.1's RW before `min(RW, cwnd)`, the initial window whatever was lost."""
        self.now = now
        self.rtt = rtt
        """Round trip of the handshake, seconds; None if it is ambiguous."""
        self.random = random
        """Evenly distributed over [0, 1), repeatable from the stack's seed."""
        self.selective = selective
        """The peer reports what arrives out of order (SACK): more than one loss in a round trip is
        seen in that round trip."""


@mypyc_attr(acyclic=True)
class RateSample:
    """One delivery-rate sample (draft-ietf-ccwg-bbr-05 4.1.2.1.3), of the newest packet that this
    acknowledgment delivered. Bytes and seconds."""

    __slots__ = (
        "app_limited",
        "delivered",
        "delivery_rate",
        "interval",
        "lost",
        "prior_delivered",
        "tx_in_flight",
    )

    def __init__(
        self,
        delivered: int,
        interval: float,
        delivery_rate: float,
        app_limited: bool,
        prior_delivered: int,
        tx_in_flight: int,
        lost: int,
    ) -> None:
        self.delivered = delivered
        """Delivered over the sampling interval."""
        self.interval = interval
        self.delivery_rate = delivery_rate
        """Bytes per second; 0.0 where the interval is too short to be believed."""
        self.app_limited = app_limited
        self.prior_delivered = prior_delivered
        """`Ack.delivered` as it was when that packet was sent: a round trip has passed when it
        reaches what `Ack.delivered` was at the round's beginning."""
        self.tx_in_flight = tx_in_flight
        """In the network just after that packet was sent, itself included."""
        self.lost = lost
        """Believed lost since that packet was sent."""


@mypyc_attr(acyclic=True)
class Ack:
    """What one acknowledgment told, cumulative and selective together. Bytes and seconds."""

    __slots__ = (
        "acked",
        "advanced",
        "cwnd_limited",
        "delivered",
        "ece",
        "flight",
        "lost",
        "merged",
        "now",
        "phase",
        "prior_flight",
        "rate",
        "rtt",
    )

    def __init__(
        self,
        now: float,
        acked: int,
        lost: int,
        delivered: int,
        prior_flight: int,
        flight: int,
        rtt: float | None,
        rate: RateSample | None,
        phase: Phase,
        cwnd_limited: bool,
        ece: bool,
        advanced: bool = True,
        merged: int = 1,
    ) -> None:
        self.now = now
        self.acked = acked
        """Newly delivered."""
        self.lost = lost
        """Newly believed lost."""
        self.delivered = delivered
        """Delivered in the connection's life, `acked` included."""
        self.prior_flight = prior_flight
        """In the network before this acknowledgment."""
        self.flight = flight
        """In the network now."""
        self.rtt = rtt
        """A round-trip sample, if it gave one."""
        self.rate = rate
        """A delivery-rate sample, if it delivered anything."""
        self.phase = phase
        self.cwnd_limited = cwnd_limited
        """The window, not the application or the peer, was what held sending back lately: only then
        does growing it have a meaning (RFC 9438 5.8, RFC 7661)."""
        self.ece = ece
        """It brought a congestion mark (ECN)."""
        self.advanced = advanced
        """It is cumulative for some of that; False: all came out of order."""
        self.merged = merged
        """For how many acknowledgments it stands, all of which arrived at once, one after the
        other."""


@mypyc_attr(acyclic=True)
class Lost:
    """One packet, or frame of many, newly believed lost. Bytes."""

    __slots__ = ("app_limited", "delivered", "lost", "now", "size", "tx_in_flight")

    def __init__(
        self,
        now: float,
        size: int,
        tx_in_flight: int,
        lost: int,
        app_limited: bool,
        delivered: int,
    ) -> None:
        self.now = now
        self.size = size
        self.tx_in_flight = tx_in_flight
        """In the network just after it was sent, itself included."""
        self.lost = lost
        """Believed lost since it was sent, itself included."""
        self.app_limited = app_limited
        """It was sent while the application had no more to send."""
        self.delivered = delivered
        """Delivered in the connection's life so far."""
