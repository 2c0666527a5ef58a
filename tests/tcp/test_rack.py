"""RACK's view of time and reordering (RFC 8985 6), by numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.rack import Rack


def patience(
    rack: Rack,
    *,
    repairing: bool = False,
    sacked: float = 1,
    srtt: float = 0.1,
    min_rtt: float = 0.08,
) -> float:
    return rack.patience(repairing=repairing, sacked_segments=sacked, srtt=srtt, min_rtt=min_rtt)


def arrived(*, at: float = 1.0, after: float = 0.1) -> Rack:
    rack = Rack(0)
    rack.on_delivered(at, 1000, at + after, repeated=False)
    return rack


@pytest.mark.req("8985-1")
def test_the_latest_is_the_one_that_left_last() -> None:
    rack = Rack(0)
    rack.on_delivered(1.0, 1000, 1.1, repeated=False)
    rack.on_delivered(1.0, 3000, 1.1, repeated=False)
    rack.on_delivered(1.0, 2000, 1.2, repeated=False)
    assert (rack.xmit_ts, rack.end_seq) == (1.0, 3000)
    assert rack.rtt == pytest.approx(0.2)
    rack.on_delivered(2.0, 500, 2.1, repeated=True)
    assert (rack.xmit_ts, rack.end_seq) == (2.0, 500)


@pytest.mark.req("8985-3")
@pytest.mark.parametrize(
    ("repairing", "sacked", "window"),
    [(False, 0, 0.02), (False, 2.9, 0.02), (False, 3, 0), (True, 0, 0)],
)
def test_before_reordering_was_seen(repairing: bool, sacked: float, window: float) -> None:
    """A quarter of the least round trip, or none at all where the signs are clear."""
    assert patience(arrived(), repairing=repairing, sacked=sacked) == pytest.approx(0.1 + window)


@pytest.mark.req("8985-3")
def test_once_reordering_was_seen_there_is_always_a_window() -> None:
    rack = arrived()
    rack.on_delivered(0.9, 500, 1.1, repeated=False)
    assert rack.reordering_seen
    for repairing in (False, True):
        assert patience(rack, repairing=repairing, sacked=9) == pytest.approx(0.2 + 0.02)


@pytest.mark.req("8985-3")
def test_packets_that_overtook_say_little_of_those_that_they_overtook() -> None:
    """The deviation that `patience` tells of: the round trip of one that had not leapt ahead, and
    half of SRTT, are the least."""
    rack = Rack(0)
    rack.on_delivered(0.9, 1000, 0.95, repeated=False)
    rack.on_delivered(1.0, 3000, 1.001, leapt=True, repeated=False)
    rack.on_arrival(2000, repeated=False)
    assert patience(rack, min_rtt=0.001) == pytest.approx(0.05 + 0.05 / 4)


@pytest.mark.req("8985-3")
def test_a_repetition_that_arrives_late_is_no_reordering() -> None:
    rack = arrived()
    rack.on_delivered(1.05, 500, 1.2, repeated=True)
    rack.on_arrival(400, repeated=True)
    assert not rack.reordering_seen
    rack.on_arrival(300, repeated=False)
    assert rack.reordering_seen


@pytest.mark.req("8985-2")
def test_of_an_ambiguous_repetition_only_the_number_counts() -> None:
    rack = arrived()
    rack.on_arrival(5000, repeated=True)
    assert (rack.xmit_ts, rack.end_seq) == (1.0, 1000)
    assert rack.rtt == pytest.approx(0.1)
    rack.on_delivered(1.1, 4000, 1.2, repeated=False)
    assert rack.reordering_seen  # 5000 had been there


@pytest.mark.req("8985-3")
def test_each_round_trip_with_duplicates_widens_the_window() -> None:
    rack = arrived()
    rack.on_spurious(1000, 9000)
    assert patience(rack) == pytest.approx(0.1 + 0.04)
    rack.on_spurious(8999, 12_000)  # the same round trip
    assert patience(rack) == pytest.approx(0.1 + 0.04)
    rack.on_spurious(9000, 20_000)
    assert patience(rack) == pytest.approx(0.1 + 0.06)
    for n in range(20):
        rack.on_spurious(20_000 + n, 20_000 + n)
    assert patience(rack) == pytest.approx(0.1 + 0.1)  # SRTT is the most


@pytest.mark.req("8985-3")
def test_sixteen_recoveries_without_duplicates_reset_it() -> None:
    rack = arrived()
    rack.on_spurious(0, 1000)
    for _ in range(15):
        rack.on_recovered()
    assert patience(rack) == pytest.approx(0.1 + 0.04)
    rack.on_spurious(2000, 3000)
    for _ in range(15):
        rack.on_recovered()
    assert patience(rack) == pytest.approx(0.1 + 0.06)
    rack.on_recovered()
    assert patience(rack) == pytest.approx(0.1 + 0.02)


@pytest.mark.req("8985-3")
@given(
    st.lists(st.tuples(st.floats(0, 10), st.integers(0, 99), st.floats(0, 1))),
    st.integers(0, 40),
    st.booleans(),
    st.floats(0, 20),
)
def test_the_window_is_never_more_than_a_round_trip(
    arrivals: list[tuple[float, int, float]], spurious: int, repairing: bool, sacked: float
) -> None:
    rack = Rack(0)
    for at, end, rtt in arrivals:
        rack.on_delivered(at, end, at + rtt, repeated=False)
    for n in range(spurious):
        rack.on_spurious(n, n)
    waits = patience(rack, repairing=repairing, sacked=sacked)
    assert rack.rtt <= waits <= max(rack.rtt, 0.1) + 0.1
    if arrivals:
        assert (rack.xmit_ts, rack.end_seq) == max((at, end) for at, end, _ in arrivals)
