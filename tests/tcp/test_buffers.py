"""Buffers that follow what a connection needs, over long paths in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.options import Options
from aiotcp.sim import run
from aiotcp.stack import Connection, Endpoint, PacketStack
from aiotcp.tcp.autotune import (
    RECEIVE_INITIAL_BYTES,
    SEND_INITIAL_BYTES,
    ReceiveTuning,
    send_buffer,
)
from aiotcp.wire.tcp import ACK, RST, SYN
from tests.support.conversation import Peer
from tests.support.longpath import path

pytestmark = pytest.mark.own_numbers

MSS = 1448
_BLOCK = bytes(64 * 1024)


class Source:
    """Writes whatever is accepted."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        connection.user = self

    def progress(self) -> None:
        while self.connection.established and self.connection.send_space >= len(_BLOCK):
            self.connection.send(_BLOCK)

    def close(self) -> None:
        self.connection.close()


class Sink:
    """Takes all there is, or `rate` bytes a second."""

    def __init__(self, stack: PacketStack, connection: Connection, rate: float = 0) -> None:
        self.stack = stack
        self.connection = connection
        self.taken = 0
        self.rate = rate
        connection.user = self
        if rate:
            stack.loop.call_later(0.01, self._read)

    def progress(self) -> None:
        if not self.rate:
            self._take(None)

    def _take(self, limit: int | None) -> None:
        self.taken += sum(map(len, self.connection.take(limit)))

    def _read(self) -> None:
        if not self.connection.ended:
            self._take(round(self.rate / 100))
            self.stack.push(self.connection)
            self.stack.loop.call_later(0.01, self._read)

    def close(self) -> None:
        self.connection.close()


def transfer(
    bits_per_s: float,
    rtt: float,
    round_trips: int,
    *,
    options: Options | None = None,
    reads: float = 0,
) -> tuple[list[float], Sink, Connection]:
    """The share of the path that each round trip of a bulk transfer took, the one of the
    handshake left out; and both ends."""

    async def go() -> tuple[list[float], Sink, Connection]:
        left, right = path(bits_per_s, rtt / 2)
        here = PacketStack(left, addresses=["192.0.2.1"], options=options, seed=b"here")
        there = PacketStack(right, addresses=["192.0.2.2"], options=options, seed=b"there")
        sinks: list[Sink] = []
        server = Endpoint("192.0.2.2", 80)
        there.listen(server, lambda connection: sinks.append(Sink(there, connection, reads)))
        connection = here.connect(server)
        Source(connection)
        await asyncio.sleep(1.5 * rtt)
        shares = []
        for _ in range(round_trips):
            before = sinks[0].taken if sinks else 0
            await asyncio.sleep(rtt)
            shares.append((sinks[0].taken - before) * 8 / (bits_per_s * rtt))
        await here.aclose(grace=0)
        await there.aclose(grace=0)
        return shares, sinks[0], connection

    return run(go())


@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize(("rate", "rtt"), [(1e9, 0.2), (1e9, 0.02), (100e6, 0.2)])
def test_a_long_path_is_filled_as_fast_as_slow_start_can(
    rate: float, rtt: float, timestamps: bool
) -> None:
    """Ten segments, doubled each round trip: no buffer holds that back, and none needs to be set.

    200 ms of 1 Gbit/s hold 17,266 segments, 10.75 doublings of RFC 6928's initial window: the
    tenth round trip carries 5,120 segments, whatever the buffers are.
    """
    shares, sink, connection = transfer(rate, rtt, 16, options=Options(timestamps=timestamps))
    for n, share in enumerate(shares):
        possible = 10 * MSS * 2**n * 8 / (rate * rtt)
        if possible > 0.5:  # it is full in this round trip, or the next
            possible = min(possible, 0.8 if possible < 1.6 else 0.95)
        assert share >= 0.97 * possible, f"round trip {n + 1}: {share:.3f} of {possible:.3f}"
    # The queue of this path has no end, and so it gets longer, and timestamps tell.
    assert sink.connection.rcv_space <= (32 << 20 if timestamps else 7 * rate * rtt / 8)
    assert connection.sending.end - connection.snd_una <= 32 << 20


@pytest.mark.parametrize("small", ["receive_buffer", "send_buffer"])
def test_a_fixed_buffer_stays_and_limits(small: str) -> None:
    options = Options(**{small: 256 * 1024})  # type: ignore[arg-type]
    shares, _, _ = transfer(100e6, 0.2, 12, options=options)
    assert max(shares) <= 256 * 1024 * 8 / (100e6 * 0.2) * 1.01


@pytest.mark.req("X-5")
@pytest.mark.parametrize("reads", [10_000, 1_000_000])
def test_the_buffer_of_a_slow_reader_does_not_grow(reads: float) -> None:
    """A megabyte a second over 20 ms is 20 KB: half a megabyte is more than enough."""
    _, sink, connection = transfer(1e9, 0.02, 200, reads=reads)
    assert sink.connection.rcv_space == RECEIVE_INITIAL_BYTES
    assert sink.connection.readable <= RECEIVE_INITIAL_BYTES
    assert connection.sending.end - connection.snd_una <= 2 * RECEIVE_INITIAL_BYTES


@pytest.mark.req("X-5")
def test_one_who_stops_reading_keeps_what_he_was_offered_and_no_more() -> None:
    """And a limit is a limit."""
    limit = 3 << 20
    _, sink, _ = transfer(1e9, 0.1, 20, options=Options(receive_buffer_max=limit))
    assert sink.connection.rcv_space == limit


@pytest.mark.req("7323-1")
@pytest.mark.parametrize(
    ("options", "shift"),
    [
        (Options(), 10),
        (Options(receive_buffer_max=6 << 20), 7),
        (Options(receive_buffer=65535), 0),
        (Options(receive_buffer=1 << 20), 5),
    ],
)
async def test_the_scale_is_chosen_for_what_the_buffer_may_become(
    options: Options, shift: int
) -> None:
    async with Peer() as peer:
        peer.listens(options=options)
        peer.sends(SYN, mss=1460, wscale=7)
        assert (await peer.sees(SYN | ACK)).segment.wscale == shift
        peer.sends(RST, seq=1)
        peer.reset()
        peer.opens(options=options)
        assert (await peer.sees(SYN)).segment.wscale == shift


@pytest.mark.req("SHLD-14")
async def test_a_buffer_made_smaller_takes_back_nothing() -> None:
    """`wirecheck` watches the edge; bytes that were offered room are taken."""
    async with Peer() as peer:
        app = await peer.connects(wscale=0, reading=False, options=Options(receive_buffer=100_000))
        peer.sends(ACK, data=bytes(1000))
        seen = await peer.sees(ACK, within=0.1)
        app.conn.configure(receive_buffer=5000)
        for start in range(1001, seen.ack + seen.window, 1000):
            peer.sends(ACK, seq=start, data=bytes(1000))
            await peer.wait(0.1)
            seen = (await peer.sees_all())[-1]
        assert app.conn.readable == seen.ack - 1 >= 99_000
        assert seen.window < 1000
        app.read()
        await peer.sees(ACK, window=5000 & ~1)


async def test_a_buffer_made_larger_is_offered_as_far_as_the_scale_goes() -> None:
    async with Peer() as peer:
        app = await peer.connects(wscale=0, options=Options(receive_buffer=100_000))
        app.conn.configure(receive_buffer=1 << 20)
        peer.sends(ACK, data=bytes(1000))
        await peer.sees(ACK, window=65535 << 1, within=0.1)


async def test_a_larger_buffer_has_room_out_of_order_though_a_hole_was_there_before() -> None:
    async with Peer() as peer:
        app = await peer.connects(wscale=7)
        peer.sends(ACK, seq=1001, data=bytes(1000))
        peer.sends(ACK, seq=1, data=bytes(1000))
        app.conn.configure(receive_buffer=8 << 20)
        peer.sends(ACK, seq=2001, data=bytes(1000))
        await peer.wait(0.1)
        edge = [seen.ack + seen.window for seen in await peer.sees_all()][-1]
        assert edge > 8_000_000
        for start in range(4001, edge - 60_000, 60_000):
            peer.sends(ACK, seq=start, data=bytes(60_000), gso_size=1000)
        assert not peer.stack.counters.dropped
        peer.sends(ACK, seq=3001, data=bytes(1000))
        assert len(app.received) > 7_900_000
        await peer.sees_all()


# The numbers


def tuned(*amounts: tuple[float, int], rtt: float = 0.1, buffer: int = 100_000) -> int:
    """The buffer after so many seconds and bytes each."""
    tuning = ReceiveTuning(1000, rtt)
    now, taken = 5.0, 0
    tuning.measure(taken, buffer, now)
    for seconds, amount in amounts:
        now += seconds
        taken += amount
        buffer = tuning.measure(taken, buffer, now)
    return buffer


def test_twice_what_is_taken_in_a_round_trip() -> None:
    assert tuned(*[(0.1, 40_000)] * 20, buffer=1000) >= 80_000
    assert tuned(*[(0.1, 150_000)] * 20, buffer=1_000_000) == 1_000_000


def test_seldom_and_much_is_not_often_and_much() -> None:
    assert tuned(*[(10.0, 100_000)] * 20) == 100_000
    assert tuned(*[(0.1, 100_000)] * 20) > 200_000


def test_between_two_round_trips_nothing_is_measured() -> None:
    assert tuned((0.05, 10**7)) == 100_000


@pytest.mark.parametrize(
    ("rtt", "amount", "pause"), [(0.002, 100, 0.05), (0.002, 9000, 0.002), (0.2, 100, 0.2)]
)
def test_short_messages_on_a_short_path_are_not_measured_each(
    rtt: float, amount: int, pause: float
) -> None:
    tuning = ReceiveTuning(1000, rtt)
    for n in range(3):
        tuning.measure(n * amount, 100_000, n * rtt)
    assert tuning.due == pytest.approx(2 * rtt + pause)


def test_a_transfer_after_short_messages_is_measured_as_any_other() -> None:
    assert tuned((0.005, 100), *[(0.05, 3_000_000)], *[(0.005, 300_000)] * 3, rtt=0.005) > 600_000


@given(
    steps=st.lists(st.tuples(st.floats(0, 10), st.integers(0, 10**7)), max_size=30),
    rtt=st.floats(0.0001, 2),
)
def test_it_never_shrinks_and_has_a_reason_to_grow(
    steps: list[tuple[float, int]], rtt: float
) -> None:
    size = tuned(*steps, rtt=rtt)
    assert 100_000 <= size <= max(100_000, 6 * sum(amount for _, amount in steps) + 48_000)


def test_echoes_that_waited_for_data_are_not_believed_at_once() -> None:
    tuning = ReceiveTuning(1000, 0.04)
    tuning.on_echo(10.0)
    assert tuning.rtt is not None
    assert tuning.rtt <= 0.05
    tuning.on_echo(0.02)
    assert tuning.rtt == 0.02
    for _ in range(40):
        tuning.on_echo(0.2)
    assert tuning.rtt == pytest.approx(0.2, rel=0.1)


def test_without_timestamps_a_window_is_a_round_trip() -> None:
    tuning = ReceiveTuning(1000, None)
    edges = {0.0: (1000, 50_000), 0.1: (30_000, 80_000), 0.2: (50_000, 100_000)}
    for now, (rcv_nxt, edge) in edges.items():
        tuning.on_progress(rcv_nxt, edge, now)
        assert tuning.rtt == (None if now < 0.2 else 0.2)
    tuning.on_progress(100_000, 150_000, 0.25)
    assert tuning.rtt == pytest.approx(0.05)


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 30), st.integers(1, 1 << 30))
def test_the_send_buffer(cwnd: int, window: int, limit: int) -> None:
    size = send_buffer(cwnd, window, limit)
    assert min(SEND_INITIAL_BYTES, limit) <= size <= limit
    assert size >= min(2 * cwnd, 2 * window, limit)
