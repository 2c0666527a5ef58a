"""The two sides of a TUN device in a test's private network, and packets built by hand."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address

from aiotcp.wire import checksum, ipv4, ipv6
from aiotcp.wire.frame import Frame

UDP = 17


@dataclass(frozen=True)
class Side:
    """One IP version: the kernel's address on the device, and ours behind it."""

    name: str
    prefix_length: int
    host: str
    stack: str

    @property
    def version(self) -> int:
        return ip_address(self.host).version

    @property
    def host_address(self) -> str:
        """As `network.configure` takes it."""
        return f"{self.host}/{self.prefix_length}"

    @property
    def host_bytes(self) -> bytes:
        return ip_address(self.host).packed

    @property
    def stack_bytes(self) -> bytes:
        return ip_address(self.stack).packed

    def datagram(self, source_port: int, port: int, data: bytes) -> Frame:
        """A UDP datagram from us to the host."""
        src, dst = self.stack_bytes, self.host_bytes
        length = 8 + len(data)
        header = struct.pack("!HHHH", source_port, port, length, 0)
        total = checksum.pseudo_header_sum(src, dst, UDP, length)
        total += checksum.sum_buffers((header, data))
        udp = header[:6] + struct.pack("!H", checksum.finish(total)) + data
        make = ipv4.header if self.version == 4 else ipv6.header
        return Frame(make(src, dst, UDP, length) + udp)


V4 = Side("IPv4", 24, "192.0.2.1", "192.0.2.2")
V6 = Side("IPv6", 64, "fd61:696f:7463:70::1", "fd61:696f:7463:70::2")


def transport(packet: bytes) -> tuple[int, memoryview]:
    """The protocol of an IP packet, and what follows its headers."""
    view = memoryview(packet)
    protocol, offset, end = (ipv4 if packet[0] >> 4 == 4 else ipv6).parse(view)
    return protocol, view[offset:end]


def is_datagram(packet: bytes, data: bytes) -> bool:
    protocol, udp = transport(packet)
    return protocol == UDP and udp[8:] == data
