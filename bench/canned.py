"""A link that keeps nothing, and peers that exist only as numbers: what `bench.cost` works with."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from functools import cache

from aiotcp import Stack
from aiotcp.addresses import pack
from aiotcp.link.base import Receiver
from aiotcp.wire import tcp
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import ACK, FIN, SYN, HeaderTemplate

ADDRESS, PORT = "192.0.2.2", 7
_WINDOW = 64_000
_HEADER_BYTES = 20 + 32
_SYN_OPTIONS = tcp.pack_options(mss=1460, wscale=10, sack_permitted=True, timestamps=(1, 0))
_numbers = struct.Struct("!IIH").pack_into
_endpoint = struct.Struct("!I").pack_into
_port = struct.Struct("!H").pack_into


class Nowhere:
    """A link that only notes what was sent: where each frame ended, the latest header (which has
    our timestamp), and whether a FIN left."""

    mtu = 1500

    def __init__(self, *, offload: bool) -> None:
        self.counters: dict[str, int] = {}
        self.gso_max_bytes = 65535 if offload else 0
        self.checksum_offload = offload
        self.ends: deque[int] = deque()
        self.last = b""
        self.fin_sent = False

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        pass

    def send(self, frame: Frame) -> None:
        self.last = header = bytes(frame.header)
        if header[33] & FIN:
            self.fin_sent = True
        size = frame.length - len(header)
        if size:
            self.ends.append(int.from_bytes(header[24:28], "big") + size)

    def close(self) -> None:
        pass


class Switch(Nowhere):
    """The same for several peers: each has a link of its own."""

    def __init__(self, *, offload: bool) -> None:
        super().__init__(offload=offload)
        self.links: dict[bytes, Nowhere] = {}

    def send(self, frame: Frame) -> None:
        self.links[bytes(frame.header[22:24])].send(frame)


class Peer:
    """The other end of one connection, a port: packets with the next numbers, and no checks."""

    def __init__(self, stack: Stack, link: Nowhere, number: int, payload: bytes = b"") -> None:
        self._stack = stack
        self.link = link
        self.seq = 1000
        self.ack = 0
        self._data = bytearray(_packet(ACK, tcp.pack_options(timestamps=(1, 0)), payload))
        _endpoint(self._data, 12, 0x0A000000 + (number >> 15))
        _port(self._data, 20, 1024 + (number & 0x7FFF))
        self._bare = self._data[:_HEADER_BYTES]
        _port(self._bare, 2, _HEADER_BYTES)
        self.size = len(payload)
        self.port = bytes(self._data[20:22])

    def _receive(self, packet: bytearray, flags: int, gso_size: int = 0) -> None:
        _numbers(packet, 24, self.seq & 0xFFFFFFFF, self.ack, 0x8000 | flags)
        packet[48:52] = self.link.last[44:48]  # our timestamp, echoed
        self._stack.receive(memoryview(packet), True, gso_size)

    def data(self, gso_size: int = 0, flags: int = ACK) -> None:
        """The next `size` bytes; the packet's memory is used anew, like a link's."""
        self._receive(self._data, flags, gso_size)
        self.seq += self.size

    def bare(self, flags: int = ACK) -> None:
        self._receive(self._bare, flags)
        self.seq += flags & FIN  # takes a number

    def open(self) -> None:
        syn = bytearray(_packet(SYN, _SYN_OPTIONS, b""))
        syn[12:24] = self._data[12:24]  # addresses and ports
        self._stack.receive(memoryview(syn), True)
        self._stack.flush()
        answer = self.link.last
        self.ack = int.from_bytes(answer[24:28], "big") + 1
        self._wscale = tcp.parse(memoryview(answer), 20, len(answer)).wscale or 0

    @property
    def room(self) -> int:
        """Bytes that the stack's window has room for."""
        last = self.link.last
        edge = int.from_bytes(last[28:32], "big") + (
            int.from_bytes(last[34:36], "big") << self._wscale
        )
        return (edge - self.seq) & 0xFFFFFFFF


@cache
def _packet(flags: int, options: bytes, payload: bytes) -> bytes:
    """A packet of some peer; who it is, and the numbers, are to be filled in."""
    template = HeaderTemplate(bytes(4), 0, pack(ADDRESS), PORT)
    frame = template.frame(999, 0, flags, _WINDOW, options=options, offload=True)
    packet = bytearray(frame.to_bytes() + payload)
    _port(packet, 2, len(packet))
    return bytes(packet)
