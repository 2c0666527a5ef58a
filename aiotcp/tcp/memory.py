"""What all connections of a stack may hold together, as Linux's tcp_mem has it (tcp(7)).

Under pressure nobody gets more than what keeps a connection going; at the limit, data is refused to
those whose programs do not read. The figure is brought up to date after each batch, and where much
is written in between; so it may be passed by what one batch brings, and a little by each writer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

LEAST_SEND_BYTES: Final = 16 * 1024
"""What a connection may have on its way whatever the pressure."""
UNNOTED_BYTES: Final = 256
"""What a connection holds more or less than was noted, below this, is not worth a note: a line that
comes and goes costs none. And less than this is noted as nothing, so that many that hold nothing
do not count for what each held last."""
_LEAST_SEGMENTS: Final = 4
"""The window that is offered under pressure, in segments (as in Linux)."""


class MemoryBudget:
    """Bytes of receive queues, reassembly and send buffers, against a `limit`.

    Pressure begins above three quarters of it and ends below a half.
    """

    __slots__ = ("_high", "_low", "exhausted", "limit", "on_pressure", "pressure", "used")

    def __init__(self, limit: int, on_pressure: Callable[[], None]) -> None:
        """`on_pressure` is called each time that it begins."""
        self.limit = limit
        self.on_pressure = on_pressure
        self.used = 0
        self.pressure = False
        """Windows do not open and buffers do not grow further; nothing is kept out of order."""
        self.exhausted = False
        """The limit is reached."""
        self._high = limit - limit // 4
        self._low = limit // 2

    def account(self, change: int) -> None:
        """A connection holds `change` bytes more, or less."""
        self.used += change
        if self.used < self._low and not (self.pressure or self.exhausted):
            return
        self.exhausted = self.used >= self.limit
        if self.pressure:
            self.pressure = self.used >= self._low
        elif self.used > self._high:
            self.pressure = True
            self.on_pressure()

    def receive_buffer(self, buffer: int, mss: int) -> int:
        """What of `buffer` may be offered now."""
        return min(buffer, _LEAST_SEGMENTS * mss) if self.pressure else buffer

    def send_room(self, buffer: int, held: int) -> int:
        """What may be added to the `held` bytes of a send buffer that may hold `buffer`: no more
        than is left until pressure begins. So what is written exhausts nothing, or what programs
        have closed would be reset (`Options.memory_limit`)."""
        least = min(buffer, LEAST_SEND_BYTES) - held
        left = self._high - self.used
        if self.pressure or left < LEAST_SEND_BYTES:
            return least
        return max(min(buffer - held, left), least)
