"""One measurement: a server on some network and a client on kernel sockets, a process each."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import client
from bench.client import Failed, Told
from bench.machine import cpu_s
from bench.serve import Setting

_WARM_UP_S = 0.05
_START_S = 60.0


@dataclass(frozen=True)
class Sample:
    """What one measurement found."""

    value: float
    """In the unit of the row."""
    cpu: float | None = None
    """Processor seconds of the server's process for each GB or each 1,000 operations."""
    client_cpu: float | None = None
    """The same of the client's process."""
    faults: tuple[str, ...] = ()
    """What is not expected, as the server told: "dropped by the device: 3"."""


class Server:
    """A server in a process of its own, from when it is ready until `stop`."""

    def __init__(self, command: Sequence[str], folder: Path | None = None) -> None:
        """`folder`: where it is started, if not here."""
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=folder,
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], _START_S)
        words = self._process.stdout.readline().split() if ready else []
        if len(words) != 3 or words[0] != "READY":
            faults = self.stop()
            raise Failed(f"the server did not start: {'; '.join(faults)}")
        self.host, self.port = words[1], int(words[2])

    def cpu_s(self) -> float:
        if self._process.poll() is not None:
            raise Failed("the server has ended")
        return cpu_s(self._process.pid)

    def stop(self) -> tuple[str, ...]:
        """End it; what went wrong meanwhile."""
        try:
            told, _ = self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return ("the server had to be killed",)
        finally:
            with self._errors:
                self._errors.seek(0)
                errors = [line.strip() for line in self._errors if line.strip()]
        faults: dict[str, int] = json.loads(told or "{}")
        return (
            *(f"{count} {what}" for what, count in faults.items() if count),
            *(f"it said: {line}" for line in errors[-1:]),
        )


@contextmanager
def serving(
    command: Sequence[str], faults: list[str], folder: Path | None = None
) -> Iterator[Server]:
    """A server while it is needed; what went wrong is then among `faults`."""
    server = Server(command, folder)
    try:
        yield server
    finally:
        faults += server.stop()


def _bulk(told: Told, used_s: float) -> Sample:
    gigabytes = max(told.count, 1) / 1e9
    return Sample(8 * gigabytes / told.seconds, used_s / gigabytes, told.cpu_s / gigabytes)


def _operations(told: Told, used_s: float) -> Sample:
    thousands = max(told.count, 1) / 1000
    return Sample(told.count / told.seconds, used_s / thousands, told.cpu_s / thousands)


@dataclass(frozen=True)
class Work:
    """What the client does, with a server on any network."""

    mode: str
    """One of `client.run`'s, "echo", "http", "tls-send" or "tls-receive"."""
    connections: int = 1

    @property
    def unit(self) -> str:
        return "/s" if self.mode in ("echo", "lines", "http") else "Gbit/s"

    @property
    def cpu_unit(self) -> str:
        return "1,000" if self.unit == "/s" else "GB"

    def __call__(self, server: Server, seconds: float) -> Sample:
        at = (server.host, server.port)
        if self.mode == "echo":
            with client.Echo(*at, self.connections) as echo:
                warm = echo.turn(self.connections, _WARM_UP_S)
                before = server.cpu_s()
                told = echo.turn(self.connections, seconds)
                told = replace(told, cpu_s=told.cpu_s - warm.cpu_s)
                return _operations(told, server.cpu_s() - before)
        before = server.cpu_s()

        def opened() -> None:
            nonlocal before
            before = server.cpu_s()

        if self.mode == "http":
            told = client.run_wrk(*at, seconds, self.connections)
        elif self.mode.startswith("tls-"):
            told = client.run_tls(self.mode.removeprefix("tls-"), *at, seconds)
        else:
            told = client.run(self.mode, *at, seconds, self.connections, opened)
        return (_operations if self.unit == "/s" else _bulk)(told, server.cpu_s() - before)


def command(setting: Setting) -> tuple[str, ...]:
    """What starts the server of that setting."""
    return (sys.executable, "-m", "bench.serve", setting.as_json())


def measured(
    command: Sequence[str],
    work: Callable[[Server, float], Sample],
    seconds: float,
    folder: Path | None = None,
) -> Sample:
    """One run, with a server of its own, started by `command` in `folder`.

    To be called in a network namespace of one's own, with CAP_NET_ADMIN over it. Raises NotHere,
    Failed.
    """
    faults: list[str] = []
    with serving(command, faults, folder) as server:
        sample = work(server, seconds)
    return replace(sample, faults=tuple(faults))
