"""The side of the control socket that asks. It blocks: for command lines, not for event loops."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiotcp.control import places, protocol

TIMEOUT_S = 10.0
"""How long an answer may take to begin, or to go on."""


class ControlError(Exception):
    """The stack does not answer, or says no; why is in words for people."""


class Client:
    """One connection to the control socket at `path`. Raises ControlError, wherever it fails."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(TIMEOUT_S)
        try:
            self._socket.connect(os.fspath(path))
        except OSError as exc:
            self._socket.close()
            raise ControlError(f"{path}: {exc.strerror or exc}") from None
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """The result."""
        self._say(verb, arguments)
        for _ in self._items():
            pass
        return self._result

    def items(self, verb: str, **arguments: Any) -> Iterator[Any]:
        """The items, as they come."""
        self._say(verb, arguments)
        yield from self._items()

    def stream(self, verb: str, **arguments: Any) -> socket.socket:
        """What follows the result comes from this socket, which is in blocking mode now, and is
        the client's to close."""
        self._say(verb, arguments)
        # Byte by byte: what follows the line is not for a buffer of ours.
        line = b""
        try:
            while not line.endswith(b"\n") and (byte := self._socket.recv(1)):
                line += byte
        except OSError as exc:
            raise self._failed(exc) from None
        self._check(self._message(line))
        self._socket.settimeout(None)
        return self._socket

    def _say(self, verb: str, arguments: dict[str, Any]) -> None:
        try:
            self._socket.sendall(protocol.request(verb, **arguments))
        except OSError:
            pass  # it may have said why before it closed

    def _items(self) -> Iterator[Any]:
        while True:
            try:
                message = self._message(self._lines.readline())
            except OSError as exc:
                raise self._failed(exc) from None
            if "item" in message:
                yield message["item"]
            else:
                self._result = self._check(message)
                return

    def _message(self, line: bytes) -> dict[str, Any]:
        if not line.endswith(b"\n"):
            raise ControlError(f"{self.path}: the connection was closed")
        try:
            return protocol.decode(line)
        except protocol.ProtocolError as exc:
            raise ControlError(f"{self.path}: {exc}") from None

    def _check(self, message: dict[str, Any]) -> dict[str, Any]:
        if message.get("ok") is not True:
            raise ControlError(
                str(message.get("error", f"{self.path}: no answer to be understood"))
            )
        found = message.get("result")
        if not isinstance(found, dict):
            raise ControlError(f"{self.path}: an answer without a result")
        return found

    def _failed(self, exc: OSError) -> ControlError:
        why = "it does not answer" if isinstance(exc, TimeoutError) else exc.strerror or str(exc)
        return ControlError(f"{self.path}: {why}")


@dataclass
class Running:
    """A stack that answers, or the several ones that share a device as workers of one program."""

    pid: int
    """Of the process; of workers, that of their supervisor."""
    members: list[tuple[Path, dict[str, Any]]] = field(default_factory=list)
    """The socket of each, and what its `info` says."""

    @property
    def paths(self) -> list[Path]:
        return [path for path, _ in self.members]

    def __str__(self) -> str:
        info = self.members[0][1]
        name = info.get("name") or "?"
        workers = f", {len(self.members)} workers" if info.get("group") else ""
        return f"{self.pid}  {name} at {', '.join(info.get('addresses', []))}{workers}"


def running(paths: Iterable[Path] | None = None, silent: list[str] | None = None) -> list[Running]:
    """Who answers at `paths`; None: at those that this user may ask. Workers are put together.
    Nobody behind a socket is no error; to `silent` is added why one was of no use."""
    found: dict[int, Running] = {}
    for path in places.sockets() if paths is None else paths:
        if paths is None and not places.is_answered(path):
            with suppress(OSError):
                path.unlink()  # left by one that has ended
            continue
        try:
            with Client(path) as client:
                info = client.ask("info")
        except ControlError as exc:
            if silent is not None:
                text = str(exc)
                silent.append(text if text.startswith(f"{path}: ") else f"{path}: {text}")
            continue
        group = info.get("group") or info.get("pid", 0)
        key = group if info.get("group") else hash(path)
        found.setdefault(key, Running(group)).members.append((path, info))
    for each in found.values():
        each.members.sort(key=lambda member: (member[1].get("worker") or 0, str(member[0])))
    return sorted(found.values(), key=_in_order)


def _in_order(stack: Running) -> tuple[int, int, str]:
    """4711.sock before 4711-2.sock."""
    first = str(stack.paths[0])
    return stack.pid, len(first), first
