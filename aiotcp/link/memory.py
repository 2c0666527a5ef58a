"""Two links joined in memory: what one sends, the other receives. For tests and simulations.

    left, right = memory.pair()
    async with Stack(left, ...) as client, Stack(right, ...) as server: ...

The wire itself is perfect and takes no time: packets arrive in order, on the next turn of the
loop. Wrap an end in `aiotcp.link.impair.Impair` for anything worse.
"""

from __future__ import annotations

import asyncio

from aiotcp.link.base import Receiver
from aiotcp.wire.frame import Frame

OFFLOAD_MAX_BYTES = 65535
"""Largest packet with segmentation offload: what IPv4's total length field can say."""


class MemoryLink:
    """One end of a pair; made by `pair()`.

    Counters: `sent_packets`, `sent_bytes`, `received_packets`, `received_bytes`, and the drops
    `send_too_big` (larger than the MTU), `send_queue_full` (the other end has `limit` packets
    waiting), `send_no_peer` (the other end is not attached, or is closed), `send_closed` (this end
    is).
    """

    def __init__(self, mtu: int, offload: bool, limit: int) -> None:
        self.mtu = mtu
        self.gso_max_bytes = OFFLOAD_MAX_BYTES if offload else 0
        self.checksum_offload = offload
        self.counters = dict.fromkeys(
            (
                "sent_packets",
                "sent_bytes",
                "received_packets",
                "received_bytes",
                "send_too_big",
                "send_queue_full",
                "send_no_peer",
                "send_closed",
            ),
            0,
        )
        self._limit = limit
        self._peer: MemoryLink | None = None
        self._receiver: Receiver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arrived: list[tuple[bytes, bool, int]] = []
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "attached" if self._receiver else "free"
        return f"<MemoryLink {state} mtu={self.mtu} offload={self.checksum_offload}>"

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to deliver to `receiver`. Both ends of a pair belong to one loop.

        Raises RuntimeError if this end is attached or closed, or the other end is on another loop.
        """
        if self._closed:
            raise RuntimeError("the link is closed")
        if self._receiver is not None:
            raise RuntimeError("the link already has a receiver")
        if self._peer is not None and self._peer._loop not in (None, loop):
            raise RuntimeError("the two ends of an in-memory link must be attached to one loop")
        self._receiver = receiver
        self._loop = loop

    def send(self, frame: Frame) -> None:
        """Queue one frame for the other end, as `Link.send` says.

        Raises ValueError for a frame that asks for an offload which this link does not offer.
        """
        offloaded = frame.checksum_start > 0
        if offloaded and not self.checksum_offload:
            raise ValueError("frame with a partial checksum on a link without checksum offload")
        if frame.gso_size and not self.gso_max_bytes:
            raise ValueError("frame to be segmented on a link without segmentation offload")
        counters = self.counters
        largest = self.gso_max_bytes if frame.gso_size else self.mtu
        peer = self._peer
        if self._closed:
            counters["send_closed"] += 1
        elif frame.length > largest:
            counters["send_too_big"] += 1
        elif peer is None or peer._receiver is None or peer._loop is None:
            counters["send_no_peer"] += 1
        elif len(peer._arrived) >= peer._limit:
            counters["send_queue_full"] += 1
        else:
            counters["sent_packets"] += 1
            counters["sent_bytes"] += frame.length
            if not peer._arrived:
                peer._loop.call_soon(peer._deliver)
            peer._arrived.append((frame.to_bytes(), offloaded, frame.gso_size))

    def _deliver(self) -> None:
        batch, self._arrived = self._arrived, []
        receiver = self._receiver
        if receiver is None:
            return
        counters = self.counters
        for packet, vouched, gso_size in batch:
            counters["received_packets"] += 1
            counters["received_bytes"] += len(packet)
            receiver.receive(memoryview(packet), vouched, gso_size)
            if self._closed:
                return
        receiver.flush()

    def close(self) -> None:
        """Stop delivering; what waits is lost. The other end is not told: its packets are drops."""
        self._closed = True
        self._receiver = None
        self._arrived = []


def pair(
    mtu: int = 1500, offload: bool = False, limit: int = 1000
) -> tuple[MemoryLink, MemoryLink]:
    """Make two joined links.

    mtu: largest IP packet in bytes (at least 68, RFC 791; 1280 for IPv6).
    offload: let frames of up to 64 KiB with partial checksums through whole, as a TUN device with
        segmentation offload does; such packets arrive vouched for. Otherwise every packet is as on
        a wire, checksum complete, and is not vouched for.
    limit: packets that may wait in each direction; more are dropped (`send_queue_full`).
    """
    if mtu < 68:
        raise ValueError(f"mtu must be at least 68 bytes, not {mtu}")
    if limit < 1:
        raise ValueError(f"limit must be at least 1 packet, not {limit}")
    left, right = MemoryLink(mtu, offload, limit), MemoryLink(mtu, offload, limit)
    left._peer, right._peer = right, left
    return left, right
