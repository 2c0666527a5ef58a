"""What networks make of packets, beside losing them: scripted faults (see `faults`) ask for it."""

from __future__ import annotations

from aiotcp.link.netem import congestion_experienced
from aiotcp.wire import ipv4, ipv6
from aiotcp.wire.frame import Frame
from aiotcp.wire.segmentation import split
from aiotcp.wire.tcp import HeaderTemplate


def damaged(frame: Frame) -> Frame:
    """The same with one bit flipped that only the checksum tells of, at its end."""
    packet = frame.to_bytes()
    if frame.checksum_start:
        (packet,) = split(packet, 0, True)
    wrong = bytearray(packet)
    wrong[-1] ^= 1
    return Frame(bytes(wrong), (), len(wrong), reason=frame.reason)


def marked(frame: Frame) -> Frame | None:
    """As a router sends it on that meets congestion; None if it is not ECN-capable."""
    header = frame.header
    ecn = header[1] & 3 if header[0] >> 4 == 4 else header[1] >> 4 & 3
    if not ecn:
        return None
    return Frame(
        congestion_experienced(header),
        frame.payload,
        frame.length,
        frame.gso_size,
        frame.checksum_start,
        frame.reason,
    )


def stripped(frame: Frame) -> Frame:
    """The same segment without TCP options, whole and with its checksums complete."""
    packet = frame.to_bytes()
    view = memoryview(packet)
    old = packet[0] >> 4 == 4
    _, start, end = (ipv4.parse if old else ipv6.parse)(view, True)
    text = start + (packet[start + 12] >> 4) * 4
    address = 12 if old else 8
    width = 4 if old else 16
    ports = [int.from_bytes(packet[start + n : start + n + 2], "big") for n in (0, 2)]
    template = HeaderTemplate(
        packet[address : address + width], ports[0], packet[address + width :][:width], ports[1]
    )
    number, acknowledged = (
        int.from_bytes(packet[start + n : start + n + 4], "big") for n in (4, 8)
    )
    flags, window = packet[start + 13], int.from_bytes(packet[start + 14 : start + 16], "big")
    made = template.frame(
        number,
        acknowledged,
        flags,
        window,
        payload=[view[text:end]],
        payload_length=end - text,
        offload=False,
        reason=frame.reason,
    ).to_bytes()
    return Frame(made, (), len(made), reason=frame.reason)
