"""The event loop of a test's hosts: virtual time, and what programs expect of a machine.

What a `VirtualLoop` refuses because it has no kernel, a host can often give: functions for threads
run at once, signals are those that `Host.kill` sends, names are those of the network. What is left
is refused in the words of a test.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn, TypeVarTuple

from aiotcp.sim.loop import VirtualLoop
from aiotcp.sim.network import Network
from aiotcp.streams import current_stack_or_none

if TYPE_CHECKING:
    from aiotcp.testing.net import Host

_Ts = TypeVarTuple("_Ts")

HERE: ContextVar[Host | None] = ContextVar("HERE", default=None)
"""The host whose program is running; None in the test itself."""

LOCALHOST = ("localhost", "127.0.0.1", "::1")
"""A host's own addresses, as it calls them itself: its programs reach each other there."""

_NOT_OFFERED = {
    "create_datagram_endpoint": "hosts of `net` speak TCP only",
    "create_unix_connection": "hosts of `net` speak TCP only",
    "create_unix_server": "hosts of `net` speak TCP only",
    "subprocess_exec": "a program on another host can stand in for the process",
    "subprocess_shell": "a program on another host can stand in for the process",
    "connect_read_pipe": "there is no kernel below",
    "connect_write_pipe": "there is no kernel below",
}


class HostLoop(VirtualLoop):
    """See the module's text."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.unknown: dict[str, None] = {}
        """Names that were asked for, and that nobody has."""
        super().__init__()
        self.names = self._addresses_of

    def create_task(self, coro: Any, **kwds: Any) -> asyncio.Task[Any]:
        """A program's tasks are named after its host, and end with it."""
        task = super().create_task(coro, **kwds)
        context = kwds.get("context")
        here = HERE.get() if context is None else context.get(HERE)
        if here is not None:
            here.adopt(task)
            if kwds.get("name") is None:
                task.set_name(f"{here.name}: {named(coro)}")
        return task

    def tell_unretrieved(self) -> None:
        """Tell the exception handler, now, of every task that failed and was not awaited: asyncio
        does when it is collected, which may be too late."""
        for task in list(self._born):
            if task.done() and getattr(task, "_log_traceback", False):
                message = f"nobody awaited {task.get_name()!r}"
                context = {"message": message, "exception": task.exception(), "task": task}
                self.call_exception_handler(context)

    # Names

    def _addresses_of(self, name: str) -> list[str] | None:
        here = HERE.get()
        if here is not None and name.lower() in LOCALHOST:
            return here.addresses
        return self._network.addresses_of(name)

    def resolve(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        """What `socket.getaddrinfo` gives to a program on a host."""
        try:
            return self.lookup(host, port, family=family, type=type, proto=proto, flags=flags)
        except socket.gaierror as exc:
            known = ", ".join(self._network.hosts) or "none yet"
            self.unknown[str(host)] = None
            exc.add_note(f"{host!r} is no host of this network, and no address; hosts: {known}")
            raise

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
        return self.resolve(host, port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """The name of the host that has the address, but for NI_NUMERICHOST."""
        host, port = sockaddr[:2]
        if not flags & socket.NI_NUMERICHOST:
            named = (each.name for each in self._network.hosts.values() if host in each.addresses)
            host = next(named, host)
        return str(host), str(port)

    # Connections

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **kwds: Any
    ) -> Any:
        if current_stack_or_none() is None:
            _not_on_a_host("create_connection")
        return await super().create_connection(protocol_factory, _own(host), port, **kwds)

    async def sock_connect(self, sock: Any, address: Any) -> None:
        await super().sock_connect(sock, (_own(address[0]), *address[1:]))

    async def create_server(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **kwds: Any
    ) -> Any:
        if current_stack_or_none() is None:
            _not_on_a_host("create_server")
        several = isinstance(host, Iterable) and not isinstance(host, str | bytes)
        hosts = list(dict.fromkeys(map(_own, host))) if several else _own(host)
        return await super().create_server(protocol_factory, hosts, port, **kwds)

    # Threads and signals

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Calls `func` in the next turn of the loop, in its thread: it takes no virtual time, and
        so is the same in each run."""
        future = self.create_future()
        self.call_soon(self._call, future, func, args)
        return future

    def _call(
        self, future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        if future.cancelled():
            return
        try:
            result = aside(func, *args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            future.set_exception(exc)
        else:
            future.set_result(result)

    def add_signal_handler(self, sig: int, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """`Host.kill(sig)` calls it."""
        here = HERE.get()
        if here is None:
            _not_on_a_host("add_signal_handler")
        here.on_signal(signal.Signals(sig), lambda *_: callback(*args))

    def remove_signal_handler(self, sig: int) -> bool:
        here = HERE.get()
        if here is None:
            return False
        return here.on_signal(signal.Signals(sig), signal.SIG_DFL) is not signal.SIG_DFL


def named(coro: object) -> str:
    """What a coroutine is called, without what is around it."""
    name: str = getattr(coro, "__qualname__", type(coro).__name__)
    return name.rpartition("<locals>.")[2]


def aside(func: Callable[..., Any], *args: Any) -> Any:
    """Call a function as if in a thread of its own: it is in no event loop."""
    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        return func(*args)
    finally:
        asyncio._set_running_loop(running)


def _own(host: Any) -> Any:
    """In place of a loopback address the first of the host's own."""
    here = HERE.get()
    return here.address if here is not None and host in LOCALHOST else host


def _not_on_a_host(call: str) -> NoReturn:
    raise RuntimeError(
        f"{call}() outside of any host: run the program on one, as in "
        "`await net.host('client').run(program())`"
    )


def _refused(name: str, why: str) -> Callable[..., NoReturn]:
    def refuse(*args: object, **kwds: object) -> NoReturn:
        raise RuntimeError(f"loop.{name}() is not offered in virtual time: {why}")

    return refuse


for _name, _why in _NOT_OFFERED.items():
    setattr(HostLoop, _name, _refused(_name, _why))
