"""The two sides of a TUN device in a test's private network, and packets built by hand."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from aiotcp.link import network
from aiotcp.link.tun import Tun
from aiotcp.wire import checksum, ipv4, ipv6
from aiotcp.wire.frame import Frame
from tests.support.netns import has_ipv6
from tests.support.recorder import Recorder

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


def opened(side: Side = V4, offload: bool = True, mtu: int = 1500) -> Tun:
    """A device with the host's address, up. For use outside of a running loop."""
    if side.version == 6 and not has_ipv6():
        pytest.skip("the kernel has no IPv6")
    return network.open_tun(host_addresses=[side.host_address], mtu=mtu, offload=offload)[0]


@asynccontextmanager
async def device(side: Side, *, offload: bool = True, mtu: int = 1500) -> AsyncIterator[Tun]:
    """The same, from a coroutine; closed at the end."""
    tun = await network.off_loop(opened, side, offload, mtu)
    try:
        yield tun
    finally:
        tun.close()


def attached(tun: Tun) -> Recorder:
    """A recorder that hears the device on the running loop."""
    recorder = Recorder()
    tun.attach(recorder, asyncio.get_running_loop())
    return recorder


def kernel_socket(side: Side, kind: socket.SocketKind) -> socket.socket:
    """A socket of the kernel's, not blocking, bound to the host's address and any port."""
    made = socket.socket(socket.AF_INET if side.version == 4 else socket.AF_INET6, kind)
    made.setblocking(False)
    made.bind((side.host, 0))
    return made
