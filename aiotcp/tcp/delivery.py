"""Delivery-rate samples (draft-ietf-ccwg-bbr-05 4.1): how fast the network carries what is sent.

Each frame leaves with a `Stamp`, what was known then of deliveries. When it is acknowledged, the
difference to what is known now is a sample: the bytes delivered meanwhile, over the time that
delivering took, or that sending took, whichever was longer (4.1.1.2.4).

Sizes are bytes of payload, times seconds; a packet's id is its ending sequence number.
"""

from __future__ import annotations

from aiotcp.mypyc import mypyc_attr
from aiotcp.tcp.congestion import RateSample


@mypyc_attr(acyclic=True)
class Stamp:
    """What was known when a frame was sent (4.1.2.1.2). A retransmission gets a new one; the
    pieces of a frame that is split share theirs, and so do frames that leave together.

    `DeliveryRate.on_sent` sets all of it: with an `__init__` that takes twice as long."""

    __slots__ = (
        "app_limited",
        "delivered",
        "delivered_at",
        "first_sent_at",
        "in_flight",
        "lost",
        "sent_at",
    )

    sent_at: float
    first_sent_at: float
    """When the flight of data began that this frame ends: the draft's P.first_send_time."""
    delivered: int
    delivered_at: float
    app_limited: bool
    in_flight: int
    """In the network just after it was sent, itself and what left with it included: the draft's
    P.tx_in_flight."""
    lost: int
    """`DeliveryRate.lost` then: the draft's P.lost."""


@mypyc_attr(acyclic=True)
class DeliveryRate:
    """One connection's counts of what was delivered and lost, and its samples.

    An acknowledgment calls `on_delivered` and `on_lost` for what it touched, in any order, and
    then `sample` once; or `on_usual`, if it is enough.
    """

    __slots__ = (
        "_newest",
        "_newest_end",
        "app_limited_until",
        "delivered",
        "delivered_at",
        "first_sent_at",
        "lost",
        "rate",
        "rate_app_limited",
    )

    def __init__(self, now: float) -> None:
        self.rate = 0.0
        """The latest sample that tells of the path, bytes per second: not one of an application
        that had too little to send, unless it is higher than the one before."""
        self.rate_app_limited = False
        """It was such a one."""
        self.delivered = 0
        """Delivered in the connection's life, cumulatively or selectively acknowledged."""
        self.delivered_at = now
        """When `delivered` last grew, or sending began after an idle time."""
        self.first_sent_at = now
        """When the frame most recently delivered was sent; after an idle time, when the first
        frame left."""
        self.lost = 0
        """Believed lost in the connection's life, less what was found to be there after all."""
        self.app_limited_until = 0
        """The application left a gap in what is now in the network, and samples from there tell
        too little (4.1.1.3), until `delivered` exceeds this; 0: it did not."""
        self._newest: Stamp | None = None  # of this acknowledgment
        self._newest_end = 0

    def on_sent(self, now: float, flight: int, size: int) -> Stamp:
        """A frame of `size`, or several that leave at once, with `flight` in the network before
        (4.1.2.2)."""
        if not flight:
            self.first_sent_at = self.delivered_at = now
        stamp = Stamp()
        stamp.sent_at = now
        stamp.first_sent_at = self.first_sent_at
        stamp.delivered = self.delivered
        stamp.delivered_at = self.delivered_at
        stamp.app_limited = self.app_limited_until != 0
        stamp.in_flight = flight + size
        stamp.lost = self.lost
        return stamp

    def on_delivered(self, stamp: Stamp, end: int, size: int, now: float) -> None:
        """`size` bytes up to `end`, last sent with `stamp`, are newly acknowledged (4.1.2.3)."""
        self.delivered += size
        self.delivered_at = now
        sent_at = stamp.sent_at
        if (
            self._newest is None
            or sent_at > self.first_sent_at
            or (sent_at == self.first_sent_at and end > self._newest_end)
        ):
            self._newest = stamp
            self._newest_end = end
            self.first_sent_at = sent_at

    def on_usual(self, stamp: Stamp, size: int, now: float, min_rtt: float | None) -> None:
        """`on_delivered` and `sample` at once, for an acknowledgment of which nobody wants to see
        more than what is kept in `rate`."""
        delivered = self.delivered = self.delivered + size
        self.delivered_at = now
        if self.app_limited_until and delivered > self.app_limited_until:
            self.app_limited_until = 0
        sent_at = self.first_sent_at = stamp.sent_at
        interval = now - stamp.delivered_at
        if sent_at - stamp.first_sent_at > interval:
            interval = sent_at - stamp.first_sent_at
        if interval > 1e-9 and (min_rtt is None or interval >= min_rtt):
            rate = (delivered - stamp.delivered) / interval
            if rate > self.rate or not stamp.app_limited:
                self.rate = rate
                self.rate_app_limited = stamp.app_limited

    def on_lost(self, size: int) -> None:
        """`size` bytes are newly believed lost."""
        self.lost += size

    def on_found(self, size: int) -> None:
        """`size` bytes that were believed lost had not been: their loss was spurious."""
        self.lost -= size

    def sample(self, now: float, min_rtt: float | None) -> RateSample | None:
        """The sample of the acknowledgment that ends here; None if it delivered nothing.

        `min_rtt`: the shortest round trip of the connection, this acknowledgment's included. An
        interval below it is that of a repetition whose original arrived, and no rate
        (4.1.3.4).
        """
        if self.app_limited_until and self.delivered > self.app_limited_until:
            self.app_limited_until = 0
        stamp = self._newest
        if stamp is None:
            return None
        self._newest, self._newest_end = None, 0
        interval = max(stamp.sent_at - stamp.first_sent_at, now - stamp.delivered_at)
        delivered = self.delivered - stamp.delivered
        believed = interval > 1e-9 and (min_rtt is None or interval >= min_rtt)
        rate = delivered / interval if believed else 0.0
        if rate > self.rate or (believed and not stamp.app_limited):
            self.rate = rate
            self.rate_app_limited = stamp.app_limited
        return RateSample(
            delivered,
            interval,
            rate,
            stamp.app_limited,
            stamp.delivered,
            stamp.in_flight,
            max(self.lost - stamp.lost, 0),
        )

    def mark_app_limited(self, flight: int) -> None:
        """All that may be sent was sent, and window and pacing allow more (4.1.2.4): what is sent
        until the present `flight` is delivered gives app-limited samples."""
        self.app_limited_until = max(self.delivered + flight, 1)
