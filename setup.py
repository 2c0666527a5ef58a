"""The part of the build that pyproject.toml has no words for: the core, compiled.

    AIOTCP_MYPYC=1 pip install .

makes C of the same source with mypyc; without it nothing is compiled. The modules stay beside what
was made of them, and Python prefers the latter. `aiotcp.COMPILED` says which one runs.
"""

from __future__ import annotations

import os
import sys
from glob import glob

from setuptools import Extension, setup

COMPILED = (
    "aiotcp/tcp/*.py",
    "aiotcp/wire/*.py",
    "aiotcp/link/memory.py",
    "aiotcp/link/tun.py",
    *(
        f"aiotcp/{name}.py"
        for name in (
            *("addresses", "clock", "counters", "engine", "halfopens", "icmp", "inbound", "limits"),
            *("listeners", "loopback", "passive", "pieces", "ports", "pump", "stack"),
            *("timers", "timewaits", "transition"),
        )
    ),
)
"""The sans-IO core, the stack around it, the links between it and kernel or another stack, and what
transports do for each packet. They themselves derive from asyncio's classes, which mypyc can't."""


def translated(folder: str = "build") -> list[Extension]:
    """The core in C, written below `folder`. Exits, and says why, if it can't be had."""
    from mypyc.build import mypycify  # only there if it is asked for: see build_backend/

    made: list[Extension] = mypycify(
        sorted(module for pattern in COMPILED for module in glob(pattern)),
        group_name="aiotcp",
        target_dir=folder,
        opt_level="2",
        debug_level="0",
    )
    return made


if __name__ == "__main__":
    # Nor is it needed where only the metadata is asked for, before mypyc is there.
    compiled = os.environ.get("AIOTCP_MYPYC") == "1" and "bdist_wheel" in sys.argv
    setup(ext_modules=translated() if compiled else [])
