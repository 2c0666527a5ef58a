"""How many examples a property gets: a part by default, all with `make test-long`.

CI and the mutations have all of them.
"""

from __future__ import annotations

import os

LONG = os.environ.get("AIOTCP_LONG") == "1"


def examples(count: int) -> int:
    """`count` of them, or a fifth."""
    return count if LONG else count // 5
