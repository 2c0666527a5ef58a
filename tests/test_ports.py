"""Ephemeral ports: RFC 6056, algorithm 4."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiotcp.ports import FIRST, LAST, EphemeralPorts

HERE = b"\xc0\x00\x02\x02\xc0\x00\x02\x01\x00\x50"
THERE = b"\xc0\x00\x02\x02\xc0\x00\x02\x09\x00\x50"
COUNT = LAST - FIRST + 1


def anything(port: int) -> bool:
    return True


def choose(ports: EphemeralPorts, destination: bytes) -> int:
    port = ports.choose(destination, anything)
    assert port is not None
    return port


def test_one_destination_sees_them_in_turn() -> None:
    ports = EphemeralPorts(bytes(16))
    first = choose(ports, HERE)
    for n in range(1, 100):
        assert choose(ports, HERE) == FIRST + (first - FIRST + n) % COUNT


def test_all_are_used_before_one_comes_back() -> None:
    ports = EphemeralPorts(bytes(16))
    assert {choose(ports, HERE) for _ in range(COUNT)} == set(range(FIRST, LAST + 1))


def test_busy_ports_are_passed_over() -> None:
    ports = EphemeralPorts(bytes(16))
    first = choose(EphemeralPorts(bytes(16)), HERE)
    assert ports.choose(HERE, lambda port: port != first) == FIRST + (first - FIRST + 1) % COUNT


def test_none_when_all_are_busy() -> None:
    asked: set[int] = set()

    def busy(port: int) -> bool:
        asked.add(port)
        return False

    assert EphemeralPorts(bytes(16)).choose(HERE, busy) is None
    assert len(asked) == COUNT


def test_where_it_begins_depends_on_destination_and_secret() -> None:
    starts = {choose(EphemeralPorts(bytes([n]) * 16), HERE) for n in range(20)}
    assert len(starts) > 15
    ports = EphemeralPorts(bytes(16))
    assert choose(ports, HERE) != choose(ports, THERE)


def test_the_same_secret_repeats() -> None:
    first, second = EphemeralPorts(bytes(16)), EphemeralPorts(bytes(16))
    assert [choose(first, HERE) for _ in range(5)] == [choose(second, HERE) for _ in range(5)]


@given(secret=st.binary(min_size=16, max_size=16), destination=st.binary(max_size=40))
def test_always_in_the_dynamic_range(secret: bytes, destination: bytes) -> None:
    ports = EphemeralPorts(secret)
    for _ in range(5):
        assert FIRST <= choose(ports, destination) <= LAST
