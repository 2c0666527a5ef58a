"""What can go wrong for a user of the program: one clear message, one exit code, no traceback.

0 is the exit code after SIGTERM, Ctrl-C and SIGHUP, too.
"""

from __future__ import annotations

from typing import IO, Any

import click


class Problem(click.ClickException):
    """Ends the program with a message on stderr. As such: the device went away, and the like."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"aiotcp-serve: {self.format_message()}", file=file, err=file is None)


class BadOptions(Problem):
    """Options that make no sense, by themselves or together."""

    exit_code = 2


class NoTun(Problem):
    """There is no /dev/net/tun on this machine."""

    exit_code = 3


class NoPermission(Problem):
    """For the device, for --user or for what is to be served."""

    exit_code = 4


class AddressClash(Problem):
    """The addresses lead elsewhere already."""

    exit_code = 5


class DeviceBusy(Problem):
    """Another program has the device."""

    exit_code = 6


class PortTaken(Problem):
    """Another listener has the port."""

    exit_code = 7


class NoApplication(Problem):
    """MODULE:APP can't be imported, or refuses to start."""

    exit_code = 8


def problem_of(code: int, message: str) -> Problem:
    """The problem of that exit code, as another process has met it."""
    kinds: list[type[Problem]] = [*Problem.__subclasses__(), Problem]
    return next(kind for kind in kinds if kind.exit_code == code)(message)
