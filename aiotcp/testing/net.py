"""Hosts that run programs, and the network between them."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from aiotcp.link.impair import Netem
from aiotcp.options import Options
from aiotcp.sim.faults import Fault
from aiotcp.sim.loop import VirtualLoop
from aiotcp.sim.network import Host as NetworkHost
from aiotcp.sim.network import Link, Network
from aiotcp.streams import use
from aiotcp.testing.reality import Reality
from aiotcp.trace.events import Trace
from aiotcp.trace.watch import Recording

_T = TypeVar("_T")

GRACE_S = 5.0
"""Seconds that connections have to finish once a program was told to end."""


class Host:
    """One machine: programs run on it as tasks, and reach the others by their names."""

    def __init__(self, net: Net, host: NetworkHost) -> None:
        self._net = net
        self._host = host
        self._programs: list[Callable[[], Coroutine[Any, Any, Any]]] = []
        self._tasks: set[asyncio.Task[Any]] = set()

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
    def up(self) -> bool:
        """Whether it runs."""
        return self._host.up

    @property
    def stack(self) -> Any:
        """Its TCP: an `aiotcp.Stack`, another one after each boot."""
        return self._host.stack

    def run(self, program: Coroutine[Any, Any, _T], *, name: str | None = None) -> asyncio.Task[_T]:
        """Run a program on this host; returns its task. What it opens and serves through asyncio
        goes over the host's TCP. It ends with the host.

        Raises RuntimeError if the host is down.
        """
        if not self._host.up:
            program.close()
            raise RuntimeError(f"{self.name} is down: boot() it first")
        context = contextvars.copy_context()
        context.run(use, self._host.stack)
        label = name or getattr(program, "__qualname__", type(program).__name__)
        loop = asyncio.get_running_loop()
        task = loop.create_task(program, name=f"{self.name}: {label}", context=context)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def start(self, program: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
        """Run `program()` now, and again after each `reboot()`, as a service manager would."""
        self._programs.append(program)
        return self.run(program())

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)

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

    async def kill(self, *, grace: float = GRACE_S) -> None:
        """End its programs as SIGTERM would: their tasks are cancelled, every connection is closed
        by FIN, and reset if that takes longer than `grace` seconds. The host stays up, and answers
        with RST."""
        self._net.recording.fault("programs are told to end", self.name)
        self._stop()
        await asyncio.sleep(0)
        await self._host.stack.end_programs(grace)

    def _stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()


class Net:
    """The network of one test: hosts with names, links that can be bad, everything from one seed.

    Use as fixture `net`, or by `run`. Every host reaches every other one; a link is perfect, and
    takes no time, until `netem` says otherwise.
    """

    def __init__(self, seed: int = 0, *, samples: bool = False) -> None:
        """samples: note the variables of connections, for the graphs of a report."""
        self.seed = seed
        self.recording = Recording(samples=samples)
        self.network = Network(seed=seed, recording=self.recording)
        self.hosts: dict[str, Host] = {}
        self.reality = Reality()
        """What of the real world programs may have: see `allow_real`."""

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
        """Let so much virtual time pass."""
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
        """Let the test use what virtual time forbids by itself: "sleep", "threads", "sockets"."""
        self.reality.allow(*what)

    def trace(self) -> Trace:
        """What has happened so far."""
        trace = self.recording.finish()
        trace.seed = str(self.seed)
        return trace

    async def close(self) -> None:
        """The test is over: end all programs and hosts. What they do on their way out is no part
        of the trace."""
        self.recording.finish()
        self.recording.stop()
        tasks = [task for host in self.hosts.values() for task in host._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.network.aclose()


class FaultNeverApplied(AssertionError):
    """A scripted fault met nothing: the test believes in something that did not happen."""


def run(
    main: Callable[[Net], Coroutine[Any, Any, _T]], *, seed: int = 0, net: Net | None = None
) -> _T:
    """Run `main(net)` in virtual time, and return what it does.

    Raises what `main` raises; `aiotcp.sim.Deadlock` when nothing can happen any more, with the
    names of who waits; FaultNeverApplied; and the exception of a program that failed while nobody
    waited for it.
    """
    net = net or Net(seed)
    failed: list[BaseException] = []
    unused: list[Fault] = []

    def on_exception(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        exc = context.get("exception")
        failed.append(exc if exc is not None else RuntimeError(context["message"]))

    async def whole() -> _T:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(on_exception)
        net.network.bind(loop)
        net.recording.begins(loop)
        try:
            result = await main(net)
            unused.extend(net.network.faults.never_applied())
        finally:
            await net.close()
        return result

    def new_loop() -> VirtualLoop:
        loop = VirtualLoop()
        loop.names = net.network.addresses_of
        return loop

    try:
        with net.reality.forbidden(), asyncio.Runner(loop_factory=new_loop) as runner:
            result = runner.run(whole())
    except Exception as exc:
        if failed:
            raise failed[0] from exc  # which was first
        raise
    if failed:
        raise failed[0]
    if unused:
        sentences = ", ".join(repr(rule.sentence) for rule in unused)
        raise FaultNeverApplied(f"declared, but never applied: {sentences}")
    return result
