"""BBR's model of the network path (draft-ietf-ccwg-bbr-05 5.5).

Names are the draft's, with `BBR.` and `C.` left out, so that the two can be read side by side:
BBRUpdateMaxBw() is `update_max_bw`. Volumes are bytes, rates bytes per second.
"""

from __future__ import annotations

from enum import Enum, auto
from math import inf
from typing import Final

from aiotcp.tcp.bbr_filters import WindowedMax
from aiotcp.tcp.congestion import CongestionControl, RateSample, Start

MIN_RTT_FILTER_LEN: Final = 10.0
PROBE_RTT_INTERVAL: Final = 5.0
MAX_BW_FILTER_LEN: Final = 2
EXTRA_ACKED_FILTER_LEN: Final = 10


class State(Enum):
    """The state machine of 5.1.1; each with its pacing gain and cwnd gain (5.6.1)."""

    STARTUP = (1, 2.77, 2.0)
    DRAIN = (2, 0.5, 2.0)
    PROBE_BW_DOWN = (3, 0.9, 2.0)
    PROBE_BW_CRUISE = (4, 1.0, 2.0)
    PROBE_BW_REFILL = (5, 1.0, 2.0)
    PROBE_BW_UP = (6, 1.25, 2.25)
    PROBE_RTT = (7, 1.0, 0.5)


PROBE_BW: Final = frozenset(
    {State.PROBE_BW_DOWN, State.PROBE_BW_CRUISE, State.PROBE_BW_REFILL, State.PROBE_BW_UP}
)
PROBING_BW: Final = frozenset({State.STARTUP, State.PROBE_BW_REFILL, State.PROBE_BW_UP})


class AckPhase(Enum):
    """Which part of a bandwidth probe acknowledgments now tell of."""

    INIT = auto()
    REFILLING = auto()
    PROBE_STARTING = auto()
    PROBE_FEEDBACK = auto()
    PROBE_STOPPING = auto()


class Model(CongestionControl):
    """Round trips, bandwidth, round-trip time and aggregation."""

    __slots__ = (
        *("now", "delivered", "state", "pacing_gain", "cwnd_gain", "full_bw_reached"),
        *("next_round_delivered", "round_start", "round_count", "rounds_since_bw_probe"),
        *("max_bw_filter", "max_bw", "cycle_count", "_cycle_has_bw", "bw", "bw_shortterm"),
        *("inflight_shortterm", "inflight_longterm"),
        *("min_rtt", "min_rtt_stamp", "probe_rtt_min_delay", "probe_rtt_min_stamp"),
        *("probe_rtt_expired", "extra_acked", "extra_acked_filter", "extra_acked_delivered"),
        "extra_acked_interval_start",
    )

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self.now = start.now
        self.delivered = 0
        self.full_bw_reached = False
        self.next_round_delivered = 0
        self.round_start = False
        self.round_count = 0
        self.rounds_since_bw_probe = 0
        self.max_bw_filter = WindowedMax()
        self.max_bw = 0.0
        self.cycle_count = 0
        self._cycle_has_bw = False
        self.bw = 0.0
        self.bw_shortterm = inf
        self.inflight_shortterm = inf
        self.inflight_longterm = inf
        self.min_rtt = start.rtt or inf
        self.min_rtt_stamp = start.now
        self.probe_rtt_min_delay = self.min_rtt
        self.probe_rtt_min_stamp = start.now
        self.probe_rtt_expired = False
        self.extra_acked = 0.0
        self.extra_acked_filter = WindowedMax()
        self.extra_acked_interval_start = start.now
        self.extra_acked_delivered = 0
        self.enter(State.STARTUP)

    def enter(self, state: State) -> None:
        """Become `state`, with its gains."""
        self.state = state
        _, self.pacing_gain, self.cwnd_gain = state.value

    # -- 5.5.1: packet-timed round trips ------------------------------------------------------

    def update_round(self, rate: RateSample) -> None:
        self.round_start = rate.prior_delivered >= self.next_round_delivered and not self.overtook(
            rate.delivered + rate.lost, rate
        )
        if self.round_start:
            self.start_round()
            self.round_count += 1
            self.rounds_since_bw_probe += 1

    def overtook(self, settled: int, rate: RateSample) -> bool:
        """The newest packet delivered came before much that had been sent before it: what was in
        flight ahead of it is not `settled`. It tells of no round trip of the path."""
        return settled + 2 * self.mss < 0.75 * rate.tx_in_flight

    def start_round(self) -> None:
        self.next_round_delivered = self.delivered

    # -- 5.5.2 to 5.5.6: the bandwidth --------------------------------------------------------

    def update_max_bw(self, rate: RateSample) -> None:
        self.update_round(rate)
        sample = rate.delivery_rate
        if sample > 0 and (sample >= self.max_bw or not rate.app_limited):
            self._cycle_has_bw = True
            self.max_bw = self.max_bw_filter.update(sample, self.cycle_count, MAX_BW_FILTER_LEN)

    def advance_max_bw_filter(self) -> None:
        # A cycle without a sample is no reason to forget the cycle before it.
        if self._cycle_has_bw:
            self._cycle_has_bw = False
            self.cycle_count += 1

    def bound_bw_for_model(self) -> None:
        self.bw = min(self.max_bw, self.bw_shortterm)

    # -- 5.5.7 and 5.3.4.3: the round-trip time -----------------------------------------------

    def update_min_rtt(self, rtt: float | None, rate: RateSample) -> None:
        now = self.now
        # Losses do not count here: what was overtaken is believed lost for a while.
        if self.overtook(rate.delivered, rate):
            rtt = None
        self.probe_rtt_expired = now > self.probe_rtt_min_stamp + PROBE_RTT_INTERVAL
        if rtt is not None and (rtt < self.probe_rtt_min_delay or self.probe_rtt_expired):
            self.probe_rtt_min_delay = rtt
            self.probe_rtt_min_stamp = now
        if self.probe_rtt_min_delay < self.min_rtt or now > self.min_rtt_stamp + MIN_RTT_FILTER_LEN:
            self.min_rtt = self.probe_rtt_min_delay
            self.min_rtt_stamp = self.probe_rtt_min_stamp

    # -- 5.5.9: aggregation of acknowledgments ------------------------------------------------

    def update_ack_aggregation(self, newly_acked: int) -> None:
        expected_delivered = self.bw * (self.now - self.extra_acked_interval_start)
        if self.extra_acked_delivered <= expected_delivered:
            self.extra_acked_delivered = 0
            self.extra_acked_interval_start = self.now
            expected_delivered = 0.0
        self.extra_acked_delivered += newly_acked
        extra = min(self.extra_acked_delivered - expected_delivered, self.cwnd)
        length = EXTRA_ACKED_FILTER_LEN if self.full_bw_reached else 1
        self.extra_acked = self.extra_acked_filter.update(extra, self.round_count, length)
