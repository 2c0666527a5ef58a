"""What brings the real world into virtual time: forbidden by name, or replaced by the test's own.

A test in virtual time that sleeps with `time.sleep`, starts a thread or opens a socket of the
kernel's is not what it seems: it waits for a clock that the simulation does not move, and no seed
repeats it. So these say so, at once and by name. The clock, names, signals and random numbers are
the simulation's own, as far as they can be asked for in Python.
"""

from __future__ import annotations

import datetime
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from aiotcp.testing.loop import HERE, aside

if TYPE_CHECKING:
    from aiotcp.testing.loop import HostLoop

KINDS = ("sleep", "threads", "sockets", "clock")

EPOCH = 1767225600
"""What `time.time()` says when a test begins: the first of January 2026, UTC."""

_CONNECTIONS = "asyncio's connections (open_connection, start_server), between hosts of `net`"
_MISSING = object()


class RealWorld(RuntimeError):
    """Something real was used within virtual time."""


class Reality:
    """Keeps the real world out while a simulation runs, but for what is allowed."""

    def __init__(self) -> None:
        self.allowed: set[str] = set()
        self._clocks = ExitStack()

    def allow(self, *what: str) -> None:
        """Raises ValueError for what is none of `KINDS`."""
        for kind in what:
            if kind not in KINDS:
                raise ValueError(f"there is {', '.join(KINDS)} to allow, not {kind!r}")
        self.allowed.update(what)
        if "clock" in what:
            self._clocks.close()

    @contextmanager
    def forbidden(self, loop: HostLoop, seed: object) -> Iterator[None]:
        """In this block, in this thread. `loop` has the clock and the names."""
        thread = threading.get_ident()
        replaced = ExitStack()

        def put(owner: Any, name: str, value: Any, kept: ExitStack = replaced) -> None:
            kept.callback(_restore, owner, name, vars(owner).get(name, _MISSING))
            setattr(owner, name, value)

        def guard(owner: Any, name: str, kind: str, instead: str) -> None:
            real = getattr(owner, name)

            def guarded(*args: Any, **kwds: Any) -> Any:
                if kind in self.allowed or threading.get_ident() != thread:
                    return real(*args, **kwds)
                _refuse(f"{owner.__name__}.{name}()", kind, instead)

            put(owner, name, guarded)

        def stand_in(owner: Any, name: str, kind: str, ours: Callable[..., Any]) -> None:
            real = getattr(owner, name)

            def either(*args: Any, **kwds: Any) -> Any:
                if kind in self.allowed or threading.get_ident() != thread:
                    return real(*args, **kwds)
                return ours(*args, **kwds)

            put(owner, name, either, self._clocks if kind == "clock" else replaced)

        self._set_dates(loop)
        guard(time, "sleep", "sleep", "await asyncio.sleep(), which moves the virtual clock")
        guard(threading.Thread, "start", "threads", "a task")
        guard(threading.Condition, "wait", "threads", "what asyncio has for that: it blocks all")
        for call in ("connect", "connect_ex", "listen", "sendto"):
            guard(socket.socket, call, "sockets", _CONNECTIONS)
        clocks = () if "clock" in self.allowed else _clocks(loop)
        for owner, name, kind, ours in (*clocks, *_names(loop), *_signals()):
            stand_in(owner, name, kind, ours)
        for owner, name, value in _libraries():
            put(owner, name, value)
        drawn = random.Random(f"{seed} urandom").randbytes
        for owner, name in ((os, "urandom"), (random, "_urandom")):
            stand_in(owner, name, "", drawn)
        state = random.getstate()
        random.seed(f"{seed} random")
        try:
            yield
        finally:
            random.setstate(state)
            replaced.close()
            self._clocks.close()
            loop.moved = None

    def _set_dates(self, loop: HostLoop) -> None:
        """`datetime` is written in C, which time-machine, where it is installed, knows how to lead
        astray. It takes what it finds in the module `time` for C, too: so it comes first, and
        journeys of the test's own are within this one."""
        if "clock" in self.allowed:
            return
        try:
            from time_machine import travel
        except ImportError:
            return
        if datetime.datetime.__module__ != "datetime":  # freezegun has it, and both can't
            return
        journey = travel(EPOCH + loop.time(), tick=False)
        loop.moved = journey.start().shift
        self._clocks.callback(journey.stop)


def _restore(owner: Any, name: str, value: Any) -> None:
    if value is _MISSING:  # it was inherited
        delattr(owner, name)
    else:
        setattr(owner, name, value)


_StandIns = Iterator[tuple[Any, str, str, Callable[..., Any]]]


def _clocks(loop: HostLoop) -> _StandIns:
    now = loop.time
    for name in ("monotonic", "perf_counter"):
        yield time, name, "clock", now
        yield time, f"{name}_ns", "clock", lambda: round(now() * 1e9)
    yield time, "time", "clock", lambda: EPOCH + now()
    yield time, "time_ns", "clock", lambda: EPOCH * 10**9 + round(now() * 1e9)


def _names(loop: HostLoop) -> _StandIns:
    def by_name(name: str) -> str:
        found: str = loop.resolve(name, None, socket.AF_INET)[0][4][0]
        return found

    gethostname = socket.gethostname

    def own_name() -> str:
        here = HERE.get()
        return here.name if here is not None else gethostname()

    yield socket, "getaddrinfo", "sockets", loop.resolve
    yield socket, "gethostbyname", "sockets", by_name
    yield socket, "gethostname", "sockets", own_name


def _signals() -> _StandIns:
    """A program that catches SIGTERM gets it from `Host.kill`, not from the process's terminal."""
    set_handler, send = signal.signal, signal.raise_signal

    def on_host(sig: int, handler: Any) -> Any:
        here = HERE.get()
        if here is None:
            return set_handler(sig, handler)
        return here.on_signal(signal.Signals(sig), handler)

    def to_host(sig: int) -> None:
        here = HERE.get()
        if here is None:
            send(sig)
        else:
            here.send_signal(signal.Signals(sig))

    yield signal, "signal", "", on_host
    yield signal, "raise_signal", "", to_host


def _libraries() -> Iterator[tuple[Any, str, Any]]:
    """What libraries that are loaded do in threads of their own making."""
    anyio = sys.modules.get("anyio._backends._asyncio")
    if anyio is not None:

        async def run_sync(
            cls: object, func: Callable[..., Any], args: tuple[Any, ...], *_: Any, **__: Any
        ) -> Any:
            await anyio.AsyncIOBackend.checkpoint()
            return aside(func, *args)

        yield anyio.AsyncIOBackend, "run_sync_in_worker_thread", classmethod(run_sync)
    connector = sys.modules.get("aiohttp.connector")
    if connector is not None:  # with aiodns it would ask a name server
        yield connector, "DefaultResolver", sys.modules["aiohttp.resolver"].ThreadedResolver


def _refuse(what: str, kind: str, instead: str) -> NoReturn:
    raise RealWorld(
        f"{what} within virtual time: use {instead}; or net.allow_real({kind!r}) if it must be"
    )
