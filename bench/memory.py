"""make bench-memory: what a stack keeps for each half-open entry, TIME-WAIT record and connection.

    python -m bench.memory [--count 2500] [--json]

In one process each, on a link that goes nowhere: `count` of a kind are brought about by packets,
as strangers would, and what the process has grown by then is divided by `count`: as tracemalloc
counts it, and as resident memory, without tracemalloc. A connection is established and has carried
a request and an answer, and its program has one small object. What the stack's table takes depends
on how full it happens to be: by 2,500 it is as full as by 10,000, which would take minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator

from aiotcp.addresses import pack
from aiotcp.link.base import Receiver
from aiotcp.options import Options
from aiotcp.stack import Connection, Endpoint, PacketStack
from aiotcp.wire import tcp
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import ACK, FIN, SYN, HeaderTemplate

ADDRESS = "192.0.2.2"
LIMITS = {"half-open": 1024, "TIME-WAIT": 410, "connection": 8192}
"""Bytes, by tracemalloc: what is promised."""
_WARM_UP = 200


class Nowhere:
    """A link that keeps the last header sent."""

    mtu = 1500
    gso_max_bytes = 65535
    checksum_offload = True

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.last = b""

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        pass

    def send(self, frame: Frame) -> None:
        self.last = bytes(frame.header)

    def close(self) -> None:
        pass


class Answers:
    """The least that a program can have for a connection: it answers each request."""

    __slots__ = ("_conn",)

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def progress(self) -> None:
        conn = self._conn
        if conn.readable:
            conn.take()
            conn.send(b"answer")
        if conn.eof:
            conn.close()

    def close(self) -> None:
        self._conn.close()


class Strangers:
    """Other ends of connections; each is a port of an address."""

    def __init__(self, stack: PacketStack, link: Nowhere) -> None:
        self._stack = stack
        self._link = link

    def send(
        self, number: int, flags: int, seq: int, ack: int = 0, data: bytes = b"", syn: bool = False
    ) -> None:
        template = HeaderTemplate(
            (0x0A000000 + (number >> 15)).to_bytes(4, "big"),
            1024 + (number & 0x7FFF),
            pack(ADDRESS),
            80,
        )
        options = tcp.pack_options(
            mss=1460 if syn else None,
            wscale=7 if syn else None,
            sack_permitted=syn,
            timestamps=(1 + number, 0),
        )
        frame = template.frame(
            seq,
            ack,
            flags,
            64000,
            options=options,
            payload=(data,),
            payload_length=len(data),
            offload=False,
        )
        self._stack.receive(memoryview(frame.to_bytes()), vouched=True)
        self._stack.flush()

    def half_open(self, number: int) -> None:
        self.send(number, SYN, 1000, syn=True)

    def connection(self, number: int) -> int:
        """Returns the stack's next number."""
        self.send(number, SYN, 1000, syn=True)
        following = int.from_bytes(self._link.last[24:28], "big") + 1
        self.send(number, ACK, 1001, following)
        self.send(number, ACK, 1001, following, b"request")
        following += len(b"answer")
        self.send(number, ACK, 1008, following)
        return following

    def time_wait(self, number: int, close: Iterator[Connection]) -> None:
        following = self.connection(number)
        conn = next(close)
        conn.shutdown()
        self._stack.push(conn)
        self.send(number, FIN | ACK, 1008, following + 1)


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def grow(kind: str, count: int, *, traced: bool) -> float:
    """Bytes that each of `count` takes."""
    link = Nowhere()
    options = Options(max_time_wait=2 * count, max_connections=2 * count + _WARM_UP)
    stack = PacketStack(link, addresses=[ADDRESS], options=options)
    newest: list[Connection] = []

    def accept(conn: Connection) -> None:
        conn.user = Answers(conn)
        newest[:] = [conn]

    def closing() -> Iterator[Connection]:
        while True:
            yield newest.pop()

    stack.listen(Endpoint(ADDRESS, 80), accept, backlog=2 * count + _WARM_UP)
    strangers = Strangers(stack, link)
    closer = closing()

    def make(number: int) -> None:
        if kind == "half-open":
            strangers.half_open(number)
        elif kind == "connection":
            strangers.connection(number)
        else:
            strangers.time_wait(number, closer)

    for number in range(_WARM_UP):
        make(number)
    gc.collect()
    if traced:
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
    else:
        before = resident()
    for number in range(_WARM_UP, _WARM_UP + count):
        make(number)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0] if traced else resident()
    tracemalloc.stop()
    state = {"half-open": "SYN-RECEIVED", "connection": "ESTABLISHED"}.get(kind, "TIME-WAIT")
    found = sum(row.state == state for row in stack.connections())
    assert found == _WARM_UP + count, f"{found} entries in {state}"
    await stack.aclose(grace=0)
    return (after - before) / count


def measured(kind: str, count: int, *, traced: bool) -> float:
    """In a process of its own, so that nothing is there to be used again."""
    command = [sys.executable, "-m", "bench.memory", "--count", str(count), "--kind", kind]
    done = subprocess.run(
        [*command, *(["--traced"] if traced else [])], stdout=subprocess.PIPE, check=True
    )
    return float(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.memory", description=__doc__)
    parser.add_argument("--count", type=int, default=2500, help="of each kind (default: 2500)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--kind", choices=LIMITS, help=argparse.SUPPRESS)
    parser.add_argument("--traced", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.kind:
        print(asyncio.run(grow(chosen.kind, chosen.count, traced=chosen.traced)))
        return 0
    rows = [
        {
            "kind": kind,
            "bytes": round(measured(kind, chosen.count, traced=True)),
            "resident_bytes": round(measured(kind, chosen.count, traced=False)),
            "limit_bytes": limit,
        }
        for kind, limit in LIMITS.items()
    ]
    if chosen.json:
        print(json.dumps({"count": chosen.count, "rows": rows}, indent=2))
    else:
        print(f"bytes for each of {chosen.count}\n{'':12}{'traced':>8}{'resident':>10}{'limit':>8}")
        for row in rows:
            print(
                f"{row['kind']:12}{row['bytes']:8}{row['resident_bytes']:10}{row['limit_bytes']:8}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
