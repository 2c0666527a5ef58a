"""A host of a simulated network that is not simulated: what is behind a link, such as the kernel
behind a TUN device. The network between it and the others is as bad as it is told to be.

    gateway = Gateway(network, "kernel", tun, addresses=["192.0.2.1"])

On a loop on real time, since what is behind the link lives there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from aiotcp.link.base import Link
from aiotcp.sim.network import Network
from aiotcp.wire.frame import Frame


class Gateway:
    """Carries packets between a network and a link; the link must have no offload, since what
    comes is handed on as it is, and the network must be one of `checksums=True`."""

    def __init__(
        self, network: Network, name: str, link: Link, *, addresses: Iterable[str]
    ) -> None:
        if link.gso_max_bytes or link.checksum_offload:
            raise ValueError("a gateway needs a link without offload")
        self.name = name
        self.address, *_ = self.addresses = list(addresses)
        self.link = link
        self.port = self
        self.counters: dict[str, int] = dict.fromkeys(("send_no_host", "cut", "fault"), 0)
        self.last_sent: Frame | None = None
        self.host = self
        self._network = network
        self._batch: list[Frame] = []
        network.plug(self)
        network.recording.knows(name, self.addresses)
        network.recording.hears(name)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to carry."""
        self.link.attach(self, loop)

    # From the link: what is behind it sends.

    def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
        self._batch.append(Frame(bytes(packet), (), len(packet)))

    def flush(self) -> None:
        batch, self._batch = self._batch, []
        for frame in batch:
            self._network.recording.sent(frame.header, "")
            self._network.carry(self, frame)

    def link_lost(self, exc: OSError) -> None:
        self._network.recording.fault(f"the link is gone: {exc}", self.name)

    # From the network: it is the exit of the paths that lead here.

    def put(self, frame: Frame) -> None:
        packet = frame.to_bytes()
        self._network.recording.came(self.name, memoryview(packet))
        self.link.send(Frame(packet, (), len(packet), reason=frame.reason))

    def put_held(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            self.put(frame)

    def close(self) -> None:
        self.link.close()
