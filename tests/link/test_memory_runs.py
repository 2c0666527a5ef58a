"""Packets that left together arrive together, and nobody can tell."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiotcp import Options, Stack, open_connection, sim
from aiotcp.link import memory
from aiotcp.link.base import Link
from aiotcp.link.wrapper import Wrapper
from aiotcp.wire.alike import Run, run
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import ACK, PSH, HeaderTemplate
from tests.support.recorder import Recorder


class Runs(Recorder):
    """Takes runs, too; and closes its link after `most` packets of a batch."""

    def __init__(self, link: Link | None = None, most: int = 0) -> None:
        super().__init__()
        self.runs: list[int] = []
        self._link, self._most = link, most

    def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
        super().receive(packet, vouched, gso_size)
        if self._link is not None and len(self.arrivals) == self._most:
            self._link.close()

    def receive_run(self, run: Run) -> None:
        self.runs.append(len(run))
        for frame in run:
            self.receive(memoryview(frame.to_bytes()), True)


class Changed(Runs):
    """Has a `receive` of its own, which wants to see each packet."""

    def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
        super().receive(packet, vouched, gso_size)


HEADER_BYTES = 20 + 32


def run_of(count: int) -> Run:
    """As a stack sends them: the last one is shorter."""
    template = HeaderTemplate(bytes(4), 1, bytes(4), 2)
    text = bytes(range(count - 1)) * 8 + b"last"
    return run(template, (1 << 32) - 9, 7, ACK | PSH, 8, 9, 10, text, 8, "why")


@pytest.mark.parametrize("kind", [Recorder, Runs, Changed])
async def test_what_comes_does_not_depend_on_who_takes_runs(kind: type[Recorder]) -> None:
    left, right = memory.pair()
    left.attach(Recorder(), asyncio.get_running_loop())
    receiver = kind()
    right.attach(receiver, asyncio.get_running_loop())
    left.send(Frame(b"before", checksum_start=1))
    left.send_run(run_of(6))
    left.send(Frame(b"after"))
    await asyncio.sleep(0)
    run = [frame.to_bytes() for frame in run_of(6)]
    assert list(map(len, run)) == [HEADER_BYTES + 8] * 5 + [HEADER_BYTES + 4]
    assert receiver.packets == [b"before", *run, b"after"]
    assert [arrival.vouched for arrival in receiver.arrivals] == [True] * 7 + [False]
    assert receiver.batches == [8]
    assert left.counters["sent_packets"] == right.counters["received_packets"] == 8
    assert (
        left.counters["sent_bytes"] == right.counters["received_bytes"] == sum(map(len, run)) + 11
    )
    if isinstance(receiver, Runs):
        assert receiver.runs == ([6] if kind is Runs else [])


@pytest.mark.parametrize("most", [1, 3, 7, 8])
async def test_an_end_that_is_closed_meanwhile_counts_what_it_had(most: int) -> None:
    left, right = memory.pair()
    left.attach(Recorder(), asyncio.get_running_loop())
    receiver = Runs(right, most)
    right.attach(receiver, asyncio.get_running_loop())
    left.send(Frame(b"before", checksum_start=1))
    left.send_run(run_of(6))
    left.send(Frame(b"after"))
    await asyncio.sleep(0)
    assert right.counters["received_packets"] == len(receiver.arrivals)
    assert right.counters["received_bytes"] == sum(map(len, receiver.packets))
    assert receiver.batches == []


@pytest.mark.parametrize("limit", [5, 6, 7, 8, 13, 14])
async def test_a_run_counts_as_the_packets_that_it_is(limit: int) -> None:
    left, right = memory.pair(limit=limit)
    left.attach(Recorder(), asyncio.get_running_loop())
    receiver = Runs()
    right.attach(receiver, asyncio.get_running_loop())
    packets = [frame.to_bytes() for _ in range(2) for frame in run_of(6)] + [b"after"]
    left.send_run(run_of(6))
    assert left.counters["sent_packets"] == min(limit, 6)
    left.send_run(run_of(6))
    left.send(Frame(b"after"))
    assert left.counters["sent_packets"] == min(limit, 13)
    assert left.counters["sent_bytes"] == sum(map(len, packets[:limit]))
    assert left.counters["send_queue_full"] == max(13 - limit, 0)
    await asyncio.sleep(0)
    assert receiver.packets == packets[:limit]
    assert right.counters["received_packets"] == left.counters["sent_packets"]
    assert right.counters["received_bytes"] == left.counters["sent_bytes"]
    left.send(Frame(b"now there is room"))
    assert left.counters["send_queue_full"] == max(13 - limit, 0)


def one_by_one(link: Link) -> Link:
    return Wrapper(link)


def as_it_is(link: Link) -> Link:
    return link


async def _transfer(
    wrap: Any, offload: bool, options: Options, pieces: list[int]
) -> tuple[object, ...]:
    """What two stacks know after a transfer in which the reader pauses now and then."""
    left, right = memory.pair(offload=offload)
    near = Stack(left, addresses=["192.0.2.1"], seed=b"near", options=options)
    far = Stack(wrap(right), addresses=["192.0.2.2"], seed=b"far", options=options)
    found: list[bytes] = []
    done = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(30_000):
            found.append(data)
            if len(found) % 7 == 0:
                await asyncio.sleep(0.3)
        writer.write(b"thanks")
        writer.close()
        done.set()

    async with near, far:
        await far.start_server(take, "192.0.2.2", 9)
        reader, writer = await open_connection("192.0.2.2", 9, stack=near)
        for number, size in enumerate(pieces):
            writer.write(bytes([number & 0xFF]) * size)
            await writer.drain()
            await asyncio.sleep(0.01 if number % 3 else 0)
        writer.write_eof()
        assert await reader.read() == b"thanks"
        await done.wait()
        writer.close()
        ended = asyncio.get_running_loop().time()
    told = [
        (
            *(counters.packets_received, counters.bytes_received),
            *(counters.packets_sent, counters.bytes_sent),
            *(dict(counters.sent), dict(counters.dropped), dict(counters.events)),
        )
        for counters in (near.counters, far.counters)
    ]
    return b"".join(found), list(map(len, found)), ended, told, left.counters, right.counters


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("receive_buffer", [None, 9000, 40_000])
def test_stacks_know_the_same_whether_packets_come_in_runs_or_one_by_one(
    receive_buffer: int | None, offload: bool
) -> None:
    options = Options(receive_buffer=receive_buffer)
    pieces = [1, 12_500, 1448 * 6, 5000, 100_000, 1448 * 9 + 1, 3 * 1448, 30_000] * 3
    wrapped, plain = (
        sim.run(_transfer(wrap, offload, options, pieces)) for wrap in (one_by_one, as_it_is)
    )
    assert plain == wrapped
    assert len(plain[0]) == sum(pieces)  # type: ignore[arg-type]
