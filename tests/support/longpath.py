"""A path of some length between two stacks, in virtual time: frames pass whole, so that a gigabit
costs no more than its frames."""

from __future__ import annotations

import asyncio

from aiotcp.link.base import Receiver
from aiotcp.wire.frame import Frame


class End:
    """One end. `rate` in bits per second and `delay` in seconds concern what it sends."""

    mtu = 1500
    gso_max_bytes = 65535
    checksum_offload = True

    def __init__(self, rate: float, delay: float) -> None:
        self.counters: dict[str, int] = {}
        self.peer: End | None = None
        self._rate = rate
        self._delay = delay
        self._free_at = 0.0
        self._receiver: Receiver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        self._receiver = receiver
        self._loop = loop

    def send(self, frame: Frame) -> None:
        assert self._loop is not None
        assert self.peer is not None
        now = self._loop.time()
        self._free_at = max(now, self._free_at) + frame.length * 8 / self._rate
        self._loop.call_at(
            self._free_at + self._delay, self.peer._deliver, frame.to_bytes(), frame.gso_size
        )

    def _deliver(self, packet: bytes, gso_size: int) -> None:
        if self._receiver is not None:
            self._receiver.receive(memoryview(packet), True, gso_size)
            self._receiver.flush()

    def close(self) -> None:
        self._receiver = None


def path(rate: float, delay: float) -> tuple[End, End]:
    """`delay` in each direction, `rate` in that of the first end."""
    left, right = End(rate, delay), End(1e12, delay)
    left.peer, right.peer = right, left
    return left, right
