"""BBR's answer to congestion: the short-term model (draft-ietf-ccwg-bbr-05 5.5.10.3).

Names are the draft's, as in `bbr_model`.

One departure. The draft lowers the bounds to what the last round trip delivered, whenever it lost
anything. But that falls short of the bounds also because pacing stays 1 % below them, because a
lost packet is not delivered, and because DOWN and ProbeRTT send less on purpose; the bounds are
kept for tens of round trips, and the shortfalls multiply. On 100 Mbit/s and 40 ms that leaves 79
of 96 Mbit/s where 1 % of packets are lost at random, and 86 where 0.1 % are. So here a bound stays
while deliveries are what was sent on purpose, less the loss that BBR tolerates (2.7: LossThresh):
then it is 90 and 92.
"""

from __future__ import annotations

from math import inf
from typing import Final

from aiotcp.tcp.bbr_control import PACING_MARGIN, Control
from aiotcp.tcp.bbr_model import PROBING_BW, State
from aiotcp.tcp.congestion import Lost, RateSample, Start

BETA: Final = 0.7
LOSS_THRESH: Final = 0.02
TOLERANCE: Final = 1 / ((1 - PACING_MARGIN) * (1 - LOSS_THRESH))


class Loss(Control):
    """What the last round trip delivered, and the bounds that follow if it lost something."""

    __slots__ = (
        *("selective", "delivery_rate", "bw_latest", "inflight_latest"),
        *("loss_in_round", "loss_round_delivered", "loss_round_start", "ecn_flight"),
        *("low_gain", "low_gain_round"),
    )

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self.selective = start.selective
        self.delivery_rate = 0.0
        """Of the latest acknowledgment: RS.delivery_rate."""
        self.low_gain = 1.0
        """The lowest pacing gain of late, 0 for ProbeRTT,"""
        self.low_gain_round = -3
        """and the last round trip that had it."""
        self.loss_round_delivered = 0
        self.loss_round_start = False
        self.ecn_flight = 0
        """In the network when this round's congestion mark came; 0: none did."""
        self.reset_congestion_signals()

    def reset_congestion_signals(self) -> None:
        self.loss_in_round = False
        self.ecn_flight = 0
        self.bw_latest = 0.0
        self.inflight_latest = 0

    def reset_short_term_model(self) -> None:
        self.bw_shortterm = inf
        self.inflight_shortterm = inf

    # -- near the beginning and the end of each acknowledgment ---------------------------------

    def update_latest_delivery_signals(self, rate: RateSample) -> None:
        gain = 0.0 if self.state is State.PROBE_RTT else self.pacing_gain
        if gain < 1:
            recent = self.round_count <= self.low_gain_round + 2
            self.low_gain = min(gain, self.low_gain) if recent else gain
            self.low_gain_round = self.round_count
        self.delivery_rate = rate.delivery_rate
        self.bw_latest = max(self.bw_latest, rate.delivery_rate)
        self.inflight_latest = max(self.inflight_latest, rate.delivered)
        self.loss_round_start = (
            rate.prior_delivered >= self.loss_round_delivered
            and not self.overtook(rate.delivered + rate.lost, rate)
        )
        if self.loss_round_start:
            self.loss_round_delivered = self.delivered

    def advance_latest_delivery_signals(self, rate: RateSample) -> None:
        if self.loss_round_start:
            self.bw_latest = rate.delivery_rate
            self.inflight_latest = rate.delivered

    def update_congestion_signals(self, rate: RateSample) -> None:
        self.update_max_bw(rate)
        if self.loss_round_start:
            if self.loss_in_round and self.state not in PROBING_BW:
                self.init_lower_bounds()
                self.loss_lower_bounds()
            self.loss_in_round = False
            self.ecn_flight = 0

    def init_lower_bounds(self) -> None:
        if self.bw_shortterm == inf:
            self.bw_shortterm = self.max_bw
        if self.inflight_shortterm == inf:
            # The window as it was: after a timeout it is one segment, and says nothing.
            cwnd = max(self.cwnd, self.prior_cwnd if self.in_recovery else 0)
            self.inflight_shortterm = float(cwnd)

    def loss_lower_bounds(self) -> None:
        self.bw_shortterm = self.lowered(self.bw_shortterm, self.bw_latest)
        if self.ecn_flight:
            # A mark says that there is a queue, while everything is delivered: `inflight_latest`
            # would keep it there. Where it is being drained anyway, down to the BDP is enough.
            least = self.bdp_multiple(self.bw, 1.0) if self.pacing_gain < 1 else 0.0
            marked = BETA * min(self.inflight_shortterm, self.ecn_flight)
            self.inflight_shortterm = max(marked, least)
        else:
            self.inflight_shortterm = self.lowered(self.inflight_shortterm, self.inflight_latest)

    def lowered(self, bound: float, latest: float) -> float:
        """max(latest, BETA * bound), where `latest` falls short of `bound` by more than was sent
        short of it: see the head of this module."""
        recent = self.round_count <= self.low_gain_round + 2
        expected = bound * (self.low_gain if recent else 1.0)
        return max(latest, bound if latest * TOLERANCE >= expected else BETA * bound)

    # -- for each loss -------------------------------------------------------------------------

    def note_loss(self, delivered: int) -> None:
        """Something was lost or marked, in a round trip that so begins."""
        if not self.loss_in_round:
            self.loss_round_delivered = delivered
        self.loss_in_round = True

    def is_inflight_too_high(self, lost: int, tx_in_flight: int) -> bool:
        return lost > tx_in_flight * LOSS_THRESH or (lost > 0 and not self.selective)

    def inflight_at_loss(self, packet: Lost) -> float:
        """The flight at which losses crossed the threshold: maybe amid the packet."""
        inflight_prev = packet.tx_in_flight - packet.size
        lost_prev = packet.lost - packet.size
        lost_prefix = (LOSS_THRESH * inflight_prev - lost_prev) / (1 - LOSS_THRESH)
        return inflight_prev + max(lost_prefix, 0.0)
