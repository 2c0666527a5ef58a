"""The ladder: a trace as text, one line for each thing that happened, a lane for each host.

    0.000    SYN-SENT                                                         server
    0.000    ├─ SYN seq=0 win=65535 ──────────────────────────────────▶│      open
    0.010    │                                                SYN-RECEIVED
    0.010    │◀──────────────────────── SYN,ACK seq=0 ack=1 win=65535 ─┤      open_reply
    0.040    ├─ ACK seq=1 ack=1 win=65535 len=5 ───────────────── ✗    │      new_data, lost
    0.040    ! connected

`lines()` gives them with the part that each piece of text plays, so that whoever prints them can
choose colours; `text()` is all of it without.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import NamedTuple

from aiotcp.trace.events import (
    CORRUPTED,
    DUPLICATED,
    LATE,
    LOST,
    UNDERWAY,
    Event,
    Fault,
    Said,
    Segment,
    State,
    Trace,
)
from aiotcp.trace.lanes import lanes as lanes_of

MIN_WIDTH, USUAL_WIDTH = 60, 100
_TIME_WIDTH = 11
_WHY_WIDTH = 24
_NAMES_MAX = 3
"""Of the hosts that share a lane, so many have their names above it."""
_CROSSED = frozenset({LOST, CORRUPTED})


class Piece(NamedTuple):
    """Some text of a line, and what it is: "time", "lane", "segment", "again", "lost", "state",
    "said", "fault", "why", "error"."""

    text: str
    part: str


def lines(trace: Trace, *, width: int = USUAL_WIDTH) -> Iterator[list[Piece]]:
    """The ladder's lines, the head first. `width` is the most columns that a line may take."""
    width = max(width, MIN_WIDTH)
    numbers = _Numbers(trace)
    room = width - _TIME_WIDTH - numbers.width - _WHY_WIDTH
    lanes = _Lanes(lanes_of(trace.hosts, trace.flows), room, trace.shows)
    for row in lanes.head():
        yield [Piece(" " * (_TIME_WIDTH + numbers.width), "lane"), Piece(row, "lane")]
    for event in trace.events:
        time = Piece(f"{event.at:9.3f}  {numbers.of(event)}", "time")
        if isinstance(event, Segment):
            yield [time, *lanes.arrow(event), *_why(event)]
        elif isinstance(event, State):
            error = f" ({event.error})" if event.error else ""
            yield [time, *lanes.beside(event.host, event.new + error, "state")]
        elif isinstance(event, Said):
            yield [time, *lanes.beside(event.host, f"! {event.text}", "said")]
        else:
            yield [time, *_fault(lanes, event)]
    for note in trace.notes:
        yield [Piece(f"{'':{_TIME_WIDTH}}{note}", "fault")]


def text(trace: Trace, *, width: int = USUAL_WIDTH) -> str:
    """The ladder as plain text."""
    made = ("".join(piece.text for piece in line).rstrip() for line in lines(trace, width=width))
    return "".join(f"{line}\n" for line in made)


def _why(segment: Segment) -> list[Piece]:
    words = [segment.why] if segment.why else []
    if segment.fate and segment.fate != UNDERWAY:
        words.append(segment.fate)
    if segment.dropped:
        words.append(f"dropped: {segment.dropped}")
    part = "lost" if segment.fate in _CROSSED or segment.dropped else "why"
    text = _printable(", ".join(words))
    if len(text) > _WHY_WIDTH - 2 and segment.fate == LOST:
        words.remove(LOST)  # the arrow is crossed out
        text = _printable(", ".join(words))
    if len(text) > _WHY_WIDTH - 2:
        text = text[: _WHY_WIDTH - 3] + "…"
    return [Piece(f"  {text}", part)] if words else []


def _printable(text: str) -> str:
    """Without what a terminal would obey: comments of packets may be anybody's."""
    return text if text.isprintable() else "".join(sign for sign in text if sign.isprintable())


def _fault(lanes: _Lanes, fault: Fault) -> list[Piece]:
    words = f"# {fault.text}"
    if fault.until is not None:
        words += f", until {fault.until:.3f}"
    return lanes.beside(fault.host, words, "fault") if fault.host else [Piece(words, "fault")]


class _Numbers:
    """Of several connections, which one a line is about, as `aiotcp ladder --flows` counts them."""

    def __init__(self, trace: Trace) -> None:
        flows = {event.flow for event in trace.events if isinstance(event, Segment)}
        self.digits = len(str(max(flows) + 1)) if len(flows) > 1 else 0
        self.width = self.digits + 1 if self.digits else 0

    def of(self, event: Event) -> str:
        if not self.digits:
            return ""
        number = event.flow + 1 if isinstance(event, Segment | State) else ""
        return f"{number:>{self.digits}} "


class _Lanes:
    """Columns for the hosts, and what is drawn between them."""

    def __init__(self, lanes: list[list[str]], width: int, shows: list[str]) -> None:
        self.lanes = lanes or [[""]]
        self.shows = shows
        self.width = width
        step = (width - 1) // max(len(self.lanes) - 1, 1)
        self.places = [min(n * step, width - 1) for n in range(len(self.lanes))]
        self.at = {
            host: at for at, hosts in zip(self.places, self.lanes, strict=True) for host in hosts
        }

    def head(self) -> list[str]:
        """The names above the lanes."""
        named = [
            hosts
            if len(hosts) <= _NAMES_MAX
            else [*hosts[: _NAMES_MAX - 1], f"and {len(hosts) - _NAMES_MAX + 1} more"]
            for hosts in self.lanes
        ]
        return [self._names(row) for row in zip_longest(*named, fillvalue="")]

    def _names(self, names: Iterable[str]) -> str:
        row = [" "] * (self.width + 1)
        for at, name in zip(self.places, names, strict=True):
            last = at == self.places[-1] and len(self.places) > 1
            begin = max(at + 1 - len(name), 0) if last else max(at - len(name) // 2, 0)
            for n, sign in enumerate(name[: self.width]):
                if begin + n <= self.width:
                    row[begin + n] = sign
        return "".join(row).rstrip()

    def _bare(self) -> list[str]:
        row = [" "] * self.width
        for at in self.places:
            row[at] = "│"
        return row

    def beside(self, host: str, words: str, part: str) -> list[Piece]:
        """Words at a host's lane: to the right of it, or, at the last lane, to its left."""
        words = _printable(words)
        row = self._bare()
        at = self.at.get(host, 0)
        room = self.width - at - 2
        if at and room < len(words):
            begin = max(at - 1 - len(words), 1)
            words = words[: at - 1 - begin + 1] if len(words) > at - 2 else words
        else:
            begin = at + 2
        before = "".join(row[:begin])
        after = "".join(row[begin + len(words) :])
        return [Piece(before, "lane"), Piece(words, part), Piece(after, "lane")]

    def arrow(self, segment: Segment) -> list[Piece]:
        start, end = self.at.get(segment.sender), self.at.get(segment.receiver)
        words = segment.text(self.shows)
        told = [
            option
            for option in segment.options
            if option.startswith(("sack=", "mss=")) and option.partition("=")[0] not in self.shows
        ]
        if start is None or end is None or start == end:
            return [Piece(f"{segment.sender} → {segment.receiver}: {words}", "segment")]
        left, right = min(start, end), max(start, end)
        inner = right - left - 1
        for option in told:
            if len(words) + len(option) + 6 <= inner:
                words += f" {option}"
        room = max(inner - 5, 1)
        if len(words) > room:
            words = words[: room - 1] + "…"  # a number cut off would be another number
        crossed = segment.fate in _CROSSED
        fill = inner - len(words) - 4
        if start < end:
            tip = "✗ " if crossed else "─▶"
            drawn = f"─ {words} " + "─" * max(fill - 1, 0) + tip
            row_left, row_right = "├", "│"
        else:
            tip = " ✗" if crossed else "◀─"
            drawn = tip + "─" * max(fill - 1, 0) + f" {words} ─"
            row_left, row_right = "│", "┤"
        drawn = drawn[:inner].ljust(inner)
        row = self._bare()
        before, after = "".join(row[:left]) + row_left, row_right + "".join(row[right + 1 :])
        part = "lost" if crossed else "again" if segment.again else "segment"
        if segment.fate in (LATE, DUPLICATED):
            part = "again"
        return [Piece(before, "lane"), Piece(drawn, part), Piece(after, "lane")]
