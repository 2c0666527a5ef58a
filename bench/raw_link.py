"""The most that a TUN link can carry: a responder that acknowledges and does nothing else.

    python -m bench.raw_link [--seconds 3] [--mtu 1500] [--no-offload] [--loop uvloop|asyncio]

A kernel client (CUBIC, another process) sends to the responder as fast as it can, then receives
from it, over IPv4 on a TUN device in a private network namespace. Printed is what the client saw.
No loss is handled, no data kept, one connection at a time: what a complete TCP adds to this is its
own cost. Needs root.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import struct
import time

import uvloop

from aiotcp.link import network
from aiotcp.link.tun import Tun
from aiotcp.wire import tcp
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN, HeaderTemplate
from tests.support.netns import private_network

HOST, STACK = "192.0.2.1", "192.0.2.2"
SINK, SOURCE = 9, 19
WSCALE = 10
WINDOW_BYTES = 4 << 20
IN_FLIGHT_BYTES = 4 << 20

_fields = struct.Struct("!HHIIBBH").unpack_from


class Responder:
    """One connection at a time: to SINK it acknowledges, to SOURCE it sends without end."""

    def __init__(self, tun: Tun) -> None:
        self.tun = tun
        self.mss = tun.mtu - 40
        limit = tun.gso_max_bytes - 40 if tun.gso_max_bytes else self.mss
        self.burst = bytes(limit // self.mss * self.mss)
        self.template: HeaderTemplate | None = None
        self.port = 0
        self.rcv_nxt = self.snd_una = self.snd_nxt = 0
        self.peer_window = 0
        self.peer_shift = 0
        self.acknowledged = 0

    def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
        if packet[0] != 0x45 or packet[9] != tcp.PROTOCOL:
            return
        source, port, seq, ack, offset, flags, window = _fields(packet, 20)
        if flags & SYN:
            self.template = HeaderTemplate(
                socket.inet_aton(STACK), port, socket.inet_aton(HOST), source
            )
            self.port = port
            self.rcv_nxt, self.snd_una, self.snd_nxt = seq + 1, 1000, 1001
            self.peer_shift = tcp.parse(packet, 20, len(packet)).wscale or 0
            self.acknowledged = self.rcv_nxt
            options = tcp.pack_options(mss=self.mss, wscale=WSCALE)
            self.transmit(SYN | ACK, 1000, options=options)
            return
        if flags & (RST | FIN):
            self.template = None
            return
        length = len(packet) - 20 - (offset >> 4) * 4
        if length and seq == self.rcv_nxt & 0xFFFFFFFF:
            self.rcv_nxt += length
        self.snd_una += (ack - self.snd_una) & 0x7FFFFFFF
        self.peer_window = window << self.peer_shift

    def flush(self) -> None:
        if self.template is None:
            return
        if self.rcv_nxt != self.acknowledged:
            self.acknowledged = self.rcv_nxt
            self.transmit(ACK, self.snd_nxt)
        if self.port == SOURCE:
            limit = self.snd_una + min(self.peer_window, IN_FLIGHT_BYTES)
            while self.snd_nxt + len(self.burst) <= limit:
                self.transmit(ACK | PSH, self.snd_nxt, self.burst)
                self.snd_nxt += len(self.burst)

    def transmit(self, flags: int, seq: int, payload: bytes = b"", options: bytes = b"") -> None:
        assert self.template is not None
        frame: Frame = self.template.frame(
            seq,
            self.rcv_nxt,
            flags,
            WINDOW_BYTES >> WSCALE if not flags & SYN else 0xFFFF,
            options=options,
            payload=(payload,) if payload else (),
            payload_length=len(payload),
            gso_size=self.mss if len(payload) > self.mss else 0,
            offload=self.tun.checksum_offload,
        )
        self.tun.send(frame)

    def link_lost(self, exc: OSError) -> None:
        raise exc


def client(port: int, seconds: float) -> float:
    """Run in another process: Gbit/s that the kernel's socket carried."""
    with socket.socket() as kernel:
        kernel.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        kernel.connect((STACK, port))
        buffer = bytearray(1 << 20)
        moved = 0
        start = time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            moved += kernel.send(buffer) if port == SINK else kernel.recv_into(buffer)
        return moved * 8 / elapsed / 1e9


async def measure(tun: Tun, port: int, seconds: float) -> float:
    loop = asyncio.get_running_loop()
    tun.attach(Responder(tun), loop)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write_end, struct.pack("d", client(port, seconds)))
        os._exit(0)
    done = asyncio.Event()
    loop.add_reader(read_end, done.set)
    await done.wait()
    loop.remove_reader(read_end)
    result: float = struct.unpack("d", os.read(read_end, 8))[0]
    os.waitpid(child, 0)  # noqa: ASYNC222 (it has ended)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="The most that a TUN link can carry.")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--mtu", type=int, default=1500)
    parser.add_argument("--no-offload", dest="offload", action="store_false")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    chosen = parser.parse_args()
    factory = uvloop.new_event_loop if chosen.loop == "uvloop" else asyncio.new_event_loop
    for port, words in ((SINK, "into the responder"), (SOURCE, "out of the responder")):
        with private_network():
            tun, _ = network.open_tun(
                host_addresses=[f"{HOST}/24"], mtu=chosen.mtu, offload=chosen.offload
            )
            with asyncio.Runner(loop_factory=factory) as runner:
                speed = runner.run(measure(tun, port, chosen.seconds))
            dropped = network.statistics(tun.name)["tx_dropped"]
            counters = {name: n for name, n in tun.counters.items() if n}
            tun.close()
        print(f"{words}: {speed:.2f} Gbit/s (dropped by the device: {dropped}) {counters}")


if __name__ == "__main__":
    main()
