"""The programs that a document shows, run as they stand."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
TIMEOUT_S = 250.0
"""Of a machine that does much else, too; a test has 300."""


class Document:
    """A page. Its programs are the code blocks that begin with a comment, which is their name."""

    def __init__(self, name: str) -> None:
        self.text = (ROOT / name).read_text()
        self.programs = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", self.text, re.DOTALL))
        assert len(self.programs) == self.text.count("```python"), "a program without a name"

    def write(self, name: str, folder: Path) -> Path:
        path = folder / name
        path.write_text(self.programs[name])
        return path

    def run(self, name: str, folder: Path) -> str:
        """What the program prints; it must end well, and leave no warning."""
        done = subprocess.run(
            [sys.executable, "-X", "dev", self.write(name, folder)],
            cwd=folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, done.stderr
        assert "ResourceWarning" not in done.stderr
        return done.stdout

    def start(self, name: str, folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, self.write(name, folder)], cwd=folder, env=ENVIRONMENT
        )


def connect(server: subprocess.Popen[bytes], host: str, port: int) -> socket.socket:
    """Tries as long as `server` runs: it says nowhere when it is ready."""
    while server.poll() is None:
        with suppress(OSError):
            return socket.create_connection((host, port), timeout=TIMEOUT_S)
    raise AssertionError(f"the server has ended with {server.returncode}")
