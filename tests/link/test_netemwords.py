"""Netem's words."""

from __future__ import annotations

import pytest

from aiotcp.link.impair import CLEAR, Netem
from aiotcp.link.netemwords import netem


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("", CLEAR),
        ("delay 40ms", Netem(delay=0.04)),
        ("delay 40ms 5ms loss 1%", Netem(delay=0.04, jitter=0.005, loss=0.01)),
        ("loss random 0.5% ecn", Netem(loss=0.005, ecn=True)),
        ("delay 1s reorder 25% duplicate 3%", Netem(delay=1, reorder=0.25, duplicate=0.03)),
        ("corrupt 0.1 limit 50", Netem(corrupt=0.001, limit=50)),
        ("rate 10mbit", Netem(rate=10e6)),
        ("rate 125kbps", Netem(rate=1e6)),
        ("rate 1mibit", Netem(rate=2**20)),
        ("rate 9600", Netem(rate=9600)),
        (
            "delay 100us mtu 1200 mark 2% mark_above 7",
            Netem(delay=1e-4, mtu=1200, mark=0.02, mark_above=7),
        ),
    ],
)
def test_words(words: str, meant: Netem) -> None:
    got = netem(words)
    for name in Netem.__slots__:
        assert getattr(got, name) == pytest.approx(getattr(meant, name)), name


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("delay", "delay needs a value"),
        ("delay 40", "a time needs a unit: s, ms or us"),
        ("delay 40parsec", "unknown unit 'parsec'"),
        ("loss 1% 25%", "correlations are not offered: '25%'"),
        ("loss 101%", "a percentage is 0 to 100"),
        ("loss often", "'often' is no number"),
        ("delay 1ms delay 2ms", "delay is there twice"),
        ("slot 20ms", "unknown word 'slot'"),
        ("reorder 5%", "reorder needs a delay"),
        ("rate 10furlong", "unknown unit 'furlong'"),
        ("limit 0", "limit must be at least 1 packet"),
        ("limit x", "limit x: invalid literal"),
    ],
)
def test_what_is_not_understood(words: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        netem(words)
