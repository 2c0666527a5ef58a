"""The packet that nearly all packets are, read in one go.

An IPv4 header without options, or an IPv6 header without extension headers; then a TCP header with
the timestamps option in its usual place (RFC 7323 appendix A), and nothing else. `ipv4` and `ipv6`
unpack the fields of such a packet whatever the packet is, if it has so many bytes:

    octets    IPv4: of the whole packet; IPv6: of all behind the fixed header
    protocol  to be PROTOCOL; IPv4: the lowest byte of a number that has fragment flags and offset
              as well, so that of it the bits of IPV4_KIND are to be PROTOCOL
    key       addresses and ports as they stand, the stack's key
    seq
    words     the next 8 bytes as one number: acknowledgment number, data offset and flags, window
    layout    to be TIMESTAMPS_FIRST
    stamps    TSval and TSecr as one number

`words` and `stamps` are one number each because most packets have the same ones as the packet
before, and one comparison tells.

A SYN with the options of Linux (and ours), in their order, is as usual, and 8 bytes longer: the
first of its options are found in `layout` and `stamps`, `syn_end` unpacks the rest.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from aiotcp.wire.frame import Buffer
from aiotcp.wire.options import MSS_OPTION, SACK_AND_TIMESTAMPS, TIMESTAMPS_FIRST, WSCALE_OPTION

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ALL_FLAGS",
    "FIN",
    "FIN_ACK",
    "FLAGS",
    "HEADER",
    "IPV4_BYTES",
    "IPV4_KIND",
    "IPV6_BYTES",
    "LAYOUT",
    "MSS_OPTION",
    "ONLY_ACK",
    "PLAIN",
    "PROTOCOL",
    "PSH",
    "SACK_AND_TIMESTAMPS",
    "SYN",
    "SYN_BYTES",
    "TIMESTAMPS_FIRST",
    "WSCALE_OPTION",
    "ipv4",
    "ipv6",
    "right_checksums",
    "syn_end",
]

IPV4_BYTES: Final = 20 + 32
IPV6_BYTES: Final = 40 + 32

ipv4: Final[Callable[[Buffer], tuple[int, int, bytes, int, int, int, int]]] = struct.Struct(
    "!2xH2xI2x12sIQ4xIQ"
).unpack_from
"""(octets, protocol, key, seq, words, layout, stamps)"""
ipv6: Final[Callable[[Buffer], tuple[int, int, bytes, int, int, int, int]]] = struct.Struct(
    "!4xHBx36sIQ4xIQ"
).unpack_from
"""(octets, protocol, key, seq, words, layout, stamps)"""

syn_end: Final = struct.Struct("!4xI").unpack_from
"""(the window scale option with a NOP before it, and its value in the low byte,)"""

PROTOCOL: Final = 6
IPV4_KIND: Final = 0x3FFF_00FF
"""No fragment, and the protocol."""

# In `words`.
FLAGS: Final = 0xFFF7 << 16
"""Data offset, reserved bits and flags, without PSH, which means nothing to a receiver here."""
ONLY_ACK: Final = 0x8010 << 16
"""What they are to be: a header of 32 bytes, and ACK."""
FIN: Final = 1 << 16
FIN_ACK: Final = ONLY_ACK | FIN
PSH: Final = 8 << 16
ALL_FLAGS: Final = 0x1FF
LAYOUT: Final = 0xF022 << 16
"""What tells whether there is anything in the header that was not unpacked."""
PLAIN: Final = 0x8000 << 16
"""Nothing: a header of 32 bytes, no URG; nor SYN, which seldom comes in this form."""
HEADER: Final = 0xFFFF << 16
"""Data offset, reserved bits and flags."""
SYN: Final = 0xA002 << 16
"""What they are of a usual SYN: a header of 40 bytes, and no other flag."""
SYN_BYTES: Final = 8
"""What it has behind what `ipv4` and `ipv6` unpack."""


def right_checksums(packet: Buffer, key: bytes) -> bool:
    """Whether those of a whole packet of this kind are right: TCP's, and that of an IPv4 header.

    A large packet is four numbers, which are added (RFC 1071 2(B)): to make one of them all and
    divide that takes a third longer.
    """
    size = len(packet)
    number = int.from_bytes
    if size >= _IN_QUARTERS:
        if len(key) == 12:
            header, a, b, c, last = _ipv4_quarters(size)(packet)
            if number(header) % 0xFFFF:
                return False
            total = number(key[:8]) + size - 20
        else:
            a, b, c, last = _ipv6_quarters(size)(packet)  # addresses and segment
            total = size - 40
        end = number(last)
        if size & 1:
            end <<= 8
        return (number(a) + number(b) + number(c) + end + total + PROTOCOL) % 0xFFFF == 0
    if len(key) == 12:
        # A right header comes to zero, so the sum of the whole is that of the segment alone.
        whole = number(packet)
        if (whole >> 8 * (size - 20)) % 0xFFFF:
            return False
        total = number(key[:8]) + size - 20
    else:
        whole = number(packet[8:])
        total = size - 40
    if size & 1:
        whole <<= 8
    return (whole + total + PROTOCOL) % 0xFFFF == 0


_IN_QUARTERS: Final = 512
"""Bytes of a packet from which on four numbers are worth it."""


@lru_cache(maxsize=64)
def _ipv4_quarters(size: int) -> Callable[[Buffer], tuple[bytes, bytes, bytes, bytes, bytes]]:
    """Unpacks the header and the quarters of the segment, which begin at even bytes of it."""
    quarter = size - 20 >> 3 << 1
    layout = f"20s{quarter}s{quarter}s{quarter}s{size - 20 - 3 * quarter}s"
    return struct.Struct(layout).unpack_from


@lru_cache(maxsize=64)
def _ipv6_quarters(size: int) -> Callable[[Buffer], tuple[bytes, bytes, bytes, bytes]]:
    quarter = size - 8 >> 3 << 1
    layout = f"8x{quarter}s{quarter}s{quarter}s{size - 8 - 3 * quarter}s"
    return struct.Struct(layout).unpack_from
