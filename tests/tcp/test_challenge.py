"""Limits on what a connection answers: RFC 5961 7."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.challenge import ChallengeLimit


@pytest.mark.req("5961-4")
def test_so_many_in_five_seconds() -> None:
    limit = ChallengeLimit(10)
    assert sum(limit.allow_challenge(100.0) for _ in range(1000)) == 10
    assert not limit.allow_challenge(104.9)
    assert limit.allow_challenge(105.0)


@pytest.mark.req("5961-4")
def test_each_connection_counts_for_itself() -> None:
    """A counter for the whole host tells an attacker what other connections do."""
    busy, quiet = ChallengeLimit(1), ChallengeLimit(1)
    assert busy.allow_challenge(1.0)
    assert not busy.allow_challenge(1.0)
    assert quiet.allow_challenge(1.0)


@pytest.mark.req("X-1")
def test_one_reply_to_empty_segments_in_half_a_second() -> None:
    limit = ChallengeLimit(10)
    assert limit.allow_reply(100.0)
    assert not limit.allow_reply(100.49)
    assert limit.allow_reply(100.5)


@given(
    limit=st.integers(min_value=1, max_value=20),
    gaps=st.lists(st.floats(min_value=0, max_value=2), max_size=200),
)
@pytest.mark.req("5961-4")
def test_in_the_long_run(limit: int, gaps: list[float]) -> None:
    challenges = ChallengeLimit(limit)
    now = 0.0
    allowed = 0
    for gap in gaps:
        now += gap
        allowed += challenges.allow_challenge(now)
    assert allowed <= limit * (now // 5 + 1)
