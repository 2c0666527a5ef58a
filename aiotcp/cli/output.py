"""Text for terminals and for programs: colour where a terminal is, and NO_COLOR is not set."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

import click
from rich.console import Console
from rich.text import Text

STATES = {
    "ESTAB": "green",
    "LISTEN": "cyan",
    "SYN-SENT": "yellow",
    "SYN-RECV": "yellow",
    "CLOSE-WAIT": "magenta",
    "TIME-WAIT": "bright_black",
}
"""Colours of connection states; the others are those on the way to their end."""

ENDING = "yellow"


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # `aiotcp.cli.main` knows the exit code


def console() -> Console:
    """To stdout, as it is at the moment. Never wraps, never guesses at what is a number."""
    return _Console(file=sys.stdout, highlight=False, soft_wrap=True, emoji=False, markup=False)


def line(out: Console, *parts: tuple[str, str]) -> None:
    """One line of pieces of text, each with its style. What a terminal would obey is left out:
    some of it comes from other programs."""
    text = Text()
    for words, style in parts:
        text.append("".join(sign for sign in words if sign.isprintable()), style)
    text.rstrip()
    out.print(text)


def inks(out: Console, styles: Iterable[str]) -> dict[str, tuple[str, str]]:
    """What a terminal is to be told before and after text of each style, which is nothing where
    there are no colours: for text of so many lines that rich would take its time."""
    found = {}
    for style in set(styles):
        with out.capture() as shown:
            out.print(Text("x", style), end="")
        before, _, after = shown.get().partition("x")
        found[style] = before, after
    return found


def to_nowhere() -> None:
    """What is printed from now on, and what is still in stdout's buffer: nobody reads it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def as_json(value: Any, *, lines: bool = False) -> None:
    """For programs. lines: in one line, for what comes repeatedly."""
    ascii_only = not sys.stdout.encoding.lower().startswith("utf")
    click.echo(json.dumps(value, ensure_ascii=ascii_only, indent=None if lines else 2))
