"""A bad network around any link: delay, loss, reordering and the rest, in netem's words.

    link = Impair(tun, outbound=Netem(delay=0.05, jitter=0.01, loss=0.02), seed=7)
    link.outbound = Netem(loss=1.0)            # a partition; packets on their way still arrive

The faults of one direction depend on its settings, its packets and the seed alone. Time comes from
the loop, so under virtual time a whole bad network repeats exactly.

What a packet goes through, in the order of Linux' sch_netem: `filter`; `mtu`; `duplicate`; `loss`
(and `mark`); `corrupt`; `limit` (and `mark_above`); then it is either sent at once (`reorder`) or
held for `delay` ± `jitter` and the time that `rate` takes. A duplicate meets a fate of its own from
`loss` on, where sch_netem lets one of two copies take the loss of both: so `loss=1.0` is a
partition whatever else is set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiotcp.link.base import Link, Receiver, hand_over
from aiotcp.link.netem import CLEAR, Netem, Path, congestion_experienced
from aiotcp.link.wrapper import Wrapper
from aiotcp.wire.frame import Frame
from aiotcp.wire.segmentation import split

__all__ = ["CLEAR", "Impair", "Netem", "congestion_experienced"]

OFFLOAD_MAX_BYTES = 65535
"""Largest frame to be cut: what IPv4's total length field can say."""


class Impair(Wrapper):
    """A link that wraps another one and mistreats what passes.

    link: the link below; also the attribute `link`, for its own counters.
    outbound, inbound: what happens to packets sent and received; may be replaced at any time, which
        concerns the packets that follow: those already held keep their time.
    seed: both directions draw from random number generators of their own, derived from it.
    offload: the stack above may send frames of up to 64 KiB and leave the checksums to the link,
        as it does on a TUN device; they are cut here.

    Each packet meets its own fate: larger frames are cut into packets, from below as well. Where
    the link below takes partial checksums, so does this one, and a packet that is vouched for stays
    so, unless it is corrupted: then its checksum is completed first, so that it is found out.

    Counters: for each direction, `outbound_` and `inbound_`, the packets that came (`packets`), the
    faults applied (`filter`, `mtu`, `duplicate`, `loss`, `corrupt`, `limit`, `reorder`), those
    marked CE (`mark`), `lost_held`, packets still held when the link was closed, and `closed`,
    packets that came after that.
    """

    def __init__(
        self,
        link: Link,
        *,
        outbound: Netem = CLEAR,
        inbound: Netem = CLEAR,
        seed: int = 0,
        offload: bool = False,
    ) -> None:
        super().__init__(link)
        self.gso_max_bytes = OFFLOAD_MAX_BYTES if offload else 0
        self.checksum_offload = offload or link.checksum_offload
        self._completes = not link.checksum_offload
        self.counters = {}
        self._out = Path("outbound", seed, outbound, _Downward(link), self.counters)
        self._upward = _Upward()
        self._in = Path("inbound", seed, inbound, self._upward, self.counters)

    def __repr__(self) -> str:
        return f"<Impair outbound={self.outbound} inbound={self.inbound} of {self.link!r}>"

    @property
    def outbound(self) -> Netem:
        """What happens to packets that are sent."""
        return self._out.netem

    @outbound.setter
    def outbound(self, netem: Netem) -> None:
        self._out.netem = netem

    @property
    def inbound(self) -> Netem:
        """What happens to packets that are received."""
        return self._in.netem

    @inbound.setter
    def inbound(self, netem: Netem) -> None:
        self._in.netem = netem

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        super().attach(receiver, loop)
        self._upward.receiver = receiver
        self._out.loop = self._in.loop = loop

    def send(self, frame: Frame) -> None:
        path = self._out
        if frame.gso_size or (self._completes and frame.checksum_start):
            for packet in split(frame.to_bytes(), frame.gso_size, frame.checksum_start > 0):
                path.enter(Frame(packet, (), len(packet), reason=frame.reason))
        else:
            path.enter(frame)

    def close(self) -> None:
        self._out.close()
        self._in.close()
        super().close()

    def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
        path, upward = self._in, self._upward
        if gso_size:
            for each in split(packet, gso_size, vouched):
                path.enter(Frame(each, (), len(each)))
        elif path.clear:
            path.counters[path.packets] += 1
            upward.batch = True
            self.receiver.receive(packet, vouched)
        else:
            start = 1 if vouched else 0  # nobody asks where it is
            path.enter(Frame(bytes(packet), (), len(packet), checksum_start=start))

    def flush(self) -> None:
        self._upward.settle()

    def link_lost(self, exc: OSError) -> None:
        self._in.close()
        super().link_lost(exc)


class _Downward:
    """To the link below."""

    def __init__(self, link: Link) -> None:
        self.put = link.send
        self.put_held = hand_over(link) or self._send_all

    def _send_all(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            self.put(frame)


class _Upward:
    """To the receiver above, which is told of the end of a batch only if there was one."""

    def __init__(self) -> None:
        self.receiver: Receiver | None = None
        self.batch = False

    def put(self, frame: Frame) -> None:
        assert self.receiver is not None
        self.batch = True
        self.receiver.receive(memoryview(frame.header), frame.checksum_start > 0)

    def put_held(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            self.put(frame)
        self.settle()

    def settle(self) -> None:
        """No more packets in this callback."""
        if self.batch:
            assert self.receiver is not None
            self.batch = False
            self.receiver.flush()
