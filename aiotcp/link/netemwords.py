"""Netem's words: "delay 40ms 5ms loss 1% rate 10mbit", as tc(8) and tc-netem(8) write them.

Impair(link, outbound=netem("delay 40ms 5ms loss 1%"))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiotcp.link.impair import Netem

_TIMES = {
    **dict.fromkeys(("s", "sec", "secs"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs"), 1e-3),
    **dict.fromkeys(("us", "usec", "usecs"), 1e-6),
    **dict.fromkeys(("ns", "nsec", "nsecs"), 1e-9),
}
_DECIMAL = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_BINARY = {"ki": 2.0**10, "mi": 2.0**20, "gi": 2.0**30, "ti": 2.0**40}
_RATES = {
    f"{prefix}{unit}": factor * bits
    for prefix, factor in (_DECIMAL | _BINARY).items()
    for unit, bits in (("bit", 1), ("bps", 8))  # bps: bytes per second, as in tc
} | {"": 1.0}


def netem(words: str) -> Netem:
    """What the words say; "" is a perfect link.

    `delay TIME [JITTER]`, `loss PERCENT [ecn]`, `duplicate PERCENT`, `reorder PERCENT`, `corrupt
    PERCENT`, `rate RATE`, `limit PACKETS`; and as tc has no words for them, `mark PERCENT`,
    `mark_above PACKETS`, `mtu BYTES` (see `Netem`). A time needs its unit (tc takes a bare number
    for microseconds, and nobody expects that); a bare rate is bits per second, as in tc.

    Raises ValueError for anything else, and for what `Netem` refuses. Correlations and tables of
    distributions are not offered.
    """
    rest = words.split()
    found: dict[str, Any] = {}
    while rest:
        word = rest.pop(0)
        if word in found:
            raise ValueError(f"netem: {word} is there twice in {words!r}")
        if word == "delay":
            found["delay"] = _taken(rest, word, words, seconds)
            if rest and rest[0][:1].isdigit():
                found["jitter"] = _taken(rest, word, words, seconds)
        elif word == "loss":
            if rest[:1] == ["random"]:
                rest.pop(0)
            found["loss"] = _taken(rest, word, words, chance)
            if rest[:1] == ["ecn"]:
                rest.pop(0)
                found["ecn"] = True
        elif word in ("duplicate", "reorder", "corrupt", "mark"):
            found[word] = _taken(rest, word, words, chance)
        elif word == "rate":
            found["rate"] = _taken(rest, word, words, bits_per_second)
        elif word in ("limit", "mark_above", "mtu"):
            found[word] = _taken(rest, word, words, int)
        elif word[:1].isdigit():
            raise ValueError(f"netem: correlations are not offered: {word!r} in {words!r}")
        else:
            raise ValueError(f"netem: unknown word {word!r} in {words!r}")
    return Netem(**found)


def _taken(rest: list[str], word: str, words: str, read: Callable[[str], float]) -> float:
    if not rest:
        raise ValueError(f"netem: {word} needs a value in {words!r}")
    value = rest.pop(0)
    try:
        return read(value)
    except ValueError as exc:
        raise ValueError(f"netem: {word} {value}: {exc}") from None


def seconds(text: str) -> float:
    """A time with its unit: "40ms", "0.5s", "100us". Raises ValueError."""
    number, unit = _split(text)
    if unit not in _TIMES:
        wanted = "needs a unit: s, ms or us" if not unit else f"unknown unit {unit!r}: s, ms or us"
        raise ValueError(f"a time {wanted}" if not unit else wanted)
    return number * _TIMES[unit]


def chance(text: str) -> float:
    """A percentage, "1%" or "1", as a probability. Raises ValueError."""
    number, unit = _split(text)
    if unit not in ("", "%"):
        raise ValueError(f"unknown unit {unit!r}: a percentage is wanted")
    if not 0 <= number <= 100:
        raise ValueError("a percentage is 0 to 100")
    return number / 100


def bits_per_second(text: str) -> float:
    """A rate: "10mbit", "1gbit", "125kbps" (bytes). Raises ValueError."""
    number, unit = _split(text)
    if unit not in _RATES:
        raise ValueError(f"unknown unit {unit!r}: bit, kbit, mbit, gbit, or bps for bytes")
    return number * _RATES[unit]


def _split(text: str) -> tuple[float, str]:
    end = len(text)
    while end and not (text[end - 1].isdigit() or text[end - 1] == "."):
        end -= 1
    try:
        return float(text[:end]), text[end:].lower()
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None
