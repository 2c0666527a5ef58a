"""What a stack sends to its own addresses: it comes back, as on a kernel's `lo`.

A program may be a server and the client of it, on one address. What such a connection sends never
touches the link. Which way packets go is decided once, when a connection, a half-open entry or a
TIME-WAIT record is made: by the mark at the end of its key (`addresses.LOOPED`).

A tap on the link, a pcap file for instance, sees none of these packets. `Counters` counts them as
any others, sent and received, as Linux does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotcp.reasons import Drop

if TYPE_CHECKING:
    from aiotcp.engine import Engine
    from aiotcp.wire.frame import Frame

MTU = 65535
"""The largest packet that IPv4 can say, and so segments as large as frames with offload."""

LIMIT_PACKETS = 16384
"""More in one turn of the loop are dropped (`Drop.LOOPBACK_FULL`). The payload is in the senders'
buffers anyway, so this bounds headers: a few MB."""


class Loopback:
    """The way from a stack to itself. Packets arrive in order, on the next turn of the loop."""

    mtu = MTU
    gso_max_bytes = 0
    checksum_offload = True

    def __init__(self, engine: Engine) -> None:
        self.delivering = False
        """Whether the packet that the engine is being given comes from here."""
        self._engine = engine
        self._queue: list[Frame] = []
        self._closed = False

    def send(self, frame: Frame) -> None:
        """One packet, to arrive on the next turn of the loop; after `close()`, never."""
        counters = self._engine.counters
        counters.packets_sent += 1
        counters.bytes_sent += frame.length
        counters.sent[frame.reason] += 1
        if self._closed:
            return
        if len(self._queue) >= LIMIT_PACKETS:
            counters.packets_received += 1
            counters.bytes_received += frame.length
            counters.dropped[Drop.LOOPBACK_FULL] += 1
            return
        if not self._queue:
            self._engine.loop.call_soon(self._deliver)
        self._queue.append(frame)

    def _deliver(self) -> None:
        batch, self._queue = self._queue, []
        if self._closed:
            return
        self.delivering = True
        for frame in batch:
            self._engine.receive(memoryview(frame.to_bytes()), True, frame.gso_size)
        self.delivering = False
        self._engine.flush()

    def close(self) -> None:
        """What waits is lost, and all that follows."""
        self._closed = True
        self._queue = []
