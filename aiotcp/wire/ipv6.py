"""IPv6 headers and extension headers (RFC 8200)."""

from __future__ import annotations

import struct
from typing import Final

from aiotcp.reasons import Drop
from aiotcp.wire.malformed import Malformed

HEADER_LENGTH: Final = 40

HOP_BY_HOP: Final = 0
ROUTING: Final = 43
FRAGMENT: Final = 44
ENCAPSULATING_SECURITY_PAYLOAD: Final = 50
AUTHENTICATION: Final = 51
NO_NEXT_HEADER: Final = 59
DESTINATION_OPTIONS: Final = 60
MOBILITY: Final = 135
HOST_IDENTITY: Final = 139
SHIM6: Final = 140

_unpack: Final = struct.Struct("!BxxxHB").unpack_from
_pack: Final = struct.Struct("!IHBB16s16s").pack

_REFUSED: Final = {
    ROUTING: Drop.IP_ROUTING_HEADER,
    FRAGMENT: Drop.IP_FRAGMENT,
    ENCAPSULATING_SECURITY_PAYLOAD: Drop.IP_ENCRYPTED,
    AUTHENTICATION: Drop.IP_AUTHENTICATION_HEADER,
    NO_NEXT_HEADER: Drop.IP_NO_NEXT_HEADER,
    MOBILITY: Drop.IP_EXTENSION_HEADER,
    HOST_IDENTITY: Drop.IP_EXTENSION_HEADER,
    SHIM6: Drop.IP_EXTENSION_HEADER,
}
_EXTENSIONS: Final = frozenset((HOP_BY_HOP, DESTINATION_OPTIONS, *_REFUSED))

# A host may limit both (RFC 8504 section 5.3); without limits one 64 KiB packet of padding costs
# tens of thousands of steps.
MAX_EXTENSION_HEADERS: Final = 8
MAX_OPTIONS: Final = 32


def parse(packet: memoryview, vouched: bool = False) -> tuple[int, int, int]:
    """Check one packet's headers: (protocol, offset of the transport header, end of the packet).

    Hop-by-hop and destination options are skipped (RFC 8200 sections 4.3, 4.6); every other
    extension header has a drop reason of its own. Jumbograms (RFC 2675) are refused through their
    option, which a host that does not know it must not skip. `vouched` has no effect here: an
    IPv6 header carries no checksum. Raises Malformed.
    """
    if len(packet) < 40:
        raise Malformed(Drop.IP_TRUNCATED if len(packet) else Drop.IP_EMPTY)
    version, payload_length, protocol = _unpack(packet)
    if version >> 4 != 6:
        raise Malformed(Drop.IP_VERSION)
    end = 40 + payload_length
    if end > len(packet):
        raise Malformed(Drop.IP_TRUNCATED)
    if protocol in _EXTENSIONS:
        protocol, offset = _skip_extensions(packet, protocol, end)
        return protocol, offset, end
    return protocol, 40, end


def _skip_extensions(packet: memoryview, protocol: int, end: int) -> tuple[int, int]:
    """Walk the chain of extension headers: (upper protocol, its offset)."""
    offset = HEADER_LENGTH
    for _ in range(MAX_EXTENSION_HEADERS):
        # Hop-by-hop options come directly after the IPv6 header (RFC 8200 section 4.1).
        if protocol != DESTINATION_OPTIONS and (protocol != HOP_BY_HOP or offset != HEADER_LENGTH):
            break
        if offset + 8 > end:
            raise Malformed(Drop.IP_TRUNCATED)
        following = offset + 8 + packet[offset + 1] * 8
        if following > end:
            raise Malformed(Drop.IP_TRUNCATED)
        _check_options(packet, offset + 2, following)
        protocol, offset = packet[offset], following
    if protocol in _EXTENSIONS:
        raise Malformed(_REFUSED.get(protocol, Drop.IP_EXTENSION_HEADER))
    return protocol, offset


def _check_options(packet: memoryview, offset: int, end: int) -> None:
    """RFC 8200 section 4.2: an unknown option may be skipped only if its two high bits say so.

    No option but padding is known here, and none that may not be skipped. The Parameter Problem
    that some of them ask for is not sent.
    """
    for _ in range(MAX_OPTIONS):
        if offset >= end:
            break
        kind = packet[offset]
        if kind == 0:  # Pad1, the only option without a length.
            offset += 1
            continue
        if kind & 0xC0 or offset + 2 > end:
            raise Malformed(Drop.IP_OPTION)
        offset += 2 + packet[offset + 1]
    if offset != end:
        raise Malformed(Drop.IP_OPTION)


def header(
    src: bytes,
    dst: bytes,
    protocol: int,
    payload_length: int,
    *,
    hop_limit: int = 64,
    traffic_class: int = 0,
    flow_label: int = 0,
) -> bytes:
    """The 40 bytes of the fixed header; `traffic_class` is the whole octet, DSCP and ECN."""
    if len(src) != 16 or len(dst) != 16:
        raise ValueError("an IPv6 address has 16 bytes")
    first = 6 << 28 | traffic_class << 20 | flow_label
    return _pack(first, payload_length, protocol, hop_limit, src, dst)
