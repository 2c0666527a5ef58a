"""How often a stack answers strangers."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from aiotcp.limits import TokenBucket


def test_a_burst_then_the_rate() -> None:
    bucket = TokenBucket(rate=8, burst=3)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(100.0625)
    assert bucket.take(100.125)
    assert not bucket.take(100.125)


def test_what_is_not_used_is_saved_up_to_the_burst() -> None:
    bucket = TokenBucket(rate=1, burst=2)
    assert sum(bucket.take(1000.0) for _ in range(10)) == 2
    assert sum(bucket.take(5000.0) for _ in range(10)) == 2


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(rate=1, burst=1)
    assert bucket.take(100.0)
    assert not bucket.take(50.0)
    assert not bucket.take(50.5)
    assert bucket.take(51.5)


@given(
    rate=st.floats(min_value=0.1, max_value=1000),
    burst=st.integers(min_value=1, max_value=50),
    gaps=st.lists(st.floats(min_value=0, max_value=1), max_size=200),
)
def test_never_more_than_burst_and_rate_together(
    rate: float, burst: int, gaps: list[float]
) -> None:
    bucket = TokenBucket(rate, burst)
    start = now = 7.0
    taken = 0
    for gap in gaps:
        now += gap
        taken += bucket.take(now)
        assert taken <= burst + rate * (now - start) + 1e-6


def test_with_chance_nobody_can_tell_how_many_are_left() -> None:
    """The rate holds in the long run; a burst is a different number each time."""
    chance = random.Random(1)
    bucket = TokenBucket(100, 100, chance.random)
    bursts = {sum(bucket.take(1000.0 * n) for _ in range(200)) for n in range(1, 100)}
    assert len(bursts) > 8
    assert all(80 <= burst <= 120 for burst in bursts)
    taken = sum(bucket.take(200_000 + n / 1000) for n in range(100_000))
    assert 9800 <= taken <= 10_300
