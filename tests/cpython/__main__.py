"""python -m tests.cpython: write docs/compatibility.md's part about the Python that runs this."""

from __future__ import annotations

import sys

from tests.cpython.page import PAGE, rewritten
from tests.cpython.table import missing

if missing():
    sys.exit(missing())
PAGE.write_text(rewritten(PAGE.read_text()))
