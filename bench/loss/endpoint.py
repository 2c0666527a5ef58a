"""The two ends of a live transfer, each a process of its own.

    python -m bench.loss.endpoint sink FLOWS
    python -m bench.loss.endpoint linux CC FLOWS SECONDS BYTES SEED
    python -m bench.loss.endpoint aiotcp CC FLOWS SECONDS BYTES SEED

A sender opens its flows within a second (the first at once), writes for so long, or so many bytes
in each flow if BYTES is not 0, closes its half, and waits for a byte in answer. It prints when it
began and how many bytes it sent again; the sink, on the kernel, what it had received when. JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import selectors
import socket
import struct
import sys
import threading
import time
from typing import cast

import uvloop

from aiotcp import Stack
from aiotcp.link import network
from aiotcp.link.tun import Tun
from aiotcp.options import Options
from bench.loss.cells import MTU
from bench.loss.forward import SAMPLE_S, SINK, STACK, STACK_HOST

PORT = 9

_BLOCK = bytes(1 << 16)
_BYTES_RETRANS_AT = 208  # in struct tcp_info, linux/tcp.h
_UNSENT_BYTES = 1 << 17
"""What a sender may have queued beyond what is in flight."""


def starts(flows: int, seed: int) -> list[float]:
    """When each flow begins, in seconds, as in the simulation."""
    draw = random.Random(f"starts {seed}")
    return [0.0, *(draw.random() for _ in range(1, flows))]


def sink(flows: int) -> dict[str, object]:
    """Receive so many flows to their ends; totals by flow, every SAMPLE_S."""
    listener = socket.create_server((SINK, PORT), backlog=flows)
    listener.settimeout(60)
    print("ready", flush=True)
    watch = selectors.DefaultSelector()
    watch.register(listener, selectors.EVENT_READ, -1)
    totals: list[int] = []
    samples: list[tuple[float, list[int]]] = []
    buffer = bytearray(1 << 20)
    finished: list[socket.socket] = []
    ended = 0
    while ended < flows:
        for key, _ in watch.select():
            if key.data < 0:
                accepted, _ = listener.accept()
                watch.register(accepted, selectors.EVENT_READ, len(totals))
                totals.append(0)
                continue
            source = cast(socket.socket, key.fileobj)
            try:
                got = source.recv_into(buffer)
            except ConnectionError:
                got = 0
            totals[key.data] += got
            if not got:
                ended += 1
                watch.unregister(source)
                finished.append(source)
                try:
                    source.send(b".")  # what the sender waits for, its connection still open
                except OSError:
                    pass
        now = time.monotonic()
        if not samples or now >= samples[-1][0] + SAMPLE_S or ended == flows:
            samples.append((now, list(totals)))
    time.sleep(0.3)  # for the senders to look at their connections before a FIN ends them
    return {"samples": samples}


def linux(cc: str, flows: int, seconds: float, size: int, seed: int) -> dict[str, object]:
    """The kernel sends."""
    again = [0] * flows
    began = time.monotonic()

    def one(number: int, start: float) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as kernel:
            kernel.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, cc.encode())
            kernel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
            kernel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            time.sleep(start)
            kernel.connect((SINK, PORT))
            left = size or 1 << 62
            while left > 0 and (size or time.monotonic() < began + seconds):
                left -= kernel.send(_BLOCK[:left])
            kernel.shutdown(socket.SHUT_WR)
            kernel.recv(1)
            info = kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            (again[number],) = struct.unpack_from("=Q", info, _BYTES_RETRANS_AT)

    threads = [threading.Thread(target=one, args=each) for each in enumerate(starts(flows, seed))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"began": began, "again": sum(again)}


class _Source(asyncio.Protocol):
    """Writes until its time is up, or all is written, then closes its half."""

    def __init__(self, until: float, size: int) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._until = until
        self._left = size or 1 << 62
        self._writing = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=_UNSENT_BYTES)
        self.resume_writing()

    def pause_writing(self) -> None:
        self._writing = False

    def resume_writing(self) -> None:
        self._writing = True
        while self._writing:
            if not self._left or time.monotonic() >= self._until:
                if not self.transport.is_closing():
                    self.transport.write_eof()
                return
            block = _BLOCK[: self._left]
            self._left -= len(block)
            self.transport.write(block)

    def data_received(self, data: bytes) -> None:
        self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("closed by the sink"))


async def _send(
    tun: Tun, cc: str, flows: int, seconds: float, size: int, seed: int
) -> dict[str, object]:
    options = Options(cc=cc, send_buffer=2 << 20)
    began = time.monotonic()
    again = 0
    async with Stack(tun, addresses=[STACK], options=options) as stack:

        async def one(start: float) -> None:
            await asyncio.sleep(start)
            until = began + seconds if not size else float("inf")
            _, source = await stack.create_connection(lambda: _Source(until, size), SINK, PORT)
            await source.done
            nonlocal again
            again += sum(
                row.bytes_retransmitted
                for row in stack.connections()
                if row.local.port == source.transport.get_extra_info("sockname")[1]
            )
            source.transport.close()

        await asyncio.gather(*(one(start) for start in starts(flows, seed)))
    return {"began": began, "again": again}


def aiotcp(cc: str, flows: int, seconds: float, size: int, seed: int) -> dict[str, object]:
    """We send, over a TUN device with offload, through the kernel of the same namespace."""
    tun, _ = network.open_tun(host_addresses=[STACK_HOST], mtu=MTU)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_send(tun, cc, flows, seconds, size, seed))


def main() -> None:
    what, *words = sys.argv[1:]
    if what == "sink":
        told = sink(int(words[0]))
    else:
        cc, flows, seconds, size, seed = words
        sender = linux if what == "linux" else aiotcp
        told = sender(cc, int(flows), float(seconds), int(size), int(seed))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
