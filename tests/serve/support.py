"""Runs the program as users do: a process of its own, in the namespace of the test."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0


@dataclass
class Program:
    """A running aiotcp-serve. endpoints: as the READY line gives them, "192.0.2.2:80"."""

    process: subprocess.Popen[str]
    endpoints: list[str]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(TIMEOUT_S)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that other users may read. Those of pytest are not, and each run of pytest sees to
    that for all of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextmanager
def serving(
    *arguments: str,
    stdout: int | None = None,
    stderr: int | None = None,
    pass_fds: tuple[int, ...] = (),
    cwd: Path | None = None,
    before: Callable[[], None] | None = None,
    root: Path = ROOT,
) -> Iterator[Program]:
    """aiotcp-serve with `arguments`, from when it is ready (or has ended) to the end of the block.

    before: called in the child before the program starts. root: where the package is.
    """
    ready, told = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "aiotcp.serve", *arguments, "--ready-fd", str(told)],
        env=os.environ | {"PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"},
        stdout=stdout,
        stderr=stderr,
        text=True,
        pass_fds=(told, *pass_fds),
        cwd=cwd,
        preexec_fn=before,
    )
    try:
        os.close(told)
        with os.fdopen(ready) as answer:
            words = answer.readline().split()
        assert not words or words[0] == "READY"
        yield Program(process, words[1:])
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def ended(*arguments: str, before: Callable[[], None] | None = None) -> tuple[int, str]:
    """Exit code and stderr of an aiotcp-serve that ends by itself."""
    with serving(*arguments, stderr=subprocess.PIPE, before=before) as program:
        assert not program.endpoints, "it is serving"
        _, stderr = program.process.communicate(timeout=TIMEOUT_S)
        return program.process.returncode, stderr


def curl(*arguments: str) -> str:
    done = subprocess.run(
        ["curl", "-sS", "--fail", "--max-time", str(TIMEOUT_S), *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
