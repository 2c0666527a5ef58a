"""Hosts that run programs, and the network between them."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import math
import random
import signal
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from aiotcp.addresses import pack
from aiotcp.link.impair import Netem
from aiotcp.options import Options
from aiotcp.sim.faults import Fault
from aiotcp.sim.loop import Deadlock, TooLong
from aiotcp.sim.network import Host as NetworkHost
from aiotcp.sim.network import Link, Network
from aiotcp.streams import use
from aiotcp.testing.loop import HERE, HostLoop, named
from aiotcp.testing.reality import Reality
from aiotcp.trace.events import Trace
from aiotcp.trace.watch import Recording
from aiotcp.waiting import waiting

if TYPE_CHECKING:
    from aiotcp.info import ConnectionInfo

_T = TypeVar("_T")

GRACE_S = 5.0
"""Seconds that programs, and then their connections, have to finish once they were told to."""

LIMIT_S = 86400.0
"""Virtual seconds after which a test counts as one that never ends."""

_Handler = Callable[[int, Any], object] | int | None


class Host:
    """One machine: programs run on it as tasks, and reach the others by their names."""

    def __init__(self, net: Net, host: NetworkHost) -> None:
        self._net = net
        self._host = host
        self._programs: list[Callable[[], Coroutine[Any, Any, Any]]] = []
        self._running: dict[asyncio.Task[Any], None] = {}
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._handlers: dict[signal.Signals, tuple[contextvars.Context, _Handler]] = {}

    def __repr__(self) -> str:
        return repr(self._host)

    @property
    def name(self) -> str:
        return self._host.name

    @property
    def address(self) -> str:
        """The first of its addresses."""
        return self._host.address

    @property
    def addresses(self) -> list[str]:
        """All of them, at least one. Its programs may also say localhost."""
        return list(self._host.addresses)

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return self._host.up

    @property
    def stack(self) -> Any:
        """Its TCP: an `aiotcp.Stack`, another one after each boot."""
        return self._host.stack

    def run(self, program: Coroutine[Any, Any, _T], *, name: str | None = None) -> asyncio.Task[_T]:
        """Run a program on this host; returns its task. What it opens and serves through asyncio
        goes over the host's TCP. It ends with the host, or with the test. If it fails and nobody
        awaits the task, the test fails. In a fixture, where no event loop runs yet, it begins with
        the test.

        Raises RuntimeError if the host is down.
        """
        if not inspect.isawaitable(program):
            raise TypeError(f"run() takes a coroutine, as in run(program()), not {program!r}")
        if not self._host.up:
            program.close()
            raise RuntimeError(f"{self.name} is down: boot() it first")
        try:
            loop = self._net.loop
        except RuntimeError:
            program.close()
            raise
        context = contextvars.copy_context()
        context.run(use, self._host.stack)
        context.run(HERE.set, self)
        label = name or named(program)
        task = loop.create_task(program, name=f"{self.name}: {label}", context=context)
        self._running[task] = None
        task.add_done_callback(self._running.pop)
        return task

    def start(self, program: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
        """Run `program()` now, and again after each `reboot()`, as a service manager would."""
        if not callable(program):
            raise TypeError(f"start() takes a function, as in start(program), not {program!r}")
        self._programs.append(program)
        return self.run(program())

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """The loop's: a task that one of its programs, or its server, has made ends with it."""
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    def crash(self) -> None:
        """Vanish: packets stop, programs stop where they are, and nobody is told. Idempotent."""
        if not self._host.up:
            return
        self._host.crash()
        self._net.recording.fault("crashes", self.name)
        self._stop()

    def boot(self) -> None:
        """Start again after a crash, with no memory of anything; the programs that `start` was
        given run anew. Idempotent."""
        if self._host.up:
            return
        self._host.boot()
        self._net.recording.fault("is up again", self.name)
        for program in self._programs:
            self.run(program())

    def reboot(self) -> None:
        """`crash()` and `boot()` at once."""
        self.crash()
        self.boot()

    async def kill(self, sig: signal.Signals = signal.SIGTERM, *, grace: float = GRACE_S) -> None:
        """End its programs as a signal does. A handler that they set (`loop.add_signal_handler`,
        `signal.signal`) is called, and they have `grace` seconds to end by themselves; then, or at
        once without a handler, their tasks are cancelled. Connections that are left are closed by
        FIN, and reset if that takes longer than `grace` seconds. The host stays up, and answers
        with RST."""
        self._net.recording.fault("programs are told to end", self.name)
        if self.send_signal(sig) and self._running:
            await asyncio.wait(list(self._running), timeout=grace)
        self._stop()
        await asyncio.sleep(0)
        await self._host.stack.end_programs(grace)

    def send_signal(self, sig: signal.Signals) -> bool:
        """Send its programs a signal. Without a handler for it their tasks are cancelled. Returns
        whether there is a handler."""
        context, handler = self._handlers.get(sig, (None, signal.SIG_DFL))
        if handler == signal.SIG_IGN:
            return True
        if context is None or not callable(handler):
            self._stop()
            return False
        context.run(handler, sig, None)
        return True

    def on_signal(self, sig: signal.Signals, handler: _Handler) -> _Handler:
        """Set what a program does about a signal, as `signal.signal` does; returns what it did."""
        _, before = self._handlers.pop(sig, (None, signal.SIG_DFL))
        if handler != signal.SIG_DFL:
            self._handlers[sig] = contextvars.copy_context(), handler
        return before

    def _stop(self) -> list[asyncio.Task[Any]]:
        self._handlers.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        return tasks


class Net:
    """The network of one test: hosts with names, links that can be bad, everything from one seed.

    Use as fixture `net`, or by `run`. Every host reaches every other one; a link is perfect, and
    takes no time, until `netem` says otherwise.
    """

    def __init__(self, seed: int = 0, *, samples: bool = False, limit: float = LIMIT_S) -> None:
        """samples: note the variables of connections, for the graphs of a report.
        limit: seconds of virtual time after which the test counts as one that never ends."""
        self.seed = seed
        self._limit = limit
        self._loop: HostLoop | None = None
        self.random = random.Random(f"{seed} test")
        """For what the test itself draws: when to crash, how much to send."""
        self.recording = Recording(samples=samples)
        self.network = Network(seed=seed, recording=self.recording)
        self.hosts: dict[str, Host] = {}
        self.reality = Reality()
        """What of the real world programs may have: see `allow_real`."""

    @property
    def limit(self) -> float:
        """Seconds of virtual time after which the test counts as one that never ends. May be set
        at any time."""
        return self._limit

    @limit.setter
    def limit(self, seconds: float) -> None:
        self._limit = seconds
        if self._loop is not None:
            self._loop.limit = seconds

    @property
    def loop(self) -> HostLoop:
        """The event loop of the test and of all programs, whether it runs already or not. Raises
        RuntimeError within another one that runs."""
        if self._loop is None or self._loop.is_closed():
            self._loop = HostLoop(self.network)
            self._loop.limit = self._limit
        running = asyncio._get_running_loop()
        if running is not None and running is not self._loop:
            raise RuntimeError(
                "`net` has an event loop of its own, and this is another one: programs run by "
                "`net.host(...).run()`. A fixture that uses `net` is a plain function; what it "
                "runs begins with the test"
            )
        return self._loop

    def host(
        self,
        name: str,
        *,
        addresses: Iterable[str] = (),
        options: Options | Mapping[str, Any] | None = None,
        mtu: int = 1500,
    ) -> Host:
        """A new host. Its name resolves to its addresses, 10.0.0.1 and so on unless they are given.
        `options` are those of its TCP. Raises ValueError for a name or address that is taken."""
        self.network.bind(self.loop)
        made = self.network.host(name, addresses=addresses, options=options, mtu=mtu)
        host = self.hosts[name] = Host(self, made)
        return host

    def link(self, one: str, other: str) -> Link:
        """What is between two hosts, to set `netem()`, to `cut()` and to `heal()`."""
        return self.network.link(one, other)

    def netem(self, words: str | Netem) -> None:
        """Set all links, in netem's words: "delay 40ms 5ms loss 1%"."""
        self.network.netem(words)

    def fault(self, sentence: str) -> Fault:
        """A scripted fault: "drop the third data segment from client", "drop every FIN" (see
        `aiotcp.sim.faults`). One that never applies fails the test."""
        return self.network.fault(sentence)

    def partition(self, *groups: str | Iterable[str]) -> None:
        """Separate groups of hosts, until `heal()`."""
        self.network.partition(*groups)
        told = " | ".join(g if isinstance(g, str) else ", ".join(g) for g in groups) or "everybody"
        self.recording.fault(f"partition: {told}")

    def heal(self) -> None:
        """End all partitions and cuts."""
        self.network.heal()
        self.recording.fault("the network heals")

    async def sleep(self, seconds: float) -> None:
        """Let so much virtual time pass. Raises RuntimeError outside of the test's event loop."""
        assert self.loop
        await asyncio.sleep(seconds)

    @property
    def now(self) -> float:
        """Seconds of virtual time since the test began."""
        return self.recording.now

    def say(self, text: str, host: str = "") -> None:
        """Note something in the trace, at this moment."""
        if host:
            self.recording.said(host, text)
        else:
            self.recording.fault(text)

    def allow_real(self, *what: str) -> None:
        """Let the test use what virtual time keeps out: "sleep", "threads", "sockets"; or "clock",
        the real one, instead of the virtual one in the module `time`."""
        self.reality.allow(*what)

    def trace(self) -> Trace:
        """What has happened so far."""
        trace = self.recording.finish()
        trace.seed = str(self.seed)
        return trace

    async def close(self) -> None:
        """The test is over: end all programs and hosts. What they do on their way out is no part
        of the trace."""
        tasks = [task for host in self.hosts.values() for task in host._stop()]
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE_S)
        await self.network.aclose()  # a server may wait for its connections
        await asyncio.gather(*tasks, return_exceptions=True)

    def discard(self) -> None:
        """There was no `run()`: what should have begun with it never will."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        tasks = loop.pending_tasks()
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.close()

    def waiting(self) -> list[str]:
        """Each connection there is, and what it waits for: a line each."""
        return [
            _told(self, host, info)
            for host in self.hosts.values()
            if host.up
            for info in host.stack.connections()
        ]


def _told(net: Net, host: Host, info: ConnectionInfo) -> str:
    (mine, port), (peer, peers_port) = info.local, info.remote
    flow = b"".join(
        (pack(peer), pack(mine), peers_port.to_bytes(2, "big"), port.to_bytes(2, "big"))
    )
    name = net.network.name_of(pack(peer))
    entry = host.stack.find(flow)
    what = waiting(entry).what if entry is not None else "its own address"
    return f"{host.name}:{port} to {name}:{peers_port}: {info.state}, waits for {what}"


class FaultNeverApplied(AssertionError):
    """A scripted fault met nothing: the test believes in something that did not happen."""


def run(
    main: Callable[[Net], Coroutine[Any, Any, _T]], *, seed: int = 0, net: Net | None = None
) -> _T:
    """Run `main(net)` in virtual time, and return what it does.

    Raises what `main` raises; `aiotcp.sim.Deadlock` when nothing can happen any more, with the
    names of who waits; `aiotcp.sim.TooLong` past the net's limit; FaultNeverApplied; and the
    exception of a program that failed while nobody waited for it.
    """
    __tracebackhide__ = True  # pytest's
    given, net = net, net or Net(seed)
    loop = net.loop
    net.network.bind(loop)
    net.recording.begins(loop)
    failed: list[BaseException] = []
    late: list[BaseException] = []  # of what is done on the way out
    unused: list[Fault] = []
    over = False

    def on_exception(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        exc = context.get("exception")
        if isinstance(exc, asyncio.CancelledError):
            return  # from a handler of asyncio's streams, before Python 3.12
        exc = exc if exc is not None else RuntimeError(context["message"])
        task = context.get("task") or context.get("future")
        if isinstance(task, asyncio.Task):
            exc.add_note(f"in the program {task.get_name()!r}, which nobody awaited")
        (late if over else failed).append(exc)

    def end() -> None:
        nonlocal over
        loop.tell_unretrieved()
        loop.limit = math.inf
        over = True
        net.recording.stop()

    async def test() -> _T:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("the test")
        try:
            result = await main(net)
            unused.extend(net.network.faults.never_applied())
        finally:
            end()
            await net.close()
        return result

    loop.set_exception_handler(on_exception)
    try:
        with (
            net.reality.forbidden(loop, net.seed),
            asyncio.Runner(loop_factory=lambda: loop) as runner,
        ):
            try:
                result = runner.run(test())
            except (Deadlock, TooLong) as exc:
                end()
                for line in net.waiting():
                    exc.add_note(line)
                for name in loop.unknown:
                    exc.add_note(f"{name!r} was asked for, and is no host of this network")
                raise exc.with_traceback(None)  # which would be of the loop  # noqa: B904
    except Exception as exc:
        if given is None:
            exc.add_note(f"seed {net.seed}: run(..., seed={net.seed!r}) repeats it")
        if failed and failed[0] is not exc:
            raise failed[0] from exc  # which was first
        raise
    if failed or late:
        raise (failed or late)[0]
    if unused:
        sentences = ", ".join(repr(rule.sentence) for rule in unused)
        raise FaultNeverApplied(f"declared, but never applied: {sentences}")
    return result
