"""A hop behind a stack's link that carries less than the link does."""

from __future__ import annotations

from aiotcp.link.base import Link
from aiotcp.link.wrapper import Wrapper
from aiotcp.wire import icmp
from aiotcp.wire.frame import Frame
from aiotcp.wire.segmentation import split


class Router(Wrapper):
    """Wraps a link: outbound packets above `mtu` are dropped, and reported if it `reports`.

    Offload is the link's: a frame is judged by the packets that it stands for, and lost whole if
    they are too large.
    """

    def __init__(
        self, link: Link, *, mtu: int = 1 << 16, reports: bool = True, delay: float = 0.01
    ) -> None:
        super().__init__(link)
        self.next_hop_mtu = mtu
        self.reports = reports
        self.delay = delay
        self.dropped = 0

    def send(self, frame: Frame) -> None:
        if frame.length > self.next_hop_mtu:
            packets = split(frame.to_bytes(), frame.gso_size, frame.checksum_start > 0)
            large = [packet for packet in packets if len(packet) > self.next_hop_mtu]
            if large:
                self.dropped += 1
                if self.reports:
                    self.loop.call_later(self.delay, self._report, large[0], self.next_hop_mtu)
                return
        self.link.send(frame)

    def _report(self, packet: bytes, mtu: int) -> None:
        type_, code = (3, 4) if packet[0] >> 4 == 4 else (2, 0)
        report = icmp.error(packet, type_, code, parameter=mtu).to_bytes()
        self.receiver.receive(memoryview(report))
        self.receiver.flush()
