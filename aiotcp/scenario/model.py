"""A scenario's file: TOML, read and checked.

title.en = "Closing first"
title.zh = "主动关闭"
question.en = "Why does the side that closes first wait for 2MSL?"
question.zh = "为什么要等 2MSL？"
answer.en = '''…'''
answer.zh = '''…'''
group = "closing"
rfc = ["RFC 9293 3.6", "RFC 1337"]
req = ["MUST-13"]
link = "delay 10ms"                 # netem's words, both directions

[hosts.client]                      # in the order of their lanes; options of the TCP
receive_buffer = 65535
isn = 8000                          # and of the host: where its sequence numbers begin, its link's
mtu = 1500                          # MTU, its address
address = "2001:db8::1"
[hosts.server]
receive_buffer = 65535

[story]
until = 70
since = 1                           # what happened before is not compared
numbers = "wire"                    # sequence numbers as they are sent; else they are relative
shows = ["mss", "psh"]              # what else of segments is told: see `Trace.shows`
corrupts = true                     # this is about bytes that come out other than written
script = '''…'''                    # see `script`
sees = '''…'''                      # see `aiotcp.trace.story`
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from aiotcp.link.impair import Netem
from aiotcp.link.netemwords import netem
from aiotcp.options import Options
from aiotcp.scenario.script import FORGER, NETWORK, Step, parse

LANGUAGES = ("en", "zh")
GROUPS = ("opening", "closing", "data", "failures")
_HOST = re.compile(r"[\w-]+")
_FOREVER = 1e9
SHIPPED = Path(__file__).parent.parent / "scenarios"


class BadScenario(ValueError):
    """A scenario's file does not say what it must; the message names file and place."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a host is beside its TCP's options."""

    isn: int | None = None
    """See `PacketStack.initial_number`."""
    mtu: int = 1500
    address: str = ""
    """Empty: the network gives it one."""


@dataclass(frozen=True, slots=True)
class Live:
    """How it is played against a kernel (`--on tun`)."""

    kernel: str
    """The host that the kernel plays."""
    sees: str
    """What must be seen, in this order, whatever stands between: lines of a story without times and
    windows, or their beginnings."""
    until: float = 0.0
    """Seconds of real time; 0: the story's."""
    differs: tuple[Mapping[str, str], ...] = ()
    """What is different from the story among our own, and why; each by language."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One situation. `title`, `question` and `answer` are by language, `en` and `zh`."""

    id: str
    group: str
    title: Mapping[str, str]
    question: Mapping[str, str]
    answer: Mapping[str, str]
    hosts: Mapping[str, Options]
    link: Netem
    link_words: str
    steps: tuple[Step, ...]
    script: str
    sees: str
    until: float
    machines: Mapping[str, Machine] = field(default_factory=dict)
    since: float = 0.0
    """What happened before is not compared."""
    absolute: bool = False
    """Whether sequence numbers are told as on the wire."""
    shows: tuple[str, ...] = ()
    """See `Trace.shows`."""
    corrupts: bool = False
    """Whether bytes must come out other than they were written, which nothing else may do."""
    rfc: tuple[str, ...] = ()
    req: tuple[str, ...] = ()
    live: Live | None = None
    path: Path | None = field(default=None, compare=False)


def shipped() -> list[str]:
    """The ids of the scenarios that come with aiotcp, in the order of their groups."""
    found = [load(path) for path in sorted(SHIPPED.glob("*.toml"))]
    return [each.id for each in sorted(found, key=lambda each: GROUPS.index(each.group))]


_MOST_BYTES = 1 << 20


def find(name: str) -> Scenario:
    """The scenario of a file, or one of those that come with aiotcp, by its id.

    Raises BadScenario; OSError of a file that can't be read; and, of what looks like no file's
    name, FileNotFoundError with the ids that are like it, or else all of them.
    """
    own = SHIPPED / f"{name}.toml"
    if own.is_file():
        return load(own)
    path = Path(name)
    if path.is_file():
        return load(path)
    if "/" in name or path.suffix == ".toml":  # a pipe, too
        try:
            return load(path)
        except FileNotFoundError:
            raise FileNotFoundError(f"{name}: there is no such file") from None
    known = [path.stem for path in sorted(SHIPPED.glob("*.toml"))]
    near = get_close_matches(name, known, 3)
    told = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(known)}"
    raise FileNotFoundError(f"no scenario and no file {name!r}; {told}")


def load(path: Path) -> Scenario:
    """Raises BadScenario; OSError if it can't be read."""
    with path.open("rb") as file:
        text = file.read(_MOST_BYTES + 1)
    if len(text) > _MOST_BYTES:
        raise BadScenario(f"{path}: no scenario is longer than {_MOST_BYTES} bytes")
    try:
        return _scenario(path.stem, tomllib.loads(text.decode()), path)
    except (ValueError, TypeError) as exc:  # TOMLDecodeError and UnicodeDecodeError are the former
        raise BadScenario(f"{path}: {exc}") from None


def _scenario(name: str, data: dict[str, Any], path: Path) -> Scenario:
    rest = dict(data)
    hosts, machines = {}, {}
    for host, said in _table(rest.pop("hosts", {}), "hosts").items():
        hosts[host], machines[host] = _host(host, said)
    if not hosts:
        raise ValueError("it needs hosts: [hosts.client] and [hosts.server], say")
    story = dict(_table(rest.pop("story", {}), "story"))
    wrong = [host for host in hosts if not _HOST.fullmatch(host) or host in (NETWORK, FORGER)]
    if wrong:
        raise ValueError(f"no name for a host: {wrong[0]!r}")
    script = str(story.pop("script", ""))
    steps = parse(script, list(hosts))
    live = _live(rest.pop("live", None), hosts)
    numbers = story.pop("numbers", "relative")
    if numbers not in ("relative", "wire"):
        raise ValueError(f"story.numbers is relative or wire, not {numbers!r}")
    words = str(rest.pop("link", ""))
    group = rest.pop("group", "")
    if group not in GROUPS:
        raise ValueError(f"group is one of {', '.join(GROUPS)}, not {group!r}")
    made = Scenario(
        id=name,
        group=group,
        title=_languages(rest.pop("title", None), "title"),
        question=_languages(rest.pop("question", None), "question"),
        answer=_languages(rest.pop("answer", None), "answer"),
        hosts=hosts,
        link=netem(words),
        link_words=words,
        steps=tuple(steps),
        script=script,
        sees=str(story.pop("sees", "")),
        until=_seconds(story.pop("until", steps[-1].at + 1 if steps else 0), "story.until"),
        machines=machines,
        since=_seconds(story.pop("since", 0), "story.since"),
        absolute=numbers == "wire",
        shows=tuple(story.pop("shows", ())),
        corrupts=bool(story.pop("corrupts", False)),
        rfc=_words(rest.pop("rfc", []), "rfc"),
        req=_words(rest.pop("req", []), "req"),
        live=live,
        path=path,
    )
    unknown = [*rest, *(f"story.{key}" for key in story)]
    if unknown:
        raise ValueError(f"unknown: {', '.join(unknown)}")
    return made


def _table(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{name} is a table, not {value!r}")
    return value


def _seconds(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _FOREVER:
        raise ValueError(f"{name} is seconds, 0 to {_FOREVER:g}, not {value!r}")
    return float(value)


def _words(value: object, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{name} is a list of texts, not {value!r}")
    return tuple(value)


def _differences(value: object) -> tuple[Mapping[str, str], ...]:
    if not isinstance(value, list):
        raise ValueError(f"live.differs is a list of tables with en and zh, not {value!r}")
    return tuple(_languages(each, f"live.differs[{n}]") for n, each in enumerate(value))


def _languages(value: object, name: str) -> dict[str, str]:
    found = _table(value or {}, name)
    missing = [language for language in LANGUAGES if not str(found.get(language, "")).strip()]
    if missing:
        raise ValueError(f"{name}.{missing[0]} is missing")
    return {language: str(found[language]).strip() for language in LANGUAGES}


def _host(name: str, said: object) -> tuple[Options, Machine]:
    try:
        options = dict(_table(said, f"hosts.{name}"))
        machine = {key: options.pop(key) for key in ("isn", "mtu", "address") if key in options}
        return Options(**options), Machine(**machine)
    except (ValueError, TypeError) as exc:
        raise ValueError(f"hosts.{name}: {exc}") from None


def _live(value: object, hosts: Mapping[str, Options]) -> Live | None:
    if value is None:
        return None
    rest = dict(_table(value, "live"))
    kernel = rest.pop("kernel", "client")
    if kernel not in hosts:
        raise ValueError(f"live.kernel: no host is called {kernel!r}")
    made = Live(
        kernel,
        str(rest.pop("sees", "")),
        _seconds(rest.pop("until", 0), "live.until"),
        _differences(rest.pop("differs", [])),
    )
    if rest:
        raise ValueError(f"unknown: {', '.join(f'live.{key}' for key in rest)}")
    return made
