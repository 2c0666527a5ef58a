"""BBR's cycle of bandwidth probes: ProbeBW (draft-ietf-ccwg-bbr-05 5.3.3).

Names are the draft's, as in `bbr_model`.
"""

from __future__ import annotations

from math import inf

from aiotcp.tcp.bbr_loss import BETA, Loss
from aiotcp.tcp.bbr_model import PROBE_BW, AckPhase, State
from aiotcp.tcp.congestion import Ack, RateSample, Start


class Probe(Loss):
    """DOWN, CRUISE, REFILL, UP, and the long-term bound that they search for."""

    __slots__ = (
        *("random", "ack_phase", "bw_probe_samples", "bw_probe_up_rounds"),
        *("probe_up_cnt", "bw_probe_wait", "cycle_stamp"),
        *("full_bw", "full_bw_count", "full_bw_now"),
    )

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self.random = start.random
        self.ack_phase = AckPhase.INIT
        self.bw_probe_samples = False
        self.bw_probe_up_rounds = 0
        self.probe_up_cnt = inf
        self.bw_probe_wait = 0.0
        self.cycle_stamp = start.now
        self.reset_full_bw()

    # -- 5.3.1.2: is the pipe full? -----------------------------------------------------------

    def reset_full_bw(self, full_bw: float = 0.0) -> None:
        self.full_bw = full_bw
        self.full_bw_count = 0
        self.full_bw_now = False

    def check_full_bw_reached(self, rate: RateSample) -> None:
        if self.full_bw_now or not self.round_start or rate.app_limited or not rate.delivery_rate:
            return
        if rate.delivery_rate >= self.full_bw * 1.25:
            self.reset_full_bw(rate.delivery_rate)
            return
        self.full_bw_count += 1
        self.full_bw_now = self.full_bw_count >= 3
        if self.full_bw_now:
            self.full_bw_reached = True

    # -- 5.3.3.6: the cycle -------------------------------------------------------------------

    def start_probe_bw_down(self) -> None:
        self.reset_congestion_signals()
        self.probe_up_cnt = inf
        # BBRPickProbeWait(), 5.3.3.5.3: 2 to 3 seconds, or what a Reno flow would take.
        self.rounds_since_bw_probe = int(self.random() * 2)
        self.bw_probe_wait = 2 + self.random()
        self.cycle_stamp = self.now
        self.ack_phase = AckPhase.PROBE_STOPPING
        self.start_round()
        self.enter(State.PROBE_BW_DOWN)

    def start_probe_bw_refill(self) -> None:
        self.reset_short_term_model()
        self.bw_probe_up_rounds = 0
        self.ack_phase = AckPhase.REFILLING
        self.start_round()
        self.enter(State.PROBE_BW_REFILL)

    def start_probe_bw_up(self) -> None:
        self.ack_phase = AckPhase.PROBE_STARTING
        self.bw_probe_samples = True
        self.start_round()
        self.reset_full_bw(self.delivery_rate)
        self.enter(State.PROBE_BW_UP)
        self.raise_inflight_longterm_slope()

    def update_probe_bw_cycle_phase(self, ack: Ack, rate: RateSample) -> None:
        if not self.full_bw_reached:
            return
        # Before the bound is raised. `cwnd` is whole bytes, rounded down.
        at_longterm = ack.cwnd_limited and self.cwnd + 1 > self.inflight_longterm
        self.adapt_long_term_model(ack, rate, at_longterm)
        state = self.state
        if state is State.PROBE_BW_CRUISE:
            if self.is_time_to_probe_bw():
                self.start_probe_bw_refill()
        elif state is State.PROBE_BW_DOWN:
            if self.is_time_to_probe_bw():
                self.start_probe_bw_refill()
            elif self.is_time_to_cruise(ack.flight):
                self.enter(State.PROBE_BW_CRUISE)
        elif state is State.PROBE_BW_REFILL:
            if self.round_start:
                self.start_probe_bw_up()
        elif state is State.PROBE_BW_UP and self.is_time_to_go_down(at_longterm):
            self.start_probe_bw_down()

    def is_time_to_probe_bw(self) -> bool:
        if self.now > self.cycle_stamp + self.bw_probe_wait:
            return True
        reno_rounds = self.target_inflight() / self.mss
        return self.rounds_since_bw_probe >= min(reno_rounds, 63)

    def is_time_to_cruise(self, flight: int) -> bool:
        return flight <= self.inflight_with_headroom() and flight <= self.inflight(self.max_bw, 1.0)

    def is_time_to_go_down(self, at_longterm: bool) -> bool:
        if at_longterm:
            self.reset_full_bw(self.delivery_rate)
            return False
        return self.full_bw_now

    def target_inflight(self) -> float:
        return min(self.bdp_multiple(self.bw, 1.0), self.cwnd)

    def raise_inflight_longterm_slope(self) -> None:
        growth_this_round = self.mss << self.bw_probe_up_rounds
        self.bw_probe_up_rounds = min(self.bw_probe_up_rounds + 1, 30)
        self.probe_up_cnt = max(self.cwnd / growth_this_round, 1.0)

    def probe_inflight_longterm_upward(self, ack: Ack) -> None:
        # In bytes there is no remainder to keep: a byte for each `probe_up_cnt` acknowledged.
        self.inflight_longterm += ack.acked / self.probe_up_cnt
        if self.round_start:
            self.raise_inflight_longterm_slope()

    def handle_inflight_too_high(self, tx_in_flight: float, app_limited: bool) -> None:
        self.bw_probe_samples = False  # react once to a probe
        if not app_limited:
            self.inflight_longterm = max(tx_in_flight, self.target_inflight() * BETA)
        if self.state is State.PROBE_BW_UP:
            self.start_probe_bw_down()

    def adapt_long_term_model(self, ack: Ack, rate: RateSample, at_longterm: bool) -> None:
        if self.round_start:
            if self.ack_phase is AckPhase.PROBE_STARTING:
                self.ack_phase = AckPhase.PROBE_FEEDBACK
            elif self.ack_phase is AckPhase.PROBE_STOPPING:
                # 5.5.6: the filter moves on once in a cycle, one round trip after UP ended; what
                # was sent while probing has then been judged (5.5.10.2). The draft's code does
                # not leave this phase, and would forget the probe after two rounds.
                self.ack_phase = AckPhase.INIT
                self.bw_probe_samples = False
                if self.state in PROBE_BW and not rate.app_limited:
                    self.advance_max_bw_filter()
        if self.inflight_longterm == inf or self.is_inflight_too_high(rate.lost, rate.tx_in_flight):
            return
        self.inflight_longterm = max(self.inflight_longterm, rate.tx_in_flight)
        if at_longterm and self.state is State.PROBE_BW_UP:
            self.probe_inflight_longterm_upward(ack)
