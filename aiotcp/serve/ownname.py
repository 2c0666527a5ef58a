"""What this program is called, for commands that a user is to type."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path


def as_root(command: str = "serve") -> str:
    """A command line of a subcommand of `aiotcp` that sudo finds as well: its PATH knows of no
    virtual environment, and it passes no PYTHONPATH on."""
    path = Path(os.path.abspath(sys.argv[0]))
    if path.name == "aiotcp":
        return f"{shlex.quote(str(path))} {command}"
    if path.suffix != ".py":
        return shlex.quote(str(path))
    # Run as `python -m`, such as by the script of a checkout.
    scripts = Path(__file__).parents[2] / "bin"
    name, module, rest = "aiotcp", "aiotcp.cli", f" {command}"
    if command == "serve":
        name, module, rest = "aiotcp-serve", "aiotcp.serve", ""
    if (scripts / name).exists():
        return shlex.quote(str(scripts / name)) + rest
    return f"{shlex.quote(sys.executable)} -m {module}{rest}"
