"""Servers that are processes of their own, on kernel sockets in the test's network namespace."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

START_S = 60.0
"""A server that takes longer to be ready, or to end, hangs."""


class Process:
    """A program that is ready when it says so. Started by the thread whose namespace it shall have.

    output: the lines that it has printed so far.
    """

    def __init__(self, argv: Sequence[str | Path], ready: str, **popen: Any) -> None:
        self.output: list[str] = []
        self._ready = ready
        self._said = threading.Event()
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            **popen,
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {argv[0]}")
        self._reader.start()
        if not self._said.wait(START_S) or not self._is_ready():
            self.end(signal.SIGKILL)
            pytest.fail("the server did not start:\n" + "".join(self.output))

    def _is_ready(self) -> bool:
        return any(self._ready in line for line in self.output)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.output.append(line)
                if self._ready in line:
                    self._said.set()
        self._said.set()  # it never will

    def stop(self) -> None:
        """It does nothing from now on, and its sockets stay open, until it is ended (SIGKILL)."""
        self._process.send_signal(signal.SIGSTOP)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Send the signal, and wait until it is gone. Harmless when repeated."""
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            self._process.wait(START_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._reader.join(START_S)


def _can_become(user: pwd.struct_passwd) -> bool:
    """Whether root may: in a user namespace there may be no such user."""
    with open("/proc/self/uid_map") as ranges:
        return os.geteuid() == 0 and any(
            int(first) <= user.pw_uid < int(first) + int(count)
            for first, _, count in (line.split() for line in ranges)
        )


class Commoner:
    """An unprivileged user, for programs that refuse to run as root, with a directory of its own.

    Who is root only in a user namespace becomes that user in one more inside of it.
    """

    def __init__(self, user: pwd.struct_passwd, directory: Path) -> None:
        self.name = user.pw_name
        self.directory = directory
        self._owner = (user.pw_uid, user.pw_gid) if _can_become(user) else (-1, -1)
        self.prefix: tuple[str, ...] = ()
        """Goes before the program's name."""
        self.popen: dict[str, Any] = {"cwd": directory}
        if _can_become(user):
            self.popen |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        else:
            ids = f"--map-user={user.pw_uid}", f"--map-group={user.pw_gid}"
            self.prefix = ("unshare", "--user", *ids)
        os.chown(directory, *self._owner)

    def keep(self, name: str, content: bytes) -> Path:
        """A file that only this user can read."""
        path = self.directory / name
        path.write_bytes(content)
        path.chmod(0o600)
        os.chown(path, *self._owner)
        return path

    def obstacle(self) -> str:
        """Why nobody can become this user here; "" if it works."""
        argv = [*self.prefix, "id", "--user"]
        done = subprocess.run(argv, capture_output=True, text=True, **self.popen)
        return f"no unprivileged user to be had here: {done.stderr}" if done.returncode else ""


@contextmanager
def commoner(*names: str) -> Iterator[Commoner]:
    """The first user that there is, of these names or else nobody."""
    # Not below pytest's own directory, which is closed to others.
    directory = Path(tempfile.mkdtemp(prefix="aiotcp-test-"))
    try:
        known = {user.pw_name: user for user in pwd.getpwall()}
        found = next(known[name] for name in (*names, "nobody") if name in known)
        made = Commoner(found, directory)
        if made.obstacle():
            pytest.skip(made.obstacle())
        yield made
    finally:
        shutil.rmtree(directory)
