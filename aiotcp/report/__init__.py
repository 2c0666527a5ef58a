"""Reports: a trace as one HTML file that needs no network, for people to look at.

`write(trace, "report.html")` makes one.
"""

from __future__ import annotations

import os
from pathlib import Path

from aiotcp.report.page import page
from aiotcp.trace.events import Trace

__all__ = ["page", "write"]


def write(trace: Trace, path: str | os.PathLike[str]) -> Path:
    """Write the report of a trace; returns the file's path. Raises OSError."""
    file = Path(path)
    file.write_text(page(trace), encoding="utf-8")
    return file
