"""BBR's control parameters: pacing rate, send quantum and window (draft-ietf-ccwg-bbr-05 5.6)."""

from __future__ import annotations

from math import inf
from typing import Final

from aiotcp.tcp.bbr_model import Model, State
from aiotcp.tcp.congestion import Ack, Start

HEADROOM: Final = 0.15
PROBE_RTT_CWND_GAIN: Final = 0.5
STARTUP_PACING_GAIN: Final = 2.77
PACING_MARGIN: Final = 0.01


class Control(Model):
    """What the model means for sending."""

    __slots__ = ("_has_rtt", "in_recovery", "initial_cwnd", "max_inflight", "prior_cwnd")

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self.initial_cwnd = start.initial_window
        self.max_inflight = 0.0
        self.prior_cwnd = 0
        self.in_recovery = False
        self._has_rtt = bool(start.rtt)
        self.init_pacing_rate(start.rtt)
        self.set_send_quantum()

    # -- 5.6.2, 5.6.3: pacing -----------------------------------------------------------------

    def init_pacing_rate(self, rtt: float | None) -> None:
        self.pacing_rate = STARTUP_PACING_GAIN * self.initial_cwnd / (rtt or 0.001)

    def set_pacing_rate_with_gain(self, pacing_gain: float) -> None:
        # At least a segment a second: who sends nothing learns nothing.
        rate = max(pacing_gain * self.bw * (1 - PACING_MARGIN), self.mss)
        if (self.full_bw_reached and self.bw) or rate > (self.pacing_rate or 0.0):
            self.pacing_rate = rate

    def set_send_quantum(self) -> None:
        quantum = min((self.pacing_rate or 0.0) * 0.001, 65536)
        self.send_quantum = max(int(quantum), 2 * self.mss)

    def update_control_parameters(self, ack: Ack) -> None:
        if not self._has_rtt and ack.rtt:
            # The first round trip known: until the pipe is full the rate only grows, and the
            # guess of 1 ms would be its floor.
            self._has_rtt = True
            self.init_pacing_rate(ack.rtt)
        self.set_pacing_rate_with_gain(self.pacing_gain)
        self.set_send_quantum()
        self.set_cwnd(ack)

    # -- 5.6.4: the window --------------------------------------------------------------------

    @property
    def min_pipe_cwnd(self) -> int:
        return 4 * self.mss

    def bdp_multiple(self, bw: float, gain: float) -> float:
        if self.min_rtt == inf:
            return self.initial_cwnd
        return gain * bw * self.min_rtt

    def quantization_budget(self, inflight_cap: float) -> float:
        inflight_cap = max(inflight_cap, 3 * self.send_quantum, self.min_pipe_cwnd)
        if self.state is State.PROBE_BW_UP:
            inflight_cap += 2 * self.mss
        return inflight_cap

    def inflight(self, bw: float, gain: float) -> float:
        return self.quantization_budget(self.bdp_multiple(bw, gain))

    def inflight_with_headroom(self) -> float:
        if self.inflight_longterm == inf:
            return inf
        headroom = max(self.mss, HEADROOM * self.inflight_longterm)
        return max(self.inflight_longterm - headroom, self.min_pipe_cwnd)

    def probe_rtt_cwnd(self) -> float:
        return max(self.bdp_multiple(self.bw, PROBE_RTT_CWND_GAIN), self.min_pipe_cwnd)

    def set_cwnd(self, ack: Ack) -> None:
        self.max_inflight = self.quantization_budget(
            self.bdp_multiple(self.bw, self.cwnd_gain) + self.extra_acked
        )
        cwnd = float(self.cwnd)
        if self.full_bw_reached:
            cwnd = min(cwnd + ack.acked, self.max_inflight)
        elif cwnd < self.max_inflight or self.delivered < self.initial_cwnd:
            cwnd += ack.acked
        cwnd = max(cwnd, self.min_pipe_cwnd)
        if self.state is State.PROBE_RTT:
            cwnd = min(cwnd, self.probe_rtt_cwnd())
        self.cwnd = int(min(cwnd, self._cap_for_model()))

    def _cap_for_model(self) -> float:
        # BBRBoundCwndForModel(), with Drain as the table in 5.6.1 has it.
        if self.state is State.PROBE_RTT or self.state is State.PROBE_BW_CRUISE:
            cap = self.inflight_with_headroom()
        elif self.state is State.STARTUP:
            cap = inf
        else:
            cap = self.inflight_longterm
        return max(min(cap, self.inflight_shortterm), self.min_pipe_cwnd)

    def save_cwnd(self) -> None:
        if self.in_recovery or self.state is State.PROBE_RTT:
            self.prior_cwnd = max(self.prior_cwnd, self.cwnd)
        else:
            self.prior_cwnd = self.cwnd

    def restore_cwnd(self) -> None:
        self.cwnd = max(self.cwnd, self.prior_cwnd)
