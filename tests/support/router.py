"""A hop behind a stack's link that carries less than the link does."""

from __future__ import annotations

import asyncio

from aiotcp.link.base import Link, Receiver
from aiotcp.wire import icmp
from aiotcp.wire.frame import Frame
from aiotcp.wire.segmentation import split


class Router:
    """Wraps a link: outbound packets above `mtu` are dropped, and reported if it `reports`.

    Offload is the link's: a frame is judged by the packets that it stands for, and lost whole if
    they are too large.
    """

    def __init__(
        self, link: Link, *, mtu: int = 1 << 16, reports: bool = True, delay: float = 0.01
    ) -> None:
        self.link = link
        self.next_hop_mtu = mtu
        self.reports = reports
        self.delay = delay
        self.dropped = 0
        self.mtu = link.mtu
        self.gso_max_bytes = link.gso_max_bytes
        self.checksum_offload = link.checksum_offload
        self.counters = link.counters
        self._receiver: Receiver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        self._receiver, self._loop = receiver, loop
        self.link.attach(receiver, loop)

    def send(self, frame: Frame) -> None:
        assert self._loop is not None
        if frame.length > self.next_hop_mtu:
            packets = split(frame.to_bytes(), frame.gso_size, frame.checksum_start > 0)
            large = [packet for packet in packets if len(packet) > self.next_hop_mtu]
            if large:
                self.dropped += 1
                if self.reports:
                    self._loop.call_later(self.delay, self._report, large[0], self.next_hop_mtu)
                return
        self.link.send(frame)

    def _report(self, packet: bytes, mtu: int) -> None:
        assert self._receiver is not None
        type_, code = (3, 4) if packet[0] >> 4 == 4 else (2, 0)
        report = icmp.error(packet, type_, code, parameter=mtu).to_bytes()
        self._receiver.receive(memoryview(report))
        self._receiver.flush()

    def close(self) -> None:
        self.link.close()
