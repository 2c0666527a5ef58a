"""An asyncio event loop on virtual time: an hour of timers takes as long as its callbacks take.

Time stands still while callbacks run. When nothing is ready to run, the clock jumps to the next
timer, exactly. So a program that only waits for timers and for other parts of itself runs as fast
as the machine allows, and runs the same way each time: callbacks in the order in which they were
scheduled, timers by deadline and, at the same deadline, in the order in which they were set
(asyncio's own heap promises nothing there, and in virtual time equal deadlines are the rule).

What would bring real time in is refused at once, with the name of what was called: sockets, pipes,
subprocesses, signals, threads. A program that waits for something that can't happen any more ends
with :class:`Deadlock` instead of hanging.

Randomness is not this module's business: give a seed to what draws random numbers (``Stack``,
``Impair``). A program that iterates over sets of strings also needs a fixed ``PYTHONHASHSEED``.
"""

from __future__ import annotations

import asyncio
import collections
import math
import os
import selectors
import socket
import threading
import weakref
from asyncio import format_helpers
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context, copy_context
from heapq import heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, TypeVarTuple

from aiotcp.routing import StackLoop

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_getaddrinfo = socket.getaddrinfo  # the real one, for numbers: see `aiotcp.testing.reality`

_PACKAGE = str(Path(__file__).parents[1]) + os.sep

_OUT_OF_REACH = (
    *("create_connection", "create_server", "create_datagram_endpoint", "connect_accepted_socket"),
    *("create_unix_connection", "create_unix_server", "connect_read_pipe", "connect_write_pipe"),
    *("sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into", "sock_sendall"),
    *("sock_sendto", "sock_connect", "sock_accept", "sock_sendfile", "sendfile"),
    *("subprocess_exec", "subprocess_shell", "run_in_executor", "getnameinfo"),
    "add_signal_handler",
)


class Deadlock(RuntimeError):
    """Nothing is ready, no timer is set, and what ``run()`` waits for is not done.

    ``tasks``: names of the pending tasks, oldest first; the message also says where each one waits.
    """

    def __init__(self, now: float, tasks: list[asyncio.Task[Any]]) -> None:
        self.tasks = [task.get_name() for task in tasks]
        waiting = "".join(f"\n  {_where(task)}" for task in tasks) or "\n  (no task at all)"
        super().__init__(
            f"deadlock at {now:.9g} s of virtual time: nothing is ready and no timer is set, "
            f"so nothing can ever wake the {len(tasks)} pending task(s):{waiting}"
        )


class TooLong(RuntimeError):
    """The clock would pass the loop's `limit`, and what ``run()`` waits for is not done.

    ``tasks``: as of :class:`Deadlock`.
    """

    def __init__(self, limit: float, tasks: list[asyncio.Task[Any]]) -> None:
        self.tasks = [task.get_name() for task in tasks]
        waiting = "".join(f"\n  {_where(task)}" for task in tasks)
        super().__init__(f"not over after {limit:.9g} s of virtual time; pending:{waiting}")


class _NoKernel(asyncio.SelectorEventLoop):
    """A loop without sockets, pipes, processes, signals and threads."""

    def __init__(self) -> None:
        super().__init__(_NoDescriptors())


class _Handle(asyncio.Handle):
    """One of a loop that is not in debug mode, and fills it in itself: so it is made without a call
    of a Python function."""

    __slots__ = ()
    __init__ = object.__init__


class _TimerHandle(asyncio.TimerHandle):
    """The same."""

    __slots__ = ()
    __init__ = object.__init__

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = self._args = None  # type: ignore[assignment]


_Handle.__name__, _TimerHandle.__name__ = "Handle", "TimerHandle"  # as representations say


class VirtualLoop(StackLoop, _NoKernel):
    """An event loop whose ``time()`` is virtual and starts at ``start`` (seconds).

    ``run_forever()`` and ``run_until_complete()`` raise :class:`Deadlock` when nothing can happen
    any more. Connections and servers are those of the stack whose ``async with`` block the caller
    is in. Whatever needs a real file descriptor, thread, process or signal raises ``RuntimeError``.
    Numeric addresses resolve, and names that ``names`` knows; others raise ``socket.gaierror``, as
    there is no name service.
    """

    # The base class's.
    _ready: collections.deque[Any]  # handles
    _stopping: bool
    _debug: bool
    _closed: bool
    _current_handle: asyncio.Handle | None

    names: Callable[[str], list[str] | None] = staticmethod(lambda name: None)
    """Gives the addresses of a name, None for one that it does not know."""

    limit = math.inf
    """The time that the clock must not pass: `TooLong` is raised instead, once."""

    moved: Callable[[float], object] | None = None
    """Told of each step of the clock, in seconds, before anything happens at the new time."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timers_set = 0
        self._overdue = False  # a timer may be set for no later than now
        self._born: weakref.WeakKeyDictionary[asyncio.Task[Any], None] = weakref.WeakKeyDictionary()
        self._thread = threading.get_ident()
        super().__init__()

    # The clock

    def time(self) -> float:
        return self._now

    def call_soon(
        self,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        if self._debug or self._closed:
            handle = super().call_soon(callback, *args, context=context)
            _made_by_caller(handle)
            return handle
        made: Any = _Handle()
        made._loop = self
        made._context = copy_context() if context is None else context
        made._callback = callback
        made._args = args
        made._cancelled = False
        made._repr = made._source_traceback = None
        self._ready.append(made)
        return made  # type: ignore[no-any-return]

    def call_later(
        self,
        delay: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        if self._debug or self._closed or delay is None:
            handle = super().call_later(delay, callback, *args, context=context)
            _made_by_caller(handle)
            return handle
        return self._set_timer(self._now + delay, callback, args, context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        if self._closed:
            raise RuntimeError("Event loop is closed")
        handle = self._set_timer(when, callback, args, context)
        if self._debug:
            _made_by_caller(handle)
        return handle

    def _set_timer(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[object, ...],
        context: Context | None,
    ) -> asyncio.TimerHandle:
        made: Any
        if self._debug:
            made = asyncio.TimerHandle(when, callback, args, self, context)
            _made_by_caller(made)
        else:
            made = _TimerHandle()
            made._loop = self
            made._context = copy_context() if context is None else context
            made._callback = callback
            made._args = args
            made._cancelled = made._scheduled = False
            made._repr = made._source_traceback = None
            made._when = when
        if when <= self._now:
            self._overdue = True
        heappush(self._timers, (when, self._timers_set, made))
        self._timers_set += 1
        return made  # type: ignore[no-any-return]

    def _run_once(self) -> None:
        """Run turns of the loop until `stop()` was called; in each one what was ready when it
        began. Of the base class's turn this leaves out the descriptors, which never have news, and
        the clock, since no callback takes any time.
        """
        ready, timers = self._ready, self._timers
        take = ready.popleft
        handle: Any
        while True:
            if not ready and not self._stopping:
                handle = None
                while handle is None or handle._cancelled:
                    if not timers:
                        raise Deadlock(self._now, self.pending_tasks())
                    when, _, handle = heappop(timers)
                if when > self._now:
                    if when > self.limit:
                        limit, self.limit = self.limit, math.inf  # what is left may end
                        raise TooLong(limit, self.pending_tasks())
                    step, self._now = when - self._now, when
                    if self.moved is not None:
                        self.moved(step)
                ready.append(handle)
                self._overdue = True  # others of the same time, perhaps
            if self._overdue:
                self._overdue = False
                while timers and timers[0][0] <= self._now:
                    ready.append(heappop(timers)[2])
            while ready:  # turns with none of that in between
                debug = self._debug
                for _ in range(len(ready)):
                    handle = take()
                    if handle._cancelled:
                        continue
                    if debug:
                        self._current_handle = handle  # for those who report an exception
                        try:
                            handle._run()
                        finally:
                            self._current_handle = None
                        continue
                    try:  # what `Handle._run` does, which would be one call more for each callback
                        handle._context.run(handle._callback, *handle._args)
                    except (SystemExit, KeyboardInterrupt):
                        raise
                    except BaseException as exc:
                        self._report(handle, exc)
                if self._overdue or self._stopping:
                    break
            handle = None  # nobody is kept alive by having been the last
            if self._stopping:
                return

    def _report(self, handle: Any, exc: BaseException) -> None:
        what = format_helpers._format_callback_source(handle._callback, handle._args)
        context = {"message": f"Exception in callback {what}", "exception": exc, "handle": handle}
        if handle._source_traceback:  # it was made in debug mode
            context["source_traceback"] = handle._source_traceback
        self.call_exception_handler(context)

    def pending_tasks(self) -> list[asyncio.Task[Any]]:
        """Tasks of this loop that are not done, oldest first."""
        known = list(self._born)
        others = asyncio.all_tasks(self).difference(known)
        return [task for task in (*known, *others) if not task.done()]

    def create_task(self, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = super().create_task(coro, **kwargs)
        self._born[task] = None
        return task

    # What real time could come in through

    def call_soon_threadsafe(
        self,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """From the loop's own thread the same as ``call_soon``; other threads are refused."""
        if threading.get_ident() != self._thread:
            _refuse("call_soon_threadsafe() from another thread")
        return self.call_soon(callback, *args, context=context)

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """Resolves numeric addresses, and names that `names` knows: asks no name service."""
        return self.lookup(host, port, family=family, type=type, proto=proto, flags=flags)

    def lookup(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """What `getaddrinfo` gives, at once."""
        flags |= socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        name = host.decode() if isinstance(host, bytes) else host
        known = self.names(name) if isinstance(name, str) else None
        if known is None:
            return _getaddrinfo(host, port, family, type, proto, flags)
        found = [
            each
            for address in known
            if family in (socket.AF_UNSPEC, socket.AF_INET6 if ":" in address else socket.AF_INET)
            for each in _getaddrinfo(address, port, family, type, proto, flags)
        ]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found


def _made_by_caller(handle: Any) -> None:
    """In debug mode a handle tells where it was made: that is not in the method which made it."""
    del handle._source_traceback[-1:]


def _refused(name: str) -> Callable[..., NoReturn]:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        _refuse(f"loop.{name}()")

    return refuse


for _name in _OUT_OF_REACH:
    setattr(_NoKernel, _name, _refused(_name))


class _NoDescriptors(selectors.BaseSelector):
    """Has room for the loop's own self-pipe only, and never polls it."""

    def __init__(self) -> None:
        self._keys: dict[FileDescriptorLike, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        if self._keys:
            _refuse(f"watching file descriptor {fileobj!r}")
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._keys


def run(main: Coroutine[Any, Any, _T], *, start: float = 0.0, debug: bool | None = None) -> _T:
    """Run `main` on a new :class:`VirtualLoop` whose clock starts at `start` seconds.

    Returns or raises what `main` does, or raises :class:`Deadlock`. Ends as ``asyncio.run`` does:
    tasks left over are cancelled (the oldest first, so that what they do on their way out repeats,
    too) and asynchronous generators are closed.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(start), debug=debug) as runner:
        try:
            return runner.run(main)
        finally:
            loop = runner.get_loop()
            assert isinstance(loop, VirtualLoop)
            for task in loop.pending_tasks():
                task.cancel()


def _refuse(what: str) -> NoReturn:
    raise RuntimeError(
        f"{what} is out of reach in virtual time: it has no sockets, threads, processes, signals. "
        "Use the stack's own connections on an in-memory link, or a real event loop."
    )


def _where(task: asyncio.Task[Any]) -> str:
    """The task's name, the line at which it is suspended, and the innermost one behind that."""
    coro: Any = task.get_coro()
    name = getattr(coro, "__qualname__", repr(coro))
    frames = []
    while getattr(coro, "cr_frame", None) is not None:
        frames.append(coro.cr_frame)
        coro = coro.cr_await
    told = task.get_name()
    if not told.endswith(name.rpartition("<locals>.")[2]):
        told += f" ({name})"
    own = [frame for frame in frames if not frame.f_code.co_filename.startswith(_PACKAGE)] or frames
    if own:
        told += f" at {own[0].f_code.co_filename}:{own[0].f_lineno}"
    if len(own) > 1:
        told += f", in {own[-1].f_code.co_filename}:{own[-1].f_lineno}"
    return told
