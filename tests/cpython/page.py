"""The part of docs/compatibility.md that says which of CPython's own tests run, and which do not.

It has a table of exclusions, and one of numbers for each Python on which it was written.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from pathlib import Path

from tests.cpython.table import LOOPS, SUITES, all_tests

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"

_HERE = f"CPython {platform.python_version()}"


def numbers() -> str:
    """How many tests of each class run on the Python that runs."""
    lines = [f"#### {_HERE}", "", "| class | tests | about TCP | run on asyncio | run on uvloop |"]
    lines.append("|---|---:|---:|---:|---:|")
    for suite in SUITES:
        case = suite.find()
        if case is None:
            continue
        tests = list(suite.tests(case))
        run = (sum(test not in suite.reasons(loop) for test in tests) for loop in LOOPS)
        row = (f"`{suite.name}`", len(all_tests(case)), len(tests), *run)
        lines.append(f"| {' | '.join(map(str, row))} |")
    return "\n".join(lines)


def exclusions() -> str:
    """What doesn't run, and why."""
    lines = ["| test | where not | because it |", "|---|---|---|"]
    for suite in SUITES:
        for where, reasons in (
            ("anywhere", suite.excluded),
            ("uvloop", suite.on_uvloop),
            ("CPython 3.12", suite.on_3_12),
        ):
            for test, reason in reasons.items():
                lines.append(f"| `{suite.module}`: `{test}` | {where} | {reason} |")
    return "\n".join(lines)


def sections(text: str) -> dict[str, str]:
    """What the page says, by version of Python; and the exclusions, as ""."""
    found = {
        match[1]: match[0].strip()
        for match in re.finditer(r"#### (CPython \S+)\n\n(?:\|.*\n)+", text)
    }
    table = re.search(r"\| test \| where not.*\n(?:\|.*\n)+", text)
    return {"": table[0].strip() if table else "", **found}


def is_about_here(text: str) -> bool:
    return _HERE in sections(text)


def problems(text: str) -> Iterator[str]:
    """What the page says that isn't so."""
    said = sections(text)
    if said[""] != exclusions():
        yield "the table of exclusions is not that of tests/cpython/table.py"
    if _HERE in said and said[_HERE] != numbers():
        yield f"the numbers of {_HERE} are others"


def rewritten(text: str) -> str:
    """The page as it should be."""
    said = sections(text)
    text = text.replace(said[""], exclusions())
    if _HERE in said:
        return text.replace(said[_HERE], numbers())
    last = [*said.values()][-1]
    return text.replace(last, f"{last}\n\n{numbers()}")
