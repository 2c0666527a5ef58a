"""Outbound frames: an IP packet with what the link may still have to do to it."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Final, TypeAlias

from aiotcp.mypyc import mypyc_attr

Buffer: TypeAlias = bytes | bytearray | memoryview


@mypyc_attr(acyclic=True)
class Frame:
    """An outbound IP packet, or a TCP packet of up to 64 KiB that the link is asked to cut (TSO).

    header          IP and transport headers (or the whole packet, as for ICMP)
    payload         the bytes that follow, as views: nothing was copied to build the frame
    length          bytes of header and payload together
    gso_size        0: one packet; else the payload is to be cut every so many bytes
    checksum_start  0: the checksum is complete. Otherwise the offset of the transport header, whose
                    checksum field (TCP: +16) holds only the folded, uncomplemented sum of the
                    pseudo-header; the link completes it (virtio NEEDS_CSUM)
    reason          a label (`aiotcp.reasons.Why`), for counters and captures
    """

    __slots__ = ("checksum_start", "gso_size", "header", "length", "payload", "reason")

    def __init__(
        self,
        header: bytes,
        payload: Sequence[Buffer] = (),
        length: int = -1,
        gso_size: int = 0,
        checksum_start: int = 0,
        reason: str = "",
    ) -> None:
        """A `length` below zero is computed from the parts."""
        self.header = header
        self.payload = payload
        self.length = length if length >= 0 else len(header) + sum(map(len, payload))
        self.gso_size = gso_size
        self.checksum_start = checksum_start
        self.reason = reason

    def to_bytes(self) -> bytes:
        """Header and payload in one buffer, for links that need one; the checksum as it stands."""
        return b"".join((self.header, *self.payload))

    def __repr__(self) -> str:
        offload = f" gso={self.gso_size}" if self.gso_size else ""
        if self.checksum_start:
            offload += f" checksum_start={self.checksum_start}"
        return f"<Frame {self.length} bytes{offload} {self.reason or 'unlabelled'}>"


length_of: Final = attrgetter("length")
"""Of a frame, for `sum` and the like of many."""
