"""Which repetitions were for nothing: D-SACKs against what was sent again (RFC 2883, RFC 4015)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.repetitions import Repetitions


def repair(*ranges: tuple[int, int]) -> Repetitions:
    repetitions = Repetitions()
    repetitions.begin()
    for start, end in ranges:
        repetitions.repeated(start, end)
    return repetitions


@pytest.mark.req("2883-3")
def test_nothing_is_for_nothing_before_anything_was_repeated() -> None:
    repetitions = Repetitions()
    assert not repetitions.all_for_nothing
    repetitions.begin()
    assert not repetitions.all_for_nothing
    assert not repetitions.got_twice(0, 100)


@pytest.mark.req("2883-3")
def test_the_first_repetition_of_a_repair_is_told() -> None:
    repetitions = Repetitions()
    repetitions.begin()
    assert repetitions.repeated(0, 100)
    assert not repetitions.repeated(100, 200)
    repetitions.begin()
    assert repetitions.repeated(0, 100)


@pytest.mark.req("2883-3")
def test_all_of_it_has_to_be_reported() -> None:
    repetitions = repair((0, 100), (300, 400))
    assert repetitions.got_twice(0, 100)
    assert not repetitions.all_for_nothing
    assert repetitions.got_twice(300, 400)
    assert repetitions.all_for_nothing


@pytest.mark.req("2883-3")
def test_a_duplicate_that_the_network_made_says_nothing() -> None:
    repetitions = repair((0, 100))
    assert not repetitions.got_twice(100, 200)
    assert not repetitions.got_twice(-50, 0)
    assert not repetitions.all_for_nothing


@pytest.mark.req("2883-3")
@pytest.mark.parametrize(
    "reports",
    [
        [(0, 300)],
        [(-100, 500)],
        [(0, 100), (100, 200), (200, 300)],
        [(100, 200), (0, 100), (200, 300)],
        [(200, 300), (0, 250)],
    ],
)
def test_a_large_repetition_may_be_reported_in_pieces(reports: list[tuple[int, int]]) -> None:
    repetitions = repair((0, 300))
    for left, right in reports:
        assert not repetitions.all_for_nothing
        assert repetitions.got_twice(left, right)
    assert repetitions.all_for_nothing
    assert not repetitions.got_twice(0, 300)  # known


@pytest.mark.req("2883-3")
def test_a_report_about_an_earlier_repair_is_one_of_a_repetition_but_not_of_this() -> None:
    repetitions = repair((0, 100))
    repetitions.begin()
    repetitions.repeated(200, 300)
    assert repetitions.got_twice(0, 100)
    assert not repetitions.all_for_nothing
    assert repetitions.got_twice(200, 300)
    assert repetitions.all_for_nothing


@pytest.mark.req("5682-2")
def test_a_repair_is_taken_back_once() -> None:
    repetitions = repair((0, 100))
    repetitions.got_twice(0, 100)
    repetitions.settle()
    assert not repetitions.all_for_nothing
    repetitions.begin()
    repetitions.repeated(100, 200)
    repetitions.got_twice(100, 200)
    assert repetitions.all_for_nothing


@pytest.mark.req("2883-3")
def test_of_more_repetitions_than_are_remembered_nothing_is_concluded() -> None:
    for count, remembered in ((256, True), (257, False)):
        repetitions = repair(*((n, n + 1) for n in range(count)))
        for n in range(count):
            repetitions.got_twice(n, n + 1)
        assert repetitions.all_for_nothing == remembered


@pytest.mark.req("2883-3")
def test_reports_of_little_pieces_are_no_reason_to_remember_more() -> None:
    """A peer that reports every second byte of a large repetition: what is left of it is many
    pieces, of which the oldest are forgotten, and with them the conclusion."""
    repetitions = repair((0, 2000))
    for n in range(1, 2000, 2):
        repetitions.got_twice(n, n + 1)
    assert not repetitions.got_twice(0, 1400)
    assert repetitions.got_twice(1600, 2000)
    repetitions.got_twice(0, 2000)
    assert not repetitions.all_for_nothing


@pytest.mark.req("2883-3")
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=20),
)
def test_agrees_with_a_table_of_bytes(
    repeated: list[tuple[int, int]], reports: list[tuple[int, int]]
) -> None:
    repetitions = repair(*((start, start + size) for start, size in repeated))
    unreported = [set(range(start, start + size)) for start, size in repeated]
    for left, size in reports:
        block = set(range(left, left + size))
        assert repetitions.got_twice(left, left + size) == any(block & each for each in unreported)
        unreported = [each - block for each in unreported]
        assert repetitions.all_for_nothing == (not any(unreported))
