"""What a network card does with offloaded packets: cut them, and complete their checksums.

Links without offload, impairments and captures need packets as they look on a wire.
"""

from __future__ import annotations

import struct
from typing import Final

from aiotcp.wire import checksum, ipv4, ipv6, tcp
from aiotcp.wire.frame import Buffer
from aiotcp.wire.malformed import Malformed

_UDP: Final = 17
_UDP_CHECKSUM_OFFSET: Final = 6

_pack_u16: Final = struct.Struct("!H").pack_into
_pack_u32: Final = struct.Struct("!I").pack_into
_u32: Final = struct.Struct("!I").unpack_from
_u16: Final = struct.Struct("!H").unpack_from


def split(packet: Buffer, gso_size: int, vouched: bool) -> list[bytes]:
    """The wire packets that an IP packet with offload metadata stands for, checksums complete.

    gso_size  0: one packet; else the payload of this TCP packet is cut every so many bytes
    vouched   the transport checksum may be partial (`Frame.checksum_start`, virtio NEEDS_CSUM).
              If not, one packet keeps the checksum it has, right or wrong

    A packet whose headers make no sense, or that is neither TCP nor UDP, is returned as it is.
    """
    view = memoryview(packet)
    try:
        version = view[0] >> 4 if len(view) else 0
        protocol, offset, end = (ipv6 if version == 6 else ipv4).parse(view, True)
        if protocol == tcp.PROTOCOL:
            start = end - len(tcp.parse(view, offset, end).payload)
            if gso_size and end - start > gso_size:
                return _cut(view[:end], offset, start, gso_size)
            if gso_size or vouched:
                return [_complete(view[:end], offset, tcp.CHECKSUM_OFFSET)]
        elif protocol == _UDP and vouched and end - offset >= 8:
            return [_complete(view[:end], offset, _UDP_CHECKSUM_OFFSET)]
    except Malformed:
        pass
    return [bytes(view)]


def _addresses_sum(view: Buffer) -> int:
    """The sum of source and destination address of the IP header at the buffer's start."""
    return checksum.residue(view[12:20] if view[0] >> 4 == 4 else view[8:40])


def _complete(view: memoryview, offset: int, field: int) -> bytes:
    """One packet with its transport checksum, `field` bytes after `offset`, computed anew."""
    packet = bytearray(view)
    _pack_u16(packet, offset + field, 0)
    protocol = tcp.PROTOCOL if field == tcp.CHECKSUM_OFFSET else _UDP
    total = _addresses_sum(packet) + protocol + len(packet) - offset
    value = checksum.finish(total + checksum.ones_complement_sum(memoryview(packet)[offset:]))
    # In UDP zero says that there is no checksum (RFC 768); in TCP it is a value like others.
    _pack_u16(packet, offset + field, value or (0xFFFF if protocol == _UDP else 0))
    return bytes(packet)


def _cut(view: memoryview, offset: int, start: int, gso_size: int) -> list[bytes]:
    """TCP segmentation offload: headers up to `start` repeated over pieces of the payload.

    The sequence number grows with the bytes, the IPv4 identification by one; FIN and PSH stay on
    the last segment, CWR on the first (RFC 3168 section 6.1.2).
    """
    header = bytearray(view[:start])
    is_ipv4 = header[0] >> 4 == 4
    flags = header[offset + 13]
    sequence = _u32(header, offset + 4)[0]
    identification = _u16(header, 4)[0]
    addresses = _addresses_sum(header)
    end = len(view)
    packets: list[bytes] = []
    for piece in range(start, end, gso_size):
        payload = view[piece : piece + gso_size]
        length = start - offset + len(payload)
        keep = 0xFF
        if piece > start:
            keep &= ~tcp.CWR
        if piece + gso_size < end:
            keep &= ~(tcp.FIN | tcp.PSH)
        header[offset + 13] = flags & keep
        _pack_u32(header, offset + 4, (sequence + piece - start) & 0xFFFFFFFF)
        if is_ipv4:
            _pack_u16(header, 2, offset + length)
            _pack_u16(header, 4, (identification + len(packets)) & 0xFFFF)
            _pack_u16(header, 10, 0)
            _pack_u16(header, 10, checksum.finish(checksum.residue(header[:offset])))
        else:
            _pack_u16(header, 4, offset + length - ipv6.HEADER_LENGTH)
        _pack_u16(header, offset + tcp.CHECKSUM_OFFSET, 0)
        total = addresses + tcp.PROTOCOL + length + checksum.residue(header[offset:])
        total += checksum.ones_complement_sum(payload)
        _pack_u16(header, offset + tcp.CHECKSUM_OFFSET, checksum.finish(total))
        packets.append(b"".join((header, payload)))
    return packets
