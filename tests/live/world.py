"""A stack on a TUN device, the kernel's TCP on the other side, and what passes between the two."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from aiotcp import Options, Stack
from aiotcp.link import network
from aiotcp.link.tun import Tun
from aiotcp.link.wrapper import Wrapper
from aiotcp.tcp.tcb import State
from aiotcp.transition import Transition
from aiotcp.wire import ipv4, ipv6, tcp
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import Segment, flags_text
from tests.support.hosts import V4, V6, Side
from tests.support.netns import has_ipv6

GUARD_S = 60.0
"""A test that takes longer hangs."""

both_versions = pytest.mark.parametrize("side", [V4, V6], ids=lambda side: side.name)
with_and_without_offload = pytest.mark.parametrize(
    "offload", [True, False], ids=["offload", "plain"]
)

KERNEL_STATES = (
    *("", "ESTABLISHED", "SYN-SENT", "SYN-RECEIVED", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT"),
    *("CLOSED", "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING"),
)
"""By the numbers that TCP_INFO and /proc/net/tcp have for them."""

SERVICE = 7
"""The port of our servers."""

_TCP_REPAIR = 19  # linux/tcp.h


@dataclass(frozen=True)
class Passed:
    """A segment on the wire between us and the kernel."""

    ours: bool
    kernel_port: int
    segment: Segment
    length: int
    reason: str


class Wire(Wrapper):
    """A tap: the device, as a link that keeps a record of all segments that pass."""

    def __init__(self, tun: Tun) -> None:
        super().__init__(tun)
        self.tun = tun
        self.passed: list[Passed] = []
        self.news = asyncio.Event()

    def send(self, frame: Frame) -> None:
        self._note(memoryview(frame.to_bytes()), True, frame.reason)
        self.link.send(frame)

    def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
        self._note(packet, False, "")
        self.receiver.receive(packet, vouched, gso_size)

    def _note(self, packet: memoryview, ours: bool, reason: str) -> None:
        protocol, offset, end = (ipv4 if packet[0] >> 4 == 4 else ipv6).parse(packet, True)
        if protocol != tcp.PROTOCOL:
            return
        segment = tcp.parse(packet, offset, end)
        length = len(segment.payload)
        segment.payload = b""  # the link's memory
        (port,) = struct.unpack_from("!H", packet, offset + 2 * ours)
        self.passed.append(Passed(ours, port, segment, length, reason))
        self.news.set()

    async def saw(self, wanted: Callable[[Passed], bool], count: int = 1) -> None:
        """Wait until so many segments of a kind have passed."""
        while sum(map(wanted, self.passed)) < count:
            self.news.clear()
            await self.news.wait()

    def of(self, kernel_port: int) -> list[Passed]:
        return [each for each in self.passed if each.kernel_port == kernel_port]

    def ladder(self, kernel_port: int) -> list[str]:
        """The segments of one connection, "> " ours and "< " the kernel's, with numbers relative
        to the initial ones: "< SYN seq=0", "> SYN,ACK seq=0 ack=1", "> PSH,ACK seq=1 ack=1 len=5".
        """
        lines = []
        first: dict[bool, int] = {}
        for each in self.of(kernel_port):
            segment = each.segment
            start = first.setdefault(each.ours, segment.seq)
            line = f"{'>' if each.ours else '<'} {flags_text(segment.flags)}"
            line += f" seq={segment.seq - start & 0xFFFF_FFFF}"
            if segment.flags & tcp.ACK:
                other = first.get(not each.ours, segment.ack)
                line += f" ack={segment.ack - other & 0xFFFF_FFFF}"
            lines.append(line + (f" len={each.length}" if each.length else ""))
        return lines


class History:
    """The observer of a stack: the transitions that it was told of."""

    def __init__(self) -> None:
        self.transitions: list[Transition] = []
        self.news = asyncio.Event()

    def __call__(self, transition: Transition) -> None:
        self.transitions.append(transition)
        self.news.set()

    def path(self, kernel_port: int) -> list[str]:
        """The states that the stack's side of a connection went through."""
        moved = [each for each in self.transitions if each.remote.port == kernel_port]
        return [str(each.old) for each in moved[:1]] + [str(each.new) for each in moved]

    async def reached(self, state: State, kernel_port: int) -> Transition:
        """Wait until the stack's side of a connection has been in the state."""
        while True:
            for each in self.transitions:
                if each.new is state and each.remote.port == kernel_port:
                    return each
            self.news.clear()
            await self.news.wait()


@dataclass
class World:
    """What a test works with."""

    side: Side
    wire: Wire
    stack: Stack
    history: History
    sockets: list[socket.socket] = field(default_factory=list)

    # The kernel's side

    def kernel_socket(self) -> socket.socket:
        """Not blocking; CUBIC, whatever the machine's default is. Closed at the end."""
        family = socket.AF_INET if self.side.version == 4 else socket.AF_INET6
        made = socket.socket(family, socket.SOCK_STREAM)
        self.sockets.append(made)
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        return made

    async def kernel_connects(self, port: int, receive_buffer: int = 0) -> socket.socket:
        """Connect the kernel to a port of the stack. receive_buffer: SO_RCVBUF, if not 0."""
        made = self.kernel_socket()
        if receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(made, (self.side.stack, port))
        return made

    def kernel_listens(self) -> tuple[socket.socket, int]:
        """A listener of the kernel on a free port, and the port."""
        made = self.kernel_socket()
        made.bind((self.side.host, 0))
        made.listen()
        return made, made.getsockname()[1]

    async def kernel_accepts(self, listener: socket.socket) -> socket.socket:
        made, _ = await asyncio.get_running_loop().sock_accept(listener)
        self.sockets.append(made)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        return made

    def kernel_table(self) -> dict[int, list[str]]:
        """States of the kernel's TCP sockets by their local port, orphans and TIME-WAIT
        included."""
        table: dict[int, list[str]] = {}
        name = "tcp" if self.side.version == 4 else "tcp6"
        with open(f"/proc/thread-self/net/{name}") as rows:
            next(rows)
            for row in rows:
                fields = row.split()
                port = int(fields[1].rpartition(":")[2], 16)
                table.setdefault(port, []).append(KERNEL_STATES[int(fields[3], 16)])
        return table

    def close_sockets(self) -> None:
        for each in self.sockets:
            each.close()

    async def drops(self) -> int:
        """Packets that the device dropped on their way to us, its queue being full."""
        return (await network.off_loop(network.statistics, self.wire.tun.name))["tx_dropped"]


@asynccontextmanager
async def world(
    side: Side = V4, *, offload: bool = True, mtu: int = 1500, options: Options | None = None
) -> AsyncIterator[World]:
    """A device, and a stack on it; everything is closed at the end."""
    if side.version == 6 and not has_ipv6():
        pytest.skip("the kernel has no IPv6")
    async with asyncio.timeout(GUARD_S):
        tun, _ = await network.off_loop(
            network.open_tun, host_addresses=[side.host_address], mtu=mtu, offload=offload
        )
        wire, history = Wire(tun), History()
        stack = Stack(wire, addresses=[side.stack], options=options, observer=history)
        made = World(side, wire, stack, history)
        try:
            async with stack:
                yield made
                made.close_sockets()
        finally:
            made.close_sockets()


def kernel_state(kernel: socket.socket) -> str:
    """The state of the kernel's socket, from TCP_INFO."""
    return KERNEL_STATES[kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]]


def port_of(kernel: socket.socket) -> int:
    port: int = kernel.getsockname()[1]
    return port


def vanish(kernel: socket.socket) -> None:
    """End a kernel's connection without a word to the peer, as a crash does."""
    kernel.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    kernel.close()


class Connected:
    """One connection: our streams, the kernel's socket and its port."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kernel: socket.socket
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.kernel = kernel
        self.port = port_of(kernel)
        self.loop = asyncio.get_running_loop()

    async def kernel_reads(self, count: int = 1 << 16) -> bytes:
        return await self.loop.sock_recv(self.kernel, count)


async def connected(w: World) -> Connected:
    """The kernel connects to a server of ours."""
    accepted: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
    accepted = asyncio.get_running_loop().create_future()
    await w.stack.start_server(
        lambda reader, writer: accepted.set_result((reader, writer)), w.side.stack, SERVICE
    )
    kernel = await w.kernel_connects(SERVICE)
    return Connected(*await accepted, kernel)


async def connected_actively(w: World) -> Connected:
    """We connect to a server of the kernel."""
    listener, port = w.kernel_listens()
    reader, writer = await w.stack.open_connection(w.side.host, port)
    made = Connected(reader, writer, await w.kernel_accepts(listener))
    listener.close()
    return made
