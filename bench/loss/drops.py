"""make bench-live-loss: 10 MB to and from the kernel with 1 % of all packets dropped, live.

    python -m bench.loss.drops [--runs 10] [--mib 10] [--loss 0.01] [--only cubic,bbr] [--json]

Packets are dropped at random in both directions, on a path without delay. up: the kernel sends to
aiotcp; down: aiotcp sends to the kernel; over one TUN device, with our own `Impair` between the
stack and the device. Beside them the kernel to the kernel, its packets dropped by the forwarder of
make bench-loss. Seconds count from connect() until the receiver has every byte. Runs in turn, so
that what else the machine does meets all alike.

packets: of the MTU, without offload. frames: devices with offload, whose frames of up to 64 KiB are
dropped whole, as the kernel's own filters (nftables) would see and drop them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import uvloop

from aiotcp import Stack
from aiotcp.link import network
from aiotcp.link.base import Link
from aiotcp.link.impair import Impair, Netem
from aiotcp.link.tun import Tun
from aiotcp.link.wrapper import Wrapper
from aiotcp.options import CONGESTION_CONTROLS, Options
from aiotcp.wire.frame import Frame
from bench.loss.cells import MTU
from bench.loss.endpoint import PORT
from bench.loss.forward import enter_new_namespace
from bench.loss.live import obstacle, transfer

HOST, STACK = "192.0.2.1/24", "192.0.2.2"
TARGET = 0.5
_GUARD_S = 120.0


class _Dropper(Wrapper):
    """A link that drops whole frames at random, both ways."""

    def __init__(self, link: Tun, loss: float, seed: int) -> None:
        super().__init__(link)
        self.counters = {"outbound_loss": 0, "inbound_loss": 0}
        self._loss = loss
        self._draw = random.Random(seed).random

    def send(self, frame: Frame) -> None:
        if self._draw() < self._loss:
            self.counters["outbound_loss"] += 1
        else:
            self.link.send(frame)

    def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
        if self._draw() < self._loss:
            self.counters["inbound_loss"] += 1
        else:
            self.receiver.receive(packet, vouched, gso_size)


class _Sink(asyncio.Protocol):
    """Counts to `size`, then closes."""

    def __init__(self, size: int, done: asyncio.Future[float]) -> None:
        self._left = size
        self._done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left <= 0 and not self._done.done():
            self._done.set_result(time.monotonic())
            self._transport.close()


class _Source(asyncio.Protocol):
    """Writes `size` bytes and closes."""

    def __init__(self, size: int) -> None:
        self._left = size

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.resume_writing()

    def pause_writing(self) -> None:
        self._writing = False

    def resume_writing(self) -> None:
        self._writing = True
        while self._writing:
            block = bytes(min(self._left, 1 << 18))
            self._left -= len(block)
            if not block:
                self._transport.close()
                return
            self._transport.write(block)


async def _with_kernel(
    tun: Tun, direction: str, cc: str, loss: float, size: int, seed: int
) -> float:
    link: Link = _Dropper(tun, loss, seed)
    if not tun.checksum_offload:
        netem = Netem(loss=loss)
        link = Impair(tun, outbound=netem, inbound=netem, seed=seed, offload=True)
    done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    options = Options(cc=cc)
    async with asyncio.timeout(_GUARD_S), Stack(link, addresses=[STACK], options=options) as stack:
        factory: Callable[[], asyncio.Protocol] = (
            partial(_Sink, size, done) if direction == "up" else partial(_Source, size)
        )
        await stack.create_server(factory, STACK, PORT)
        what = "send" if direction == "up" else "receive"
        kernel = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.loss.drops", what, cc, str(size)),
            stdout=asyncio.subprocess.PIPE,
        )
        began, ended = json.loads((await kernel.communicate())[0])
        return (await done if direction == "up" else float(ended)) - float(began)


def with_kernel(
    direction: str, cc: str, loss: float, size: int, seed: int, *, frames: bool
) -> float:
    """Seconds of one transfer between aiotcp and the kernel; in a namespace of one's own."""
    tun, _ = network.open_tun(host_addresses=[HOST], mtu=MTU, offload=frames)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_with_kernel(tun, direction, cc, loss, size, seed))
    finally:
        tun.close()


def kernel_with_kernel(cc: str, loss: float, size: int, seed: int, *, frames: bool) -> float:
    """Seconds of one transfer from the kernel to the kernel."""
    way = {"loss": loss}
    made = transfer("linux", cc, seed=seed, there=way, back=way, size=size, offload=frames)
    return next(at for at, totals in made.received if sum(totals) >= size) - made.began


def _kernel(what: str, cc: str, size: int) -> None:
    """The kernel's end, in a process of its own."""
    buffer = bytearray(1 << 20)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as kernel:
        kernel.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, cc.encode())
        began = time.monotonic()
        kernel.connect((STACK, PORT))
        if what == "send":
            kernel.sendall(bytes(size))
            kernel.shutdown(socket.SHUT_WR)
        left = size if what == "receive" else 0
        while got := kernel.recv_into(buffer):
            left -= got
        ended = time.monotonic()
    if left:
        raise RuntimeError(f"{left} bytes are missing")
    print(json.dumps([began, ended]))


def report(cc: str, unit: str, found: dict[str, list[float]], size: int) -> list[dict[str, Any]]:
    speed = {name: size / 1e6 / statistics.median(each) for name, each in found.items()}
    return [
        {
            "cc": cc,
            "dropped": unit,
            "path": name,
            "mb_s": speed[name],
            "lowest_mb_s": size / 1e6 / max(each),
            "of_kernel": speed[name] / speed["kernel to kernel"],
            "runs_s": each,
        }
        for name, each in found.items()
    ]


def main(words: Sequence[str]) -> int:
    if words and words[0] in ("send", "receive"):
        _kernel(words[0], words[1], int(words[2]))
        return 0
    parser = argparse.ArgumentParser(prog="drops", description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--mib", type=float, default=10)
    parser.add_argument("--loss", type=float, default=0.01)
    parser.add_argument("--only", default="cubic,bbr", help="congestion controls (cubic,bbr)")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(words)
    if reason := obstacle():
        print(f"not measured: {reason}", file=sys.stderr)
        return 1
    size = round(chosen.mib * (1 << 20))
    algorithms = [cc for cc in chosen.only.split(",") if cc in CONGESTION_CONTROLS]
    found: dict[tuple[str, str], dict[str, list[float]]] = {
        (cc, unit): {"kernel to kernel": [], "up": [], "down": []}
        for unit in ("packets", "frames")
        for cc in algorithms
    }
    enter_new_namespace()
    for seed in range(chosen.runs):
        for (cc, unit), by_path in found.items():
            frames = unit == "frames"
            by_path["kernel to kernel"].append(
                kernel_with_kernel(cc, chosen.loss, size, seed, frames=frames)
            )
            for direction in ("up", "down"):
                by_path[direction].append(
                    with_kernel(direction, cc, chosen.loss, size, seed, frames=frames)
                )
    rows = [
        each for (cc, unit), by_path in found.items() for each in report(cc, unit, by_path, size)
    ]
    if chosen.json:
        print(json.dumps(rows, indent=2))
        return 0
    print(
        f"{chosen.mib:g} MiB, {chosen.loss:.1%} of packets dropped each way, {chosen.runs} runs\n\n"
        f"{'':8}{'':10}{'':20}{'MB/s':>8}{'lowest':>8}{'of kernel':>11}{'target':>9}"
    )
    for row in rows:
        mine = row["path"] != "kernel to kernel"
        mark = "!" if mine and row["of_kernel"] < TARGET else " "
        goal = f">={TARGET:.2f}" if mine else ""
        print(
            f"{row['cc']:8}{row['dropped']:10}{row['path']:20}{row['mb_s']:8.1f}{row['lowest_mb_s']:8.1f}"
            f"{row['of_kernel']:10.2f}{mark}{goal:>9}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
