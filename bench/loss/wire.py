"""Two joined links with a `Path` in each direction: what the simulated stacks are on."""

from __future__ import annotations

import asyncio
import heapq

from aiotcp.link.base import Receiver
from aiotcp.wire.frame import Frame
from aiotcp.wire.segmentation import split
from bench.loss.path import Path


class End:
    """One end of a wire. Packets are as a TUN device with offload gives and takes them: frames of
    up to 64 KiB are cut here, and nobody computes a checksum of what can't be corrupted.

    `payload_received`: bytes of TCP payload that arrived (IPv4, without IP options).
    """

    checksum_offload = True

    def __init__(self, path: Path, mtu: int, offload: bool) -> None:
        self.path = path
        self.mtu = mtu
        self.gso_max_bytes = 65535 if offload else 0
        self.counters: dict[str, int] = {}
        self.payload_received = 0
        self._peer: End | None = None
        self._receiver: Receiver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._held: list[tuple[float, int, bytes]] = []  # on their way to us
        self._sent = 0
        self._timer: asyncio.TimerHandle | None = None

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        self._receiver = receiver
        self._loop = loop

    def send(self, frame: Frame) -> None:
        assert self._loop is not None
        now = self._loop.time()
        if frame.gso_size:
            for packet in split(frame.to_bytes(), frame.gso_size, True):
                self._carry(packet, now)
        else:
            self._carry(frame.to_bytes(), now)

    def _carry(self, packet: bytes, now: float) -> None:
        at = self.path.arrival(len(packet), now)
        if at is not None and self._peer is not None:
            self._sent += 1
            self._peer._expect(at, self._sent, packet)

    def _expect(self, at: float, number: int, packet: bytes) -> None:
        heapq.heappush(self._held, (at, number, packet))
        if self._timer is None or at < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._arm()

    def _arm(self) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_at(self._held[0][0], self._deliver)

    def _deliver(self) -> None:
        self._timer = None
        receiver, held = self._receiver, self._held
        assert self._loop is not None
        if receiver is None:
            held.clear()
            return
        now = self._loop.time()
        while held and held[0][0] <= now:
            packet = heapq.heappop(held)[2]
            self.payload_received += len(packet) - 20 - (packet[32] >> 4) * 4
            receiver.receive(memoryview(packet), True, 0)
        if held:
            self._arm()
        receiver.flush()

    def close(self) -> None:
        self._receiver = self._peer = None


def wire(there: Path, back: Path, *, mtu: int, offload: bool) -> tuple[End, End]:
    """Made outside of a loop or in it; both ends belong to one."""
    left, right = End(there, mtu, offload), End(back, mtu, offload)
    left._peer, right._peer = right, left
    return left, right
