"""The machine that is measured on: a network namespace of the bench's own, and how busy it is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

BUILD = Path(__file__).parents[1] / "build" / "bench"
"""Where what the bench makes for itself stays; git ignores it, `make clean` removes it."""

_INSIDE = "AIOTCP_BENCH_INSIDE"

_SYSCTLS = {
    "net/ipv4/tcp_congestion_control": "cubic",  # BBR, some machines' default, paces and is slower
    "net/ipv4/ip_local_port_range": "1024 65535",
    "net/ipv4/tcp_no_metrics_save": "1",
    "net/core/somaxconn": "8192",
    "net/ipv4/tcp_max_syn_backlog": "8192",
}


def inside() -> bool:
    """Whether this process already runs in the namespace made for it."""
    return _INSIDE in os.environ


def in_private_network(module: str) -> int:
    """Run this program, `python -m module`, again in a network namespace of its own."""
    ways = [["unshare", "-n"]] if os.geteuid() == 0 else []
    for way in (*ways, ["unshare", "-Urn"]):
        if subprocess.run([*way, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            again = [*way, sys.executable, "-m", module, *sys.argv[1:]]
            return subprocess.run(again, env=_environment(), check=False).returncode
    print(f"{module}: no network namespace to be had here; run it as root", file=sys.stderr)
    return 1


def _environment() -> dict[str, str]:
    """Bytecode is kept, in a place of the bench's own: else each process compiles it again."""
    chosen = os.environ | {_INSIDE: "1", "PYTHONPYCACHEPREFIX": str(BUILD / "bytecode")}
    chosen.pop("PYTHONDONTWRITEBYTECODE", None)
    return chosen


def settle() -> None:
    """Set up the kernel of this namespace alike for all that is measured: CUBIC, many ports."""
    for name, value in _SYSCTLS.items():
        try:
            with open(f"/proc/sys/{name}", "w") as setting:
                setting.write(value)
        except OSError:
            pass  # not in every kernel, and not everyone's to change; the clients ask for CUBIC
    from pyroute2 import IPRoute  # slow to import

    with IPRoute() as netlink:
        netlink.link("set", index=netlink.link_lookup(ifname="lo")[0], state="up")


def cpu_s(pid: int) -> float:
    """Processor seconds that all threads of the process have used."""
    return time.clock_gettime(~pid << 3 | 2)  # what clock_getcpuclockid(3) makes of it


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
