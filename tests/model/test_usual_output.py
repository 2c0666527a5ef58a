"""What is sent by the short way (`tcp.usual`) is what the long one sends, at the same time."""

from __future__ import annotations

import asyncio
import random

import pytest

import aiotcp
from aiotcp import engine
from aiotcp.link import memory
from aiotcp.link.impair import Impair, Netem
from aiotcp.options import Options
from aiotcp.stack import Connection, Endpoint, PacketStack
from aiotcp.tcp import output, transmit, usual
from aiotcp.tcp.bulk import output_bulk
from aiotcp.tcp.transmit import send_only_one
from tests.support.exchange import HOSTS, PORT, run_until_quiet
from tests.support.tap import Tap

SEEDS = range(16)


class Chatterer:
    """Writes a little now and then, in answer or unasked; pauses; and closes in the end."""

    def __init__(self, stack: PacketStack, connection: Connection, draw: random.Random) -> None:
        self.stack = stack
        self.connection = connection
        self.draw = draw
        connection.user = self
        for _ in range(100):
            stack.loop.call_later(draw.random() * 10, self._unasked)
        stack.loop.call_later(15, self.close)

    def progress(self) -> None:
        conn = self.connection
        if conn.readable and self.draw.random() < 0.8:
            conn.take(None if self.draw.random() < 0.7 else 100)
            if self.draw.random() < 0.5:
                self._write()

    def close(self) -> None:
        self.connection.take()
        self.connection.close()
        self.stack.push(self.connection)

    def _unasked(self) -> None:
        conn = self.connection
        if conn.ended or not conn.established:
            return
        draw = self.draw.random()
        if draw < 0.05:
            conn.set_cork(conn.cork is None)
        elif draw < 0.1:
            conn.configure(nodelay=not conn.nodelay)
        elif draw < 0.3:
            conn.take()
        for _ in range(self.draw.randint(1, 3)):
            self._write()
        self.stack.push(conn)

    def _write(self) -> None:
        if self.connection.fin_seq is None and not self.connection.ended:
            most = self.draw.choice((1, 64, 64, 500, 500, 1400, 1448, 3000, 20_000, 100_000))
            data = self.draw.randbytes(self.draw.randint(1, most))
            taken = self.connection.send(data, urgent=self.draw.random() < 0.02)
            self.connection.more = taken < len(data)  # a transport would keep the rest


def options_of(seed: int) -> Options:
    draw = random.Random(f"options {seed}")
    return Options(
        keepalive=draw.random() < 0.3,
        keepalive_idle_s=1,
        ecn=draw.choice(("off", "passive")),
        delayed_ack_s=draw.choice((0.0, 0.04)),
        receive_buffer=draw.choice((None, None, 3000, 20_000)),
        pacing=draw.random() < 0.1,
        uto=draw.random() < 0.2,
        memory_limit=draw.choice((1 << 29, 1 << 29, 1 << 16)),  # the last one brings pressure
    )


def sent(seed: int) -> tuple[list[str], list[dict[str, int]], float]:
    """Everything that two stacks put on their links, with times; their counters; and the end."""
    draw = random.Random(f"usual {seed}")
    netem = Netem(
        delay=draw.choice((0.0005, 0.02, 0.15)),
        loss=draw.choice((0.0, 0.0, 0.05)),
        reorder=draw.choice((0.0, 0.0, 0.1)),
        duplicate=draw.choice((0.0, 0.02)),
    )
    version = draw.choice((4, 6))
    offload = draw.random() < 0.5
    options = options_of(seed)

    async def main() -> list[Tap]:
        ends = memory.pair(mtu=1500, limit=1 << 20, checksums=seed % 2 == 0)
        taps = [
            Tap(Impair(end, outbound=netem, seed=2 * seed + side, offload=offload))
            for side, end in enumerate(ends)
        ]
        stacks = [
            PacketStack(tap, addresses=[host], options=options, seed=f"{side} {seed}".encode())
            for side, (tap, host) in enumerate(zip(taps, HOSTS[version], strict=True))
        ]
        server = Endpoint(HOSTS[version][1], PORT)

        def accept(conn: Connection) -> None:
            Chatterer(stacks[1], conn, draw)

        stacks[1].listen(server, accept)
        Chatterer(stacks[0], stacks[0].connect(server), draw)
        await asyncio.sleep(100)
        counters.extend(stack.counters.as_dict() for stack in stacks)
        for stack in stacks:
            await stack.aclose()
        return taps

    counters: list[dict[str, int]] = []
    taps, quiet_at = run_until_quiet(main())
    for tap in taps:
        tap.verify()
    return [tap.digest for tap in taps], counters, quiet_at


@pytest.mark.skipif(aiotcp.COMPILED, reason="compiled code can't be told to take the long way")
@pytest.mark.parametrize("seed", SEEDS)
def test_the_short_way_sends_what_the_long_one_does(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {True: 0, False: 0}
    calm = {True: 0, False: 0}

    bulk = 0

    def counted_bulk(conn: Connection, now: float, length: int, flight: int) -> bool:
        nonlocal bulk
        answer = output_bulk(conn, now, length, flight)
        bulk += answer
        return answer

    def counted(conn: Connection, now: float) -> bool:
        assert not conn.calm or usual.is_calm(conn)
        calm[conn.calm] += 1
        answer = usual.output_usual(conn, now)
        taken[answer] += 1
        return answer

    monkeypatch.setattr(usual, "output_bulk", counted_bulk)
    monkeypatch.setattr(output, "output_usual", counted)
    monkeypatch.setattr(engine, "output_usual", counted)
    by_the_short = sent(seed)
    monkeypatch.setattr(
        transmit,
        "send_only_one",
        lambda conn, now, calm=False: not calm and send_only_one(conn, now),
    )
    monkeypatch.setattr(output, "output_usual", lambda conn, now: False)
    monkeypatch.setattr(engine, "output_usual", lambda conn, now: False)
    assert sent(seed) == by_the_short
    assert taken[False] > 10
    usually = not (options_of(seed).pacing or options_of(seed).uto)
    assert (taken[True] and calm[True] and bulk) or not usually
