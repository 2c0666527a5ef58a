"""A hop whose MTU and marks change; and where what would go on for ever ends."""

from __future__ import annotations

import random

from aiotcp.addresses import pack
from aiotcp.link.base import Link
from aiotcp.link.wrapper import Wrapper
from aiotcp.wire import checksum, icmp
from aiotcp.wire.frame import Frame

ROUTER = {4: "203.0.113.1", 6: "2001:db8:1::1"}


def marked(packet: bytes) -> bytes:
    """With CE in its IP header, if it is ECN-capable."""
    changed = bytearray(packet)
    if packet[0] >> 4 == 4 and packet[1] & 3:
        changed[1] |= 3
        changed[10:12] = bytes(2)
        total = checksum.finish(checksum.ones_complement_sum(bytes(changed[:20])))
        changed[10:12] = total.to_bytes(2, "big")
    elif packet[0] >> 4 == 6 and packet[1] & 0x30:
        changed[1] |= 0x30
    return bytes(changed)


class Router(Wrapper):
    """A link whose path has an MTU of its own, and a budget: what would go on for ever ends, and
    is reported."""

    def __init__(self, link: Link, version: int, budget: int, seed: str) -> None:
        super().__init__(link)
        self.counters = {"too_big": 0}
        self.path_mtu = link.mtu
        self.told = True
        self.marks = 0.0
        self.packets = 0
        self.budget = budget
        self._version = version
        self._draw = random.Random(seed).random

    def send(self, frame: Frame) -> None:
        self.packets += 1
        if self.packets > self.budget:
            return
        if frame.length <= self.path_mtu:
            if self.marks and self._draw() < self.marks:
                frame = Frame(marked(frame.to_bytes()), reason=frame.reason)
            self.link.send(frame)
            return
        self.counters["too_big"] += 1
        if self.told:
            self.loop.call_soon(self._tell, frame.to_bytes())

    def _tell(self, packet: bytes) -> None:
        type_, code = (
            (icmp.V4_UNREACHABLE, 4) if self._version == 4 else (icmp.V6_PACKET_TOO_BIG, 0)
        )
        message = icmp.error(
            packet, type_, code, source=pack(ROUTER[self._version]), parameter=self.path_mtu
        )
        self.receiver.receive(memoryview(message.to_bytes()))
        self.receiver.flush()
