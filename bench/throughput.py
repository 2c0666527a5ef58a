"""One measurement: a server on a TUN device, and a kernel client in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass

import uvloop

from aiotcp import Stack
from aiotcp.link import network
from aiotcp.link.tun import Tun
from aiotcp.reasons import Why
from bench.raw_responder import RawResponder
from bench.servers import SERVERS, SINK_PORT, SOURCE_PORT

RAW = "raw"

_HOSTS = {4: ("192.0.2.1/24", "192.0.2.2"), 6: ("fd61:696f:7463:70::1/64", "fd61:696f:7463:70::2")}
_REPEATED = (
    Why.FAST_RETRANSMIT,
    Why.PARTIAL_ACK_RETRANSMIT,
    Why.RTO_RETRANSMIT,
    Why.WINDOW_PROBE,
)


@dataclass(frozen=True)
class Setting:
    """What all measurements of a run have in common."""

    seconds: float
    mtu: int
    offload: bool
    version: int
    loop: str


@dataclass(frozen=True)
class Result:
    """What one measurement found."""

    gbit_s: float
    """As the client saw it."""
    cpu_gbit_s: float
    """The same for each second of processor time that the server's process used: what other work
    on the machine disturbs less."""
    dropped: int
    """Packets that the device dropped because its queue was full."""
    repeated: int
    """Frames that the stack sent again, or to probe a window: none is expected."""


async def _client(direction: str, host: str, seconds: float) -> tuple[int, float]:
    what, port = ("sink", SINK_PORT) if direction == "in" else ("source", SOURCE_PORT)
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.client", what, host, str(port), str(seconds)),
        stdout=asyncio.subprocess.PIPE,
    )
    answer, _ = await client.communicate()
    if client.returncode:
        raise RuntimeError("the kernel's client failed")
    told = json.loads(answer)
    return told["bytes"], told["seconds"]


async def _measure(tun: Tun, server: str, direction: str, setting: Setting) -> Result:
    host = _HOSTS[setting.version][1]
    stack: Stack | None = None
    if server == RAW:
        raw = RawResponder(tun, SINK_PORT, SOURCE_PORT)
        tun.attach(raw, asyncio.get_running_loop())
    else:
        stack = Stack(tun, addresses=[host])
        await SERVERS[server](stack, host)
    before = time.process_time()
    moved, seconds = await _client(direction, host, setting.seconds)
    used = time.process_time() - before
    repeated = sum(stack.counters.sent[why] for why in _REPEATED) if stack is not None else 0
    dropped = (await network.off_loop(network.statistics, tun.name))["tx_dropped"]
    if stack is not None:
        await stack.aclose(grace=0)
    gbit = moved * 8 / 1e9
    return Result(gbit / seconds, gbit / used, dropped, repeated)


def measure(server: str, direction: str, setting: Setting) -> Result:
    """`server`: RAW or one of SERVERS; `direction`: "in" or "out" of it.

    To be called in a network namespace of one's own, with CAP_NET_ADMIN over it.
    """
    factory = uvloop.new_event_loop if setting.loop == "uvloop" else asyncio.new_event_loop
    address = _HOSTS[setting.version][0]
    tun, _ = network.open_tun(host_addresses=[address], mtu=setting.mtu, offload=setting.offload)
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(_measure(tun, server, direction, setting))
    finally:
        tun.close()


class Load:
    """How busy the machine was with other things than this process and its children."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._busy = self._machine_busy_s()
        self._own = self._own_s()

    @staticmethod
    def _machine_busy_s() -> float:
        with open("/proc/stat") as stat:
            user, nice, system, _idle, _iowait, irq, softirq, *_ = map(
                int, stat.readline().split()[1:]
            )
        return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def _own_s() -> float:
        return sum(os.times()[:4])

    def elsewhere(self) -> float:
        """Processors kept busy by others since the beginning, 0 to the number there are."""
        others = self._machine_busy_s() - self._busy - (self._own_s() - self._own)
        return max(others, 0.0) / max(time.monotonic() - self._at, 0.001)
