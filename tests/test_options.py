"""Options: their ranges, and the numbers that the RFCs ask of the defaults."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aiotcp.options import CONGESTION_CONTROLS, KINDS, Options, kind_of
from aiotcp.ranges import spelled
from aiotcp.tcp.controls import congestion_control
from tests.support.controls import start

ROOT = Path(__file__).parents[1]
DEFAULTS = Options()

RANGES: dict[str, tuple[float, float]] = {
    "receive_buffer": (1, 2**30),
    "send_buffer": (1, 2**30),
    "mss": (64, 65495),
    "max_pacing_rate": (1, 2**40),
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
    "tfo_queue": (1, 65535),
    "max_tfo_servers": (1, 2**20),
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
    with pytest.raises(ValueError, match="cc must be bbr, cubic, reno or a class, not 'vegas'"):
        Options(cc="vegas")
    for name in CONGESTION_CONTROLS:
        assert congestion_control(name, start(1460)).name == name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodelay": 1}, "nodelay must be True or False, not 1"),
        ({"cc": 7}, "cc must be bbr, cubic, reno or a class, not 7"),
        ({"mss": "1000"}, "mss must be between 64 and 65495, or None, not '1000'"),
        ({"mss": True}, "mss must be between 64 and 65495, or None, not True"),
        ({"retries2": 5.5}, "retries2 must be a whole number, not 5.5"),
        ({"no_delay": True}, "no option is called 'no_delay': did you mean 'nodelay'?"),
        ({"colour": "blue"}, "no option is called 'colour'"),
    ],
)
def test_other_types_and_names_are_refused(changes: dict[str, Any], message: str) -> None:
    for make in (Options, DEFAULTS.replace, DEFAULTS.variant(None).replace):
        with pytest.raises(TypeError) as caught:
            make(**changes)
        assert str(caught.value) == message


def test_whole_numbers_do_for_seconds() -> None:
    assert Options(keepalive_idle_s=30, user_timeout_s=5).keepalive_idle_s == 30


def test_a_variant_for_one_listener_or_connection() -> None:
    stack = Options(nodelay=False)
    own = Options(cc="bbr")
    assert stack.variant(None) is stack
    assert stack.variant(own) is own
    changed = stack.variant({"cc": "bbr"})
    assert (changed.cc, changed.nodelay) == ("bbr", False)
    with pytest.raises(ValueError, match="memory_limit is an option of the stack as a whole"):
        stack.variant({"memory_limit": 2**20})
    wrong: Any = "cc=bbr"
    with pytest.raises(TypeError, match="options must be Options or a mapping of changes"):
        stack.variant(wrong)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("cc", "bbr", "bbr"),
        ("nodelay", "off", False),
        ("nodelay", "Yes", True),
        ("mss", "none", None),
        ("mss", "1000", 1000),
        ("send_buffer", "64k", 65536),
        ("memory_limit", "2g", 2**31),
        ("rto_min_s", "0.05", 0.05),
        ("mtu_expires_s", "inf", math.inf),
    ],
)
def test_options_in_words(name: str, text: str, value: object) -> None:
    assert kind_of(name).read(name, text) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("cc", "vegas", "cc must be bbr, cubic or reno, not 'vegas'"),
        ("nodelay", "maybe", "nodelay must be on or off, not 'maybe'"),
        ("mss", "1", "mss must be between 64 and 65495, or none, not '1'"),
        ("retries2", "none", "retries2 must be between 3 and 255, not 'none'"),
        ("retries2", "5.5", "retries2 must be between 3 and 255, not '5.5'"),
        ("send_buffer", "k", "send_buffer must be between 1 and 2**30, or none, not 'k'"),
        ("rto_min_s", "nan", "rto_min_s must be between 0.001 and 60, not 'nan'"),
    ],
)
def test_words_that_are_no_options(name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        kind_of(name).read(name, text)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", KINDS)
def test_each_default_reads_as_it_is_shown(name: str) -> None:
    default = getattr(DEFAULTS, name)
    kind_of(name).check(name, default)  # which `Options` does not do
    assert kind_of(name).read(name, spelled(default)) == default


def test_the_page_about_options_is_up_to_date() -> None:
    """If not: make docs."""
    script = ROOT / "bin" / "options_doc.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert (ROOT / "docs" / "options.md").read_text() == done.stdout


def test_every_option_is_documented() -> None:
    page = (ROOT / "docs" / "options.md").read_text()
    assert [name for name in KINDS if f"**`{name}`**" not in page] == []


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
    with pytest.raises(dataclasses.FrozenInstanceError):
        del DEFAULTS.nodelay


def test_options_are_values() -> None:
    """What a dataclass does, and is not generated here."""
    own = Options(cc="reno", mss=1000)
    assert own == Options().replace(mss=1000, cc="reno") == dataclasses.replace(own)
    assert own != DEFAULTS
    assert own != dataclasses.asdict(own)
    assert hash(own) == hash(own.replace())
    assert len({own, own.replace(), DEFAULTS}) == 2
    assert repr(own).startswith("Options(cc='reno', pacing=False, max_pacing_rate=None, ")
    assert eval(repr(own.replace(mtu_expires_s=300))) == own.replace(mtu_expires_s=300)
    assert own == copy.copy(own) == copy.deepcopy(own) == pickle.loads(pickle.dumps(own))
    assert dataclasses.asdict(own) == {name: getattr(own, name) for name in KINDS}
    assert {each.name: each.default for each in dataclasses.fields(own)} == dataclasses.asdict(
        DEFAULTS
    )
    assert dataclasses.is_dataclass(Options)
    assert dataclasses.fields(own)[0] is dataclasses.fields(own)[0]  # made once
    assert not hasattr(own, "__dict__")
    positional: Any = Options
    with pytest.raises(TypeError, match="positional"):
        positional("reno")


def test_what_derives_from_options_has_their_fields() -> None:
    class Own(Options):
        pass

    own = Own(mss=1000)
    assert dataclasses.asdict(own) == dataclasses.asdict(Options(mss=1000))
    assert type(dataclasses.replace(own, cc="reno")) is Own


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
