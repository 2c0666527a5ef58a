"""How long a program takes to start, with its bytecode compiled before."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]

IMPORT_ASYNCIO = (sys.executable, "-c", "import asyncio")
IMPORT_AIOTCP = (
    *(sys.executable, "-c"),
    "from aiotcp import Stack, open_connection, start_server",
)
"""All that a stack needs."""
IMPORT_NAMES = (sys.executable, "-c", "import aiotcp")
"""Names alone; what they stand for comes when it is used (PEP 562)."""
HELP = (sys.executable, "-c", "from aiotcp.serve.start import main; main()", "--help")
"""What the console script does."""


@functools.cache
def _warm(command: tuple[str, ...]) -> None:
    _run(command)


def _run(command: tuple[str, ...]) -> None:
    subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, check=True
    )


def seconds(command: tuple[str, ...]) -> float:
    """From the start of the process to its end."""
    _warm(command)
    began = time.perf_counter()
    _run(command)
    return time.perf_counter() - began
