"""BBR's probe of the round-trip time: ProbeRTT (draft-ietf-ccwg-bbr-05 5.3.4).

Names are the draft's, as in `bbr_model`.
"""

from __future__ import annotations

from typing import Final

from aiotcp.tcp.bbr_model import AckPhase, State
from aiotcp.tcp.bbr_probe import Probe
from aiotcp.tcp.congestion import Ack, RateSample, Start

PROBE_RTT_DURATION: Final = 0.2


class ProbeRTT(Probe):
    """Every five seconds, unless a low round trip was seen anyway, drain the queue and look."""

    __slots__ = (
        *("idle_restart", "probe_rtt_done_stamp", "probe_rtt_round_done"),
        *("_limited_from", "_limited_until"),
    )

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self.idle_restart = False
        self.probe_rtt_done_stamp = 0.0
        self.probe_rtt_round_done = False
        self._limited_from = self._limited_until = -1

    def is_limited_by_probe_rtt(self, rate: RateSample) -> bool:
        """MarkConnectionAppLimited(): what ProbeRTT sends has a rate that is low by intent, and
        so has all that leaves before the last of that is delivered."""
        return self._limited_from <= rate.prior_delivered <= self._limited_until

    def check_probe_rtt(self, ack: Ack, rate: RateSample) -> None:
        if self.probe_rtt_expired and self.state is not State.PROBE_RTT and not self.idle_restart:
            self.save_cwnd()
            self.enter(State.PROBE_RTT)
            self.probe_rtt_done_stamp = 0.0
            self.ack_phase = AckPhase.PROBE_STOPPING
            self.start_round()
            self._limited_from = self.delivered
        if self.state is State.PROBE_RTT:
            self.handle_probe_rtt(ack.flight)
        if rate.delivered > 0:
            self.idle_restart = False

    def handle_probe_rtt(self, flight: int) -> None:
        self._limited_until = self.delivered + flight
        if not self.probe_rtt_done_stamp:
            if flight <= self.probe_rtt_cwnd():
                self.probe_rtt_done_stamp = self.now + PROBE_RTT_DURATION
                self.probe_rtt_round_done = False
                self.start_round()
            return
        if self.round_start:
            self.probe_rtt_round_done = True
        if self.probe_rtt_round_done:
            self.check_probe_rtt_done()

    def check_probe_rtt_done(self) -> None:
        if self.probe_rtt_done_stamp and self.now > self.probe_rtt_done_stamp:
            self.probe_rtt_min_stamp = self.now
            self.restore_cwnd()
            self.reset_short_term_model()
            if self.full_bw_reached:
                self.start_probe_bw_down()
                self.enter(State.PROBE_BW_CRUISE)
            else:
                self.enter(State.STARTUP)
