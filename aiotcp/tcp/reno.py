"""Reno congestion control (RFC 5681), counting bytes."""

from __future__ import annotations

from aiotcp.tcp.congestion import Start
from aiotcp.tcp.lossbased import LossBased


class Reno(LossBased):
    """Slow start, congestion avoidance and multiplicative decrease by half."""

    __slots__ = ("_bytes_acked",)

    name = "reno"
    beta = 0.5

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self._bytes_acked = 0

    def _avoid(self, now: float, acked: int) -> None:
        # RFC 5681 3.1: one SMSS per cwnd's worth of acknowledged bytes.
        self._bytes_acked += acked
        if self._bytes_acked >= self.cwnd:
            self._bytes_acked -= self.cwnd
            self.cwnd += self.mss

    def _new_stage(self) -> None:
        self._bytes_acked = 0
