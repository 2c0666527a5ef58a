"""Reno congestion control (RFC 5681), counting bytes.

One deviation, said aloud: RFC 5681 caps slow start's growth at one SMSS per acknowledgment. A
link with segmentation offload carries tens of segments in a frame and gets one acknowledgment
for all, so growth is by the bytes acknowledged (RFC 3465, without its limit L), except after a
timeout, where the cap of one SMSS holds (RFC 3465 2.3).
"""

from __future__ import annotations

from aiotcp.tcp.congestion import INFINITE, initial_window


class Reno:
    """Slow start, congestion avoidance and multiplicative decrease by half."""

    __slots__ = ("_after_timeout", "_bytes_acked", "_iw_segments", "_mss", "cwnd", "ssthresh")

    name = "reno"

    def __init__(self, mss: int, initial_window_segments: int, *, syn_lost: bool = False) -> None:
        self._mss = mss
        self._iw_segments = initial_window_segments
        # RFC 5681 3.1: "if the SYN or SYN/ACK is lost, the initial window used by a sender
        # after a correctly transmitted SYN MUST be one segment".
        self.cwnd = mss if syn_lost else initial_window(mss, initial_window_segments)
        self.ssthresh = INFINITE
        self._bytes_acked = 0
        self._after_timeout = False

    def on_ack(self, acked: int, flight: int, now: float, rtt: float | None) -> None:
        if self.cwnd < self.ssthresh:
            # A window that is not used says nothing about the path: at most twice what was.
            if flight * 2 >= self.cwnd:
                step = min(acked, self._mss) if self._after_timeout else acked
                self.cwnd = min(self.cwnd + step, max(self.ssthresh, self.cwnd))
            return
        self._after_timeout = False
        if flight + self._mss < self.cwnd:
            return
        # RFC 5681 3.1: one SMSS per cwnd's worth of acknowledged bytes.
        self._bytes_acked += acked
        if self._bytes_acked >= self.cwnd:
            self._bytes_acked -= self.cwnd
            self.cwnd += self._mss

    def on_loss(self, flight: int, now: float) -> None:
        self.ssthresh = max(flight // 2, 2 * self._mss)  # RFC 5681 (4)
        self.cwnd = self.ssthresh
        self._bytes_acked = 0

    def on_recovered(self, flight: int, now: float) -> None:
        # RFC 6582 3.2 step 3, full acknowledgment, option 1: no burst of what has piled up.
        self.cwnd = min(self.ssthresh, max(flight, self._mss) + self._mss)

    def on_timeout(self, flight: int, now: float, repeated: bool) -> None:
        if not repeated:  # RFC 5681 3.1: ssthresh is held constant for a repeated timeout
            self.ssthresh = max(flight // 2, 2 * self._mss)
        self.cwnd = self._mss  # the loss window LW
        self._bytes_acked = 0
        self._after_timeout = True

    def on_idle(self, idle_s: float, rto: float) -> None:
        # RFC 5681 4.1: the restart window RW = min(IW, cwnd).
        if idle_s > rto:
            self.cwnd = min(initial_window(self._mss, self._iw_segments), self.cwnd)

    def set_mss(self, mss: int) -> None:
        self._mss = mss
        self.cwnd = max(self.cwnd, mss)
