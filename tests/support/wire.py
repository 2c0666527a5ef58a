"""The link between a stack and the ends that a test plays, and the record of what goes over it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict

from aiotcp.link.base import Receiver
from aiotcp.wire.frame import Buffer, Frame
from aiotcp.wire.segmentation import split
from aiotcp.wire.tcp import Segment, flags_text
from tests.support.wirecheck import check

_MOMENT = 1e-9
"""Virtual seconds, so short that only what is already under way happens."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A segment of the stack."""

    at: float
    flags: int
    seq: int
    """Relative to the stack's SYN, as everything that the stack counts."""
    ack: int
    """Relative to the peer's SYN; 0 without ACK."""
    window: int
    """Bytes, scale applied."""
    payload: bytes
    sack: tuple[tuple[int, int], ...]
    """Relative, as `ack`."""
    why: str
    segment: Segment
    """With the numbers of the wire, and the options: mss, wscale, sack_permitted, tsval, tsecr."""
    options: bytes
    packet: bytes

    @property
    def end(self) -> int:
        """The number after the last that it occupies."""
        return self.seq + self.segment.length

    @property
    def hop_limit(self) -> int:
        return self.packet[8] if self.packet[0] >> 4 == 4 else self.packet[7]

    @property
    def traffic_class(self) -> int:
        first: int = struct.unpack_from("!H", self.packet)[0]
        return first & 0xFF if first >> 12 == 4 else first >> 4 & 0xFF

    @property
    def ecn(self) -> int:
        """The codepoint of the IP header: 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE."""
        return self.traffic_class & 3


def describe(seen: Seen) -> str:
    """One line, numbers relative."""
    text = f"{flags_text(seen.flags)} seq={seen.seq} ack={seen.ack} win={seen.window}"
    if seen.payload:
        text += f" len={len(seen.payload)}"
    if seen.sack:
        text += f" sack={seen.sack}"
    return f"<{text}  [{seen.why}]>"


class Auto:
    """The type of AUTO: the default of arguments for which None means something."""


AUTO = Auto()


class Fields(TypedDict, total=False):
    """What a segment of the peer carries. seq, ack and sack are relative, window is in bytes."""

    seq: int
    """Without it: the next number, which then moves on. With it nothing moves."""
    ack: int
    """Counts only with ACK. Without it: all that was seen in order."""
    data: Buffer
    window: int
    mss: int | None
    wscale: int | None
    sack_permitted: bool
    ts: tuple[int, int] | Auto | None
    """TSval and TSecr; None: no timestamps; without it: as negotiated."""
    sack: Sequence[tuple[int, int]]
    fast_open: bytes
    """A cookie (RFC 7413), or empty: the request for one."""
    options: bytes
    """The raw bytes, whole words, instead of all of the above."""
    urgent: int
    ecn: int
    """The codepoint with which it arrives."""


class End(Protocol):
    """Whom packets of the stack may be for."""

    port: int
    unseen: list[Seen]

    def is_addressed_by(self, packet: bytes) -> bool: ...

    def take(self, packet: bytes, why: str) -> tuple[Seen, list[str]]:
        """A packet for this end: what it is, and what is wrong with it."""
        ...


class Wire:
    """The link between a stack and its peers, and the record of all that went over it."""

    def __init__(self, mtu: int, offload: bool) -> None:
        self.mtu = mtu
        self.gso_max_bytes = 65535 if offload else 0
        self.checksum_offload = offload
        self.counters: dict[str, int] = {}
        self.ends: list[End] = []
        self.faults: list[str] = []
        self.transcript: list[str] = []
        self.others: list[bytes] = []
        """Packets of the stack that are for no end: ICMP, and segments to elsewhere."""
        self.news = asyncio.Event()
        self.holding = False
        self._held: list[tuple[bytearray, bool, int]] = []
        self._receiver: Receiver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        self._receiver, self._loop = receiver, loop

    def close(self) -> None:
        self._receiver = None

    def now(self) -> float:
        assert self._loop is not None
        return self._loop.time()

    def send(self, frame: Frame) -> None:
        if self._receiver is None:
            return
        packet = frame.to_bytes()
        if len(packet) != frame.length:
            self.faults.append(f"a frame of {len(packet)} bytes that claims {frame.length}")
        if self.checksum_offload:
            packets = split(packet, frame.gso_size, vouched=frame.checksum_start > 0)
        else:
            packets = [packet]
            if frame.gso_size or frame.checksum_start:
                self.faults.append("a frame that asks for offload, which this link has not")
        for each in packets:
            self._sent(each, str(frame.reason))
        self.news.set()

    def _sent(self, packet: bytes, why: str) -> None:
        faults = list(check(packet, self.mtu))
        for end in self.ends:
            if not faults and end.is_addressed_by(packet):
                seen, faults = end.take(packet, why)
                self._note(f"stack > {end.port}: {describe(seen)}", faults)
                return
        self.others.append(packet)
        self._note(f"stack > elsewhere: {packet.hex()}", faults)

    def _note(self, line: str, faults: Sequence[str]) -> None:
        self.transcript.append(f"{self.now():12.6f}  {line}")
        for fault in faults:
            self.transcript.append(f"{'':12}  FAULT: {fault}")
            self.faults.append(fault)

    def deliver(self, packet: bytes, line: str, vouched: bool = False, gso_size: int = 0) -> None:
        self.transcript.append(f"{self.now():12.6f}  {line}")
        self._held.append((bytearray(packet), vouched, gso_size))
        if not self.holding:
            self.flush()

    def flush(self) -> None:
        held, self._held = self._held, []
        if self._receiver is None or not held:
            return
        for memory, vouched, gso_size in held:
            self._receiver.receive(memoryview(memory), vouched, gso_size)
        self._receiver.flush()
        for memory, _, _ in held:  # as a link may: nobody may have kept a view
            memory[:] = b"\xee" * len(memory)

    def fail(self, message: str) -> AssertionError:
        lines = "\n  ".join(self.transcript[-60:])
        return AssertionError(f"{message}\nthe conversation (times are the loop's):\n  {lines}")

    def verify(self) -> None:
        if self.faults:
            raise self.fail("; ".join(self.faults))

    async def settle(self) -> None:
        """Let happen what needs no time."""
        await asyncio.sleep(_MOMENT)
        self.verify()
