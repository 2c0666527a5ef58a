"""Options.pacing and max_pacing_rate: when data leaves, over a long path in virtual time."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from aiotcp.options import Options
from aiotcp.sim import run
from aiotcp.stack import Connection, Endpoint, PacketStack
from aiotcp.tcp.pacing import burst
from aiotcp.wire.frame import Frame
from tests.support.longpath import path

pytestmark = pytest.mark.own_numbers

RTT = 0.1
MSS = 1448
INITIAL_WINDOW = 10 * MSS
A = Endpoint("192.0.2.2", 80)


class Sink:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        connection.user = self

    def progress(self) -> None:
        self.connection.take()

    def close(self) -> None:
        self.connection.close()


def departures(options: Options, size: int, until: float) -> list[tuple[float, int]]:
    """When what left of `size` bytes, written at once: seconds since the first, bytes."""

    async def transfer() -> list[tuple[float, int]]:
        left, right = path(1e9, RTT / 2)
        sent: list[tuple[float, int]] = []
        passing = left.send
        loop = asyncio.get_running_loop()

        def send(frame: Frame) -> None:
            length = sum(map(len, frame.payload))
            if length:
                sent.append((loop.time(), length))
            passing(frame)

        left.send = send  # type: ignore[method-assign]
        here = PacketStack(left, addresses=["192.0.2.1"], options=options, seed=b"1")
        there = PacketStack(right, addresses=["192.0.2.2"], seed=b"2")
        sinks: list[Sink] = []
        there.listen(A, lambda accepted: sinks.append(Sink(accepted)))
        conn = here.connect(A)
        await asyncio.sleep(1.5 * RTT)
        assert conn.send(bytes(size)) == size
        here.push(conn)
        await asyncio.sleep(until)
        await asyncio.gather(here.aclose(grace=0), there.aclose(grace=0))
        return sent

    sent = run(transfer())
    return [(time - sent[0][0], length) for time, length in sent]


def sum_by(sent: list[tuple[float, int]], time: float) -> int:
    return sum(length for at, length in sent if at <= time)


@pytest.mark.parametrize("cc", ["cubic", "reno"])
def test_a_window_leaves_in_half_a_round_trip_and_not_at_once(cc: str) -> None:
    """2 * cwnd / srtt while the window doubles."""
    at_once = departures(Options(cc=cc), 50_000, RTT * 0.9)
    assert sum_by(at_once, 0.0) == INITIAL_WINDOW
    paced = departures(Options(cc=cc, pacing=True), 50_000, RTT * 0.9)
    assert sum_by(paced, 0.0) <= 4 * MSS
    assert sum_by(paced, RTT * 0.15) < 0.7 * INITIAL_WINDOW
    assert sum_by(paced, RTT * 0.5) == INITIAL_WINDOW
    assert max(length for _, length in paced) <= 2 * MSS
    gaps = [after - before for (before, _), (after, _) in itertools.pairwise(paced)]
    assert max(gaps) <= 2 * MSS / (2 * INITIAL_WINDOW / RTT) + 0.001


def test_pacing_does_not_keep_the_window_from_doubling() -> None:
    plain = departures(Options(), 200_000, 6 * RTT)
    paced = departures(Options(pacing=True), 200_000, 6 * RTT)
    assert sum_by(plain, 5 * RTT) == sum_by(paced, 5 * RTT) == 200_000
    assert paced[-1][0] <= plain[-1][0] + RTT


@pytest.mark.parametrize("cc", ["cubic", "reno", "bbr"])
@pytest.mark.parametrize("rate", [4_000, 100_000, 1_000_000])
def test_no_rate_is_higher_than_the_one_that_was_set(cc: str, rate: int) -> None:
    sent = departures(Options(cc=cc, max_pacing_rate=rate), 250_000, 20 * RTT)
    slack = 0.003 * rate + 2 * burst(rate, MSS)
    for time in (0.0, RTT, 5 * RTT, 10 * RTT, 20 * RTT):
        assert sum_by(sent, time) <= rate * time + slack
    assert sum_by(sent, 20 * RTT) >= min(rate * 19 * RTT - slack, 250_000)
    assert all(length >= MSS or total == 250_000 for total, length in running(sent))


def running(sent: list[tuple[float, int]]) -> list[tuple[int, int]]:
    totals = itertools.accumulate(length for _, length in sent)
    return list(zip(totals, [length for _, length in sent], strict=True))


@pytest.mark.parametrize(
    ("rate", "expected"), [(100e6, 65536), (20e6, 20_000), (1e6, 2 * MSS), (1.0, 2 * MSS)]
)
def test_what_leaves_at_once(rate: float, expected: int) -> None:
    assert burst(rate, MSS) == expected
