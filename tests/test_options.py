"""Options: their ranges, and the numbers that the RFCs ask of the defaults."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from aiotcp.options import CONGESTION_CONTROLS, Options
from aiotcp.tcp.controls import congestion_control
from tests.support.controls import start

DEFAULTS = Options()

RANGES: dict[str, tuple[float, float]] = {
    "receive_buffer": (1, 2**30),
    "send_buffer": (1, 2**30),
    "mss": (64, 65495),
    "initial_window_segments": (1, 100),
    "hop_limit": (1, 255),
    "traffic_class": (0, 255),
    "delayed_ack_s": (0, 0.499),
    "rto_initial_s": (0.001, 60),
    "rto_min_s": (0.001, 60),
    "rto_max_s": (1, 600),
    "retries1": (3, 255),
    "retries2": (3, 255),
    "syn_retries": (1, 255),
    "synack_retries": (1, 255),
    "user_timeout_s": (0.001, 86400 * 30),
    "keepalive_idle_s": (1, 32767),
    "keepalive_interval_s": (1, 32767),
    "keepalive_probes": (1, 127),
    "time_wait_s": (0, 600),
    "fin_timeout_s": (0.1, 86400),
    "max_time_wait": (0, 2**24),
    "max_connections": (1, 2**24),
    "memory_limit": (2**16, 2**40),
    "max_orphans": (0, 2**24),
    "orphan_retries": (1, 255),
    "challenge_acks": (1, 1000),
    "challenge_ack_rate": (1, 2**24),
    "rst_rate": (1, 2**24),
    "icmp_rate": (1, 2**24),
}


@pytest.mark.parametrize("name", RANGES)
def test_the_range_of_each(name: str) -> None:
    low, high = RANGES[name]
    for value in (low, high):
        assert getattr(DEFAULTS.replace(**{name: value}), name) == value
    step = 1 if isinstance(getattr(DEFAULTS, name) or 1, int) else 0.0005
    for value in (low - step, high + step, math.nan):
        with pytest.raises(ValueError, match=name):
            DEFAULTS.replace(**{name: value})


def test_the_ceiling_of_the_timeout_is_not_below_its_floor() -> None:
    assert Options(rto_min_s=30, rto_max_s=30).rto_max_s == 30
    with pytest.raises(ValueError, match="rto_max_s must be between 30 and 600"):
        Options(rto_min_s=30, rto_max_s=29)


def test_syn_cookies_by_name() -> None:
    for name in ("auto", "off", "always"):
        assert Options(syn_cookies=name).syn_cookies == name
    with pytest.raises(ValueError, match="syn_cookies must be auto, off or always, not 'on'"):
        Options(syn_cookies="on")


def test_congestion_controls_by_name() -> None:
    with pytest.raises(ValueError, match=r"cc must be one of .*reno"):
        Options(cc="vegas")
    for name in CONGESTION_CONTROLS:
        assert congestion_control(name, start(1460)).name == name


def test_replace_makes_a_variant() -> None:
    variant = DEFAULTS.replace(nodelay=False)
    assert (variant.nodelay, DEFAULTS.nodelay) == (False, True)
    with pytest.raises(ValueError, match="mss"):
        DEFAULTS.replace(mss=1)
    misspelt: dict[str, Any] = {"no_delay": True}
    with pytest.raises(TypeError, match="no_delay"):
        DEFAULTS.replace(**misspelt)


def test_options_do_not_change_under_a_connection() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULTS.nodelay = False  # type: ignore[misc]


def _limit_s(retransmissions: int, first_s: float) -> float:
    """How long so many retransmissions take, and the wait after the last one."""
    rto, total = first_s, 0.0
    for _ in range(retransmissions + 1):
        total += rto
        rto = min(2 * rto, DEFAULTS.rto_max_s)
    return total


@pytest.mark.req("SHLD-10", "SHLD-11", "MUST-23", "6298-2")
def test_the_defaults_keep_to_the_rfcs() -> None:
    assert DEFAULTS.retries1 >= 3
    assert _limit_s(DEFAULTS.retries2, DEFAULTS.rto_min_s) >= 100
    assert _limit_s(DEFAULTS.syn_retries, DEFAULTS.rto_initial_s) >= 180
    assert DEFAULTS.rto_initial_s == 1
    assert DEFAULTS.rto_max_s >= 60


def test_the_defaults_of_the_design() -> None:
    """DESIGN 7 and 9."""
    assert DEFAULTS.nodelay
    assert DEFAULTS.cc == "cubic"
    assert DEFAULTS.sack
    assert DEFAULTS.timestamps
    assert DEFAULTS.window_scaling
    assert DEFAULTS.time_wait_s == 60
    assert DEFAULTS.rto_min_s == 0.2
