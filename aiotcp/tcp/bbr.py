"""BBRv3 congestion control, after draft-ietf-ccwg-bbr-05.

BBR models the path, the rate at which it delivers and the round trip without queues, and sends at
that rate with little more in flight than the path holds. Loss alone does not slow it down; loss
that exceeds 2 % of a flight, or falling deliveries, do.

The parts follow the draft: `bbr_model` estimates (5.5), `bbr_control` paces and sets the window
(5.6), `bbr_loss` answers losses (5.5.10), `bbr_probe` runs ProbeBW (5.3.3), `bbr_probe_rtt`
ProbeRTT (5.3.4), and this module has Startup, Drain and the events (5.2).

Where the draft leaves a choice, or its code departs from its text:

- A congestion mark (RFC 3168) counts as a round trip with loss (3.7: it "MUST" be treated as
  congestion). In Startup, and while probing, it ends the acceleration, where a single loss would
  not: with marks a router asks before it has to drop, so that the 2 % of losses never come.
- Losses that BBR tolerates do not lower its bounds over and over, see `bbr_loss`.
- The round trip of a packet that overtook others does not count, see `bbr_model`: it would halve
  what may be in flight on a path that reorders 1 % of packets.
- The filter of `max_bw` moves on once in a cycle (5.5.6), see `bbr_probe`.
- What an undo restores is what was saved when the episode began (5.5.11.1), not at its last round.
"""

from __future__ import annotations

from aiotcp.tcp.bbr_model import PROBE_BW, State
from aiotcp.tcp.bbr_probe_rtt import ProbeRTT
from aiotcp.tcp.congestion import Ack, Lost, Phase, RateSample, Start

STARTUP_FULL_LOSS_CNT = 6


class BBR(ProbeRTT):
    """Bottleneck bandwidth and round-trip propagation time."""

    __slots__ = (
        *("drain_start_round", "loss_events_in_round", "_exit_by_congestion"),
        *("_saved", "undo_state", "undo_bw_shortterm", "undo_inflight_shortterm"),
        "undo_inflight_longterm",
    )

    name = "bbr"
    own_recovery = True

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self.drain_start_round = 0
        self.loss_events_in_round = 0
        self._exit_by_congestion = False
        self._saved = False
        self.save_state_upon_loss()
        self._saved = False

    def info(self) -> dict[str, float]:
        """Linux's tcp_bbr_info, in bytes per second and seconds, and what bounds the flight."""
        return {
            "bw": self.bw,
            "min_rtt": self.min_rtt,
            "pacing_gain": self.pacing_gain,
            "cwnd_gain": self.cwnd_gain,
            "max_bw": self.max_bw,
            "inflight_longterm": self.inflight_longterm,
            "inflight_shortterm": self.inflight_shortterm,
        }

    # -- events (5.2) --------------------------------------------------------------------------

    def on_send(self, now: float, flight: int, app_limited: bool) -> None:
        """BBRHandleRestartFromIdle() (5.4.1)."""
        if flight or not app_limited:
            return
        self.now = now
        self.idle_restart = True
        self.extra_acked_interval_start = now
        if self.state in PROBE_BW:
            self.set_pacing_rate_with_gain(1.0)
        elif self.state is State.PROBE_RTT:
            self.check_probe_rtt_done()

    def on_ack(self, ack: Ack) -> None:
        """BBRUpdateOnACK() (5.2.3)."""
        if ack.lost and self.loss_events_in_round < STARTUP_FULL_LOSS_CNT:
            self.loss_events_in_round += 1
        rate = ack.rate
        if rate is None:
            return  # nothing was delivered: nothing to learn, and no round trip can have passed
        self.now = ack.now
        self.delivered = ack.delivered
        if self.is_limited_by_probe_rtt(rate):
            rate.app_limited = True
        self.update_latest_delivery_signals(rate)
        self.update_congestion_signals(rate)
        self.update_ack_aggregation(ack.acked)
        self.check_full_bw_reached(rate)
        if self.state is State.STARTUP:
            self.check_startup_done(ack, rate)
        if self.state is State.DRAIN:
            self.check_drain_done(ack.flight)
        self.update_probe_bw_cycle_phase(ack, rate)
        self.update_min_rtt(ack.rtt, rate)
        self.check_probe_rtt(ack, rate)
        self.advance_latest_delivery_signals(rate)
        self.bound_bw_for_model()
        self.update_control_parameters(ack)

    def on_packet_lost(self, lost: Lost) -> None:
        """BBRHandleLostPacket() (5.5.10.2)."""
        self.now = lost.now
        self.delivered = lost.delivered
        self.save_state_upon_loss()
        self.note_loss(lost.delivered)
        if self.bw_probe_samples and self.is_inflight_too_high(lost.lost, lost.tx_in_flight):
            self.handle_inflight_too_high(self.inflight_at_loss(lost), lost.app_limited)

    def on_congestion(self, flight: int, now: float) -> None:
        """BBROnEnterFastRecovery() (5.6.4.4)."""
        self.save_cwnd()
        self.save_state_upon_loss()
        self.in_recovery = True

    def on_ecn(self, flight: int, now: float) -> None:
        self.now = now
        if self.state is State.STARTUP:
            self.exit_startup(flight)
        elif self.bw_probe_samples or self.state is State.PROBE_BW_REFILL:
            self.handle_inflight_too_high(flight, False)
            if self.state is State.PROBE_BW_REFILL:
                self.start_probe_bw_down()
        else:
            self.note_loss(self.delivered)
            self.ecn_flight = flight

    def on_timeout(self, flight: int, now: float, repeated: bool) -> None:
        """BBROnEnterRTO() (5.6.4.4): all counts as lost, and one segment may leave."""
        self.save_cwnd()
        self.save_state_upon_loss()
        self.in_recovery = True
        self.cwnd = self.mss

    def on_recovered(self, flight: int, now: float) -> None:
        self.restore_cwnd()
        self.in_recovery = self._saved = False

    # -- spurious losses (5.5.11) --------------------------------------------------------------

    def save_state_upon_loss(self) -> None:
        if not self._saved:
            self._saved = True
            self.undo_state: State = self.state
            self.undo_bw_shortterm = self.bw_shortterm
            self.undo_inflight_shortterm = self.inflight_shortterm
            self.undo_inflight_longterm = self.inflight_longterm

    def undo(self, flight: int, now: float) -> None:
        """BBRHandleSpuriousLossDetection() (5.5.11.2)."""
        self.now = now
        self.restore_cwnd()
        self.in_recovery = self._saved = False
        self.loss_in_round = False
        self.reset_full_bw()
        self.bw_shortterm = max(self.bw_shortterm, self.undo_bw_shortterm)
        self.inflight_shortterm = max(self.inflight_shortterm, self.undo_inflight_shortterm)
        self.inflight_longterm = max(self.inflight_longterm, self.undo_inflight_longterm)
        if self.state is not State.PROBE_RTT and self.state is not self.undo_state:
            if self.undo_state is State.STARTUP and self._exit_by_congestion:
                # Startup ended because of these losses; where it had ended by itself, going back
                # would end at the next acknowledgment.
                self._exit_by_congestion = self.full_bw_reached = False
                self.enter(State.STARTUP)
            elif self.undo_state is State.PROBE_BW_UP:
                self.start_probe_bw_up()

    # -- Startup and Drain (5.3.1, 5.3.2) ------------------------------------------------------

    def check_startup_done(self, ack: Ack, rate: RateSample) -> None:
        if ack.phase is Phase.RECOVERY and not self.full_bw_reached:
            # Of the ranges lost, those that one acknowledgment told of count as one.
            many = self.loss_round_start and self.loss_events_in_round >= STARTUP_FULL_LOSS_CNT
            if (many or not self.selective) and self.is_inflight_too_high(
                rate.lost, rate.tx_in_flight
            ):
                self.exit_startup(0)
        if self.loss_round_start:
            self.loss_events_in_round = 0
        if self.full_bw_reached and self.state is State.STARTUP:
            self.enter_drain()

    def exit_startup(self, flight: int) -> None:
        self._exit_by_congestion = self.full_bw_reached = True
        bdp = self.bdp_multiple(self.bw, 1.0)
        self.inflight_longterm = max(bdp, self.inflight_latest, flight / 2)
        self.enter_drain()

    def enter_drain(self) -> None:
        self.drain_start_round = self.round_count
        self.enter(State.DRAIN)

    def check_drain_done(self, flight: int) -> None:
        if flight <= self.inflight(self.bw, 1.0) or self.round_count > self.drain_start_round + 3:
            self.start_probe_bw_down()
