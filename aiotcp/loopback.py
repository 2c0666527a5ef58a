"""What a stack sends to its own addresses: it comes back, as on a kernel's `lo`.

A program may be a server and the client of it, on one address. What such a connection sends never
touches the link. Which way packets go is decided once, when a connection, a half-open entry or a
TIME-WAIT record is made: by the mark at the end of its key (`addresses.LOOPED`).

A tap on the link, a pcap file for instance, sees none of these packets. `Counters` counts them as
any others, sent and received, as Linux does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiotcp.reasons import Drop

if TYPE_CHECKING:
    import asyncio

    from aiotcp.counters import Counters
    from aiotcp.link.base import Receiver
    from aiotcp.wire.frame import Frame

MTU: Final = 65535
"""The largest packet that IPv4 can say, and so segments as large as frames with offload."""

LIMIT_PACKETS: Final = 16384
"""More in one turn of the loop are dropped (`Drop.LOOPBACK_FULL`). The payload is in the senders'
buffers anyway, so this bounds headers: a few MB."""


class Loopback:
    """The way from a stack to itself. Packets arrive in order, on the next turn of the loop."""

    mtu = MTU
    gso_max_bytes = 0
    checksum_offload = True

    def __init__(self, counters: Counters) -> None:
        """`counters` are the stack's."""
        self.delivering = False
        """Whether the packet that the stack is being given comes from here."""
        self._counters = counters
        self._receiver: Receiver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: list[Frame] = []
        self._closed = False

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        """As `Link.attach`."""
        self._receiver = receiver
        self._loop = loop

    def send(self, frame: Frame) -> None:
        """One packet, to arrive on the next turn of the loop; after `close()`, never."""
        counters = self._counters
        counters.bytes_sent += frame.length
        counters.sent[frame.reason] += 1
        loop = self._loop
        if self._closed or loop is None:
            return
        if len(self._queue) >= LIMIT_PACKETS:
            counters.packets_received += 1
            counters.bytes_received += frame.length
            counters.dropped[Drop.LOOPBACK_FULL] += 1
            return
        if not self._queue:
            loop.call_soon(self._deliver)
        self._queue.append(frame)

    def _deliver(self) -> None:
        batch, self._queue = self._queue, []
        receiver = self._receiver
        if self._closed or receiver is None:
            return
        self.delivering = True
        for frame in batch:
            receiver.receive(memoryview(frame.to_bytes()), True, frame.gso_size)
        self.delivering = False
        receiver.flush()

    def close(self) -> None:
        """What waits is lost, and all that follows."""
        self._closed = True
        self._receiver = None
        self._queue = []
