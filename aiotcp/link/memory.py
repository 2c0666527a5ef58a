"""Two links joined in memory: what one sends, the other receives. For tests and simulations.

    left, right = memory.pair()
    async with Stack(left, ...) as client, Stack(right, ...) as server: ...

The wire itself is perfect and takes no time: packets arrive in order, on the next turn of the
loop. Wrap an end in `aiotcp.link.impair.Impair` for anything worse.

Nothing can damage a packet in memory, so stacks are spared the checksums: as to a device that
computes them, a stack hands over what is partial, and it arrives vouched for. (`Impair` completes
the checksum of a packet before it damages it.) `pair(checksums=True)` is as on a wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from aiotcp.link.base import Receiver, receive_run
from aiotcp.mypyc import mypyc_attr
from aiotcp.wire.alike import Frames, Run
from aiotcp.wire.frame import Frame, length_of

OFFLOAD_MAX_BYTES: Final = 65535
"""Largest packet with segmentation offload: what IPv4's total length field can say."""


@mypyc_attr(allow_interpreted_subclasses=True)
class MemoryLink:
    """One end of a pair; made by `pair()`.

    Counters: `sent_packets`, `sent_bytes`, `received_packets`, `received_bytes`, and the drops
    `send_too_big` (larger than the MTU), `send_queue_full` (the other end has `limit` packets
    waiting), `send_no_peer` (the other end is not attached, or is closed), `send_closed` (this end
    is).
    """

    def __init__(self, mtu: int, offload: bool, limit: int, checksums: bool = False) -> None:
        self.mtu = mtu
        self.gso_max_bytes = OFFLOAD_MAX_BYTES if offload else 0
        self.checksum_offload = offload or not checksums
        self._counters = dict.fromkeys(
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
        # If not empty, `_deliver` is called on the next turn.
        self._arrived: list[Frame | Run] = []
        self._more = 0  # so many more packets than entries, since runs are one
        self._handed_packets = self._handed_bytes = 0  # not yet among the counters
        self._counted = 0  # how many of these the other end has counted as sent
        self._closed = False
        self._open: MemoryLink | None = None
        """The other end, while both are attached and a packet can only be too large for it."""

    @property
    def counters(self) -> dict[str, int]:
        """As the class says."""
        peer = self._peer
        if peer is not None:
            peer._count_waiting()
            peer._count_handed_over()
            self._count_handed_over()
        return self._counters

    def _count_waiting(self) -> None:
        """What waits here has been sent by the other end, which counts it when it is delivered, or
        when somebody asks."""
        waiting = self._arrived[self._counted :]
        if waiting and self._peer is not None:
            self._counted = len(self._arrived)
            counters = self._peer._counters
            counters["sent_packets"] += _packets(waiting)
            counters["sent_bytes"] += sum(map(length_of, waiting))

    def __repr__(self) -> str:
        state = "closed" if self._closed else "attached" if self._receiver else "free"
        return f"<MemoryLink {state} mtu={self.mtu} offload={self.gso_max_bytes > 0}>"

    def _count_handed_over(self) -> None:
        """What the other end was given, and nobody asked about yet."""
        if self._handed_packets and self._peer is not None:
            for counters, name in (self._counters, "sent"), (self._peer._counters, "received"):
                counters[f"{name}_packets"] += self._handed_packets
                counters[f"{name}_bytes"] += self._handed_bytes
            self._handed_packets = self._handed_bytes = 0

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
        peer = self._peer
        if peer is not None and peer._receiver is not None and self.checksum_offload:
            self._open, peer._open = peer, self

    def send(self, frame: Frame) -> None:
        """Queue one frame for the other end, as `Link.send` says.

        Raises ValueError for a frame that asks for an offload which this link does not offer.
        """
        peer = self._open
        if peer is None or frame.gso_size or frame.length > self.mtu:
            self._send_unusual(frame)
            return
        waiting = peer._arrived
        if waiting:
            if len(waiting) + peer._more < peer._limit:
                waiting.append(frame)
            else:
                self._counters["send_queue_full"] += 1
            return
        waiting.append(frame)
        assert peer._loop is not None
        peer._loop.call_soon(peer._deliver)

    def send_run(self, frames: Frames) -> None:
        """As `link.base.send_run` says: a run stays one, if it is for a receiver that takes it."""
        peer = self._open
        if type(frames) is Run and peer is not None and frames.first.length <= self.mtu:
            waiting = peer._arrived
            if len(waiting) + peer._more + frames.count <= peer._limit:
                if not waiting:
                    assert peer._loop is not None
                    peer._loop.call_soon(peer._deliver)
                waiting.append(frames)
                peer._more += frames.count - 1
                return
        for frame in frames:
            self.send(frame)

    def _send_unusual(self, frame: Frame) -> None:
        peer, counters = self._peer, self._counters
        gso_size = frame.gso_size
        if frame.checksum_start and not self.checksum_offload:
            raise ValueError("frame with a partial checksum on a link without checksum offload")
        if gso_size and not self.gso_max_bytes:
            raise ValueError("frame to be segmented on a link without segmentation offload")
        if self._closed:
            counters["send_closed"] += 1
        elif frame.length > (self.gso_max_bytes if gso_size else self.mtu):
            counters["send_too_big"] += 1
        elif peer is None or peer._receiver is None or peer._loop is None:
            counters["send_no_peer"] += 1
        elif len(peer._arrived) + peer._more >= peer._limit:
            counters["send_queue_full"] += 1
        else:
            peer._arrived.append(frame)
            if len(peer._arrived) == 1:
                peer._loop.call_soon(peer._deliver)

    def hand_over(self, frames: Sequence[Frame]) -> None:
        """As `link.base.hand_over` says: the other end receives them before this returns, unless
        it is to receive others on the next turn."""
        peer = self._open
        if peer is not None and len(frames) == 1 and not peer._arrived:
            frame = frames[0]
            receiver = peer._receiver
            if receiver is not None and frame.length <= self.mtu and not frame.gso_size:
                self._handed_packets += 1
                self._handed_bytes += frame.length
                receiver.receive(
                    memoryview(b"".join((frame.header, *frame.payload))),
                    frame.checksum_start > 0,
                )
                if not peer._closed:
                    receiver.flush()
                return
        peer = self._peer
        receiver = peer._receiver if peer is not None else None
        if peer is None or receiver is None:
            for frame in frames:
                self.send(frame)
            return
        packets = octets = 0
        for frame in frames:
            if (
                peer._arrived
                or peer._closed
                or self._closed
                or frame.length > self.mtu
                or frame.gso_size
                or (frame.checksum_start and not self.checksum_offload)
            ):
                self.send(frame)
                continue
            packets += 1
            octets += frame.length
            packet = b"".join((frame.header, *frame.payload))
            receiver.receive(memoryview(packet), frame.checksum_start > 0)
        counters = self._counters
        counters["sent_packets"] += packets
        counters["sent_bytes"] += octets
        counters = peer._counters
        counters["received_packets"] += packets
        counters["received_bytes"] += octets
        if packets and not peer._closed:
            receiver.flush()

    def _deliver(self) -> None:
        receiver, peer = self._receiver, self._peer
        if self._counted:
            self._count_waiting()
            peer = None
        batch, self._arrived, self._counted = self._arrived, [], 0
        more, self._more = self._more, 0
        if receiver is None:
            return
        packets = len(batch) + more
        octets = sum(map(length_of, batch))
        if peer is not None:
            peer._handed_packets += packets
            peer._handed_bytes += octets
        else:  # somebody asked before
            self._counters["received_packets"] += packets
            self._counters["received_bytes"] += octets
        run = receive_run(receiver) if more else None
        if more and run is None:
            batch = [frame for each in batch for frame in (each if type(each) is Run else (each,))]
        receive = receiver.receive
        left = iter(batch)
        for each in left:
            if type(each) is Run:
                assert run is not None
                run(each)
            else:
                receive(
                    memoryview(b"".join((each.header, *each.payload))),
                    each.checksum_start > 0,
                    each.gso_size,
                )
            if self._closed:  # by the receiver, which gets no more
                lost = list(left)
                self._counters["received_packets"] -= _packets(lost)
                self._counters["received_bytes"] -= sum(map(length_of, lost))
                return
        receiver.flush()

    def close(self) -> None:
        """Stop delivering; what waits is lost. The other end is not told: its packets are drops."""
        self._closed = True
        self._receiver = None
        self._count_waiting()
        self._arrived = []
        self._more = self._counted = 0
        if self._open is not None:
            self._open._open = None
            self._open = None


def _packets(waiting: Iterable[Frame | Run]) -> int:
    return sum(each.count if type(each) is Run else 1 for each in waiting)


def pair(
    mtu: int = 1500, offload: bool = False, limit: int = 1000, *, checksums: bool = False
) -> tuple[MemoryLink, MemoryLink]:
    """Make two joined links.

    mtu: largest IP packet in bytes (at least 68, RFC 791; 1280 for IPv6).
    offload: let frames of up to 64 KiB through whole, as a TUN device with segmentation offload
        does. Otherwise every frame is a packet of the MTU at most.
    limit: packets that may wait in each direction; more are dropped (`send_queue_full`).
    checksums: every packet is as on a wire, its checksums complete, and is not vouched for. Not
        with `offload`.
    """
    if mtu < 68:
        raise ValueError(f"mtu must be at least 68 bytes, not {mtu}")
    if limit < 1:
        raise ValueError(f"limit must be at least 1 packet, not {limit}")
    if checksums and offload:
        raise ValueError("frames to be segmented have partial checksums: offload or checksums")
    left = MemoryLink(mtu, offload, limit, checksums)
    right = MemoryLink(mtu, offload, limit, checksums)
    left._peer, right._peer = right, left
    return left, right
