"""The virtio-net header before each packet of a TUN device opened with IFF_VNET_HDR.

Layout and meaning: Virtual I/O Device (VIRTIO) 1.2, section 5.1.6, in its legacy form, 10 bytes in
the host's byte order. It says what of the checksum and of the segmentation is still to be done.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from aiotcp.reasons import Drop
from aiotcp.wire import tcp
from aiotcp.wire.frame import Buffer, Frame
from aiotcp.wire.malformed import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER_LENGTH: Final = 10

# flags
# The checksum field holds the pseudo-header's sum; csum_start, csum_offset hold.
NEEDS_CSUM: Final = 1
DATA_VALID: Final = 2  # the checksum was verified

VOUCHING: Final = NEEDS_CSUM | DATA_VALID
"""With any of these the transport checksum needs no look."""

# gso_type
GSO_NONE: Final = 0
GSO_TCPV4: Final = 1
GSO_TCPV6: Final = 4
GSO_ECN: Final = 0x80  # a bit beside the type: the first segment carries CWR

_NOTHING_TO_DO: Final = bytes(HEADER_LENGTH)

_header: Final = struct.Struct("=BBHHHH")
"""flags, gso_type, hdr_len, gso_size, csum_start, csum_offset"""
_pack: Final[Callable[[int, int, int, int, int, int], bytes]] = _header.pack
AFTER_IPV4: Final = _pack(NEEDS_CSUM, GSO_NONE, 0, 0, 20, tcp.CHECKSUM_OFFSET)
"""What `pack` gives for most packets, since IPv4 has no options here."""
unpack: Final[Callable[[Buffer], tuple[int, int, int]]] = struct.Struct("=BBxxHxxxx").unpack_from
"""(flags, gso_type, gso_size): what `parse` looks at, of as many bytes as a header has."""


def pack(frame: Frame) -> bytes:
    """The header for an outbound frame.

    A frame with `gso_size` is TCP with `checksum_start` set: the kernel takes no other.
    """
    start = frame.checksum_start
    if not start:
        return _NOTHING_TO_DO
    header = frame.header
    gso_size = frame.gso_size
    if not gso_size:
        if start == 20:
            return AFTER_IPV4
        return _pack(NEEDS_CSUM, GSO_NONE, 0, 0, start, tcp.CHECKSUM_OFFSET)
    kind = GSO_TCPV4 if header[0] >> 4 == 4 else GSO_TCPV6
    if header[start + 13] & tcp.CWR:
        kind |= GSO_ECN
    return _pack(NEEDS_CSUM, kind, len(header), gso_size, start, tcp.CHECKSUM_OFFSET)


def parse(buffer: Buffer) -> tuple[bool, int]:
    """(vouched, gso_size) from the header at the buffer's start; raises Malformed if it is short.

    `vouched`: the kernel answers for the transport checksum. With NEEDS_CSUM the field holds only
    a part of it, because the packet was on no wire yet (`segmentation.split` completes it).
    """
    try:
        flags, kind, gso_size = unpack(buffer)
    except struct.error:
        raise Malformed(Drop.LINK_HEADER) from None
    return flags & VOUCHING != 0, gso_size if kind else 0
