"""aiotcp-serve with several workers, an application that tells which of them answers, and the
program's log, event by event."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.serve.support import TIMEOUT_S, Program, serving

APPLICATION = """
import os
from functools import partialmethod
from pathlib import Path
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

if Path("broken").exists():
    os._exit(7)

async def who(request):
    return PlainTextResponse(str(os.getpid()))

# On a busy machine, connections are left alone for longer than the 5 s that uvicorn keeps them.
uvicorn.Config.__init__ = partialmethod(uvicorn.Config.__init__, timeout_keep_alive=600)

app = Starlette(routes=[Route("/", who)])
"""


class Log:
    """What is written into a pipe with --log json."""

    def __init__(self, descriptor: int) -> None:
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._seen: list[str] = []
        # A thread: programs must never wait for the test to read what they say.
        self._reader = threading.Thread(target=self._read, args=(descriptor,))
        self._reader.start()

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor) as said:
            for line in said:
                self._lines.put(line)
        self._lines.put("")

    def _next(self) -> str:
        line = self._lines.get(timeout=TIMEOUT_S)
        self._seen.append(line)
        return line

    def until(self, event: str, **fields: object) -> dict[str, Any]:
        """The next event with that name and those fields."""
        while line := self._next():
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                if found["event"] == event and fields.items() <= found.items():
                    return found
        raise AssertionError(f"no event {event} with {fields}:\n{''.join(self._seen)}")

    def to_the_end(self) -> str:
        """All of it, when the last process that could write has ended."""
        while self._next():
            pass
        return "".join(self._seen)

    def close(self) -> None:
        self._reader.join(TIMEOUT_S)
        assert not self._reader.is_alive(), "a process is left"


@dataclass
class Fleet:
    """A running program. endpoint: the first one, "192.0.2.2:8000"."""

    program: Program
    log: Log

    @property
    def endpoint(self) -> str:
        return self.program.endpoints[0]

    def processes(self) -> set[int]:
        """The workers', by their ids."""
        parent = self.program.process.pid
        listed = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        return {int(each) for each in listed.split()}

    def kill_and_wait_for_the_next(self, process: int) -> None:
        os.kill(process, signal.SIGKILL)
        ended = self.log.until("worker ended", pid=process)
        assert ended["how"] == "signal SIGKILL"
        self.log.until("serving", worker=ended["worker"])

    def terminate(self) -> None:
        self.program.signal(signal.SIGTERM)
        assert self.program.wait() == 0


class Caller:
    """One connection of the kernel's to the application, kept alive."""

    def __init__(self, endpoint: str) -> None:
        self._connection = http.client.HTTPConnection(endpoint, timeout=TIMEOUT_S)
        self.process = self.ask()
        """Who has answered its first request."""

    def ask(self) -> int:
        """The process that answers. Raises OSError if the connection is gone."""
        self._connection.request("GET", "/")
        answer = self._connection.getresponse()
        assert answer.status == 200
        return int(answer.read())

    def close(self) -> None:
        self._connection.close()


@contextmanager
def calling(endpoint: str, count: int) -> Iterator[list[Caller]]:
    """So many connections at once."""
    with ExitStack() as closing:
        callers = []
        for _ in range(count):
            callers.append(Caller(endpoint))
            closing.callback(callers[-1].close)
        yield callers


@contextmanager
def fleet(
    where: Path,
    *options: str,
    command: Sequence[str] = ("asgi", "who:app"),
    workers: int = 3,
    before: Callable[[], None] | None = None,
    stdout: int | None = None,
) -> Iterator[Fleet]:
    """The application, or what else is the command, served by so many processes. where: the
    directory that they run in."""
    (where / "who.py").write_text(APPLICATION)
    reading, writing = os.pipe()
    log = Log(reading)
    try:
        with serving(
            *(*command, "--workers", str(workers), "--log", "json", *options),
            cwd=where,
            stdout=stdout,
            stderr=writing,
            before=before,
        ) as program:
            os.close(writing)
            assert program.endpoints, log.to_the_end()
            yield Fleet(program, log)
    finally:
        log.close()
