"""The kernel's side of a measurement: client.c, compiled at first use, in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.machine import BUILD

_SOURCE = Path(__file__).with_name("client.c")
_GUARD_S = 90.0
"""The client ends itself a minute after it should have; see GUARD_S there."""


class NotHere(Exception):
    """Something that a measurement needs is missing on this machine; the message names it."""


class Failed(Exception):
    """A client did not get through; the message is what it said."""


@dataclass(frozen=True)
class Told:
    """What a client tells."""

    count: int
    """Bytes, round trips or connections."""
    seconds: float
    cpu_s: float = 0.0
    """Processor time of the client's process, since it began."""


def compiled() -> str:
    """The path of the client; it is compiled when there is none of this source yet."""
    source = _SOURCE.read_bytes()
    program = BUILD / f"client-{hashlib.sha256(source).hexdigest()[:12]}"
    if program.exists():
        return str(program)
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        raise NotHere("no C compiler (cc) for its client; on Debian: apt-get install gcc libc6-dev")
    BUILD.mkdir(parents=True, exist_ok=True)
    unfinished = program.with_suffix(f".{os.getpid()}")
    try:
        made = subprocess.run(
            [*compiler.split(), "-O2", "-o", str(unfinished), str(_SOURCE)],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    except OSError as exc:
        raise NotHere(f"the C compiler {compiler} (CC): {exc.strerror}") from None
    if made.returncode:
        errors = [line for line in made.stderr.splitlines() if "error" in line]
        raise NotHere(f"{compiler} could not compile {_SOURCE.name}: {' '.join(errors[:1])}")
    unfinished.replace(program)
    return str(program)


def _run(command: list[str], seconds: float, opened: Callable[[], object] | None = None) -> Told:
    """`opened` is called when the client has printed its first line of two."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        if opened is not None and process.stdout.readline():  # its alarm ends it, if need be
            opened()
        try:
            told, errors = process.communicate(timeout=seconds + _GUARD_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Failed(f"{' '.join(command[-5:])} did not come to an end") from None
    if process.returncode:
        raise Failed(errors.strip() or f"the client ended with {process.returncode}")
    return Told(**json.loads(told))


def run(
    mode: str,
    host: str,
    port: int,
    seconds: float,
    connections: int = 1,
    opened: Callable[[], object] | None = None,
) -> Told:
    """One measurement. mode: "send", "receive", "both" or "lines", see client.c. `opened` is called
    when the connections of the first three are open and the time begins that is told.

    Raises NotHere without a compiler, and Failed.
    """
    command = [compiled(), mode, host, str(port), str(seconds), str(connections)]
    if mode == "lines":
        return _run(command, seconds)
    return _run(command, seconds, opened or (lambda: None))


def run_tls(mode: str, host: str, port: int, seconds: float) -> Told:
    """The same in TLS, by bench.tls_client. mode: "send" or "receive"."""
    command = [sys.executable, "-m", "bench.tls_client", mode, host, str(port), str(seconds)]
    return _run(command, seconds)


def run_wrk(host: str, port: int, seconds: float, connections: int) -> Told:
    """HTTP requests on connections that are kept alive; wrk counts whole seconds, at least one.

    Raises NotHere without wrk, and Failed for any answer that is not 200.
    """
    if shutil.which("wrk") is None:
        raise NotHere("there is no wrk; on Debian: apt-get install wrk")
    whole = max(round(seconds), 1)
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    done = subprocess.run(
        ["wrk", "-t", "1", "-c", str(connections), "-d", f"{whole}s", f"http://{at}/"],
        capture_output=True,
        text=True,
        timeout=whole + _GUARD_S,
        check=False,
    )
    return read_wrk(done.stdout or done.stderr)


def read_wrk(text: str) -> Told:
    """What wrk has printed."""
    counted = re.search(r"(\d+) requests in ([\d.]+)s", text)
    if counted is None or "Non-2xx" in text or "Socket errors" in text:
        raise Failed(f"wrk: {' '.join(text.split())}")
    return Told(int(counted[1]), float(counted[2]))


class Echo:
    """Connections that stay open, and messages on them one after the other.

    Raises NotHere without a compiler, and Failed.
    """

    def __init__(self, host: str, port: int, connections: int = 1) -> None:
        self._client = subprocess.Popen(
            [compiled(), "echo", host, str(port), str(connections)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            self.opened = self._answer()
        except Failed:
            self.close()
            raise

    def _answer(self) -> Told:
        assert self._client.stdout is not None
        assert self._client.stderr is not None
        line = self._client.stdout.readline()
        if not line:
            raise Failed(self._client.stderr.read().strip() or "the client was ended")
        return Told(**json.loads(line))

    def turn(self, connections: int, seconds: float) -> Told:
        """Round trips on the first so many connections in turn, for so long."""
        assert self._client.stdin is not None
        self._client.stdin.write(f"{connections} {seconds}\n")
        self._client.stdin.flush()
        return self._answer()

    def close(self) -> None:
        try:
            self._client.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._client.kill()
            self._client.communicate()

    def __enter__(self) -> Echo:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
