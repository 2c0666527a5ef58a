"""A trace as a story: lines that can be written down before, and compared.

    0.000  client  > SYN seq=0 win=65535
    0.000  client  = SYN-SENT
    0.010  server  > SYN,ACK seq=0 ack=1 win=65535
    ...
    0.020  client  ! connected

    >   a segment that leaves: flags, relative numbers, window, bytes of text; its fate in brackets
    =   the state that this side of a connection enters
    !   what a program did or was told, or what befell its host
    #   what befell the network

At one moment they stand in this order, hosts in the order of their lanes: which of two things came
first within it is no part of the story.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from aiotcp.trace.events import Fault, Said, Segment, State, Trace

_ORDER = "#>=!"
NETWORK = "network"


def story(trace: Trace) -> list[str]:
    """The lines of everything that happened."""
    lanes = {host: n for n, host in enumerate(trace.hosts)}
    told = [_line(event, trace.shows) for event in trace.events]
    told.sort(key=lambda line: (line[0], _ORDER.index(line[2]), lanes.get(line[1], -1)))
    return [f"{at:.3f}  {who}  {kind} {text}" for at, who, kind, text in told]


def _line(event: Segment | State | Said | Fault, shows: list[str]) -> tuple[float, str, str, str]:
    at = round(event.at, 6)
    if isinstance(event, Segment):
        fate = f"  ({event.fate})" if event.fate else ""
        return at, event.sender, ">", event.text(shows) + fate
    if isinstance(event, State):
        return at, event.host, "=", event.new
    if isinstance(event, Said):
        return at, event.host, "!", event.text
    return (at, event.host, "!", event.text) if event.host else (at, NETWORK, "#", event.text)


def lines_of(text: str) -> list[str]:
    """The lines of a story that was written down; empty ones don't count, nor do columns."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def differences(wanted: str, got: Iterable[str]) -> str:
    """What is different, as a diff with `-` for what was wanted and `+` for what came; empty if
    nothing is."""
    expected, came = lines_of(wanted), [" ".join(line.split()) for line in got]
    if expected == came:
        return ""
    return "\n".join(
        line.rstrip() for line in difflib.ndiff(expected, came) if not line.startswith("?")
    )
