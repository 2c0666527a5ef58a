"""A hop whose MTU and marks change; and where what would go on for ever ends."""

from __future__ import annotations

import asyncio
import random

from aiotcp.addresses import pack
from aiotcp.link.base import Link, Receiver
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


class Router:
    """A link whose path has an MTU of its own, and a budget: what would go on for ever ends, and
    is reported."""

    def __init__(self, link: Link, version: int, budget: int, seed: str) -> None:
        self.link = link
        self.mtu = link.mtu
        self.gso_max_bytes = link.gso_max_bytes
        self.checksum_offload = link.checksum_offload
        self.counters: dict[str, int] = {"too_big": 0}
        self.path_mtu = link.mtu
        self.told = True
        self.marks = 0.0
        self.packets = 0
        self.budget = budget
        self._version = version
        self._draw = random.Random(seed).random
        self._receiver: Receiver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        self._receiver, self._loop = receiver, loop
        self.link.attach(receiver, loop)

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
            assert self._loop is not None
            self._loop.call_soon(self._tell, frame.to_bytes())

    def _tell(self, packet: bytes) -> None:
        type_, code = (
            (icmp.V4_UNREACHABLE, 4) if self._version == 4 else (icmp.V6_PACKET_TOO_BIG, 0)
        )
        message = icmp.error(
            packet, type_, code, source=pack(ROUTER[self._version]), parameter=self.path_mtu
        )
        assert self._receiver is not None
        self._receiver.receive(memoryview(message.to_bytes()))
        self._receiver.flush()

    def close(self) -> None:
        self.link.close()
