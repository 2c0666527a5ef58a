"""IPv4 headers (RFC 791, RFC 1122 section 3.2)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from aiotcp.reasons import Drop
from aiotcp.wire import checksum
from aiotcp.wire.frame import Buffer
from aiotcp.wire.malformed import Malformed

HEADER_LENGTH: Final = 20

_unpack: Final[Callable[[Buffer], tuple[int, int, int, int]]] = struct.Struct(
    "!BxHxxHxB"
).unpack_from
_pack: Final = struct.Struct("!BBHHHBBH4s4s").pack

_DONT_FRAGMENT: Final = 0x4000
_MORE_OR_OFFSET: Final = 0x3FFF


def parse(packet: memoryview, vouched: bool = False) -> tuple[int, int, int]:
    """Check one packet's header: (protocol, offset of the transport header, end of the packet).

    Options are skipped unread (RFC 9293 MUST-50); bytes after the total length are no part of the
    packet. Fragments are refused: they are not reassembled here. A `vouched` packet comes from a
    link that answers for its checksums, so the header's own is not computed either.
    Raises Malformed.
    """
    if len(packet) < 20:
        raise Malformed(Drop.IP_TRUNCATED if len(packet) else Drop.IP_EMPTY)
    version_ihl, end, fragment, protocol = _unpack(packet)
    offset = 20
    if version_ihl != 0x45:
        if version_ihl >> 4 != 4:
            raise Malformed(Drop.IP_VERSION)
        offset = (version_ihl & 15) * 4
        if offset < 20:
            raise Malformed(Drop.IP_HEADER_LENGTH)
    if end < offset:
        raise Malformed(Drop.IP_HEADER_LENGTH)
    if end > len(packet):
        raise Malformed(Drop.IP_TRUNCATED)
    if not vouched and int.from_bytes(packet[:offset], "big") % 0xFFFF:
        raise Malformed(Drop.IP_CHECKSUM)
    if fragment & _MORE_OR_OFFSET:
        raise Malformed(Drop.IP_FRAGMENT)
    return protocol, offset, end


def header(
    src: bytes,
    dst: bytes,
    protocol: int,
    payload_length: int,
    *,
    hop_limit: int = 64,
    traffic_class: int = 0,
    identification: int = 0,
    dont_fragment: bool = True,
) -> bytes:
    """The 20 bytes of a header without options, checksum included.

    `traffic_class` is the whole octet, DSCP and ECN. With DF set the identification may be any
    number, the same one always included (RFC 6864 section 4.1).
    """
    if len(src) != 4 or len(dst) != 4:
        raise ValueError("an IPv4 address has 4 bytes")
    total = HEADER_LENGTH + payload_length
    flags = _DONT_FRAGMENT if dont_fragment else 0
    fields = (0x45, traffic_class, total, identification, flags, hop_limit, protocol)
    blank = _pack(*fields, 0, src, dst)
    return _pack(*fields, checksum.finish(checksum.ones_complement_sum(blank)), src, dst)
