"""BBR on a simulated path: what draft-ietf-ccwg-bbr-05 promises, measured."""

from __future__ import annotations

from typing import Any

import pytest

from aiotcp.tcp.bbr import BBR
from aiotcp.tcp.bbr_model import State
from aiotcp.tcp.congestion import Ack
from tests.support.bottleneck import HEADERS, Flow, Path

MSS = 1448
PAYLOAD = MSS / (MSS + HEADERS)
RTT = 0.04

pytestmark = pytest.mark.req("MAY-18")


def path(rate: float = 20e6, buffer_bdp: float = 1.0, **settings: Any) -> Path:
    return Path(rate=rate, delay=RTT / 2, buffer=rate / 8 * RTT * buffer_bdp, **settings)


def control(flow: Flow) -> BBR:
    assert isinstance(flow.cc, BBR)
    return flow.cc


def history(flow: Flow) -> list[tuple[State, float]]:
    """Fills, as the flow runs, with each state entered and when."""
    states: list[tuple[State, float]] = []

    def trace(ack: Ack) -> None:
        state = control(flow).state
        if not states or states[-1][0] is not state:
            states.append((state, ack.now))

    flow.trace = trace
    return states


def goodput(flow: Flow, until: float) -> float:
    """Of the payload that the link can carry until then."""
    start, before = flow.path.now, flow.delivered
    flow.path.run(until)
    return (flow.delivered - before) * 8 / (until - start) / (flow.path.rate * PAYLOAD)


def test_startup_finds_the_bandwidth_in_a_few_round_trips_and_drains_its_queue() -> None:
    """5.3.1: O(log2(BDP)) round trips, and three to be sure; 5.3.2: no queue is left."""
    link = path(50e6)
    flow = link.flow(BBR)
    states = history(flow)
    link.run(1.5)
    (first, _), (second, drain_at), (third, cruise_at) = states[:3]
    assert (first, second, third) == (State.STARTUP, State.DRAIN, State.PROBE_BW_CRUISE)
    assert drain_at <= 14 * RTT  # 10 packets become 166 in 5 of them, with as many in a queue
    assert cruise_at - drain_at <= 3 * RTT
    assert link.queue < 0.05 * link.bdp
    assert control(flow).max_bw * 8 == pytest.approx(50e6 * PAYLOAD, rel=0.02)
    assert control(flow).min_rtt == pytest.approx(RTT, rel=0.03)


@pytest.mark.parametrize("tick", [0.0, 0.001])
def test_a_buffer_of_one_bdp_keeps_the_link_busy(tick: float) -> None:
    """Also where timers have a millisecond's granularity, as those of event loops."""
    link = path()
    flow = link.flow(BBR, tick=tick)
    link.run(1.0)
    idle = link.idle
    assert goodput(flow, 11.0) >= 0.95
    assert link.idle - idle <= 0.05 * 10


def test_cycles_of_probe_bw() -> None:
    """5.3.3: DOWN, CRUISE, REFILL, UP, every two to three seconds."""
    link = path()
    states = history(link.flow(BBR))
    link.run(4.9)
    cycle = [state for state, _ in states][2:7]
    assert cycle == [
        State.PROBE_BW_CRUISE,
        State.PROBE_BW_REFILL,
        State.PROBE_BW_UP,
        State.PROBE_BW_DOWN,
        State.PROBE_BW_CRUISE,
    ]
    at = dict(states[:6])
    assert 2.0 <= at[State.PROBE_BW_REFILL] - at[State.PROBE_BW_CRUISE] <= 3.1
    assert at[State.PROBE_BW_UP] - at[State.PROBE_BW_REFILL] == pytest.approx(RTT, rel=0.1)


def test_the_round_trip_is_probed_every_five_seconds() -> None:
    """5.3.4: with half a BDP in flight, for 200 ms; later, if a lower round trip was seen."""
    link = path(10e6)
    flow = link.flow(BBR)
    entered: list[float] = []
    left: list[float] = []
    flights: list[int] = []
    last: State | None = None

    def trace(ack: Ack) -> None:
        nonlocal last
        state = control(flow).state
        if state is State.PROBE_RTT:
            flights.append(ack.flight)
            if last is not state:
                entered.append(ack.now)
        elif last is State.PROBE_RTT:
            left.append(ack.now)
            # Of those 200 ms, the flight was half a BDP.
            assert max(flights[-20:]) <= 0.55 * link.bdp
        last = state

    flow.trace = trace
    link.run(16.0)
    assert entered[0] == pytest.approx(5.0, abs=0.1)
    assert 5.0 < entered[1] - entered[0] < 8.0
    assert all(0.2 < b - a < 0.35 for a, b in zip(entered, left, strict=True))


def test_a_longer_path_is_found_out() -> None:
    """5.5.7: the estimate expires after ten seconds; it has then been probed."""
    link = path(10e6, buffer_bdp=2)
    flow = link.flow(BBR)
    link.run(2.0)
    link.delay = RTT
    link.run(18.0)
    assert control(flow).min_rtt == pytest.approx(2 * RTT, rel=0.05)
    assert goodput(flow, 24.0) >= 0.93


@pytest.mark.parametrize(("loss", "least"), [(0.001, 0.94), (0.01, 0.9)])
def test_random_loss(loss: float, least: float) -> None:
    """LossThresh: up to 2 % of losses are tolerated. 100 Mbit/s and 40 ms; the time in which
    Startup searches is included."""
    link = path(100e6, loss=loss, seed=2)
    flow = link.flow(BBR)
    assert goodput(flow, 8.0) >= least
    assert link.lost > 8 * 100e6 / 8 / 1500 * loss / 2
    assert flow.timeouts == 0


def test_heavy_random_loss_is_no_collapse() -> None:
    link = path(20e6, loss=0.05, seed=1)
    assert goodput(link.flow(BBR), 10.0) >= 0.2


@pytest.mark.parametrize("seed", [1, 2])
def test_two_flows_share(seed: int) -> None:
    link = path(seed=seed)
    first = link.flow(BBR)
    link.run(1.0)
    second = link.flow(BBR)
    link.run(6.0)
    shares = first.delivered, second.delivered
    idle = link.idle
    link.run(26.0)
    one, other = first.delivered - shares[0], second.delivered - shares[1]
    assert 0.4 <= one / (one + other) <= 0.6
    assert link.idle - idle <= 0.05 * 20


def test_a_slower_link_is_found_by_what_it_drops() -> None:
    """5.5.10.3 at once, and the filter of bandwidths within two cycles (5.5.3)."""
    link = path(20e6)
    flow = link.flow(BBR)
    link.run(4.0)
    link.rate = 5e6
    link.buffer = link.bdp * 2
    rates: list[float] = []
    flow.trace = lambda ack: rates.append(control(flow).bw)
    link.run(6.0)
    assert min(rates) * 8 <= 1.5 * 5e6 * PAYLOAD
    link.run(13.0)
    assert control(flow).max_bw * 8 <= 1.1 * 5e6 * PAYLOAD
    assert goodput(flow, 16.0) >= 0.9


def test_a_faster_link_is_found_in_one_probe() -> None:
    """5.3.3.4: UP goes on while the rate rises; 5 times takes 8 rounds of 1.25."""
    link = path(10e6, buffer_bdp=4)
    flow = link.flow(BBR)
    link.run(4.0)
    link.rate = 50e6
    link.run(8.5)
    assert control(flow).max_bw * 8 >= 0.95 * 50e6 * PAYLOAD


def test_the_bound_of_losses_grows_to_a_faster_link() -> None:
    """`inflight_longterm`, once set, is raised by 1, 2, 4 ... packets in a round (5.3.3.4), and UP
    does not end while it is what limits."""
    link = path(10e6, buffer_bdp=0.5)
    flow = link.flow(BBR)
    link.run(6.0)
    assert control(flow).inflight_longterm < 2 * link.bdp
    link.rate = 60e6
    link.buffer *= 6
    link.run(10.0)
    assert control(flow).max_bw * 8 >= 0.9 * 60e6 * PAYLOAD


def test_app_limited_samples_do_not_lower_the_estimate() -> None:
    """5.5.4; and the bandwidth remembered is used at once when there is more to send."""
    link = path()
    flow = link.flow(BBR)
    link.run(3.0)
    before = control(flow).max_bw
    flow.limit(2e6 / 8)
    link.run(15.0)
    assert control(flow).max_bw >= 0.98 * before
    flow.limit(float("inf"))
    link.run(15.1)
    assert goodput(flow, 15.3) >= 0.95


def test_an_outage_is_survived() -> None:
    """A timeout's window of one segment does not become the short-term bound."""
    link = path()
    flow = link.flow(BBR)
    link.run(3.0)
    link.loss = 1.0
    link.run(4.0)
    link.loss = 0.0
    assert flow.timeouts >= 1
    link.run(5.0)
    assert goodput(flow, 6.0) >= 0.85


def test_congestion_marks_keep_the_queue_short_without_loss() -> None:
    """3.7, RFC 3168: a router that marks at half a BDP never has to drop."""
    link = path(20e6, buffer_bdp=3, mark_above=0.5 * 20e6 / 8 * RTT)
    flow = link.flow(BBR)
    queues: list[float] = []
    flow.trace = lambda ack: queues.append(link.queue)
    link.run(1.0)
    queues.clear()
    assert goodput(flow, 10.0) >= 0.9
    assert link.dropped == 0
    assert sum(queues) / len(queues) < 0.25 * link.bdp


def test_the_same_seed_is_the_same_story() -> None:
    def story(seed: int) -> tuple[int, int]:
        link = path(loss=0.01, seed=seed)
        flow = link.flow(BBR)
        link.run(5.0)
        return flow.delivered, link.lost

    assert story(1) == story(1) != story(2)
