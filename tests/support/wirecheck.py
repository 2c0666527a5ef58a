"""What must be true of every packet that a stack sends, whatever a test is about.

RFC 9293's MUST-2 (checksums), MUST-65 (MSS on SYNs only), MUST-69 (zeros behind the end of the
options), ST-27 (reserved bits), SHLD-14 (the window's right edge never moves left), MUST-16 (the
peer's MSS), and RFC 7323's rules about which segments carry which options.
"""

from __future__ import annotations

from collections.abc import Iterator

from aiotcp.tcp.seq import unwrap
from aiotcp.wire import checksum, icmp, ipv4, ipv6, tcp
from aiotcp.wire.malformed import Malformed
from aiotcp.wire.tcp import ACK, RST, SYN, URG, Segment

ECN_FLAGS = tcp.AE | tcp.CWR | tcp.ECE

_ON_SYN_ONLY = {tcp.MSS: "MSS", tcp.WSCALE: "window scale", tcp.SACK_PERMITTED: "SACK permitted"}


class Flow:
    """What the packets of one connection, seen from outside, have agreed on."""

    def __init__(self, default_mss: int) -> None:
        self.default_mss = default_mss
        """What the stack takes the peer's MSS for: more, if it knows that (RFC 7413 4.1.3)."""
        self.syn: Segment | None = None
        """The stack's."""
        self.offer: Segment | None = None
        """The SYN of the peer that the stack has taken."""
        self.offers: dict[int, Segment] = {}
        """Every SYN of the peer, by its number."""
        self.edge = 0
        self.tsval = 0
        self.asked = 0
        """The ECN flags of the stack's SYNs."""
        self.nxt = 0
        """One above the highest number that the stack has sent; 0 before its SYN."""

    @property
    def shift(self) -> int:
        """How far the window of the stack's segments without SYN is shifted."""
        own, offer = self.syn, self.offer
        if own is None or offer is None or own.wscale is None or offer.wscale is None:
            return 0
        return own.wscale

    @property
    def peer_shift(self) -> int:
        own, offer = self.syn, self.offer
        if own is None or offer is None or own.wscale is None or offer.wscale is None:
            return 0
        return offer.wscale

    @property
    def timestamps(self) -> bool:
        own, offer = self.syn, self.offer
        return bool(own and offer and own.tsval is not None and offer.tsval is not None)

    def received(self, segment: Segment) -> None:
        """A segment on its way to the stack."""
        if segment.flags & (SYN | RST) != SYN:
            return
        before = self.offers.get(segment.seq)
        if before is None or len(segment.payload) >= len(before.payload):
            self.offers[segment.seq] = segment  # a repetition may leave out what RFC 7413 adds
        own = self.syn
        if own is None or own.flags & ACK or self.offer is not None or not segment.flags & ACK:
            return
        if acknowledged(own, own.seq, segment.ack):
            self.offer = segment

    def sent(self, segment: Segment) -> Iterator[str]:
        """A segment of the stack: the faults in it."""
        yield from ecn_faults(segment)
        if segment.flags & RST:
            return
        if segment.flags & SYN:
            yield from self._syn(segment)
        elif not segment.flags & ACK:
            yield "a segment without SYN, RST or ACK"
        if not self.asked and not segment.flags & SYN:
            yield from ecn_without_agreement(segment)
        seq = unwrap(segment.seq, self.nxt)
        if segment.ecn and seq < self.nxt:
            yield "a retransmission that is ECN-capable (3168-2)"
        self.nxt = max(self.nxt, seq + segment.length)
        if segment.flags & ACK:
            shift = 0 if segment.flags & SYN else self.shift
            ack = unwrap(segment.ack, self.edge) if self.edge else segment.ack
            edge = ack + (segment.window << shift)
            if edge < self.edge:
                yield f"the right edge of the window moved left by {self.edge - edge} (SHLD-14)"
            self.edge = max(edge, self.edge)
        if self.timestamps and segment.tsval is None:
            yield "no timestamps option, though negotiated (RFC 7323 3.2)"
        if not segment.flags & SYN and segment.tsval is not None:
            if not self.timestamps:
                yield "a timestamps option that was not negotiated"
            tsval = unwrap(segment.tsval, self.tsval) if self.tsval else segment.tsval
            if tsval < self.tsval:
                yield "TSval went back"
            self.tsval = tsval
        yield from self._sack(segment)

    def _syn(self, segment: Segment) -> Iterator[str]:
        if self.syn is None or self.syn.seq != segment.seq:  # not a repetition
            self.offer = None
            self.edge = self.tsval = 0
            self.nxt = segment.seq
            self.asked = 0
        self.asked |= segment.flags & ECN_FLAGS
        self.syn = segment
        if not segment.flags & ACK:
            if segment.tsecr:
                yield "TSecr without ACK (RFC 7323 3.2)"
            return
        self.offer = offer = next(
            (syn for seq, syn in self.offers.items() if acknowledged(syn, seq, segment.ack)), None
        )
        if offer is None:
            yield "a SYN+ACK that answers no SYN"
            return
        if segment.wscale is not None and offer.wscale is None:
            yield "window scale that the SYN did not offer (RFC 7323 2.2)"
        if segment.tsval is not None and offer.tsval is None:
            yield "timestamps that the SYN did not offer (RFC 7323 3.2)"
        if segment.sack_permitted and not offer.sack_permitted:
            yield "SACK permitted that the SYN did not offer (RFC 2018 2)"

    def _sack(self, segment: Segment) -> Iterator[str]:
        if not segment.sack:
            return
        own, offer = self.syn, self.offer
        if not (own and offer and own.sack_permitted and offer.sack_permitted):
            yield "a SACK option that was not negotiated"
        for left, right in segment.sack:
            if unwrap(right, left) <= left:
                yield f"an empty SACK block {left}-{right}"

    def largest(self) -> int:
        """Bytes of payload and options that the peer takes in one segment (MUST-16)."""
        if self.offer is None:
            return self.default_mss
        return self.default_mss if self.offer.mss is None else max(self.offer.mss, 48)


def acknowledged(syn: Segment, seq: int, ack: int) -> bool:
    """Whether `ack` is of the SYN with number `seq`, and perhaps of its data."""
    return 0 < ack - seq & 0xFFFF_FFFF <= 1 + len(syn.payload)


def ecn_faults(segment: Segment) -> Iterator[str]:
    """RFC 3168 6.1.1, 6.1.4, 6.1.6: what may be ECN-capable is new data and nothing else. A stack
    does not say of itself that it met congestion, and of ECT(0) and ECT(1) it uses the first."""
    if not segment.ecn:
        return
    if segment.ecn != 2:
        yield f"codepoint {segment.ecn} in the IP header of what is sent"
    if segment.flags & (SYN | RST):
        yield "SYN or RST that is ECN-capable (3168-2)"
    elif not segment.payload:
        yield "no data, and ECN-capable (3168-2)"


def ecn_without_agreement(segment: Segment) -> Iterator[str]:
    """RFC 3168 6.1.1: what must not be on a segment if no SYN of its sender spoke of ECN."""
    if segment.ecn or segment.flags & ECN_FLAGS or segment.accecn is not None:
        yield "ECN that was not agreed on (3168-1)"


def codepoint(packet: bytes | memoryview) -> int:
    """Of the IP header (RFC 3168 5): 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE."""
    return packet[1] & 3 if packet[0] >> 4 == 4 else packet[1] >> 4 & 3


def transport(packet: bytes) -> tuple[int, int, int]:
    """(protocol, transport offset, end) of a packet whose checksums are to be right."""
    version = packet[0] >> 4
    parse = ipv4.parse if version == 4 else ipv6.parse
    return parse(memoryview(packet))


def check(packet: bytes, mtu: int) -> Iterator[str]:
    """The faults of one packet by itself."""
    try:
        protocol, offset, end = transport(packet)
    except Malformed as malformed:
        yield f"malformed: {malformed.reason}"
        return
    if end != len(packet):
        yield f"the IP header tells {end} bytes, there are {len(packet)}"
    if len(packet) > mtu:
        yield f"{len(packet)} bytes on a link with an MTU of {mtu}"
    if packet[0] >> 4 == 4 and not packet[6] & 0x40:
        yield "DF is not set (RFC 1191)"
    if protocol == tcp.PROTOCOL:
        yield from _check_tcp(packet, offset, end)
    elif protocol not in (icmp.PROTOCOL_V4, icmp.PROTOCOL_V6):
        yield f"IP protocol {protocol}"


def _check_tcp(packet: bytes, offset: int, end: int) -> Iterator[str]:
    if not tcp.verify_checksum(packet, offset, end):
        yield "a wrong TCP checksum (MUST-2)"
    if packet[offset + 12] & 0x0E:
        yield "reserved bits that are not zero (ST-27)"
    segment = tcp.parse(memoryview(packet), offset, end)
    if segment.urgent and not segment.flags & URG:
        yield "an urgent pointer without URG"
    yield from _check_options(options_of(packet, offset), bool(segment.flags & SYN))


def options_of(packet: bytes, offset: int) -> bytes:
    return packet[offset + 20 : offset + (packet[offset + 12] >> 4) * 4]


def _check_options(options: bytes, syn: bool) -> Iterator[str]:
    position = 0
    kinds: set[int] = set()
    while position < len(options):
        kind = options[position]
        if kind == tcp.EOL:
            if any(options[position:]):
                yield "something other than zeros behind the end of the options (MUST-69)"
            return
        if kind == tcp.NOP:
            position += 1
            continue
        if position + 1 >= len(options) or not 2 <= options[position + 1] <= len(options):
            yield f"option {kind} without a length that can be (MUST-68)"
            return
        if kind in kinds:
            yield f"option {kind} twice"
        if kind in _ON_SYN_ONLY and not syn:
            yield f"{_ON_SYN_ONLY[kind]} on a segment without SYN (MUST-65)"
        kinds.add(kind)
        position += options[position + 1]
    if position != len(options):
        yield "an option that runs past the header (MUST-68)"


def with_checksum(packet: bytes) -> bytes:
    """`packet`, changed by hand, with the TCP checksum that is right for it."""
    _, offset, end = transport(packet)
    addresses = (12, 16, 20) if packet[0] >> 4 == 4 else (8, 24, 40)
    source, target = packet[addresses[0] : addresses[1]], packet[addresses[1] : addresses[2]]
    changed = bytearray(packet)
    changed[offset + 16 : offset + 18] = b"\0\0"
    total = checksum.ones_complement_sum(changed[offset:end])
    total += checksum.pseudo_header_sum(source, target, tcp.PROTOCOL, end - offset)
    changed[offset + 16 : offset + 18] = checksum.finish(total).to_bytes(2, "big")
    return bytes(changed)


def readable(packet: bytes) -> Segment | None:
    """The segment in a packet that a receiver has nothing to say against, else None."""
    try:
        protocol, offset, end = transport(packet)
        if protocol == tcp.PROTOCOL and tcp.verify_checksum(packet, offset, end):
            return tcp.parse(memoryview(packet), offset, end)
    except (Malformed, IndexError):
        pass
    return None
