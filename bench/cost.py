"""make bench-cost: what a frame, a round trip and a connection cost, without kernel and device.

    python -m bench.cost [--only NAME] [--runs 7] [--loop uvloop|asyncio] [--opcodes] [--json]

A stack on a link that keeps nothing, and canned packets from a peer that exists only as numbers:
what is measured is the stack, the transport and the program, in microseconds of processor time (the
fastest and the median of several runs, which other work on the machine disturbs little). The peer's
own work, some half a microsecond for a packet, is in it.

`--opcodes` counts instead how many Python calls and bytecodes one operation takes, which nothing
disturbs (C functions count as nothing: compare costs of like with like).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import uvloop

from aiotcp import Stack
from aiotcp.wire.tcp import ACK, FIN, PSH
from bench import canned
from bench.canned import ADDRESS, PORT, Nowhere, Peer, Switch
from bench.servers import Discard, Source, discard, source

_OF_THE_BENCH = (__file__, canned.__file__)


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class DiscardBuffered(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self._buffer = bytearray(256 * 1024)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        pass


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1024):
        writer.write(data)
        await writer.drain()
    writer.close()


Server = Callable[[Stack], Awaitable[Any]]


def protocol(factory: Callable[[], asyncio.BaseProtocol]) -> Server:
    return lambda stack: stack.create_server(factory, ADDRESS, PORT, backlog=20_000)


def streams(client: Callable[..., Awaitable[None]]) -> Server:
    return lambda stack: stack.start_server(client, ADDRESS, PORT, backlog=20_000)


@dataclass(frozen=True)
class Work:
    """`step` does `of_step` operations, in one callback of the loop, as a link would."""

    name: str
    what: str
    server: Server
    step: Callable[[Bench], None]
    of_step: int
    payload_bytes: int = 0
    offload: bool = True
    others: int = 0
    """Established connections beside it."""
    peers: int = 0
    """So many connections that take turns, in place of one."""


class Bench:
    """One stack with one server, and what `Work.step` needs."""

    def __init__(self, work: Work) -> None:
        self.link = (Switch if work.peers else Nowhere)(offload=work.offload)
        self.stack = Stack(self.link, addresses=[ADDRESS], options={"max_connections": 40_000})
        self.work = work
        self.number = work.others + 1
        self.payload = bytes(work.payload_bytes)
        self.busy = False  # the latest step goes on in turns of its own

    async def prepare(self) -> None:
        await self.work.server(self.stack)
        if self.work.peers:
            await self._prepare_peers()
            return
        for number in range(self.work.others):
            other = Peer(self.stack, self.link, number)
            other.open()
            other.bare()
            self.stack.flush()
            if not number % 100:
                await asyncio.sleep(0)
        self.peer = self.new_peer()
        self.peer.open()
        self.peer.bare()
        self.stack.flush()
        for _ in range(10):
            await asyncio.sleep(0)
        if self.work.step is bulk_in:
            # The SYN's window is too small for a batch: this is acknowledged with a larger one.
            for _ in range(1 if self.work.offload else 2):
                self.peer.data(1448 if self.work.offload else 0)
            self.stack.flush()

    async def _prepare_peers(self) -> None:
        assert isinstance(self.link, Switch)
        self.peers: deque[Peer] = deque()
        for number in range(self.work.peers):
            peer = Peer(self.stack, Nowhere(offload=True), number, self.payload)
            self.link.links[peer.port] = peer.link
            self.peers.append(peer)
            peer.open()
            peer.bare()
            self.stack.flush()
        await asyncio.sleep(0)

    def new_peer(self) -> Peer:
        self.number += 1
        return Peer(self.stack, self.link, self.number, self.payload)

    async def run(self, steps: int) -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        step = self.work.step
        left = steps

        def turn() -> None:
            nonlocal left
            if not self.busy:
                if not left:
                    done.set_result(None)
                    return
                step(self)
                left -= 1
            loop.call_soon(turn)

        loop.call_soon(turn)
        await done


def bulk_in(bench: Bench) -> None:
    """A batch as large as TUN's, once the program has made room for it."""
    peer = bench.peer
    bench.busy = peer.room < bench.work.of_step * peer.size
    if bench.busy:
        bench.stack.loop.call_soon(bulk_in, bench)
        return
    for _ in range(bench.work.of_step):
        peer.data(1448 if bench.work.offload else 0)
    bench.stack.flush()


def bulk_out(bench: Bench) -> None:
    """An acknowledgment for each frame with offload, for every second packet without."""
    peer, ends = bench.peer, bench.link.ends
    for number in range(min(bench.work.of_step, len(ends))):
        peer.ack = ends.popleft() & 0xFFFFFFFF
        if bench.work.offload or number % 2:
            peer.bare()
    bench.stack.flush()


def round_trip(bench: Bench) -> None:
    """What was answered last is acknowledged by the next request."""
    peer, ends = bench.peer, bench.link.ends
    if ends:
        peer.ack = ends.pop() & 0xFFFFFFFF
    peer.data(flags=ACK | PSH)
    bench.stack.flush()


def in_turn(bench: Bench) -> None:
    """A batch, to each connection a frame."""
    for _ in range(bench.work.of_step):
        bench.peers[0].data(1448)
        bench.peers.rotate(-1)
    bench.stack.flush()


def bulk_out_in_turn(bench: Bench) -> None:
    """A batch as TUN's while there are many connections: each gets a few acknowledgments."""
    for peer in bench.peers:
        ends = peer.link.ends
        for _ in range(min(bench.work.of_step // len(bench.peers), len(ends))):
            peer.ack = ends.popleft() & 0xFFFFFFFF
            peer.bare()
    bench.stack.flush()


def round_trips(bench: Bench) -> None:
    """A batch of requests, one on each connection; each acknowledges what was answered last."""
    for peer in bench.peers:
        if peer.link.ends:
            peer.ack = peer.link.ends.pop() & 0xFFFFFFFF
        peer.data(flags=ACK | PSH)
    bench.stack.flush()


def connection(bench: Bench) -> None:
    """Open, a line each way, and close by the client: five packets in, in the batches that a quick
    client makes of them."""
    peer, link, stack = bench.new_peer(), bench.link, bench.stack
    peer.open()
    peer.bare()
    peer.data(flags=ACK | PSH)
    link.ends.clear()
    link.fin_sent = False
    stack.flush()
    bench.busy = True
    _answered(bench, peer)


def _answered(bench: Bench, peer: Peer) -> None:
    stack, ends = bench.stack, bench.link.ends
    if not ends:  # the program has not answered yet
        stack.loop.call_soon(_answered, bench, peer)
        return
    peer.ack = ends.pop() & 0xFFFFFFFF
    peer.bare(ACK | FIN)
    stack.flush()
    _closed(bench, peer)


def _closed(bench: Bench, peer: Peer) -> None:
    if not bench.link.fin_sent:  # the program has not closed yet
        bench.stack.loop.call_soon(_closed, bench, peer)
        return
    peer.ack += 1
    peer.bare()
    bench.stack.flush()
    bench.busy = False


def works() -> list[Work]:
    frame, segment = 65160, 1448
    return [
        Work("in", "64 KiB frame in, Protocol", protocol(Discard), bulk_in, 8, frame),
        Work(
            "in-buffered",
            "64 KiB frame in, BufferedProtocol",
            protocol(DiscardBuffered),
            bulk_in,
            8,
            frame,
        ),
        Work("in-streams", "64 KiB frame in, streams", streams(discard), bulk_in, 8, frame),
        Work(
            "in-packets",
            "packet of the MTU in, Protocol",
            protocol(Discard),
            bulk_in,
            64,
            segment,
            False,
        ),
        Work("out", "64 KiB frame out and its ACK, Protocol", protocol(Source), bulk_out, 4),
        Work("out-streams", "64 KiB frame out and its ACK, streams", streams(source), bulk_out, 4),
        Work(
            "out-packets",
            "packet of the MTU out, and half an ACK, Protocol",
            protocol(Source),
            bulk_out,
            32,
            0,
            False,
        ),
        Work("echo", "64-byte round trip, Protocol", protocol(Echo), round_trip, 1, 64),
        Work("echo-streams", "64-byte round trip, streams", streams(echo), round_trip, 1, 64),
        Work(
            "echo-10000",
            "the same, Protocol, with 10,000 connections beside it",
            protocol(Echo),
            round_trip,
            1,
            64,
            True,
            10_000,
        ),
        Work(
            "in-100",
            "64 KiB frame in, one to each of 16 of 100 connections, BufferedProtocol",
            protocol(DiscardBuffered),
            in_turn,
            16,
            frame,
            peers=100,
        ),
        Work(
            "out-4",
            "the same, eight frames for each of 4 connections in one batch",
            protocol(Source),
            bulk_out_in_turn,
            32,
            peers=4,
        ),
        Work(
            "echo-16",
            "64-byte round trip, 16 connections in one batch, Protocol",
            protocol(Echo),
            round_trips,
            16,
            64,
            peers=16,
        ),
        Work(
            "connection",
            "connection with a line each way, Protocol",
            protocol(Echo),
            connection,
            1,
            64,
        ),
        Work(
            "connection-streams",
            "connection with a line each way, streams",
            streams(echo),
            connection,
            1,
            64,
        ),
    ]


class Opcodes:
    """Counts calls and bytecodes of Python functions, except the bench's."""

    def __init__(self) -> None:
        self.calls = self.opcodes = 0

    def __call__(self, frame: Any, event: str, arg: object) -> Any:
        if frame.f_code.co_filename in _OF_THE_BENCH:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        self.calls += 1
        return self._local

    def _local(self, frame: Any, event: str, arg: object) -> Any:
        self.opcodes += event == "opcode"
        return self._local


async def measure(work: Work, runs: int, seconds: float, *, opcodes: bool) -> dict[str, Any]:
    bench = Bench(work)
    await bench.prepare()
    await bench.run(300)
    found: dict[str, Any] = {"name": work.name, "what": work.what}
    gc.collect()
    if opcodes:
        counter = Opcodes()
        steps = 200
        sys.settrace(counter)
        await bench.run(steps)
        sys.settrace(None)
        found["calls"] = counter.calls / steps / work.of_step
        found["opcodes"] = counter.opcodes / steps / work.of_step
    else:
        steps = 200
        costs: list[float] = []
        while len(costs) < runs:
            before = time.process_time()
            await bench.run(steps)
            used = time.process_time() - before
            if used < seconds / 2:
                steps *= 2
                continue
            costs.append(used / steps / work.of_step * 1e6)
        found["lowest_us"] = min(costs)
        found["median_us"] = statistics.median(costs)
    if dropped := bench.stack.counters.dropped:
        raise RuntimeError(f"{work.name}: not all was taken: {dropped}")
    await bench.stack.aclose(grace=0)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.cost", description="Cost without the kernel.")
    all_works = works()
    names = [work.name for work in all_works]
    parser.add_argument(
        "--only", choices=names, action="append", metavar="NAME", help=", ".join(names)
    )
    parser.add_argument("--runs", type=int, default=7, help="of each (default: 7)")
    parser.add_argument("--seconds", type=float, default=0.2, help="of each run (default: 0.2)")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--opcodes", action="store_true", help="count calls and bytecodes instead")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    chosen = parser.parse_args()
    factory = uvloop.new_event_loop if chosen.loop == "uvloop" else asyncio.new_event_loop
    rows = []
    for work in all_works:
        if chosen.only and work.name not in chosen.only:
            continue
        with asyncio.Runner(loop_factory=factory) as runner:
            row = runner.run(measure(work, chosen.runs, chosen.seconds, opcodes=chosen.opcodes))
        rows.append(row)
        if not chosen.json:
            first, second = list(row)[2:]
            print(
                f"{row[first]:9.2f}{row[second]:9.2f}  {first}, {second}: {work.name}, {work.what}",
                flush=True,
            )
    if chosen.json:
        print(json.dumps({"rows": rows, "loop": chosen.loop}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
