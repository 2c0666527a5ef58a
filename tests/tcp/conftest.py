"""Every conversation is held twice: with usual numbers, and with numbers that wrap within it.

The second time (ST-21) both sides' sequence numbers and timestamps begin a few below 2**32. Later
connections of the same test follow from the first by the stack's own rules. A test that is about
the numbers themselves says so with ``@pytest.mark.own_numbers`` and runs once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from aiotcp import engine, passive
from aiotcp.tcp import isn
from tests.support.conversation import Peer

FIRST = 2**32 - 3
"""The SYN and two bytes lie before the wrap, all else behind it."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if not inspect.iscoroutinefunction(metafunc.function):
        return
    if metafunc.definition.get_closest_marker("own_numbers") is None:
        metafunc.parametrize("_numbers", ["usual", "wrap"], indirect=True)


def _shifted() -> Callable[[int], int]:
    """Moves numbers so that the first of them becomes FIRST."""
    shifts: list[int] = []

    def moved(number: int) -> int:
        if not shifts:
            shifts.append(FIRST - number)
        return number + shifts[0] & 0xFFFF_FFFF

    return moved


@pytest.fixture(autouse=True)
def _numbers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if getattr(request, "param", "usual") == "usual":
        return
    move_sequence, move_timestamps = _shifted(), _shifted()

    def numbers(*args: Any) -> tuple[int, int]:
        sequence, timestamps = isn.initial_numbers(*args)
        return move_sequence(sequence), move_timestamps(timestamps)

    def offset(*args: Any) -> int:
        return move_timestamps(isn.timestamp_offset(*args))

    monkeypatch.setattr(engine, "initial_numbers", numbers)
    monkeypatch.setattr(passive, "timestamp_offset", offset)
    defaults = Peer.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "iss", FIRST)
    reset = Peer.reset

    def reset_near_the_wrap(peer: Peer) -> None:
        reset(peer)
        peer.tsval_offset = FIRST

    monkeypatch.setattr(Peer, "reset", reset_near_the_wrap)
