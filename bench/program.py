"""aiotcp-serve as users start it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.client import NotHere

_GUARD_S = 60


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A program from when it is ready to the end of the block, and the address where it serves.
    Its standard output may be read."""
    reading, writing = os.pipe()
    program = subprocess.Popen(
        [
            *(sys.executable, "-m", "aiotcp.serve", *arguments),
            *("--log-level", "warning", "--ready-fd", str(writing)),
        ],
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[writing],
        cwd=Path(__file__).parents[1],
    )
    try:
        os.close(writing)
        with os.fdopen(reading) as told:
            words = told.readline().split()
        if not words:
            raise NotHere("aiotcp-serve did not start")
        yield program, words[1]
    finally:
        program.terminate()
        try:
            program.communicate(timeout=_GUARD_S)
        except subprocess.TimeoutExpired:
            program.kill()
            program.communicate()
