"""What a peer or a stranger can make a stack remember is bounded by its options (X-5)."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from aiotcp.reasons import Drop, Why
from aiotcp.wire import tcp
from aiotcp.wire.tcp import ACK, FIN, SYN
from tests.support.crowd import LISTENING, Caller, Crowd

pytestmark = pytest.mark.req("X-5")

RECEIVE_BUFFER = 12_000
PER_CONNECTION = 3 * RECEIVE_BUFFER + 10_000
"""What bytes cost that are ahead of their turn, and those that wait for the user."""


STRANGERS = 5000


class Grown:
    """Bytes that are allocated and were not when the measurement began."""

    bytes = 0


@contextmanager
def growth() -> Iterator[Grown]:
    grown = Grown()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield grown
        gc.collect()
        grown.bytes = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def victim(crowd: Crowd) -> Caller:
    """An established connection whose user reads nothing."""
    caller = crowd.callers["ESTABLISHED"]
    assert caller.reader is not None
    caller.reader.connection.user = None
    return caller


async def test_segments_ahead_of_their_turn() -> None:
    crowd = Crowd(states=("ESTABLISHED",), receive_buffer=RECEIVE_BUFFER)
    caller = victim(crowd)
    with growth() as grown:
        for seq in range(1, RECEIVE_BUFFER, 2):
            crowd.receive(caller.packet(ACK, seq=seq, payload=b"x"))
            if seq % 64 == 1:
                crowd.flush()
                crowd.link.frames.clear()
        crowd.flush()
        crowd.link.frames.clear()
    assert grown.bytes < PER_CONNECTION
    assert crowd.stack.counters.dropped[Drop.REASSEMBLY_FULL] > 0
    crowd.check_life()
    # The rest arrives in order, and the connection goes on with it.
    for seq in range(0, 2000, 100):
        crowd.receive(caller.packet(ACK, seq=seq, payload=bytes(100)))
    crowd.flush()
    assert caller.reader is not None
    assert caller.reader.connection.readable >= 2000
    await crowd.aclose()


@pytest.mark.parametrize("batch", [1, 64])
async def test_single_bytes_that_nobody_reads(batch: int) -> None:
    crowd = Crowd(states=("ESTABLISHED",), receive_buffer=RECEIVE_BUFFER)
    caller = victim(crowd)
    with growth() as grown:
        for seq in range(RECEIVE_BUFFER):
            crowd.receive(caller.packet(ACK, seq=seq, payload=b"x"))
            if seq % batch == 0:
                crowd.flush()
                crowd.link.frames.clear()
        crowd.flush()
        crowd.link.frames.clear()
    assert grown.bytes < PER_CONNECTION
    assert caller.reader is not None
    connection = caller.reader.connection
    assert RECEIVE_BUFFER - 2000 < connection.readable <= RECEIVE_BUFFER
    assert b"".join(connection.take()).strip(b"x").strip(b"\0") == b""
    crowd.check_life()
    await crowd.aclose()


async def test_overlapping_copies() -> None:
    crowd = Crowd(states=("ESTABLISHED",), receive_buffer=RECEIVE_BUFFER)
    caller = victim(crowd)
    with growth() as grown:
        for seq in range(1, RECEIVE_BUFFER - 1400, 7):
            crowd.receive(caller.packet(ACK, seq=seq, payload=bytes(1400)))
            crowd.flush()
            crowd.link.frames.clear()
    assert grown.bytes < PER_CONNECTION
    crowd.check_life()
    await crowd.aclose()


async def test_syns_of_strangers() -> None:
    crowd = Crowd(states=())
    options = tcp.pack_options(mss=1460, wscale=7, sack_permitted=True, timestamps=(1, 0))
    with growth() as grown:
        for number in range(STRANGERS):
            stranger = Caller(1024 + number, timestamps=True)
            crowd.receive(stranger.packet(SYN, options=options))
            if number % 32 == 0:
                crowd.flush()
                crowd.link.frames.clear()
        crowd.flush()
        crowd.link.frames.clear()
        del stranger
    assert grown.bytes < 20_000
    assert crowd.stack.counters.sent[Why.SYN_COOKIE] == STRANGERS - 5
    crowd.check_life()
    await crowd.aclose()


async def test_segments_for_nobody() -> None:
    crowd = Crowd(states=())
    with growth() as grown:
        for number in range(STRANGERS):
            stranger = Caller(1024 + number, timestamps=False)
            crowd.receive(stranger.packet(ACK | FIN))
            if number % 32 == 0:
                crowd.flush()
                crowd.link.frames.clear()
        crowd.flush()
        crowd.link.frames.clear()
        del stranger
    assert grown.bytes < 20_000
    await crowd.aclose()


async def test_connections_that_the_stack_closes_first() -> None:
    """TIME-WAIT records give way to newer ones beyond `max_time_wait` (20 here)."""
    crowd = Crowd(states=())
    options = tcp.pack_options(mss=1460)

    def one(port: int) -> None:
        caller = Caller(port, timestamps=False, stack_port=LISTENING)
        crowd.receive(caller.packet(SYN, options=options))
        crowd.flush()
        caller.ack = crowd.link.take()[-1].seq + 1
        caller.seq += 1
        crowd.receive(caller.packet(ACK))
        crowd.flush()
        connection = crowd.accepted.pop()
        connection.shutdown()
        crowd.stack.push(connection)
        crowd.receive(caller.packet(ACK | FIN, ack=1))
        crowd.flush()
        crowd.link.frames.clear()

    for port in range(2000, 2100):
        one(port)
    with growth() as grown:
        for port in range(2100, 3000):
            one(port)
    # Stale timers may stay for a while; 900 connections would take ten times as much.
    assert grown.bytes < 300_000
    rows = crowd.stack.connections()
    assert len(rows) == 21
    assert {row.remote.port for row in rows[1:]} == set(range(2980, 3000))
    assert crowd.stack.counters.time_wait_evicted == 980
    crowd.check_life()
    await crowd.aclose()
