"""Reno congestion control (RFC 5681), counting bytes.

One deviation, said aloud: RFC 5681 caps slow start's growth at one SMSS per acknowledgment. A
link with segmentation offload carries tens of segments in a frame and gets one acknowledgment
for all, so growth is by the bytes acknowledged (RFC 3465, without its limit L), except after a
timeout, where the cap of one SMSS holds (RFC 3465 2.3).
"""

from __future__ import annotations

from aiotcp.tcp.congestion import Ack, CongestionControl, Phase, Start


class Reno(CongestionControl):
    """Slow start, congestion avoidance and multiplicative decrease by half."""

    __slots__ = ("_after_timeout", "_before", "_bytes_acked", "_restart_window")

    name = "reno"

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self._restart_window = start.restart_window
        self._bytes_acked = 0
        self._after_timeout = False
        self._before = (self.cwnd, self.ssthresh)

    def on_ack(self, ack: Ack) -> None:
        # RFC 3168 6.1.2: the window "SHOULD NOT increase [...] in response to the receipt of an
        # ECN-Echo ACK packet".
        if ack.phase is Phase.RECOVERY or ack.ece:
            return
        acked, flight = ack.acked, ack.prior_flight
        if self.cwnd < self.ssthresh:
            # A window that is not used says nothing about the path: at most twice what was.
            if flight * 2 >= self.cwnd:
                step = min(acked, self.mss) if self._after_timeout else acked
                self.cwnd = min(self.cwnd + step, max(self.ssthresh, self.cwnd))
            return
        self._after_timeout = False
        if flight + self.mss < self.cwnd:
            return
        # RFC 5681 3.1: one SMSS per cwnd's worth of acknowledged bytes.
        self._bytes_acked += acked
        if self._bytes_acked >= self.cwnd:
            self._bytes_acked -= self.cwnd
            self.cwnd += self.mss

    def on_congestion(self, flight: int, now: float) -> None:
        self._before = (self.cwnd, self.ssthresh)
        self.ssthresh = max(flight // 2, 2 * self.mss)  # RFC 5681 (4)
        self.cwnd = self.ssthresh
        self._bytes_acked = 0

    def on_ecn(self, flight: int, now: float) -> None:
        # RFC 3168 6.1.2: "halves the congestion window "cwnd" and reduces the slow start
        # threshold "ssthresh"".
        self.ssthresh = max(flight // 2, 2 * self.mss)
        self.cwnd = min(self.ssthresh, self.cwnd)
        self._before = (self.cwnd, self.ssthresh)  # no undo for what the network has said itself
        self._bytes_acked = 0

    def on_recovered(self, flight: int, now: float) -> None:
        # RFC 6582 3.2 step 3, full acknowledgment, option 1: no burst of what has piled up.
        self.cwnd = min(self.ssthresh, max(flight, self.mss) + self.mss)

    def on_timeout(self, flight: int, now: float, repeated: bool) -> None:
        if not repeated:  # RFC 5681 3.1: ssthresh is held constant for a repeated timeout
            self._before = (self.cwnd, self.ssthresh)
            self.ssthresh = max(flight // 2, 2 * self.mss)
        self.cwnd = self.mss  # the loss window LW
        self._bytes_acked = 0
        self._after_timeout = True

    def on_idle(self, idle_s: float, rto: float) -> None:
        # RFC 5681 4.1: the restart window RW = min(IW, cwnd).
        if idle_s > rto:
            self.cwnd = min(self._restart_window, self.cwnd)

    def undo(self, flight: int, now: float) -> None:
        cwnd, ssthresh = self._before
        self.cwnd = max(self.cwnd, cwnd)
        self.ssthresh = max(self.ssthresh, ssthresh)
