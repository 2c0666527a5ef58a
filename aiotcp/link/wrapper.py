"""A link that wraps another one and changes nothing: what others are made of that do.

    class Counted(Wrapper):
        packets = 0

        def send(self, frame):
            self.packets += 1
            super().send(frame)

It is a link to the stack above and the receiver of the link below. A subclass overrides the calls
that it has something to do with; the rules of `aiotcp.link.base` hold for it as for any link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiotcp.link.base import (
    Link,
    Receiver,
    owns,
    processes,
    receive_queue_packets,
    receive_waiting,
)
from aiotcp.wire.frame import Frame


class Wrapper:
    """Passes everything on, and says of itself what the link below says.

    link: the link below; also the attribute `link`, for its own counters.

    A subclass may set `mtu`, `gso_max_bytes`, `checksum_offload` and `counters` (here those of the
    link below) once it has called this `__init__`.
    """

    receiver: Receiver
    """Who is above; there is none before `attach()`."""

    loop: asyncio.AbstractEventLoop
    """Likewise."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.mtu = link.mtu
        self.gso_max_bytes = link.gso_max_bytes
        self.checksum_offload = link.checksum_offload
        self.counters = link.counters

    @property
    def receive_queue_packets(self) -> int | None:
        """That of the link below."""
        return receive_queue_packets(self.link)

    @property
    def receive_waiting(self) -> Callable[[], bool] | None:
        """That of the link below."""
        return receive_waiting(self.link)

    @property
    def owns(self) -> Callable[[bytes], bool] | None:
        """That of the link below."""
        return owns(self.link)

    @property
    def processes(self) -> int | None:
        """That of the link below."""
        return processes(self.link)

    # Towards the link below

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        self.link.attach(self, loop)  # first: a second one is refused, and changes nothing
        self.receiver, self.loop = receiver, loop

    def send(self, frame: Frame) -> None:
        self.link.send(frame)

    def close(self) -> None:
        self.link.close()

    # From the link below

    def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
        self.receiver.receive(packet, vouched, gso_size)

    def flush(self) -> int | None:
        return self.receiver.flush()

    def link_lost(self, exc: OSError) -> None:
        self.receiver.link_lost(exc)
