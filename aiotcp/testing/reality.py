"""What brings the real world into virtual time, and who says so.

A test in virtual time that sleeps with `time.sleep`, starts a thread or opens a socket of the
kernel's is not what it seems: it waits for a clock that the simulation does not move, and no seed
repeats it. So these say so, at once and by name.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

KINDS = ("sleep", "threads", "sockets")


class RealWorld(RuntimeError):
    """Something real was used within virtual time."""


class Reality:
    """Forbids the real world while a simulation runs, but for what is allowed."""

    def __init__(self) -> None:
        self.allowed: set[str] = set()

    def allow(self, *what: str) -> None:
        """Raises ValueError for what is none of `KINDS`."""
        for kind in what:
            if kind not in KINDS:
                raise ValueError(f"there is {', '.join(KINDS)} to allow, not {kind!r}")
        self.allowed.update(what)

    @contextmanager
    def forbidden(self) -> Iterator[None]:
        """In this block, in this thread."""
        thread = threading.get_ident()
        replaced: list[tuple[Any, str, Any]] = []

        def guard(owner: Any, name: str, kind: str, instead: str) -> None:
            real = getattr(owner, name)

            def guarded(*args: Any, **kwds: Any) -> Any:
                if kind in self.allowed or threading.get_ident() != thread:
                    return real(*args, **kwds)
                _refuse(f"{owner.__name__}.{name}()", kind, instead)

            replaced.append(
                (owner, name, owner.__dict__[name] if isinstance(owner, type) else real)
            )
            setattr(owner, name, guarded)

        guard(time, "sleep", "sleep", "await asyncio.sleep(), which moves the virtual clock")
        guard(threading.Thread, "start", "threads", "a task")
        for call in ("connect", "connect_ex", "listen", "sendto"):
            if call in socket.socket.__dict__:
                guard(
                    socket.socket, call, "sockets", "asyncio's connections, between hosts of `net`"
                )
            else:  # inherited from the C class
                _inherit(socket.socket, call)
                guard(
                    socket.socket, call, "sockets", "asyncio's connections, between hosts of `net`"
                )
        try:
            yield
        finally:
            for owner, name, real in reversed(replaced):
                setattr(owner, name, real)


def _inherit(owner: Any, name: str) -> None:
    """Give a class an attribute of its own for one that it inherits, so that it can be put back."""
    inherited: Callable[..., Any] = getattr(owner, name)
    setattr(owner, name, inherited)


def _refuse(what: str, kind: str, instead: str) -> NoReturn:
    raise RealWorld(
        f"{what} within virtual time: use {instead}; or net.allow_real({kind!r}) if it must be"
    )
