"""`aiotcp stat`: what nstat(8) shows of the kernel's counters, of a running stack's, and why
segments were sent and packets were dropped beside."""

from __future__ import annotations

import fcntl
import fnmatch
import json as json_format
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import click

from aiotcp.cli import output
from aiotcp.cli.asking import EXIT_CODES, NoAnswer, choose, which_stack
from aiotcp.control import places
from aiotcp.control.client import Client, ControlError, Running

Numbers = dict[str, dict[str, int]]
"""By group and name."""

GROUPS = {
    "nstat": "under Linux's names",
    "sent": "frames sent, by reason",
    "dropped": "packets dropped, by reason",
    "events": "what connections went through",
    "totals": "of the stack",
    "link": "of its link",
}
_LEVELS = frozenset({"TcpCurrEstab", "established"})
"""Numbers that go up and down: their difference says nothing, so it is not shown (nor by nstat)."""
_KEPT = 64
_KEPT_FOR_S = 7 * 86400


@click.command(epilog=EXIT_CODES)
@click.option("-a", "--ignore", "absolute", is_flag=True, help="Totals; not what is new.")
@click.option("-z", "--zeros", is_flag=True, help="Also what is zero.")
@click.option("-r", "--reset", is_flag=True, help="Totals, and the next call begins here.")
@click.option("-n", "--nooutput", is_flag=True, help="Show nothing: the next call begins here.")
@click.option("-s", "--noupdate", is_flag=True, help="The next call begins where this one did.")
@click.option("--json", "json", is_flag=True, help="For programs.")
@which_stack
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
def command(
    patterns: tuple[str, ...],
    pid: int | None,
    sockets: tuple[Path, ...],
    absolute: bool,
    zeros: bool,
    reset: bool,
    nooutput: bool,
    noupdate: bool,
    json: bool,
) -> None:
    """Show what a running stack has counted since this user's last call, as nstat(8) does: name,
    increment, and increment for each second.

    PATTERN is of names to show, as in 'Tcp*Retrans*'; * and ? stand for any characters.

    The last call is kept in a file of this user's; NSTAT_HISTORY names another one.
    """
    stack = choose(pid, sockets)
    now = _ask(stack)
    whole: Numbers = {}
    new: Numbers = {}
    with _history() as history:
        for key, about in now.items():
            before = {} if absolute or reset else history.get(key, {}).get("numbers", {})
            _add(whole, about["numbers"], {})
            _add(new, about["numbers"], before)
        since = min(history.get(key, {}).get("at", about["since"]) for key, about in now.items())
        if absolute or reset:
            since = min(about["since"] for about in now.values())
        if not noupdate:
            history.update(
                {key: {"at": a["at"], "numbers": a["numbers"]} for key, a in now.items()}
            )
    if nooutput:
        return
    seconds = max(time.time() - since, 1e-3)
    shown = whole if absolute or reset else new
    if json:
        found = {
            group: {name: n for name, n in numbers.items() if _is_wanted(name, patterns)}
            for group, numbers in shown.items()
        }
        output.as_json({"pid": stack.pid, "seconds": round(seconds, 3), **found})
        return
    _show(stack, shown, seconds, patterns, zeros=zeros, levels=absolute or reset)


def _ask(stack: Running) -> dict[str, dict[str, Any]]:
    """Of each process: when it was asked, since when it counts, and its numbers."""
    found = {}
    for path, _ in stack.members:
        try:
            with Client(path) as client:
                stat = client.ask("stat")
        except ControlError as exc:
            raise NoAnswer(str(exc)) from None
        numbers = {group: stat.get(group, {}) for group in GROUPS}
        # One that has the number of another one that has ended is not the same.
        key = f"{stat['pid']}@{stat['since']}"
        found[f"{key} {path}"] = {"at": stat["now"], "since": stat["since"], "numbers": numbers}
    return found


def _add(sums: Numbers, numbers: Numbers, before: Numbers) -> None:
    for group, values in numbers.items():
        into = sums.setdefault(group, {})
        for name, value in values.items():
            into[name] = into.get(name, 0) + value - before.get(group, {}).get(name, 0)


def _is_wanted(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _show(
    stack: Running,
    shown: Numbers,
    seconds: float,
    patterns: tuple[str, ...],
    *,
    zeros: bool,
    levels: bool,
) -> None:
    out = output.console()
    for group, title in GROUPS.items():
        rows = [
            (name, value)
            for name, value in shown.get(group, {}).items()
            if (value or zeros) and _is_wanted(name, patterns) and (levels or name not in _LEVELS)
        ]
        if not rows:
            continue
        output.line(out, (f"#{group}", "bold"), (f"  {title}", "dim"))
        style = "yellow" if group == "dropped" else ""
        for name, value in rows:
            rate = "" if name in _LEVELS else f"{value / seconds:.1f}"
            output.line(out, (f"{name:<32}", style), (f"{value:<16}{rate}", ""))


@contextmanager
def _history() -> Iterator[dict[str, Any]]:
    """What earlier calls have seen, by process; what is changed of it is kept. Where it can't be,
    each call is the first one."""
    file = _opened()
    if file is None:
        yield {}
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        history: dict[str, Any] = {}
        with suppress(ValueError):
            read = json_format.loads(file.read() or "{}")
            if isinstance(read, dict):
                history = {key: value for key, value in read.items() if _is_entry(value)}
        yield history
        oldest = time.time() - _KEPT_FOR_S
        latest = sorted(history.items(), key=lambda item: float(item[1]["at"]))[-_KEPT:]
        text = json_format.dumps({key: value for key, value in latest if value["at"] >= oldest})
        with suppress(OSError):
            file.seek(0)
            file.truncate()
            file.write(text)


def _is_entry(value: object) -> bool:
    """Whether it is as we have written it."""
    if not isinstance(value, dict) or not isinstance(value.get("at"), int | float):
        return False
    groups = value.get("numbers")
    return isinstance(groups, dict) and all(
        isinstance(numbers, dict) and all(type(number) is int for number in numbers.values())
        for numbers in groups.values()
    )


def _opened() -> TextIO | None:
    named = os.environ.get("NSTAT_HISTORY")
    try:
        path = Path(named) if named else places.usable_directory() / "stat.json"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (0 if named else os.O_NOFOLLOW)
        return os.fdopen(os.open(path, flags, 0o600), "r+")
    except OSError as exc:
        click.echo(f"aiotcp stat: no history is kept: {exc}", err=True)
        return None
