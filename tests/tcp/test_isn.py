"""Initial sequence numbers: RFC 6528."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.isn import initial_sequence_number, timestamp_offset

SECRET = bytes(16)
FLOW = b"\xc0\x00\x02\x01\xc0\x00\x02\x02\xc3\x50\x00\x50"
OTHER = b"\xc0\x00\x02\x01\xc0\x00\x02\x02\xc3\x51\x00\x50"  # the next port


@pytest.mark.req("MUST-8", "6528-1")
def test_the_clock_ticks_every_four_microseconds() -> None:
    first = initial_sequence_number(SECRET, FLOW, 100.0)
    later = initial_sequence_number(SECRET, FLOW, 101.0)
    assert (later - first) % 2**32 == 250_000


@pytest.mark.req("MUST-8")
@given(start=st.floats(min_value=0, max_value=1e6), step=st.floats(min_value=1e-5, max_value=8000))
def test_it_grows_for_the_same_connection(start: float, step: float) -> None:
    first = initial_sequence_number(SECRET, FLOW, start)
    later = initial_sequence_number(SECRET, FLOW, start + step)
    assert 0 < (later - first) % 2**32 < 2**31


@pytest.mark.req("SHLD-1", "6528-1")
def test_neighbours_are_unrelated() -> None:
    differences = {
        (
            initial_sequence_number(SECRET, FLOW[:8] + bytes((port >> 8, port & 255, 0, 80)), 1.0)
            - initial_sequence_number(SECRET, FLOW, 1.0)
        )
        % 2**32
        for port in range(1000, 1200)
    }
    assert len(differences) == 200
    assert min(differences) < 2**28  # spread over the circle
    assert max(differences) > 2**32 - 2**28


@pytest.mark.req("MUST-9", "SHLD-1")
def test_nobody_without_the_secret_can_compute_it() -> None:
    seen = {initial_sequence_number(bytes([n]) * 16, FLOW, 1.0) for n in range(100)}
    assert len(seen) == 100


@pytest.mark.req("7323-15")
def test_the_timestamp_clock_starts_elsewhere_for_each_connection() -> None:
    assert timestamp_offset(SECRET, FLOW) != timestamp_offset(SECRET, OTHER)
    assert timestamp_offset(SECRET, FLOW) != timestamp_offset(bytes([1]) * 16, FLOW)
    assert timestamp_offset(SECRET, FLOW) == timestamp_offset(SECRET, FLOW)


def test_the_timestamp_offset_tells_nothing_of_the_sequence_number() -> None:
    assert timestamp_offset(SECRET, FLOW) != initial_sequence_number(SECRET, FLOW, 0.0)


@given(now=st.floats(min_value=0, max_value=1e9))
def test_thirty_two_bits(now: float) -> None:
    assert 0 <= initial_sequence_number(SECRET, FLOW, now) < 2**32
