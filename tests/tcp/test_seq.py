"""Sequence numbers: unwrapped on arrival, wrapped on departure (RFC 9293 3.4, DESIGN 2.5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.seq import unwrap, wrap

WRAP = 1 << 32
HALF = 1 << 31


@pytest.mark.req("ST-21")
@pytest.mark.parametrize(
    ("number", "near", "expected"),
    [
        (0, 0, 0),
        (1, WRAP - 1, WRAP + 1),  # just past the wrap
        (WRAP - 1, WRAP, WRAP - 1),  # just before it
        (WRAP - 1, 0, -1),  # nearest may lie below zero: the core's numbers only need order
        (0, WRAP - 1, WRAP),
        (5, 7 * WRAP, 7 * WRAP + 5),
        (HALF - 1, 0, HALF - 1),  # as far ahead as can be told
        (HALF + 1, 0, HALF + 1 - WRAP),  # nearer behind
    ],
)
def test_unwrap_finds_the_nearest(number: int, near: int, expected: int) -> None:
    assert unwrap(number, near) == expected


def test_half_a_circle_away_counts_as_behind() -> None:
    assert unwrap(HALF, 0) == -HALF


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, 0), (WRAP - 1, WRAP - 1), (WRAP, 0), (3 * WRAP + 9, 9), (-1, WRAP - 1)],
)
def test_wrap_keeps_32_bits(number: int, expected: int) -> None:
    assert wrap(number) == expected


@pytest.mark.req("ST-21")
@given(
    near=st.integers(min_value=0, max_value=1 << 48),
    distance=st.integers(min_value=-HALF, max_value=HALF - 1),
)
def test_what_was_wrapped_comes_back(near: int, distance: int) -> None:
    assert unwrap(wrap(near + distance), near) == near + distance
