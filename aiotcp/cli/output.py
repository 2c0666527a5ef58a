"""Text for terminals and for programs: colour where a terminal is, and NO_COLOR is not set."""

from __future__ import annotations

import json
import os
import shutil
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


def columns() -> int | None:
    """Of the terminal; None where stdout is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def line(out: Console, *parts: tuple[str, str], hang: int | None = None) -> None:
    """One line of pieces of text, each with its style. What a terminal would obey is left out:
    some of it comes from other programs.

    hang: on a terminal that is narrower, the text goes on in further lines, which begin at this
    column; what stands before that in the first one has it to itself where this is more than half
    of it.
    """
    text = Text()
    for words, style in parts:
        text.append("".join(sign for sign in words if sign.isprintable()), style)
    text.rstrip()
    width = columns() if hang is not None else None
    if width is None or hang is None or text.cell_len <= width:
        out.print(text)
        return
    before, rest = text[:hang], text[hang:]
    begin = hang
    if hang > width // 2:
        before.rstrip()
        out.print(before)
        begin, before = 4, Text(" " * 4)
    for each in rest.wrap(out, max(width - begin, 1)):
        each.rstrip()
        out.print(before + each)
        before = Text(" " * begin)


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
