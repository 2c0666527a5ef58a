"""A tap between a stack and its link that holds the stack to what must always be true.

    link = Tap(Impair(left, ...))
    stack = Stack(link, ...)
    ...
    link.verify()                # raises, with the first packets that broke a rule

What the stack receives is overwritten after each batch, as `Receiver` allows a link to do. The tap
keeps a book of its own for each conversation (`tests.support.book`), and a digest of every
packet with its time and direction: two runs are the same run exactly if their digests are.
"""

from __future__ import annotations

import hashlib
import struct

from aiotcp.link.base import Link
from aiotcp.link.wrapper import Wrapper
from aiotcp.wire import checksum, icmp, ipv4, ipv6, tcp
from aiotcp.wire.frame import Frame
from aiotcp.wire.malformed import Malformed
from tests.support.book import Book
from tests.support.wirecheck import codepoint, ecn_faults

_MOST_FAULTS = 10
_stamp = struct.Struct("!dcI").pack


class Tap(Wrapper):
    """A link that wraps another one; see the module's text.

    digest: of all that passed so far. packets_sent, packets_received: how many that were.
    faults: the first few, as text.
    """

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self.counters = {}
        self.packets_sent = 0
        self.packets_received = 0
        self.faults: list[str] = []
        self.books: dict[bytes, Book] = {}
        self._digest = hashlib.blake2b()
        self._batch: set[bytes] = set()
        self._memory: list[bytearray] = []

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def verify(self) -> None:
        """Raises AssertionError with what the stack has done wrong, if anything."""
        for book in self.books.values():
            self._note("at the end", book.at_the_end())
        if self.faults:
            raise AssertionError("\n".join(("rules were broken:", *self.faults)))

    # -- link ---------------------------------------------------------------------------------

    def send(self, frame: Frame) -> None:
        packet = frame.to_bytes()
        self.packets_sent += 1
        self._record(b">", packet)
        self._note(frame.reason, self._judge(frame, packet))
        self.link.send(frame)

    # -- receiver -----------------------------------------------------------------------------

    def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
        self.packets_received += 1
        self._record(b"<", packet)
        segment = _readable(packet, vouched)
        if segment is not None:
            flow = _flow(packet, inbound=True)
            self._book(flow).received(segment)
            self._batch.add(flow)
        self._memory.append(bytearray(packet))
        self.receiver.receive(memoryview(self._memory[-1]), vouched, gso_size)

    def flush(self) -> None:
        self.receiver.flush()
        for memory in self._memory:  # as a link that reuses its memory does
            memory[:] = bytes(len(memory))
        self._memory.clear()
        for flow in self._batch:
            self._note("after a batch", self._book(flow).end_of_batch())
        self._batch.clear()

    # -- judgement ----------------------------------------------------------------------------

    def _record(self, direction: bytes, packet: bytes | memoryview) -> None:
        self._digest.update(_stamp(self.loop.time(), direction, len(packet)))
        self._digest.update(packet)

    def _note(self, about: str, faults: list[str]) -> None:
        for fault in faults[: max(_MOST_FAULTS - len(self.faults), 0)]:
            self.faults.append(f"  {self.loop.time():.6f} {about}: {fault}")

    def _book(self, flow: bytes) -> Book:
        book = self.books.get(flow)
        if book is None:
            book = self.books[flow] = Book(536 if len(flow) == 12 else 1220)
        return book

    def _judge(self, frame: Frame, packet: bytes) -> list[str]:
        try:
            protocol, offset, end = _parse_ip(memoryview(packet))
            if protocol in (icmp.PROTOCOL_V4, icmp.PROTOCOL_V6):
                return []
            segment = tcp.parse(memoryview(packet), offset, end)
        except Malformed as malformed:
            return [f"malformed: {malformed.reason}"]
        faults: list[str] = []
        if protocol != tcp.PROTOCOL:
            faults.append(f"IP protocol {protocol}")
        if not frame.length == len(packet) == end:
            faults.append(f"{len(packet)} bytes where frame and header say {frame.length}, {end}")
        if len(packet) > (self.gso_max_bytes if frame.gso_size else self.mtu):
            faults.append(f"{len(packet)} bytes are too many for the link")
        if not _checksum_is_right(frame, packet, offset, end):
            faults.append("a wrong checksum (MUST-2)")
        if packet[offset + 12] & 0x0E:
            faults.append("reserved bits that are not zero (ST-27)")
        options = (packet[offset + 12] >> 4) * 4 - 20
        segment.gso_size = frame.gso_size
        segment.ecn = codepoint(packet)
        faults += ecn_faults(segment)
        book = self._book(_flow(packet, inbound=False))
        faults += book.sent(segment, options, frame.reason)
        return [f"{fault} in {segment}" for fault in faults]


def _parse_ip(packet: memoryview, vouched: bool = False) -> tuple[int, int, int]:
    parse = ipv4.parse if packet[0] >> 4 == 4 else ipv6.parse
    return parse(packet, vouched)


def _flow(packet: bytes | memoryview, *, inbound: bool) -> bytes:
    """The 4-tuple, in the order of an inbound packet without options or extension headers."""
    if packet[0] >> 4 == 4:
        source, target, ports = packet[12:16], packet[16:20], packet[20:24]
    else:
        source, target, ports = packet[8:24], packet[24:40], packet[40:44]
    if inbound:
        return b"".join((source, target, ports))
    return b"".join((target, source, ports[2:], ports[:2]))


def _readable(packet: memoryview, vouched: bool) -> tcp.Segment | None:
    """The segment in a packet that a receiver has nothing to say against, else None."""
    try:
        protocol, offset, end = _parse_ip(packet, vouched)
        if protocol == tcp.PROTOCOL and offset in (20, 40):
            segment = tcp.parse(packet, offset, end)
            return segment if vouched or tcp.verify_checksum(packet, offset, end) else None
    except (Malformed, IndexError):
        pass
    return None


def _checksum_is_right(frame: Frame, packet: bytes, offset: int, end: int) -> bool:
    if not frame.checksum_start:
        return tcp.verify_checksum(packet, offset, end)
    addresses = packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]
    half = len(addresses) // 2
    partial = checksum.pseudo_header_sum(
        addresses[:half], addresses[half:], tcp.PROTOCOL, end - offset
    )
    field = int.from_bytes(packet[offset + 16 : offset + 18], "big")
    return frame.checksum_start == offset and field % 0xFFFF == partial % 0xFFFF
