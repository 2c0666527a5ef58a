"""The path live: a process between two network namespaces that passes packets from TUN to TUN.

    python -m bench.loss.forward KEYWORDS

KEYWORDS, as JSON: {"seed": 1, "there": {...}, "back": {...}}, what `Path` takes for each direction.
Makes both namespaces, prints how to enter them, and forwards until its standard input ends; then
it prints what it saw. Both lines are JSON. The devices have no offload, so that each packet of the
MTU meets its own fate; with "offload": true frames of up to 64 KiB do, as in the kernel's filters.
"""

from __future__ import annotations

import ctypes
import heapq
import json
import os
import select
import sys
import time
from typing import Any

from aiotcp.link import network
from aiotcp.link.tun import Tun
from bench.loss.cells import MTU
from bench.loss.path import Path

SENDER, SINK = "192.0.2.129", "192.0.2.200"
"""The sending kernel, and the receiving one."""
STACK_HOST, STACK = "192.0.2.1/26", "192.0.2.2"
"""For a stack that sends from behind the first kernel, on a device of its own."""
SAMPLE_S = 0.01

_CLONE_NEWNET = 0x40000000
_READ_BYTES = 2048
_FRAME_BYTES = 1 << 17
_SYSCTLS = {
    "ipv4/ip_forward": "1",
    "ipv4/tcp_rmem": f"4096 131072 {32 << 20}",
    "ipv4/tcp_wmem": f"4096 131072 {32 << 20}",
    "ipv4/tcp_no_metrics_save": "1",
}


def enter_new_namespace() -> None:
    """Move the calling thread to a new network namespace, with large buffers for its kernel."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"no network namespace to be had: {os.strerror(number)}")
    for name, value in _SYSCTLS.items():
        with open(f"/proc/sys/net/{name}", "w") as setting:
            setting.write(value)


def _namespace(address: str, offload: bool) -> tuple[int, Tun]:
    """Move to a new network namespace with a device in it; a descriptor of the namespace."""
    enter_new_namespace()
    tun, _ = network.open_tun("path%d", host_addresses=[address], mtu=MTU, offload=offload)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY), tun


class Forwarder:
    """Passes packets until its standard input ends."""

    def __init__(self, near: Tun, far: Tun, there: Path, back: Path) -> None:
        self._ways = {near.fileno(): (there, far.fileno()), far.fileno(): (back, near.fileno())}
        self._far = far.fileno()
        self._read_bytes = _FRAME_BYTES if far.checksum_offload else _READ_BYTES
        self._there = there
        self._held: list[tuple[float, int, int, bytes]] = []
        self._count = 0
        self.payload = 0
        """Bytes of TCP payload that reached the sink's kernel; only without offload."""
        self.latest_s = 0.0
        """By how much the latest of all packets was late, because this process was."""
        self.samples: list[tuple[float, float]] = []
        """(time, bytes that the bottleneck has carried), every SAMPLE_S."""

    def run(self) -> None:
        held, ways = self._held, self._ways
        watched = [*ways, sys.stdin.fileno()]
        sample_at = 0.0
        while True:
            wait = max(held[0][0] - time.monotonic(), 0.0) if held else 1.0
            ready, _, _ = select.select(watched, (), (), wait)
            if sys.stdin.fileno() in ready:
                return
            now = time.monotonic()
            while held and held[0][0] <= now:
                due, _, fd, packet = heapq.heappop(held)
                self.latest_s = max(self.latest_s, now - due)
                self._deliver(fd, packet)
            for fd in ready:
                path, target = ways[fd]
                self._take(fd, path, target, now)
            if now >= sample_at:
                sample_at = now + SAMPLE_S
                self.samples.append((now, self._there.carried(now)))

    def _take(self, fd: int, path: Path, target: int, now: float) -> None:
        for _ in range(64):
            try:
                packet = os.read(fd, self._read_bytes)
            except BlockingIOError:
                return
            at = path.arrival(len(packet), now)
            if at is None:
                continue
            if at <= now:
                self._deliver(target, packet)
            else:
                self._count += 1
                heapq.heappush(self._held, (at, self._count, target, packet))

    def _deliver(self, fd: int, packet: bytes) -> None:
        os.write(fd, packet)
        if fd == self._far and packet[0] == 0x45:
            self.payload += len(packet) - 20 - (packet[32] >> 4) * 4


def main() -> None:
    keywords: dict[str, Any] = json.loads(sys.argv[1])
    seed = keywords["seed"]
    there = Path(f"data {seed}", **keywords["there"])
    back = Path(f"acks {seed}", **keywords["back"])
    offload = keywords.get("offload", False)
    near_space, near = _namespace(f"{SENDER}/25", offload)
    far_space, far = _namespace(f"{SINK}/24", offload)
    try:
        os.nice(-10)  # its own lateness is no part of the path
    except OSError:
        pass
    print(
        json.dumps({"near": _entrance(near_space), "far": _entrance(far_space)}),
        flush=True,
    )
    forwarder = Forwarder(near, far, there, back)
    forwarder.run()
    print(
        json.dumps(
            {
                "payload": forwarder.payload,
                "latest_s": forwarder.latest_s,
                "queue_drops": there.queue_drops,
                "samples": forwarder.samples,
            }
        )
    )


def _entrance(descriptor: int) -> str:
    return f"/proc/{os.getpid()}/fd/{descriptor}"


if __name__ == "__main__":
    main()
