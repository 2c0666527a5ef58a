"""The packet that nearly all packets are, read in one go.

An IPv4 header without options, or an IPv6 header without extension headers; then a TCP header with
the timestamps option in its usual place (RFC 7323 appendix A), and nothing else. `ipv4` and `ipv6`
unpack the fields of such a packet whatever the packet is, if it has so many bytes:

    octets    IPv4: of the whole packet; IPv6: of all behind the fixed header
    protocol  to be PROTOCOL
    fragment  IPv4 only: flags and offset, of which NO_FRAGMENT's bits are to be 0
    key       addresses and ports as they stand, the stack's key
    seq
    words     the next 8 bytes as one number: acknowledgment number, data offset and flags, window
    layout    to be TIMESTAMPS_FIRST
    stamps    TSval and TSecr as one number

`words` and `stamps` are one number each because most packets have the same ones as the packet
before, and one comparison tells.
"""

from __future__ import annotations

import struct
from typing import Final

from aiotcp.wire import checksum
from aiotcp.wire.frame import Buffer
from aiotcp.wire.options import TIMESTAMPS_FIRST

__all__ = [
    "ALL_FLAGS",
    "FLAGS",
    "IPV4_BYTES",
    "IPV6_BYTES",
    "LAYOUT",
    "NO_FRAGMENT",
    "ONLY_ACK",
    "PLAIN",
    "PROTOCOL",
    "PSH",
    "TIMESTAMPS_FIRST",
    "ipv4",
    "ipv6",
    "right_checksums",
]

IPV4_BYTES: Final = 20 + 32
IPV6_BYTES: Final = 40 + 32

ipv4: Final = struct.Struct("!2xH2xHxB2x12sIQ4xIQ").unpack_from
"""(octets, fragment, protocol, key, seq, words, layout, stamps)"""
ipv6: Final = struct.Struct("!4xHBx36sIQ4xIQ").unpack_from
"""(octets, protocol, key, seq, words, layout, stamps)"""

PROTOCOL: Final = 6
NO_FRAGMENT: Final = 0x3FFF

# In `words`.
FLAGS: Final = 0xFFF7 << 16
"""Data offset, reserved bits and flags, without PSH, which means nothing to a receiver here."""
ONLY_ACK: Final = 0x8010 << 16
"""What they are to be: a header of 32 bytes, and ACK."""
PSH: Final = 8 << 16
ALL_FLAGS: Final = 0x1FF
LAYOUT: Final = 0xF022 << 16
"""What tells whether there is anything in the header that was not unpacked."""
PLAIN: Final = 0x8000 << 16
"""Nothing: a header of 32 bytes, no URG; nor SYN, which seldom comes in this form."""


def right_checksums(packet: Buffer, key: bytes) -> bool:
    """Whether those of a whole packet of this kind are right: TCP's, and that of an IPv4 header.

    A right IPv4 header comes to zero, so the sum of the whole packet is that of the segment alone:
    the bytes are read once, and what is missing of TCP's is the pseudo-header.
    """
    size = len(packet)
    if len(key) == 12:
        number = int.from_bytes(packet, "big")
        if (number >> 8 * (size - 20)) % 0xFFFF:
            return False
        length = size - 20
        addresses = int.from_bytes(key[:8], "big")
    else:
        number = int.from_bytes(packet[8:], "big")  # addresses and segment
        length = size - 40
        addresses = 0
    total = checksum.fold_number(number, size)
    if size & 1:
        total <<= 8
    return (total + addresses + PROTOCOL + length) % 0xFFFF == 0
