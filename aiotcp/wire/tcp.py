"""TCP headers and options (RFC 9293 section 3.1, RFC 7323, RFC 2018).

Numbers here are the wire's: sequence numbers modulo 2³², windows unscaled.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final

from aiotcp.mypyc import mypyc_attr
from aiotcp.reasons import Drop
from aiotcp.wire import checksum
from aiotcp.wire.frame import Buffer, Frame
from aiotcp.wire.malformed import Malformed
from aiotcp.wire.options import (
    ACCECN0,
    ACCECN1,
    EOL,
    FAST_OPEN,
    MAX_OPTIONS_LENGTH,
    MAX_WSCALE,
    MSS,
    MSS_OPTION,
    NOP,
    SACK,
    SACK_AND_TIMESTAMPS,
    SACK_PERMITTED,
    TIMESTAMPS,
    TIMESTAMPS_FIRST,
    USER_TIMEOUT,
    WSCALE,
    WSCALE_OPTION,
    pack_accecn,
    pack_options,
    pack_timestamps,
    pack_usual_syn,
    parse_options,
)
from aiotcp.wire.segment import (
    ACK,
    AE,
    CWR,
    ECE,
    FIN,
    PSH,
    RST,
    SYN,
    URG,
    Segment,
    flags_text,
)

__all__ = [
    "ACCECN0",
    "ACCECN1",
    "ACK",
    "AE",
    "CHECKSUM_OFFSET",
    "CWR",
    "ECE",
    "EOL",
    "FAST_OPEN",
    "FIN",
    "HEADER_LENGTH",
    "MAX_OPTIONS_LENGTH",
    "MAX_WSCALE",
    "MSS",
    "NOP",
    "PROTOCOL",
    "PSH",
    "RST",
    "SACK",
    "SACK_PERMITTED",
    "SYN",
    "TIMESTAMPS",
    "URG",
    "USER_TIMEOUT",
    "WSCALE",
    "HeaderTemplate",
    "Segment",
    "flags_text",
    "pack_accecn",
    "pack_options",
    "pack_timestamps",
    "pack_usual_syn",
    "parse",
    "verify_checksum",
]

PROTOCOL: Final = 6
HEADER_LENGTH: Final = 20
CHECKSUM_OFFSET: Final = 16

_FLAGS: Final = 0x1FF

_fixed: Final[Callable[[Buffer, int], tuple[int, int, int, int, int]]] = struct.Struct(
    "!4xIIHH2xH"
).unpack_from
_timestamped: Final[Callable[[Buffer, int], tuple[int, int, int, int, int, int, int, int]]] = (
    struct.Struct("!4xIIHH2xHIII").unpack_from
)
_pack_ipv4: Final = struct.Struct("!2sHH4sH12sIIHHHH").pack
_pack_ipv6: Final = struct.Struct("!4sH38sIIHHHH").pack
_pack_head_ipv4: Final = struct.Struct("!2sHH4sH12s").pack
_pack_head_ipv6: Final = struct.Struct("!4sH38s").pack
_pack_plain_ipv4: Final = struct.Struct("!24sIIHHH6sII").pack
_pack_plain_ipv6: Final = struct.Struct("!44sIIHHH6sII").pack
_NOT_URGENT: Final = struct.pack("!HI", 0, TIMESTAMPS_FIRST)
"""The urgent pointer, and the timestamps option without them."""
_pack_syn_ipv4: Final = struct.Struct("!2sHH4sH12sIIHHHHIIIII").pack
_pack_syn_ipv6: Final = struct.Struct("!4sH38sIIHHHHIIIII").pack
_SYN_ACK: Final = 0xA000 | SYN | ACK

_ports: Final = struct.Struct("!HH").pack
_u32: Final = struct.Struct("!I").pack
_ipv4_addresses: Final[Callable[[bytes], tuple[int]]] = struct.Struct("!Q").unpack

_ECT_0: Final = 2
"""RFC 3168 5: the codepoint of an ECN-capable transport, in the low bits of the traffic class."""

_IPV4_STARTS: Final = [bytes((0x45, traffic_class)) for traffic_class in range(256)]
_IPV4_AFTER_LENGTH: Final = [bytes((0x40, 0, hop_limit, PROTOCOL)) for hop_limit in range(256)]
"""What stands behind the identification: DF, and no more of the same packet."""


def parse(packet: memoryview, offset: int, end: int) -> Segment:
    """The segment in `packet[offset:end]`; its payload is a view of the packet.

    The checksum is not looked at (`verify_checksum` does that), nor are the three reserved bits
    (RFC 9293 section 3.1: ignored on receipt). Raises Malformed for a short header or a bad data
    offset.
    """
    available = end - offset
    if available < 20:
        raise Malformed(Drop.TCP_TRUNCATED)
    header_length = (packet[offset + 12] & 0xF0) >> 2
    if not 20 <= header_length <= available:
        raise Malformed(Drop.TCP_DATA_OFFSET)
    payload = packet[offset + header_length : end] if available > header_length else b""
    if header_length >= 32:
        seq, ack, flags, window, urgent, layout, tsval, tsecr = _timestamped(packet, offset)
        if layout == TIMESTAMPS_FIRST:
            segment = Segment(seq, ack, flags & _FLAGS, window, urgent, payload, tsval, tsecr)
            if header_length > 32:
                parse_options(segment, packet[offset + 32 : offset + header_length])
            return segment
    seq, ack, flags, window, urgent = _fixed(packet, offset)
    segment = Segment(seq, ack, flags & _FLAGS, window, urgent, payload)
    if header_length > 20:
        parse_options(segment, packet[offset + 20 : offset + header_length])
    return segment


def verify_checksum(packet: Buffer, offset: int, end: int) -> bool:
    """Whether the checksum of the segment in `packet[offset:end]` is right (RFC 9293 MUST-3).

    The addresses of the pseudo-header are those of the IP header at the packet's start.
    """
    addresses, width = (12, 8) if packet[0] >> 4 == 4 else (8, 32)
    length = end - offset
    if offset == addresses + width:
        # The addresses stand directly before the segment: one number holds both.
        number = checksum.residue(packet[addresses:end])
    else:
        number = int.from_bytes(packet[addresses : addresses + width], "big") << (length & 1) * 8
        number += checksum.residue(packet[offset:end])
    if length & 1:
        number <<= 8
    return (number + PROTOCOL + length) % 0xFFFF == 0


@mypyc_attr(acyclic=True)
class HeaderTemplate:
    """The headers of one direction of one connection, all but what changes packed in advance."""

    __slots__ = (
        "_after_length",
        "_base",
        "_ipv4",
        "_middle",
        "_plain_field",
        "_plain_head",
        "_plain_length",
        "_pseudo",
        "_start",
        "_with_ports",
    )

    def __init__(
        self,
        local: bytes,
        local_port: int,
        remote: bytes,
        remote_port: int,
        hop_limit: int = 64,
        traffic_class: int = 0,
        flow_label: int = 0,
    ) -> None:
        """Addresses of 4 or 16 bytes, both alike; `traffic_class` is the octet, DSCP and ECN;
        frames that ask for ECT(0) have that instead of its ECN bits.

        `flow_label` (20 bits) means nothing in IPv4.
        """
        if len(local) != len(remote):
            raise ValueError("local and remote address are of different families")
        addresses = local + remote
        # 65536 is 1 modulo 65535, so a number of whole words is congruent to their sum.
        self._plain_length = 0
        self._ipv4 = len(local) == 4
        if self._ipv4:
            self._pseudo = _ipv4_addresses(addresses)[0] % 0xFFFF + PROTOCOL
            self._start = _IPV4_STARTS[traffic_class]
            self._after_length = _IPV4_AFTER_LENGTH[hop_limit]
            self._middle = addresses + _ports(local_port, remote_port)
            # The IPv4 header's sum without total length, identification and checksum.
            self._base = self._pseudo + 0x8500 + traffic_class + (hop_limit << 8)
        else:
            self._pseudo = int.from_bytes(addresses, "big") % 0xFFFF + PROTOCOL
            self._start = _u32(6 << 28 | traffic_class << 20 | flow_label)
            self._after_length = b""
            self._middle = (
                bytes((PROTOCOL, hop_limit)) + addresses + _ports(local_port, remote_port)
            )
            self._base = 0
        self._with_ports = self._pseudo + local_port + remote_port

    def _ect(self) -> tuple[bytes, int]:
        """`_start` and `_base` of frames that are ECT(0)."""
        start = self._start
        if self._ipv4:
            marked = bytes((start[0], start[1] & 0xFC | _ECT_0))
        else:
            marked = bytes((start[0], start[1] & 0xCF | _ECT_0 << 4)) + start[2:]
        return marked, self._base + marked[1] - start[1]

    def set_ip(self, *, hop_limit: int, traffic_class: int) -> None:
        """Change hop limit and DSCP of the frames to come (RFC 9293 SHLD-21).

        Of `traffic_class` the upper six bits count: the ECN bits stay as they are.
        """
        if self._ipv4:
            self._start = bytes((self._start[0], traffic_class & 0xFC | self._start[1] & 3))
            self._after_length = self._after_length[:2] + bytes((hop_limit, PROTOCOL))
            self._base = checksum.sum_buffers((self._start, self._after_length, self._middle[:8]))
        else:
            word = int.from_bytes(self._start, "big") & ~(0xFC << 20) | (traffic_class & 0xFC) << 20
            self._start = word.to_bytes(4, "big")
            self._middle = self._middle[:1] + bytes((hop_limit,)) + self._middle[2:]
        self._plain_length = 0

    def _prepare_plain(self, length: int) -> None:
        """All that `plain` needs to know of a TCP segment of so many bytes: the next one mostly has
        as many."""
        self._plain_length = length
        self._plain_field = (self._pseudo + length) % 0xFFFF
        if self._ipv4:
            size = 20 + length
            sum_field = -(self._base + size) % 0xFFFF
            self._plain_head = _pack_head_ipv4(
                self._start, size, 0, self._after_length, sum_field, self._middle
            )
        else:
            self._plain_head = _pack_head_ipv6(self._start, length, self._middle)

    def plain(
        self,
        seq: int,
        ack: int,
        flags: int,
        window: int,
        tsval: int,
        tsecr: int,
        payload: Sequence[Buffer],
        payload_length: int,
        offload: bool,
        reason: str,
    ) -> Frame:
        """What most frames are: one packet, with timestamps and no other option; otherwise as
        `frame`. The timestamps, too, may exceed 32 bits."""
        seq &= 0xFFFFFFFF
        ack &= 0xFFFFFFFF
        tsval &= 0xFFFFFFFF
        tsecr &= 0xFFFFFFFF
        flags += 0x8000  # the data offset
        length = 32 + payload_length
        if length != self._plain_length:
            self._prepare_plain(length)
        if self._ipv4:
            start, pack = 20, _pack_plain_ipv4
        else:
            start, pack = 40, _pack_plain_ipv6
        if offload:
            checksum_start, field = start, self._plain_field
        else:
            checksum_start = 0
            total = self._with_ports + length + seq + ack + flags + window
            total += TIMESTAMPS_FIRST + tsval + tsecr
            if payload_length:
                total += checksum.sum_buffers(payload)
            field = -total % 0xFFFF
        header = pack(self._plain_head, seq, ack, flags, window, field, _NOT_URGENT, tsval, tsecr)
        return Frame(header, payload, start + length, 0, checksum_start, reason)

    def usual_syn_ack(
        self,
        seq: int,
        ack: int,
        window: int,
        mss: int,
        wscale: int,
        tsval: int,
        tsecr: int,
        offload: bool,
        reason: str,
    ) -> Frame:
        """What most SYN+ACKs are: with the options of `pack_usual_syn`; otherwise as `plain`."""
        seq &= 0xFFFFFFFF
        ack &= 0xFFFFFFFF
        tsval &= 0xFFFFFFFF
        tsecr &= 0xFFFFFFFF
        mss |= MSS_OPTION << 16
        wscale |= WSCALE_OPTION << 8
        if offload:
            field = (self._pseudo + 40) % 0xFFFF
        else:
            total = self._with_ports + 40 + seq + ack + _SYN_ACK + window
            total += mss + SACK_AND_TIMESTAMPS + tsval + tsecr + wscale
            field = -total % 0xFFFF
        if self._ipv4:
            checksum_start = 20
            header = _pack_syn_ipv4(
                self._start,
                60,
                0,
                self._after_length,
                -(self._base + 60) % 0xFFFF,
                self._middle,
                seq,
                ack,
                _SYN_ACK,
                window,
                field,
                0,
                mss,
                SACK_AND_TIMESTAMPS,
                tsval,
                tsecr,
                wscale,
            )
        else:
            checksum_start = 40
            header = _pack_syn_ipv6(
                self._start,
                40,
                self._middle,
                seq,
                ack,
                _SYN_ACK,
                window,
                field,
                0,
                mss,
                SACK_AND_TIMESTAMPS,
                tsval,
                tsecr,
                wscale,
            )
        return Frame(header, (), checksum_start + 40, 0, checksum_start if offload else 0, reason)

    def frame(
        self,
        seq: int,
        ack: int,
        flags: int,
        window: int,
        *,
        options: bytes = b"",
        payload: Sequence[Buffer] = (),
        payload_length: int = 0,
        gso_size: int = 0,
        urgent: int = 0,
        ect: bool = False,
        offload: bool,
        identification: int = 0,
        reason: str = "",
    ) -> Frame:
        """One segment as a frame.

        `seq` and `ack` may exceed 32 bits; `window` is the field, scaled already; `options` is a
        whole number of words; `payload_length` is the sum over `payload`, which the caller knows.
        With `offload` the checksum field holds the pseudo-header's sum only, over the whole length
        even when `gso_size` asks for cutting, and no byte of the payload is touched. Without it the
        checksum is complete. `ect`: the packet, or each of those it is cut into, is ECT(0). IPv4
        packets have DF set.
        """
        option_length = len(options)
        length = 20 + option_length + payload_length
        offset_flags = (80 + option_length * 4 << 8) + flags
        start, base = self._ect() if ect else (self._start, self._base)
        seq &= 0xFFFFFFFF
        ack &= 0xFFFFFFFF
        if offload:
            field = (self._pseudo + length) % 0xFFFF
        else:
            # Numbers of 32 bits are congruent to the sum of their halves.
            total = self._with_ports + length + seq + ack + offset_flags + window + urgent
            if option_length:
                total += int.from_bytes(options, "big")
            if payload_length:
                total += checksum.sum_buffers(payload)
            # Ports or data offset are never zero, so neither is the sum: this is `finish`.
            field = -total % 0xFFFF
        if self._ipv4:
            checksum_start = 20
            packet_length = 20 + length
            header = _pack_ipv4(
                start,
                packet_length,
                identification,
                self._after_length,
                -(base + packet_length + identification) % 0xFFFF,
                self._middle,
                seq,
                ack,
                offset_flags,
                window,
                field,
                urgent,
            )
        else:
            checksum_start = 40
            packet_length = 40 + length
            header = _pack_ipv6(
                start,
                length,
                self._middle,
                seq,
                ack,
                offset_flags,
                window,
                field,
                urgent,
            )
        if option_length:
            header += options
        return Frame(
            header,
            payload,
            packet_length,
            gso_size,
            checksum_start if offload else 0,
            reason,
        )
