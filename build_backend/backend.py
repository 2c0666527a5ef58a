"""setuptools, and mypy where the core is to be compiled: its compiler does that, in setup.py."""

from __future__ import annotations

import os
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403


def _compiled() -> bool:
    """Whether the core is to be compiled. Exits for what says neither yes nor no."""
    asked = os.environ.get("AIOTCP_MYPYC", "")
    if asked not in ("", "0", "1"):
        raise SystemExit(f"AIOTCP_MYPYC: 1 to compile, 0 or nothing for Python, not {asked!r}")
    return asked == "1"


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    requires: list[str] = build_meta.get_requires_for_build_wheel(config_settings)
    return [*requires, "mypy>=2.4"] if _compiled() else requires


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    if _compiled():
        raise SystemExit("AIOTCP_MYPYC=1: not in an editable install, where edits would do nothing")
    requires: list[str] = build_meta.get_requires_for_build_editable(config_settings)
    return requires
