"""What this program is called, for commands that a user is to type."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path


def as_root() -> str:
    """A command line that sudo finds as well: its PATH knows of no virtual environment, and it
    passes no PYTHONPATH on."""
    path = Path(os.path.abspath(sys.argv[0]))
    if path.name == "aiotcp":
        return f"{shlex.quote(str(path))} serve"
    if path.suffix != ".py":
        return shlex.quote(str(path))
    # Run as `python -m`, such as by the script of a checkout.
    script = Path(__file__).parents[2] / "bin" / "aiotcp-serve"
    if script.exists():
        return shlex.quote(str(script))
    return f"{shlex.quote(sys.executable)} -m aiotcp.serve"
