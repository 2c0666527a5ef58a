"""Second opinions on packets: scapy, dpkt, and checksums added word by word."""

from __future__ import annotations

import struct
import warnings
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from aiotcp.wire import tcp
from aiotcp.wire.frame import Buffer, Frame

with warnings.catch_warnings():
    # What scapy's import says of the host's configuration is not about these tests.
    warnings.simplefilter("ignore")
    from scapy.layers.inet import IP, TCP
    from scapy.layers.inet6 import IPv6

V4 = (IPv4Address("192.0.2.1").packed, IPv4Address("192.0.2.2").packed)
V6 = (IPv6Address("2001:db8::1").packed, IPv6Address("2001:db8::2").packed)
FAMILIES = {4: V4, 6: V6}

# How long an example takes depends on what else the machine does.
relaxed = settings(deadline=None)

octets = st.integers(0, 0xFF)
words16 = st.integers(0, 0xFFFF)
words32 = st.integers(0, 0xFFFFFFFF)
addresses = st.sampled_from((4, 16)).flatmap(
    lambda size: st.tuples(
        st.binary(min_size=size, max_size=size), st.binary(min_size=size, max_size=size)
    )
)


def word_sum(data: bytes) -> int:
    """RFC 1071 as its section 4.1 has it: word after word, carries added at the end."""
    if len(data) % 2:
        data += b"\0"
    total = 0
    for (word,) in struct.iter_unpack("!H", data):
        total += word
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def dissect(packet: Buffer) -> Any:
    """The packet as scapy reads it."""
    data = bytes(packet)
    return IP(data) if data[0] >> 4 == 4 else IPv6(data)


def rebuilt(packet: Buffer) -> bytes:
    """The packet as scapy writes it: every length and every checksum computed by scapy."""
    layers = dissect(packet).copy()
    for layer in layers.iterpayloads():
        for field in ("len", "plen", "ihl", "dataofs", "chksum", "cksum"):
            if field in layer.fields:
                delattr(layer, field)
    return bytes(layers)


def tcp_frame(
    version: int,
    *,
    payload: bytes = b"",
    options: bytes = b"",
    seq: int = 1000,
    ack: int = 2000,
    flags: int = tcp.ACK,
    gso_size: int = 0,
    offload: bool = False,
    identification: int = 7,
) -> Frame:
    """A segment from port 5000 to port 80."""
    local, remote = FAMILIES[version]
    return tcp.HeaderTemplate(local, 5000, remote, 80).frame(
        seq,
        ack,
        flags,
        8192,
        options=options,
        payload=[payload],
        payload_length=len(payload),
        gso_size=gso_size,
        offload=offload,
        identification=identification,
    )


def tcp_packet(
    version: int, *, options: bytes = b"", payload: bytes = b"", flags: int = 16
) -> bytes:
    """A segment in one packet, its checksum complete."""
    return tcp_frame(version, options=options, payload=payload, flags=flags).to_bytes()


def tcp_layer(packet: Buffer) -> Any:
    return dissect(packet)[TCP]
