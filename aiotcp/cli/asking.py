"""What the subcommands that ask a running stack share: which one, and how its absence is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from aiotcp.control import places
from aiotcp.control.client import Running, running

_Command = TypeVar("_Command", bound=Callable[..., Any])

EXIT_CODES = "Exit codes: 0 done; 1 no stack answers, or it says no; 2 options that make no sense, \
or several stacks to choose from."


class NoAnswer(click.ClickException):
    """Nobody answers, or says no."""

    exit_code = 1


def which_stack(command: _Command) -> _Command:
    """The options --pid and --socket."""
    command = click.option(
        "--socket",
        "sockets",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="PATH",
        help="Ask at this control socket; repeat for several workers.",
    )(command)
    return click.option(
        "--pid", type=int, metavar="PID", help="Ask this process; needed if there are several."
    )(command)


def choose(pid: int | None, sockets: tuple[Path, ...]) -> Running:
    """The stack that is meant. Raises NoAnswer, and UsageError if it could be any of several."""
    found = running(sockets or None)
    if sockets and not found:
        raise NoAnswer(f"nobody answers at {', '.join(map(str, sockets))}")
    if sockets and len(found) > 1:
        raise click.UsageError(f"the sockets are those of different stacks:\n{_list(found)}")
    if pid is not None:
        for each in found:
            alone = [member for member in each.members if member[1].get("pid") == pid]
            if each.pid == pid:
                return each
            if alone:
                return Running(pid, alone)
        raise NoAnswer(
            f"no stack of process {pid} answers" + (f"; these do:\n{_list(found)}" if found else "")
        )
    if not found:
        looked = ", ".join(map(str, places.own_directories()))
        raise NoAnswer(
            "no stack is running that this user may ask. aiotcp-serve opens a control socket, "
            f"other programs do with aiotcp.control.serve(stack).\nLooked in: {looked}"
        )
    if len(found) > 1:
        raise click.UsageError(
            f"{len(found)} stacks are running; say which with --pid, or for two of one process "
            f"with --socket:\n{_list(found)}"
        )
    return found[0]


def _list(found: list[Running]) -> str:
    return "\n".join(f"  {each}" for each in found)
