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

import textwrap
from collections.abc import Iterator, Sequence
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

MIN_WIDTH, USUAL_WIDTH, MAX_WIDTH = 40, 100, 1000
_TIME_WIDTH = 9
_WHY_WIDTH = 24
_ARROW_WIDTH = 31
"""Of a segment with its numbers. Where there is no room for that between two lanes, its reason does
not stand beside it but below. So does, anywhere, what else of it has no room."""
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
    width = min(max(width, MIN_WIDTH), MAX_WIDTH)
    numbers = _Numbers(trace)
    # Whose keep-alive waits for a week has longer times.
    latest = trace.events[-1].at if trace.events else 0.0
    digits = max(len(f"{latest:.3f}"), _TIME_WIDTH)
    margin = digits + 2 + numbers.width
    lanes = _Lanes(trace, width - margin)
    blank = Piece(" " * margin, "time")
    for names in lanes.head():
        yield [blank, Piece(names, "lane")]
    for event in trace.events:
        time = Piece(f"{event.at:{digits}.3f}  {numbers.of(event)}", "time")
        if isinstance(event, Segment):
            rows = lanes.segment(event)
        elif isinstance(event, State):
            error = f" ({event.error})" if event.error else ""
            rows = lanes.beside(event.host, event.new + error, "state")
        elif isinstance(event, Said):
            rows = lanes.beside(event.host, f"! {event.text}", "said")
        else:
            rows = _fault(lanes, event)
        for row in rows:
            yield [time, *row]
            time = blank
    for note in trace.notes:
        for line in textwrap.wrap(note, width - digits - 2) if width < USUAL_WIDTH else [note]:
            yield [Piece(f"{'':{digits + 2}}{line}", "fault")]


def text(trace: Trace, *, width: int = USUAL_WIDTH) -> str:
    """The ladder as plain text."""
    made = ("".join(piece.text for piece in line).rstrip() for line in lines(trace, width=width))
    return "".join(f"{line}\n" for line in made)


def _why(segment: Segment, room: int) -> list[Piece]:
    words = [segment.why] if segment.why else []
    if segment.fate and segment.fate != UNDERWAY:
        words.append(segment.fate)
    if segment.dropped:
        words.append(f"dropped: {segment.dropped}")
    part = "lost" if segment.fate in _CROSSED or segment.dropped else "why"
    text = _printable(", ".join(words))
    if len(text) > room and segment.fate == LOST:
        words.remove(LOST)  # the arrow is crossed out
        text = _printable(", ".join(words))
    return [Piece(text, part)] if words else []


def _printable(text: str) -> str:
    """Without what a terminal would obey: comments of packets may be anybody's."""
    return text if text.isprintable() else "".join(sign for sign in text if sign.isprintable())


def _fault(lanes: _Lanes, fault: Fault) -> list[list[Piece]]:
    words = f"# {fault.text}"
    if fault.until is not None:
        words += f", until {fault.until:.3f}"
    if fault.host:
        return lanes.beside(fault.host, words, "fault")
    return [[Piece(line, "fault")] for line in _wrapped(words, lanes.whole)]


def _wrapped(words: str, room: int) -> list[str]:
    return [words] if len(words) <= room else textwrap.wrap(words, room, subsequent_indent="  ")


def _split(words: str, room: int) -> tuple[str, str]:
    """As many of the words as there is room for, and the others: all are whole, since a number with
    a space in it would be two other numbers."""
    if len(words) <= room:
        return words, ""
    first, *others = textwrap.wrap(
        words, max(room, 1), break_long_words=False, break_on_hyphens=False
    )
    return (first, " ".join(others)) if len(first) <= room else ("", words)


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

    def __init__(self, trace: Trace, whole: int) -> None:
        """whole: the columns that there are for lanes and reasons."""
        self.lanes = lanes_of(trace.hosts, trace.flows) or [[""]]
        self.shows = trace.shows
        self.whole = whole
        between = max(len(self.lanes) - 1, 1)
        step = (whole - _WHY_WIDTH - 1) // between
        self.is_narrow = step <= _ARROW_WIDTH
        self.width = whole if self.is_narrow else whole - _WHY_WIDTH
        step = (self.width - 1) // between
        self.places = [min(n * step, self.width - 1) for n in range(len(self.lanes))]
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
        found: list[str] = []
        for row in zip_longest(*named, fillvalue=""):
            found += self._names(row)
        return found

    def _names(self, names: Sequence[str]) -> list[str]:
        """In a line, or in several, where there is no room for one beside the other."""
        rows: list[str] = []
        for at, name in zip(self.places, names, strict=True):
            name = name[: self.width]
            last = at == self.places[-1] and len(self.places) > 1
            begin = at + 1 - len(name) if last else at - len(name) // 2
            begin = max(min(begin, self.width - len(name)), 0)
            for n, row in enumerate(rows):
                if not row or len(row) < begin:
                    rows[n] = row.ljust(begin) + name
                    break
            else:
                rows.append(" " * begin + name)
        return [row.rstrip() for row in rows]

    def _bare(self) -> list[str]:
        row = [" "] * self.width
        for at in self.places:
            row[at] = "│"
        return row

    def beside(self, host: str, words: str, part: str) -> list[list[Piece]]:
        """Words at a host's lane: to the right of it, or, at the last lane, to its left."""
        words = _printable(words)
        at = self.at.get(host, 0)
        right, left = self.width - at - 2, at - 2
        if not at:
            right = self.whole - 2
        if len(words) <= right or left < right:
            return [self._at(at + 2, line, part) for line in _wrapped(words, right)]
        return [self._at(at - 1 - len(line), line, part) for line in _wrapped(words, left)]

    def _at(self, begin: int, words: str, part: str) -> list[Piece]:
        row = self._bare()
        before, after = "".join(row[:begin]), "".join(row[begin + len(words) :])
        return [Piece(before, "lane"), Piece(words, part), Piece(after, "lane")]

    def segment(self, segment: Segment) -> list[list[Piece]]:
        """Its arrow, and why it was sent."""
        arrow, more = self._arrow(segment)
        why = _why(segment, self.width - 2 if self.is_narrow else _WHY_WIDTH - 2)
        if not self.is_narrow:
            for text, part in why:
                if len(text) > _WHY_WIDTH - 2:
                    text = text[: _WHY_WIDTH - 3] + "…"
                arrow.append(Piece(f"  {text}", part))
            why = []
        rows = [arrow]
        for piece in (*more, *why):
            rows += self.beside(segment.sender, piece.text, piece.part)
        return rows

    def _arrow(self, segment: Segment) -> tuple[list[Piece], list[Piece]]:
        """And what has no room on it."""
        start, end = self.at.get(segment.sender), self.at.get(segment.receiver)
        words = segment.text(self.shows)
        told = [
            option
            for option in segment.options
            if option.startswith(("sack=", "mss=")) and option.partition("=")[0] not in self.shows
        ]
        if start is None or end is None or start == end:
            return [Piece(f"{segment.sender} → {segment.receiver}: {words}", "segment")], []
        left, right = min(start, end), max(start, end)
        inner = right - left - 1
        for option in told:
            if len(words) + len(option) + 6 <= inner:
                words += f" {option}"
        words, below = _split(words, inner - 5)
        more = [Piece(below, "segment")] if below else []
        crossed = segment.fate in _CROSSED
        shaft, inner = max(inner - 2, 0), max(inner, 0)
        if start < end:
            drawn = (f"─ {words} " if words else "").ljust(shaft, "─")
            drawn += "✗ " if crossed else "─▶"
            drawn = drawn[len(drawn) - inner :]
            row_left, row_right = "├", "│"
        else:
            drawn = (f" {words} ─" if words else "").rjust(shaft, "─")
            drawn = ((" ✗" if crossed else "◀─") + drawn)[:inner]
            row_left, row_right = "│", "┤"
        row = self._bare()
        before, after = "".join(row[:left]) + row_left, row_right + "".join(row[right + 1 :])
        part = "lost" if crossed else "again" if segment.again else "segment"
        if segment.fate in (LATE, DUPLICATED):
            part = "again"
        return [Piece(before, "lane"), Piece(drawn, part), Piece(after, "lane")], more
