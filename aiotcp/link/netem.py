"""Faults in netem's words, and one direction of a link that has them. See `impair`."""

from __future__ import annotations

import asyncio
import random
from bisect import insort
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from aiotcp.wire.frame import Frame
from aiotcp.wire.segmentation import split


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


class Exit(Protocol):
    """Where a path leads. Frames are packets by now."""

    def put(self, frame: Frame) -> None:
        """One in the call that brought it."""

    def put_held(self, frames: Sequence[Frame]) -> None:
        """Those whose time has come, from a timer."""


class Path:
    """One direction: draws the faults, holds packets until their time, has one timer."""

    def __init__(
        self, name: str, seed: object, netem: Netem, exit: Exit, counters: dict[str, int]
    ) -> None:
        self._closed = False
        self.netem = netem
        self.loop: asyncio.AbstractEventLoop | None = None
        self._held: deque[tuple[float, int, Frame]] = deque()  # in the order in which they are due
        self._random = random.Random(f"{name} {seed}")
        self._exit = exit
        self.counters = counters
        self.packets = f"{name}_packets"
        """The name of that counter."""
        self.on_drop: Callable[[Frame], None] | None = None
        """Told of each packet that goes no further."""
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
        self._entered = 0
        self._line_free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = 0.0

    @property
    def netem(self) -> Netem:
        """The faults."""
        return self._netem

    @netem.setter
    def netem(self, netem: Netem) -> None:
        self._netem = netem
        self.clear = netem == CLEAR and not self._closed
        """Whether packets just pass."""
        self._strange = bool(
            netem.filter
            or netem.mtu
            or netem.duplicate
            or netem.mark
            or netem.ecn
            or netem.corrupt
            or netem.reorder
            or netem.jitter
            or netem.mark_above is not None
        )

    def _count(self, word: str) -> None:
        self.counters[self._name[word]] += 1

    def _drop(self, word: str, frame: Frame) -> None:
        self._count(word)
        if self.on_drop is not None:
            self.on_drop(frame)

    def enter(self, frame: Frame) -> None:
        """One packet has come, from a stack or from the link below."""
        self.counters[self.packets] += 1
        if self._strange or self._closed:
            self._judge(frame)
            return
        netem = self._netem
        if netem.loss and self._random.random() < netem.loss:
            self._drop("loss", frame)
        elif netem.delay or netem.rate:
            self._hold(frame, netem.delay)
        else:
            self._exit.put(frame)

    def _judge(self, frame: Frame) -> None:
        """What meets a packet in the order of sch_netem, all of it."""
        netem = self._netem
        if netem.filter is not None:
            frame = _complete(frame)
            if not netem.filter(frame.header):
                self._drop("filter", frame)
                return
        if netem.mtu and frame.length > netem.mtu:
            self._drop("mtu", frame)
            return
        if netem.duplicate and self._random.random() < netem.duplicate:
            self._count("duplicate")
            self._afflict(frame)
        self._afflict(frame)

    def _afflict(self, frame: Frame) -> None:
        netem, draw = self._netem, self._random.random
        if netem.loss and draw() < netem.loss:
            if not (netem.ecn and _is_ecn_capable(frame.header)):
                self._drop("loss", frame)
                return
            frame = self._mark(frame)
        elif netem.mark and _is_ecn_capable(frame.header) and draw() < netem.mark:
            frame = self._mark(frame)
        if netem.corrupt and draw() < netem.corrupt:
            self._count("corrupt")
            frame = self._flip_one_bit(frame)
        above = netem.mark_above
        if (
            above is not None
            and above < len(self._held) < netem.limit
            and not self._closed
            and _is_ecn_capable(frame.header)
        ):
            frame = self._mark(frame)
        self._dispatch(frame)

    def _mark(self, frame: Frame) -> Frame:
        self._count("mark")
        return _with_header(frame, congestion_experienced(frame.header))

    def _flip_one_bit(self, frame: Frame) -> Frame:
        packet = bytearray(_complete(frame).header)
        place, bit = divmod(self._random.randrange(8 * len(packet)), 8)
        packet[place] ^= 1 << bit
        return Frame(bytes(packet), (), len(packet), reason=frame.reason)

    def _dispatch(self, frame: Frame) -> None:
        """Let the packet go at once or hold it."""
        netem = self._netem
        held = self._held
        if self._closed:
            self._drop("closed", frame)
            return
        if len(held) >= netem.limit:
            self._drop("limit", frame)
            return
        if netem.reorder and self._random.random() < netem.reorder:
            self._count("reorder")
            self._exit.put(frame)
            return
        delay = netem.delay
        if netem.jitter:
            delay = max(0.0, delay + netem.jitter * (2 * self._random.random() - 1))
        if delay or netem.rate:
            self._hold(frame, delay)
        else:
            self._exit.put(frame)

    def _hold(self, frame: Frame, delay: float) -> None:
        """Until its time, if there is room."""
        held, netem = self._held, self._netem
        if len(held) >= netem.limit:
            self._drop("limit", frame)
            return
        assert self.loop is not None, "send() before attach()"
        due = self.loop.time() + delay
        if netem.rate:
            # A packet starts when it has come through the delay and its predecessor is out.
            if due < self._line_free_at:
                due = self._line_free_at
            self._line_free_at = due = due + 8 * frame.length / netem.rate
        self._entered += 1
        entry = (due, self._entered, frame)
        if not held:
            held.append(entry)
            self._arm()
        elif due >= held[-1][0]:
            held.append(entry)
        else:
            insort(held, entry)
            if held[0] is entry:
                self._arm()

    def _arm(self) -> None:
        """Have the timer set for the packet that is due first."""
        assert self.loop is not None
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = due = self._held[0][0]
        self._timer = self.loop.call_at(due, self._release)

    def _release(self) -> None:
        assert self.loop is not None
        self._timer = None
        # A loop may fire a timer a little early, within its clock's resolution.
        now = max(self.loop.time(), self._armed_for)
        held = self._held
        frames = [held.popleft()[2]]
        while held and held[0][0] <= now:
            frames.append(held.popleft()[2])
        if held:
            self._arm()
        self._exit.put_held(frames)

    def close(self) -> None:
        self._closed, self.clear = True, False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.counters[self._name["lost_held"]] += len(self._held)
        self._held.clear()


def _is_ecn_capable(packet: bytes) -> bool:
    """ECT(0), ECT(1) or CE (RFC 3168 5)."""
    if len(packet) < 20:
        return False
    return bool(packet[1] & 3 if packet[0] >> 4 == 4 else packet[1] >> 4 & 3)


def _complete(frame: Frame) -> Frame:
    """As it is on a wire: one piece, with its checksum."""
    packet = frame.to_bytes()
    if frame.checksum_start:
        (packet,) = split(packet, 0, True)
    return Frame(packet, (), len(packet), reason=frame.reason)


def _with_header(frame: Frame, header: bytes) -> Frame:
    """The same with another beginning, of the same length."""
    start = frame.checksum_start
    return Frame(header, frame.payload, frame.length, checksum_start=start, reason=frame.reason)


def congestion_experienced(packet: bytes) -> bytes:
    """The IP packet, or its headers, as a router sends it on that marks it CE (RFC 3168 5)."""
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
