"""What the subcommands that ask a running stack share: which one, and how its absence is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    silent: list[str] = []
    found = running(sockets or None, silent)
    if sockets and silent:
        raise NoAnswer("\n".join(silent))
    if sockets and len(found) > 1:
        raise click.UsageError(f"the sockets are those of different stacks:\n{_list(found)}")
    if pid is not None:
        meant = list(_of_process(found, pid))
        if len(meant) > 1:
            raise click.UsageError(
                f"process {pid} has {len(meant)} stacks; say which with --socket:\n{_list(meant)}"
            )
        if meant:
            return meant[0]
        silent.append(f"no stack of process {pid} answers")
        raise NoAnswer("\n".join(silent) + (f"; these do:\n{_list(found)}" if found else ""))
    if silent and not found:
        raise NoAnswer("\n".join(silent))
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


def _of_process(found: list[Running], pid: int) -> Iterator[Running]:
    """Those stacks that are this process's; of workers, that of their supervisor, or of one."""
    for each in found:
        alone = [member for member in each.members if member[1].get("pid") == pid]
        if each.pid == pid:
            yield each
        elif alone:
            yield Running(pid, alone)


def _list(found: list[Running]) -> str:
    """One in a line; with the socket of those that their process does not tell apart."""
    pids = [each.pid for each in found]
    return "\n".join(
        f"  {each}" + (f"  --socket {each.paths[0]}" if pids.count(each.pid) > 1 else "")
        for each in found
    )
