"""Captures, ours and other people's: pcapng (draft-ietf-opsawg-pcapng) and pcap
(draft-ietf-opsawg-pcap), as tcpdump, Wireshark and `link.pcapng` write them.

    for packet in packets(open("file.pcapng", "rb")): ...
    trace = read("file.pcapng")

Section numbers below are those of the pcapng draft.
"""

from __future__ import annotations

import heapq
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import BinaryIO, NamedTuple

from aiotcp.trace.conversations import Conversations
from aiotcp.trace.events import Segment, Trace
from aiotcp.trace.opening import NoCapture as NoCapture
from aiotcp.trace.opening import Plain

_SECTION, _INTERFACE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 3, 6
_MAGIC = 0x1A2B3C4D
_MAX_BLOCK = 1 << 26
_MAX_PACKET = 1 << 19
"""More than Linux makes of any, with its segments joined (BIG TCP). Blocks may be longer, which
compressed are next to nothing, and `_AHEAD` packets are held at once."""
_NO_CAPTURE = "no capture: "

INBOUND, OUTBOUND = 1, 2


class Packet(NamedTuple):
    """One IP packet of a capture."""

    time_ns: int
    """Nanoseconds since 1970."""
    data: bytes
    """From the first byte of its IP header, as far as it was captured."""
    comment: str
    """In our own captures, why it was sent."""
    direction: int
    """INBOUND, OUTBOUND, or 0 where the file does not say."""
    missing: int = 0
    """Bytes at its end that were not captured, and are zeros here."""


@dataclass(slots=True)
class _Interface:
    linktype: int
    ticks: tuple[int, int]
    """Nanoseconds in a tick, as a fraction."""
    offset_s: int


@dataclass(slots=True)
class Seen:
    """What else was met in a file."""

    unknown: set[int] = field(default_factory=set)
    """Link types that are not known."""
    breaks_off: bool = False
    """It ends in the middle of a packet."""


def packets(file: BinaryIO, seen: Seen | None = None) -> Iterator[Packet]:
    """The IP packets of a capture, in the order of the file; others are passed over.

    Raises NoCapture where the file is none, or has nothing but frames of a kind that is not known.
    A file that ends in the middle of a packet, as one does that is still being written, ends before
    it, and `seen` tells. Of packets of which only the beginning was captured, the rest is zeros.
    """
    seen = seen or Seen()
    found = False
    for packet in _packets(file, seen):
        found = True
        yield packet
    if seen.unknown and not found:
        kinds = ", ".join(map(str, sorted(seen.unknown)))
        raise NoCapture(
            f"no packet of it can be read: its link type is {kinds}, and known are Ethernet, "
            "raw IP, Linux cooked and BSD loopback"
        )


def _packets(file: BinaryIO, seen: Seen) -> Iterator[Packet]:
    head = file.read(4)
    if len(head) < 4:
        raise NoCapture("no capture: the file is empty" if not head else "no capture: too short")
    (magic,) = struct.unpack("<I", head)
    if magic == _SECTION:
        yield from _pcapng(file, head, seen)
        return
    for order in "<>":
        (magic,) = struct.unpack(order + "I", head)
        if magic in (0xA1B2C3D4, 0xA1B23C4D):
            yield from _pcap(file, order, 1 if magic == 0xA1B23C4D else 1000, seen)
            return
    raise NoCapture("no capture: neither pcapng nor pcap")


def _pcap(file: BinaryIO, order: str, unit_ns: int, seen: Seen) -> Iterator[Packet]:
    head = file.read(20)
    if len(head) < 20:
        raise NoCapture("no capture: too short")
    linktype = struct.unpack(order + "I", head[16:])[0] & 0xFFFF
    if linktype not in _LINKTYPES:
        seen.unknown.add(linktype)
    record = struct.Struct(order + "IIII")
    while len(head := file.read(record.size)) == record.size:
        seconds, fraction, captured, _ = record.unpack(head)
        if captured > _MAX_BLOCK:
            raise NoCapture(f"no capture: a packet of {captured} bytes")
        data = file.read(captured)
        if len(data) < captured:
            break
        packet, missing = _network_layer(linktype, data)
        if packet:
            yield Packet(seconds * 10**9 + fraction * unit_ns, packet, "", 0, missing)
    seen.breaks_off = bool(head)


def _pcapng(file: BinaryIO, head: bytes, seen: Seen) -> Iterator[Packet]:
    order = "<"
    latest_ns = 0
    interfaces: list[_Interface] = []
    while len(head) == 4:
        (kind,) = struct.unpack(order + "I", head)
        raw_length = file.read(4)
        if len(raw_length) < 4:
            break
        body = b""
        if kind == _SECTION:  # 4.1: of an order of its own, which its magic number shows
            magic = file.read(4)
            if len(magic) < 4:
                break
            order = "<" if struct.unpack("<I", magic)[0] == _MAGIC else ">"
            if struct.unpack(order + "I", magic)[0] != _MAGIC:
                raise NoCapture("no capture: a section without its magic number")
            interfaces = []
            body = magic
        (length,) = struct.unpack(order + "I", raw_length)
        if not 12 <= length <= _MAX_BLOCK or length % 4:
            raise NoCapture(f"no capture: a block of {length} bytes")
        body += file.read(length - 8 - len(body))
        if len(body) < length - 8:
            break
        body = body[:-4]
        if kind == _INTERFACE:
            interfaces.append(_interface(order, body))
            if interfaces[-1].linktype not in _LINKTYPES:
                seen.unknown.add(interfaces[-1].linktype)
        elif kind == _ENHANCED:
            packet = _enhanced(order, body, interfaces)
            if packet is not None:
                latest_ns = packet.time_ns
                yield packet
        elif kind == _SIMPLE and interfaces and len(body) > 4:  # 4.4: without a time
            (original,) = struct.unpack_from(order + "I", body)
            data, missing = _network_layer(interfaces[0].linktype, body[4 : 4 + original])
            if data:
                yield Packet(latest_ns, data, "", 0, missing)
        head = file.read(4)
    seen.breaks_off = bool(head)


def _interface(order: str, body: bytes) -> _Interface:
    """4.2."""
    if len(body) < 8:
        raise NoCapture("no capture: an interface without a description")
    made = _Interface(struct.unpack_from(order + "H", body)[0], (1000, 1), 0)
    for code, value in _options(order, body[8:]):
        if code == 9 and value:  # if_tsresol
            exponent = value[0] & 0x7F
            base = 2 if value[0] & 0x80 else 10
            made.ticks = 10**9, base**exponent
        elif code == 14 and len(value) == 8:  # if_tsoffset
            (made.offset_s,) = struct.unpack(order + "q", value)
    return made


def _enhanced(order: str, body: bytes, interfaces: list[_Interface]) -> Packet | None:
    """4.3."""
    if len(body) < 20:
        raise NoCapture("no capture: a packet without its head")
    index, high, low, captured, _ = struct.unpack_from(order + "IIIII", body)
    if index >= len(interfaces) or 20 + captured > len(body):
        raise NoCapture("no capture: a packet of no interface, or longer than its block")
    interface = interfaces[index]
    data, missing = _network_layer(interface.linktype, body[20 : 20 + captured])
    if not data:
        return None
    comment, direction = "", 0
    for code, value in _options(order, body[20 + captured + -captured % 4 :]):
        if code == 1 and not comment:
            comment = value.decode(errors="replace")
        elif code == 2 and len(value) == 4:
            direction = struct.unpack(order + "I", value)[0] & 3
    over, under = interface.ticks
    time_ns = (high << 32 | low) * over // under + interface.offset_s * 10**9
    return Packet(time_ns, data, comment, direction, missing)


def _options(order: str, data: bytes) -> Iterator[tuple[int, bytes]]:
    """3.5."""
    at = 0
    while at + 4 <= len(data):
        code, length = struct.unpack_from(order + "HH", data, at)
        if code == 0:
            return
        yield code, data[at + 4 : at + 4 + length]
        at += 4 + length + -length % 4


_LINKTYPES = (0, 1, 12, 14, 101, 113, 228, 229, 276)
"""Those of BSD's loopback, Ethernet, raw IP, and Linux's two "cooked" ones."""
_IP = (0x0800, 0x86DD)
_VLAN = (0x8100, 0x88A8, 0x9100)


def _network_layer(linktype: int, data: bytes) -> tuple[bytes, int]:
    """The IP packet in a frame of this type, empty if there is none or the type is unknown; and how
    many bytes at its end were not captured."""
    packet = _behind_header(linktype, data[:_MAX_PACKET])
    if len(packet) < 20:
        return packet, 0
    is_ipv4 = packet[0] >> 4 == 4
    length = int.from_bytes(packet[2:4] if is_ipv4 else packet[4:6], "big") + 40 * (not is_ipv4)
    missing = max(length - len(packet), 0)
    return packet + bytes(missing) if missing else packet, missing


def _behind_header(linktype: int, data: bytes) -> bytes:
    if linktype in (101, 12, 14, 228, 229):  # raw IP
        return data
    if linktype == 0:  # loopback of BSD
        return data[4:]
    if linktype == 276:
        return data[20:] if int.from_bytes(data[:2], "big") in _IP else b""
    if linktype not in (1, 113):
        return b""
    at = 12 if linktype == 1 else 14  # Ethernet; Linux "cooked", of tcpdump -i any
    while int.from_bytes(data[at : at + 2], "big") in _VLAN:
        at += 4
    return data[at + 2 :] if int.from_bytes(data[at : at + 2], "big") in _IP else b""


def read(
    path: str | os.PathLike[str], *, max_events: int = 200_000, flow: int | None = None
) -> Trace:
    """The trace that a capture shows, plain or compressed by gzip, bzip2 or xz; "-" is stdin. Hosts
    are named by their addresses.

    max_events: of segments; what comes behind so many is only counted.
    flow: of these, those of that connection only (an index into `flows`).
    What a reader should know is in its `notes`: what was left out, that the windows of a connection
    whose handshake is missing are as in the headers, that the file was not in order of time, or is
    damaged behind what was read, or breaks off.
    Raises OSError, and NoCapture, with the file's name in front.
    """
    name = os.fspath(path) if os.fspath(path) != "-" else "stdin"
    trace = Trace(title=os.path.basename(name))
    conversations = Conversations()
    trace.flows = conversations.flows
    began_ns: int | None = None
    latest_ns = passed_over = cut = left_out = 0
    jumps = False
    seen = Seen()
    try:
        with Plain(path) as file:
            for packet in _by_time(packets(file, seen)):
                if len(trace.events) >= max_events:
                    left_out += 1
                    continue
                if began_ns is None:
                    began_ns = latest_ns = packet.time_ns
                jumps |= packet.time_ns < latest_ns
                latest_ns = packet.time_ns
                at = (packet.time_ns - began_ns) / 1e9
                why = packet.comment if packet.direction != INBOUND else ""
                segment = conversations.segment(at, memoryview(packet.data), why, packet.missing)
                if segment is None:
                    passed_over += 1
                    cut += packet.missing > 0
                elif flow is None or segment.flow == flow:
                    segment.arrived.append(at)
                    trace.events.append(segment)
            seen.breaks_off |= file.breaks_off
    except NoCapture as exc:
        if not trace.events:
            raise NoCapture(f"{name}: {exc}") from None
        damage = str(exc).removeprefix(_NO_CAPTURE)
        trace.notes.append(f"the file is damaged, and ends here: {damage}")
    if seen.breaks_off:
        trace.notes.append("the file breaks off here, as one does that is still being written")
    if jumps:
        began_ns = (began_ns or 0) + _sort(trace.segments)
        trace.events.sort(key=attrgetter("at"))
    trace.epoch = began_ns / 1e9 if began_ns is not None else None
    ends = (host for flow in trace.flows for host in (flow.client, flow.server))
    trace.hosts = list(dict.fromkeys(ends))
    if conversations.unscaled:
        trace.notes.append(_unscaled(sorted(conversations.unscaled), len(trace.flows)))
    if jumps:
        trace.notes.append("the file is not in order of time: sorted")
    if passed_over:
        are = "packet is no TCP segment" if passed_over == 1 else "packets are no TCP segments"
        short = f", {cut} of them captured in part" if cut else ""
        trace.notes.append(f"{passed_over} {are}, or could not be read{short}")
    if not trace.events:
        trace.notes.append("there is no TCP segment in it")
    if left_out:
        behind = "packet behind them was" if left_out == 1 else "packets behind them were"
        trace.notes.append(f"only the first {max_events} segments: {left_out} {behind} left out")
    return trace


_AHEAD = 500
"""Packets of several interfaces are somewhat out of order; so many are looked at ahead."""


def _by_time(found: Iterator[Packet]) -> Iterator[Packet]:
    waiting: list[tuple[int, int, Packet]] = []
    damaged: NoCapture | None = None
    try:
        for number, packet in enumerate(found):
            entry = (packet.time_ns, number, packet)
            if number < _AHEAD:
                heapq.heappush(waiting, entry)
            else:
                yield heapq.heappushpop(waiting, entry)[2]
    except NoCapture as exc:
        damaged = exc
    for _, _, packet in sorted(waiting):
        yield packet
    if damaged is not None:
        raise damaged


def _sort(segments: list[Segment]) -> int:
    """Of segments further out of order: have the earliest at 0; by how many nanoseconds it was
    before."""
    first = min((segment.at for segment in segments), default=0.0)
    shift = min(first, 0.0)
    if shift:
        for segment in segments:
            segment.at = round(segment.at - shift, 9)
            segment.arrived = [segment.at]
    return round(shift * 1e9)


def _unscaled(flows: list[int], of: int) -> str:
    which = ""
    if of > 1:
        numbers = ", ".join(str(flow + 1) for flow in flows[:5])
        more = f" and {len(flows) - 5} more" if len(flows) > 5 else ""
        which = f" of connection{'s' * (len(flows) > 1)} {numbers}{more}"
    return (
        f"window scale unknown{which}: the handshake is not in the capture, "
        "and windows are as in the headers"
    )
