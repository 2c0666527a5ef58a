"""The path of the measurements, the same in virtual time and live: what becomes of one packet."""

from __future__ import annotations

import random
from collections import deque

from bench.loss.cells import BDP_PACKETS, RATE_BIT_S, RTT_S, Cell

_ANY_NUMBER = 1 << 30


class Path:
    """One direction: a bottleneck with a drop-tail buffer of `limit` packets, then loss, then a
    delay that some packets skip (netem's `reorder`).

    `rate` in bits per second, IP headers included, 0: any; `delay` in seconds; `loss` and `reorder`
    are probabilities. The same seed and the same packets at the same times give the same fates.
    """

    def __init__(
        self,
        seed: str,
        *,
        delay: float = 0.0,
        rate: float = 0.0,
        limit: int = _ANY_NUMBER,
        loss: float = 0.0,
        reorder: float = 0.0,
    ) -> None:
        self.queue_drops = 0
        """Packets that found the buffer full."""
        self.losses = 0
        self.bytes_carried = 0
        """By the bottleneck, those that were lost behind it included; up to the latest `arrival`
        they may still be in the buffer: see `carried`."""
        self._delay = delay
        self._byte_s = 8 / rate if rate else 0.0
        self._limit = limit
        self._loss = loss
        self._reorder = reorder
        self._draw = random.Random(seed).random
        self._free_at = 0.0
        self._queue: deque[float] = deque()  # when each packet in the buffer has left it

    def arrival(self, length: int, now: float) -> float | None:
        """When a packet of so many bytes that is sent now arrives; None: never."""
        queue = self._queue
        while queue and queue[0] <= now:
            queue.popleft()
        at = now
        if self._byte_s:
            if len(queue) >= self._limit:
                self.queue_drops += 1
                return None
            at = self._free_at = max(now, self._free_at) + length * self._byte_s
            queue.append(at)
        self.bytes_carried += length
        if self._loss and self._draw() < self._loss:
            self.losses += 1
            return None
        if self._reorder and self._draw() < self._reorder:
            return at
        return at + self._delay

    def carried(self, now: float) -> float:
        """Bytes that have left the bottleneck by now."""
        if not self._byte_s:
            return self.bytes_carried
        return self.bytes_carried - max(self._free_at - now, 0.0) / self._byte_s


def data_path(cell: Cell, seed: int) -> Path:
    """From the sender to the receiver."""
    return Path(
        f"data {seed}",
        delay=RTT_S / 2,
        rate=RATE_BIT_S,
        limit=max(round(cell.buffer_bdp * BDP_PACKETS), 1),
        loss=cell.loss,
        reorder=cell.reorder,
    )


def ack_path(cell: Cell, seed: int) -> Path:
    """Back."""
    return Path(f"acks {seed}", delay=RTT_S / 2, loss=cell.ack_loss)
