"""Playing a scenario against a kernel: one host is the kernel of this machine, behind a TUN device,
with the same programs on its sockets; the other one, and the network between them, are ours.

In real time, and in a network namespace that the caller has entered before (`--on tun` of the
command line does).
"""

from __future__ import annotations

import asyncio
import difflib
import random
import socket
import struct
from typing import Any

from aiotcp.link import network as device
from aiotcp.link.tun import Tun
from aiotcp.scenario.model import Scenario
from aiotcp.scenario.player import Play
from aiotcp.scenario.script import Step
from aiotcp.sim.gateway import Gateway
from aiotcp.trace.events import Trace
from aiotcp.trace.story import lines_of, story

KERNEL, OURS = "198.18.{}.{}", "198.19.{}.{}"
"""RFC 2544's addresses for tests between devices. Others each time, since a kernel does not forget
the last play: its TIME-WAIT keeps ports taken."""
_LATE_S = 1.0
"""So much longer than its story takes a play lasts: a busy machine is late."""
_RESET = struct.pack("ii", 1, 0)


def play(scenario: Scenario, *, seed: object = 0) -> Trace:
    """What happens, this time. Raises ValueError for a scenario that says nothing of kernels,
    OSError where there is no TUN device to be had, and what `player.play` raises."""
    if scenario.live is None:
        raise ValueError(f"{scenario.id} is not for kernels: it has no [live]")
    place = random.SystemRandom().choices(range(1, 255), k=2)
    kernel, ours = KERNEL.format(*place), OURS.format(*place)
    tun, _ = device.open_tun(host_addresses=[f"{kernel}/15"], offload=False)
    try:
        return asyncio.run(_LivePlay(scenario, seed, tun, kernel, ours).run())
    finally:
        tun.close()


def judge(scenario: Scenario, trace: Trace) -> str:
    """What must be seen and was not: the first such line of each host and kind; empty if all were.

    What one host sends, the states that it enters and what its programs are told must each come in
    their order; which of two hosts, or which kind, came first within a moment is left to chance.
    """
    assert scenario.live is not None
    seen = {key: iter(lines) for key, lines in _by_kind(timeless(trace)).items()}
    missing = []
    for key, wanted in _by_kind(lines_of(scenario.live.sees)).items():
        came = seen.get(key, iter(()))
        for words in wanted:
            if not any(line.startswith(words) for line in came):
                missing.append(f"- {words}")
                break
    return "\n".join(missing)


def compare(ours: Trace, linux: Trace) -> str:
    """What is different between two traces of one script, but for times, windows and states: `-`
    where all are stacks of ours, `+` where the kernel plays a part. Empty if nothing is."""
    kinds = (">", "!")
    first, second = (_by_kind(timeless(trace)) for trace in (ours, linux))
    told = []
    for key in sorted({*first, *second}):
        if key[1] in kinds:
            lines = difflib.ndiff(first.get(key, []), second.get(key, []))
            told += [line for line in lines if line[0] in "+-"]
    return "\n".join(told)


def timeless(trace: Trace) -> list[str]:
    """The story's lines without what differs from time to time and from machine to machine: times,
    and windows."""
    lines = []
    for line in story(trace):
        words = [word for word in line.split()[1:] if not word.startswith("win=")]
        lines.append(" ".join(words))
    return lines


def _by_kind(lines: list[str]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        who, kind, _ = line.split(None, 2)
        found.setdefault((who, kind), []).append(line)
    return found


class _Kernel:
    """The kernel's sockets, as programs use them; each has CUBIC and no options of its own."""

    async def open_connection(
        self, host: str, port: int, *, local_addr: tuple[str, int] | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(host, port, local_addr=local_addr)

    async def start_server(
        self, client_connected_cb: Any, host: str, port: int, *, backlog: int = 100
    ) -> asyncio.AbstractServer:
        return await asyncio.start_server(client_connected_cb, host, port, backlog=backlog)


class _LivePlay(Play):
    def __init__(self, scenario: Scenario, seed: object, tun: Tun, kernel: str, ours: str) -> None:
        super().__init__(scenario, seed, checksums=True)
        assert scenario.live is not None
        self.kernel = scenario.live.kernel
        self.addresses = dict.fromkeys(scenario.hosts, ours) | {self.kernel: kernel}
        self.gateway = Gateway(self.network, self.kernel, tun, addresses=[kernel])
        self.until = (scenario.live.until or scenario.until) + _LATE_S
        self.recording.trace.replay += " --on tun"

    def starts_hosts(self, loop: asyncio.AbstractEventLoop) -> None:
        self.gateway.attach(loop)
        for name in self.scenario.hosts:
            if name != self.kernel:
                self.has_host(name, [self.address_of(name)])
            self.starts(name)

    def starts(self, name: str) -> None:
        if name != self.kernel:
            super().starts(name)
            return
        self.has_programs(name, self.address_of(name), _Kernel())

    def address_of(self, name: str) -> str:
        return self.addresses[name]

    def befalls(self, step: Step) -> None:
        """A kernel can't be made to crash; but nothing that it says while its sockets go is heard,
        and when it is heard again it knows nothing of them."""
        if step.who != self.kernel:
            super().befalls(step)
            return
        programs = self.programs[step.who]
        if step.verb == "kill":
            self.recording.fault("is told to end", step.who)
            programs.close_all()
            return
        if not self._is_cut():
            self.recording.fault("crashes", step.who)
            self.network.partition(step.who)
            for connection in programs.connections:
                sock: socket.socket = connection.writer.get_extra_info("socket")
                if sock is not None and sock.fileno() >= 0:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            programs.stop()
            programs.end()
        if step.verb == "reboot":
            asyncio.get_running_loop().call_later(0.01, self.network.heal)
            self.starts(step.who)
            self.recording.fault("is up again", step.who)

    def _is_cut(self) -> bool:
        return any(self.kernel in way for way in self.network.cuts)
