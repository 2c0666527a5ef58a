"""The script of a scenario: what programs, hosts and the network do, and when.

    0      server    listens on 80
    0      client    connects to server:80 from 50000
    0.1    client    writes "hello"
    0.1    server.1  reads to the end
    0.5    network   drop the next ACK from client
    1      server    crashes
    2      forger    sends SYN from 198.51.100.7:4000 to server:80 seq=0

A line is a time (seconds), who, and what. A host may hold several connections: `client.2` is
the second that its programs have opened or accepted; without a number it is the first. Lines of
one time happen in their order, and in one turn of the event loop.

The forger sends segments in the name of a host, or from an address that is none's: what is sent
there is lost.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from aiotcp.link.netemwords import netem, seconds
from aiotcp.sim.faults import fault

NETWORK, FORGER = "network", "forger"

_TEXT = r"\"(?P<text>(?:[^\"\\]|\\.)*)\"(?: (?P<times>\d+) times)?|(?P<size>\d+)\s+bytes?"
_ENDPOINT = r"(?P<{0}_host>[\w-]+):(?P<{0}_port>\d+)"
_ANY_ENDPOINT = r"(?P<{0}_host>[\w.-]+|\[[\da-f:]+\]):(?P<{0}_port>\d+)"

_PROGRAM = {
    "listen": r"listens on (?P<port>\d+)(?: with a backlog of (?P<backlog>\d+))?",
    "connect": rf"connects to {_ENDPOINT.format('to')}(?: from (?P<local_port>\d+))?",
    "write": rf"writes (?:{_TEXT})(?P<drain> and waits until it may write more)?",
    "read": r"reads(?: (?P<exactly>\d+) bytes?| at most (?P<most>\d+) bytes?)?",
    "read_on": r"reads whatever comes",
    "read_all": r"reads to the end",
    "take": r"takes (?P<each>\d+) bytes? at a time(?: every (?P<every>\S+))?",
    "limit": r"keeps at most (?P<high>\d+) bytes? unsent before it waits",
    "close_at_end": r"closes as soon as it reads the end",
    "pause": r"stops reading",
    "resume": r"goes on reading",
    "half_close": r"says that it writes no more",
    "close": r"closes",
    "abort": r"aborts",
    "unlisten": r"stops listening",
    "urgent": r"writes \"(?P<text>(?:[^\"\\]|\\.)*)\" as urgent",
    "crash": r"crashes",
    "reboot": r"reboots",
    "kill": r"is told to end",
}
_NETWORK = {
    "break": r"breaks(?: from (?P<source>[\w-]+) to (?P<target>[\w-]+))?",
    "heal": r"heals",
    "netem": r"netem(?: from (?P<source>[\w-]+) to (?P<target>[\w-]+))?:? ?(?P<words>.*)",
    "icmp": r"reports (?P<what>host|network|port) unreachable to (?P<to>[\w-]+)",
}
_FORGER = {
    "forge": rf"sends (?P<flags>[A-Z,]+) from {_ANY_ENDPOINT.format('from')} to "
    rf"{_ENDPOINT.format('to')} seq=(?P<seq>-?\d+)(?: ack=(?P<ack>-?\d+))?"
    rf"(?: win=(?P<window>\d+))?(?: with (?:{_TEXT}))?",
    "flood": rf"floods {_ENDPOINT.format('to')} with (?P<count>\d+) SYNs?",
}
FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
_FAULT_ACTIONS = ("drop", "delay", "duplicate", "corrupt", "mark", "strip")


def _compiled(verbs: dict[str, str]) -> dict[str, re.Pattern[str]]:
    return {verb: re.compile(pattern) for verb, pattern in verbs.items()}


_PROGRAM_VERBS, _NETWORK_VERBS, _FORGER_VERBS = map(_compiled, (_PROGRAM, _NETWORK, _FORGER))
_LINE = re.compile(r"(?P<at>\d+(?:\.\d+)?)\s+(?P<who>[\w-]+)(?:\.(?P<nth>\d+))?\s+(?P<what>.+)")


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a script."""

    at: float
    who: str
    verb: str
    args: dict[str, Any] = field(default_factory=dict)
    nth: int = 1
    """Which of the host's connections, from 1."""
    line: str = ""


def parse(script: str, hosts: Sequence[str]) -> list[Step]:
    """The steps of a script, whose hosts are called `hosts`. Empty lines and what follows a `#` at
    the beginning of a line count for nothing.

    Raises ValueError, with the line, for what is not understood.
    """
    steps: list[Step] = []
    for number, raw in enumerate(script.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        try:
            step = _step(line, hosts)
        except ValueError as exc:
            raise ValueError(f"line {number} of the script, {line!r}: {exc}") from None
        if steps and step.at < steps[-1].at:
            raise ValueError(f"line {number} of the script, {line!r}: time does not go back")
        steps.append(step)
    return steps


def _step(line: str, hosts: Sequence[str]) -> Step:
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError('a line is a time, who, and what: 0.1  client  writes "hello"')
    at, who, what = float(found["at"]), found["who"], " ".join(found["what"].split())
    nth = int(found["nth"] or 1)
    if not nth:
        raise ValueError("connections are counted from 1")
    if who == NETWORK:
        if what.split()[0].removesuffix("s") in _FAULT_ACTIONS:
            rule = fault(what)
            if rule.sender and rule.sender not in hosts:
                raise ValueError(f"no host is called {rule.sender!r}")
            return Step(at, who, "fault", {"rule": rule}, line=line)
        verbs = _NETWORK_VERBS
    elif who == FORGER:
        verbs = _FORGER_VERBS
    elif who in hosts:
        verbs, what = _PROGRAM_VERBS, found["what"].strip()
    else:
        known = ", ".join((*hosts, NETWORK, FORGER))
        raise ValueError(f"who is {who!r}? There are {known}")
    for verb, pattern in verbs.items():
        match = pattern.fullmatch(what)
        if match is not None:
            args = {key: value for key, value in match.groupdict().items() if value is not None}
            return Step(at, who, verb, _typed(verb, args, hosts), nth, line)
    raise ValueError(f"not understood; {who} can: {'; '.join(map(_readable, verbs.values()))}")


_NUMBERS = frozenset(
    {*("port", "backlog", "to_port", "from_port", "local_port", "size", "exactly", "most")}
    | {"seq", "ack", "window", "each", "high", "count", "times"}
)
_MOST = {
    **dict.fromkeys(("port", "to_port", "from_port", "local_port", "window", "backlog"), 65535),
    "size": 1 << 30,
}
_MOST_FORGED = 65495
"""Bytes: an IPv4 packet's 65535 without the headers."""


def _typed(verb: str, args: dict[str, str], hosts: Sequence[str]) -> dict[str, Any]:
    typed: dict[str, Any] = {}
    for key, value in args.items():
        if key in _NUMBERS:
            typed[key] = int(value)
            if typed[key] > _MOST.get(key, typed[key]):
                raise ValueError(f"{value} is too much: {_MOST[key]} at most")
        elif key == "text":
            typed["data"] = _literal(value)
        elif key == "flags":
            unknown = set(value.split(",")) - set(FLAGS)
            if unknown:
                raise ValueError(f"flags are of {', '.join(FLAGS)}, not {min(unknown)!r}")
            typed[key] = value
        elif key == "drain":
            typed["drain"] = True
        elif key == "every":
            typed["every"] = seconds(value)
        else:
            typed[key] = value
    if "size" in typed:
        typed["data"] = pattern_of(typed.pop("size"))
    if "times" in typed:
        typed["data"] *= typed.pop("times")
    if verb == "forge" and len(typed.get("data", b"")) > _MOST_FORGED:
        raise ValueError(f"a segment has room for {_MOST_FORGED} bytes")
    if verb == "netem":
        typed["netem"] = netem(typed.pop("words"))
    for key in ("to_host", "from_host", "to", "source", "target"):
        if key in typed and typed[key] not in hosts:
            if key != "from_host" or not _is_address(typed[key]):
                raise ValueError(f"no host is called {typed[key]!r}")
            typed[key] = typed[key].strip("[]")
    if "source" in typed and typed["source"] == typed["target"]:
        raise ValueError("a link is between two hosts")
    return typed


def _literal(text: str) -> bytes:
    try:
        data: bytes = ast.literal_eval(f'b"{text}"')
    except SyntaxError:
        raise ValueError("text is ASCII, with Python's escapes for other bytes") from None
    return data


def _is_address(text: str) -> bool:
    try:
        ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def pattern_of(size: int) -> bytes:
    """Bytes that tell where they stand: a period that no segment size shares."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def _readable(pattern: re.Pattern[str]) -> str:
    """A verb's pattern as an example of it."""
    text = re.sub(r"\(\?P<\w+>\\\"[^|]*?\|(?:[^()]|\([^()]*\))*\)", '"TEXT"', pattern.pattern)
    text = re.sub(r"\(\?P<(\w+)>[^()]*(?:\([^()]*\)[^()]*)*\)", lambda m: m[1].upper(), text)
    text = text.replace("(?:", "[").replace(")?", "]").replace("\\", "")
    return text.replace("?", "")
