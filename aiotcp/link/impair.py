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
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aiotcp.link.base import Link, Receiver, owns, receive_queue_packets, receive_waiting
from aiotcp.wire.frame import Frame
from aiotcp.wire.segmentation import split

OFFLOAD_MAX_BYTES = 65535
"""Largest frame to be cut: what IPv4's total length field can say."""


@dataclass(frozen=True, slots=True)
class Netem:
    """What happens to the packets of one direction. The default is nothing.

    Raises ValueError for a value out of range, and for `reorder` without `delay`, which would have
    no packet to overtake.
    """

    delay: float = 0.0
    """Seconds that a packet is held."""

    jitter: float = 0.0
    """Seconds: the delay is drawn evenly from delay ± jitter (not below 0) for each packet. Packets
    so overtake each other, as in netem, unless `rate` is set, which keeps them in order."""

    loss: float = 0.0
    """Probability, 0 to 1, that a packet vanishes. 1.0 is a partition."""

    duplicate: float = 0.0
    """Probability, 0 to 1, that a packet is sent twice."""

    reorder: float = 0.0
    """Probability, 0 to 1, that a packet is sent at once, ahead of those that `delay` holds."""

    corrupt: float = 0.0
    """Probability, 0 to 1, that one random bit of a packet is flipped, anywhere in it."""

    ecn: bool = False
    """Congestion is told by marks where the sender can hear them (RFC 3168 5): a packet that is
    ECN-capable (ECT) and was to be lost by `loss` is marked CE instead, and sent."""

    mark: float = 0.0
    """Probability, 0 to 1, that a packet is marked CE, if it is ECN-capable."""

    mark_above: int | None = None
    """Packets held, those on their way and those waiting: with more than so many, each ECN-capable
    one that comes is marked CE. What a router does that looks at its queue; None: never."""

    rate: float = 0.0
    """Bits per second at which packets leave, one after the other, IP headers included; 0: any."""

    limit: int = 1000
    """Packets held at most, on their way (`delay`) and waiting for their turn (`rate`) together, so
    it is to exceed the bandwidth-delay product; more are dropped."""

    filter: Callable[[bytes], bool] | None = None
    """Scripted faults: called with each IP packet as it is on the wire, checksums complete, before
    any other fault; the packet is dropped where it returns false."""

    mtu: int = 0
    """Largest IP packet that passes, bytes; larger ones vanish, and nobody reports it: a black
    hole. 0: any."""

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "reorder", "corrupt", "mark"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, 0 to 1, not {getattr(self, name)!r}")
        for name in ("delay", "jitter", "rate"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a number from 0 up, not {getattr(self, name)!r}")
        if self.mark_above is not None and self.mark_above < 0:
            raise ValueError(f"mark_above must be at least 0 packets, not {self.mark_above!r}")
        if self.mtu < 0:
            raise ValueError(f"mtu must be a number of bytes, or 0, not {self.mtu!r}")
        if self.limit < 1:
            raise ValueError(f"limit must be at least 1 packet, not {self.limit!r}")
        if self.reorder and not self.delay:
            raise ValueError("reorder needs a delay: packets overtake those that are held")


CLEAR = Netem()
"""No impairment at all."""


class Impair:
    """A link that wraps another one and mistreats what passes.

    link: the link below; also the attribute `link`, for its own counters.
    outbound, inbound: what happens to packets sent and received; may be replaced at any time, which
        concerns the packets that follow: those already held keep their time.
    seed: both directions draw from random number generators of their own, derived from it.
    offload: the stack above may send frames of up to 64 KiB and leave the checksums to the link,
        as it does on a TUN device; they are cut here.

    Each packet meets its own fate: larger frames are cut into packets, from below as well, and
    partial checksums completed. No packet is vouched for, and so a corrupted one is found out.

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
        self.link = link
        self.mtu = link.mtu
        self.gso_max_bytes = OFFLOAD_MAX_BYTES if offload else 0
        self.checksum_offload = offload
        self.counters: dict[str, int] = {}
        self._out = _Path("outbound", seed, outbound, _Downward(link), self.counters)
        self._upward = _Upward()
        self._in = _Path("inbound", seed, inbound, self._upward, self.counters)
        self._ingress = _Ingress(self._in, self._upward)

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
        self.link.attach(self._ingress, loop)  # first: a second one is refused, and changes nothing
        self._upward.receiver = receiver
        self._out.loop = self._in.loop = loop

    def send(self, frame: Frame) -> None:
        for packet in split(frame.to_bytes(), frame.gso_size, frame.checksum_start > 0):
            self._out.enter(packet, frame.reason)
        self._out.settle()

    def close(self) -> None:
        self._out.close()
        self._in.close()
        self.link.close()


def _is_ecn_capable(packet: bytes) -> bool:
    """ECT(0), ECT(1) or CE (RFC 3168 5)."""
    if len(packet) < 20:
        return False
    return bool(packet[1] & 3 if packet[0] >> 4 == 4 else packet[1] >> 4 & 3)


def congestion_experienced(packet: bytes) -> bytes:
    """The IP packet as a router sends it on that marks it CE (RFC 3168 5)."""
    marked = bytearray(packet)
    if packet[0] >> 4 != 4:
        marked[1] |= 0x30
        return bytes(marked)
    before = packet[1]
    marked[1] |= 3
    # RFC 1624 3, [Eqn. 3]: HC' = ~(~HC + ~m + m'), of the first word.
    total = (~(packet[10] << 8 | packet[11]) & 0xFFFF) + marked[1] - before
    total = (total & 0xFFFF) + (total >> 16)
    marked[10:12] = (~total & 0xFFFF).to_bytes(2, "big")
    return bytes(marked)


class _Exit(Protocol):
    """Where a path leads."""

    def put(self, packet: bytes, reason: str) -> None: ...

    def settle(self) -> None:
        """No more packets in this callback."""


class _Downward:
    """To the link below."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def put(self, packet: bytes, reason: str) -> None:
        self._link.send(
            Frame(packet, (), length=len(packet), gso_size=0, checksum_start=0, reason=reason)
        )

    def settle(self) -> None:
        pass


class _Upward:
    """To the receiver above, which is told of the end of a batch only if there was one."""

    def __init__(self) -> None:
        self.receiver: Receiver | None = None
        self._batch = False

    def put(self, packet: bytes, reason: str) -> None:
        assert self.receiver is not None
        self._batch = True
        self.receiver.receive(memoryview(packet))

    def settle(self) -> None:
        if self._batch:
            assert self.receiver is not None
            self._batch = False
            self.receiver.flush()


class _Ingress:
    """What the link below delivers to."""

    def __init__(self, path: _Path, upward: _Upward) -> None:
        self._path = path
        self._upward = upward

    def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
        packets = split(packet, gso_size, vouched) if vouched or gso_size else [bytes(packet)]
        for each in packets:
            self._path.enter(each, "")

    def flush(self) -> None:
        self._path.settle()

    def link_lost(self, exc: OSError) -> None:
        self._path.close()
        assert self._upward.receiver is not None
        self._upward.receiver.link_lost(exc)


class _Path:
    """One direction: draws the faults, holds packets until their time, has one timer."""

    def __init__(
        self, name: str, seed: int, netem: Netem, exit: _Exit, counters: dict[str, int]
    ) -> None:
        self.netem = netem
        self.loop: asyncio.AbstractEventLoop | None = None
        self._random = random.Random(f"{name} {seed}")
        self._exit = exit
        self._counters = counters
        self._name = {
            word: f"{name}_{word}"
            for word in (
                "packets",
                "filter",
                "mtu",
                "duplicate",
                "loss",
                "corrupt",
                "limit",
                "reorder",
                "mark",
                "lost_held",
                "closed",
            )
        }
        counters.update(dict.fromkeys(self._name.values(), 0))
        self._held: list[tuple[float, int, bytes, str]] = []
        self._entered = 0
        self._line_free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = 0.0
        self._closed = False

    def _count(self, word: str) -> None:
        self._counters[self._name[word]] += 1

    def enter(self, packet: bytes, reason: str) -> None:
        self._count("packets")
        netem = self.netem
        if netem.filter is not None and not netem.filter(packet):
            self._count("filter")
        elif netem.mtu and len(packet) > netem.mtu:
            self._count("mtu")
        else:
            if netem.duplicate and self._random.random() < netem.duplicate:
                self._count("duplicate")
                self._afflict(packet, reason)
            self._afflict(packet, reason)

    def _afflict(self, packet: bytes, reason: str) -> None:
        netem, draw = self.netem, self._random.random
        if netem.loss and draw() < netem.loss:
            if not (netem.ecn and _is_ecn_capable(packet)):
                self._count("loss")
                return
            packet = self._mark(packet)
        elif netem.mark and _is_ecn_capable(packet) and draw() < netem.mark:
            packet = self._mark(packet)
        if netem.corrupt and draw() < netem.corrupt:
            self._count("corrupt")
            packet = self._flip_one_bit(packet)
        self._dispatch(packet, reason)

    def _mark(self, packet: bytes) -> bytes:
        self._count("mark")
        return congestion_experienced(packet)

    def _flip_one_bit(self, packet: bytes) -> bytes:
        place, bit = divmod(self._random.randrange(8 * len(packet)), 8)
        flipped = bytearray(packet)
        flipped[place] ^= 1 << bit
        return bytes(flipped)

    def _dispatch(self, packet: bytes, reason: str) -> None:
        """Let the packet go at once or hold it, in which case `settle()` arms the timer."""
        netem = self.netem
        if self._closed:
            self._count("closed")
            return
        if len(self._held) >= netem.limit:
            self._count("limit")
            return
        above = netem.mark_above
        if above is not None and len(self._held) > above and _is_ecn_capable(packet):
            packet = self._mark(packet)
        if netem.reorder and self._random.random() < netem.reorder:
            self._count("reorder")
            self._exit.put(packet, reason)
            return
        delay = netem.delay
        if netem.jitter:
            delay = max(0.0, delay + netem.jitter * (2 * self._random.random() - 1))
        if not delay and not netem.rate:
            self._exit.put(packet, reason)
            return
        assert self.loop is not None, "send() before attach()"
        due = self.loop.time() + delay
        if netem.rate:
            # A packet starts when it has come through the delay and its predecessor is out.
            due = max(due, self._line_free_at) + 8 * len(packet) / netem.rate
            self._line_free_at = due
        self._entered += 1
        heapq.heappush(self._held, (due, self._entered, packet, reason))

    def settle(self) -> None:
        """End of a batch: tell the exit, and have the timer set for the packet due first."""
        self._exit.settle()
        if not self._held:
            return
        assert self.loop is not None
        due = self._held[0][0]
        if self._timer is not None:
            if self._armed_for <= due:
                return
            self._timer.cancel()
        self._armed_for = due
        self._timer = self.loop.call_at(due, self._release)

    def _release(self) -> None:
        assert self.loop is not None
        self._timer = None
        # A loop may fire a timer a little early, within its clock's resolution.
        now = max(self.loop.time(), self._armed_for)
        held = self._held
        while held and held[0][0] <= now:
            _, _, packet, reason = heapq.heappop(held)
            self._exit.put(packet, reason)
        self.settle()

    def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._counters[self._name["lost_held"]] += len(self._held)
        self._held.clear()
