"""What every command of ours wants of those who start it: stdin, stdout and stderr that are there,
numbers of seconds that are numbers, and the signals that end it."""

from __future__ import annotations

import math
import os
import signal
import sys
from typing import Any

import click


def open_standard_files() -> None:
    """Those of descriptors 0 to 2 that were closed when the program was started lead to /dev/null
    from now on. Else the next file that it opens, such as its TUN device, would be its stdin."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode))


def ending_signals() -> tuple[signal.Signals, ...]:
    """Those on which a program ends in order. SIGHUP is one, for its terminal was closed, unless it
    is ignored, as nohup has it."""
    usual = (signal.SIGTERM, signal.SIGINT)
    return usual if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (*usual, signal.SIGHUP)


class Seconds(click.FloatRange):
    """Of an option: a finite number of them, which `click.FloatRange` does not insist on."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        seconds: float = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value}: not a number of seconds", param, ctx)
        return seconds
