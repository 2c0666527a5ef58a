"""Scripted faults: which segments meet what, said in a sentence.

    drop the third data segment            delay the next ACK from server by 2s
    drop every FIN                         duplicate the first SYN
    drop data segments 3-5 from client     corrupt the second data segment
    drop the next 2 segments from b        drop every data segment of 14 bytes
    mark the fourth data segment           strip the options of every SYN

A sentence is an action, which of them, what kind, optionally from whom, and for a delay by how
much. Kinds: `SYN` (without ACK), `SYN,ACK`, `ACK` (nothing but), `FIN` and `RST` (with whatever
else), `data segment` (with text), `segment` (any); `data segment of N bytes`. `first` and `next`
are the same: numbers count from when the rule was made.

To mark is what a router does to an ECN-capable packet that meets congestion (RFC 3168 5); one that
is not ECN-capable is dropped. To strip is what some middleboxes do: TCP's options are taken off.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from aiotcp.link.netemwords import seconds
from aiotcp.wire import ipv4, ipv6, tcp
from aiotcp.wire.malformed import Malformed
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN

DROP, DELAY, DUPLICATE, CORRUPT = "drop", "delay", "duplicate", "corrupt"
MARK, STRIP = "mark", "strip"

_ORDINALS = {
    word: number
    for number, words in enumerate(
        (
            *(("first", "next"), ("second",), ("third",), ("fourth",), ("fifth",)),
            *(("sixth",), ("seventh",), ("eighth",), ("ninth",), ("tenth",)),
        ),
        start=1,
    )
    for word in words
}
_EVER = 1 << 62
_SENTENCE = re.compile(
    r"""
    (?P<action>drops?|delays?|duplicates?|corrupts?|marks?|strips?) \s+
    (?P<options>(?:the\s+)? options \s+ of \s+)?
    (?: (?P<every>every|all) \s+ (?:of\s+)? (?:the\s+)?
      | (?:the\s+|a\s+)? (?P<ordinal>(?!data\b|segment)[a-z]+|\d+(?:st|nd|rd|th)) \s+
        (?:(?P<count>\d+)\s+)?
    )?
    (?P<kind>SYN,ACK|SYN|ACK|FIN,ACK|FIN|RST,ACK|RST|data\ssegments?|segments?)s?
    (?: \s+ (?P<low>\d+) (?:-(?P<high>\d+))? )?
    (?: \s+ of \s+ (?P<size>\d+) \s+ bytes? )?
    (?: \s+ from \s+ (?P<sender>\S+) )?
    (?: \s+ by \s+ (?P<by>\S+) )?
    """,
    re.VERBOSE,
)


@dataclass(slots=True)
class Passing:
    """What a rule looks at."""

    sender: str
    flags: int
    length: int


@dataclass(slots=True)
class Fault:
    """One sentence, and how often it came true."""

    sentence: str
    action: str
    kind: str
    low: int
    """The first segment of its kind that it concerns, counted from 1."""
    high: int
    """The last."""
    size: int | None = None
    sender: str = ""
    """Empty: anybody."""
    by_s: float = 0.0
    seen: int = field(default=0)
    """Segments of its kind so far."""
    applied: int = field(default=0)
    """How many of them it has met."""

    def meets(self, passing: Passing) -> bool:
        """Whether this segment is concerned; counts it."""
        if self.sender and passing.sender != self.sender:
            return False
        if self.size is not None and passing.length != self.size:
            return False
        if not _KINDS[self.kind](passing):
            return False
        self.seen += 1
        if not self.low <= self.seen <= self.high:
            return False
        self.applied += 1
        return True

    @property
    def over(self) -> bool:
        """Whether it can concern no further segment."""
        return self.seen >= self.high


def fault(sentence: str) -> Fault:
    """The rule that a sentence states. Raises ValueError for one that is not understood."""
    found = _SENTENCE.fullmatch(" ".join(sentence.split()))
    if found is None:
        raise ValueError(
            f"not understood: {sentence!r}; say it as in 'drop the third data segment', "
            "'drop every FIN from server', 'delay the next ACK by 2s'"
        )
    action = found["action"].removesuffix("s")
    if (action == STRIP) != bool(found["options"]):
        raise ValueError(f"{sentence!r}: it is options that are stripped, and nothing else")
    low, high = _which(sentence, found)
    by = found["by"]
    if (action == DELAY) != (by is not None):
        raise ValueError(f"{sentence!r}: a delay, and nothing else, is 'by' a time, such as 500ms")
    return Fault(
        sentence=" ".join(sentence.split()),
        action=action,
        kind=found["kind"].replace("segments", "segment"),
        low=low,
        high=high,
        size=int(found["size"]) if found["size"] else None,
        sender=found["sender"] or "",
        by_s=seconds(by) if by is not None else 0.0,
    )


def _which(sentence: str, found: re.Match[str]) -> tuple[int, int]:
    if found["low"]:
        if found["every"] or found["ordinal"]:
            raise ValueError(f"{sentence!r}: say which ones once")
        low, high = int(found["low"]), int(found["high"] or found["low"])
    elif found["every"] or not found["ordinal"]:
        low, high = 1, _EVER
    else:
        word = found["ordinal"]
        low = int(word[:-2]) if word[0].isdigit() else _ORDINALS.get(word, 0)
        if not low:
            known = ", ".join(_ORDINALS)
            raise ValueError(f"{sentence!r}: which one is {word!r}? Known are {known}, and 11th")
        high = low + int(found["count"] or 1) - 1
    if not 1 <= low <= high:
        raise ValueError(f"{sentence!r}: segments are counted from 1, upwards")
    return low, high


_SPEAKING = SYN | FIN | RST


_KINDS: dict[str, Callable[[Passing], bool]] = {
    "SYN": lambda passing: passing.flags & (SYN | ACK) == SYN,
    "SYN,ACK": lambda passing: passing.flags & (SYN | ACK) == SYN | ACK,
    "ACK": lambda passing: passing.flags & ~PSH == ACK and not passing.length,
    "FIN": lambda passing: bool(passing.flags & FIN),
    "FIN,ACK": lambda passing: passing.flags & (FIN | ACK) == FIN | ACK,
    "RST": lambda passing: bool(passing.flags & RST),
    "RST,ACK": lambda passing: passing.flags & (RST | ACK) == RST | ACK,
    "data segment": lambda passing: passing.length > 0,
    "segment": lambda passing: True,
}


def passing(sender: str, packet: bytes) -> Passing | None:
    """What a rule needs to know of an IP packet; None if it is no TCP segment."""
    view = memoryview(packet)
    try:
        parse = ipv4.parse if packet[0] >> 4 == 4 else ipv6.parse
        protocol, offset, end = parse(view, True)
        if protocol != tcp.PROTOCOL:
            return None
        header = (packet[offset + 12] >> 4) * 4
        return Passing(sender, packet[offset + 13], end - offset - header)
    except (Malformed, IndexError):
        return None


class Faults:
    """The rules of one network, in the order in which they were made. The first one that concerns
    a segment decides about it; those behind do not count it."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []

    def add(self, sentence: str) -> Fault:
        made = fault(sentence)
        self.rules.append(made)
        return made

    def meet(self, sender: str, packet: bytes) -> Fault | None:
        """The rule that this packet falls under, if one does."""
        seen = passing(sender, packet)
        if seen is None:
            return None
        return next((rule for rule in self.rules if not rule.over and rule.meets(seen)), None)

    def never_applied(self) -> list[Fault]:
        """Rules that met no segment at all: a test that states them believes in something that
        did not happen."""
        return [rule for rule in self.rules if not rule.applied]
