"""Mutations of the code, and whether the tests notice.

Each mutation takes one rule of one RFC away with a small edit. It is applied in a copy of the tree,
the tests that are named beside it run there, and at least one must fail: by an assertion, not
because the code does not even import.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_GUARD_S = 300.0
_COPIED = ("aiotcp", "bench", "bin", "docs", "tests", "Makefile", "README.md", "pyproject.toml")


@dataclass(frozen=True)
class Mutation:
    """An edit that takes something away."""

    rfc: str
    """"2018", or "9293 keep-alive" where one document has many parts."""
    removes: str
    """What a stack with it does wrong, in words."""
    file: str
    old: str
    """Stands in `file` exactly once."""
    new: str
    tests: tuple[str, ...]
    """As pytest takes them: at least one of these must fail."""

    @property
    def name(self) -> str:
        return f"{self.rfc}: {self.removes}"

    def applied(self, text: str) -> str:
        """Raises ValueError if `old` is not there exactly once."""
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"{self.name}: {self.file} has {found} of {self.old!r}")
        return text.replace(self.old, self.new)


class Verdict(Enum):
    """What became of a mutation."""

    CAUGHT = "caught"
    HANGS = "caught: the tests do not end"
    SURVIVED = "NOT CAUGHT"
    BROKEN = "ERROR: the tests did not run"


@contextmanager
def tree(within: Path) -> Iterator[Path]:
    """A copy of the tree, to be edited."""
    copy = within / "tree"
    copy.mkdir()
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, copy / name)
    yield copy


def run_tests(copy: Path, tests: tuple[str, ...]) -> tuple[int | None, str]:
    """pytest's exit status in the copy, None if it did not end, and the last it said."""
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",  # by time and size of the source the last mutation's may
        "PYTHONPYCACHEPREFIX": str(copy / "none"),  # be taken for the next one's
        "AIOTCP_LONG": "1",
    }
    try:
        done = subprocess.run(
            words,
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_GUARD_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, "\n".join((done.stdout + done.stderr).splitlines()[-15:])


def attempt(mutation: Mutation, copy: Path) -> tuple[Verdict, str]:
    """Apply, test, and restore."""
    path = copy / mutation.file
    original = path.read_text()
    path.write_text(mutation.applied(original))
    try:
        status, said = run_tests(copy, mutation.tests)
    finally:
        path.write_text(original)
    if status is None:
        return Verdict.HANGS, said
    if status == 1:
        return Verdict.CAUGHT, said
    return (Verdict.SURVIVED if status == 0 else Verdict.BROKEN), said
