"""One of several processes that serve: what it and its supervisor say to each other.

They have a socket each way round, on which one packet is one message, and its end is the other's:

    worker      {"listening": [[host, port], …], "what": …, "commands": [[…], …]}
                {"problem": message, "code": exit code}
    supervisor  STOP, and NOW if there is to be no more waiting

Not by signals, because those come from others as well: Ctrl-C and service managers send theirs to
all processes of a program, and a second one of ours would cut the first one's grace short.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiotcp.serve.device import Device
from aiotcp.serve.problems import Problem
from aiotcp.serve.service import Service

STOP, NOW = b"stop", b"now"
MESSAGE_BYTES = 1 << 16
"""More than any message has; a longer one would be cut short."""


class Worker:
    """This process as a worker: a `Director` for `program._serve`.

    device: its queue of it. channel: to the supervisor. seed: that of all workers, so that they are
    one host to others, and one that takes another's place goes on with its sequence numbers.
    index: which of the workers it is.
    """

    def __init__(self, device: Device, channel: socket.socket, seed: bytes, index: int) -> None:
        self.device = device
        self.about: Mapping[str, Any] = {"worker": index, "group": os.getppid()}
        self.seed: bytes | None = seed
        self._channel = channel
        channel.setblocking(False)

    def listening(self, service: Service, endpoints: Sequence[tuple[str, int]]) -> None:
        self._tell(
            listening=[list(each) for each in endpoints],
            what=service.what,
            commands=[service.commands(*each) for each in endpoints],
        )

    def report(self, problem: Problem) -> None:
        """Why this worker ends, for the supervisor to say."""
        self._tell(problem=problem.format_message(), code=problem.exit_code)

    def _tell(self, **message: Any) -> None:
        with contextlib.suppress(OSError):  # nobody is there any more: `_heard` finds that out
            self._channel.send(json.dumps(message).encode())

    def direct(self, loop: asyncio.AbstractEventLoop, stop: Callable[[str, bool], None]) -> None:
        loop.add_signal_handler(signal.SIGTERM, stop, "SIGTERM", False)
        loop.add_signal_handler(signal.SIGINT, lambda: None)  # the supervisor has it as well
        loop.add_reader(self._channel, self._heard, loop, stop)

    def _heard(self, loop: asyncio.AbstractEventLoop, stop: Callable[[str, bool], None]) -> None:
        try:
            message = self._channel.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if message:
            stop("the supervisor's", message == NOW)
        else:
            loop.remove_reader(self._channel)
            stop("none: the supervisor is gone", False)
