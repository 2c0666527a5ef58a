"""A sender over the same path live: two network namespaces, and a forwarder between their TUNs.

The sender is the kernel's TCP, or aiotcp behind the kernel of the first namespace; the receiver is
the kernel of the second one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.loss.cells import BDP_PACKETS, RATE_BIT_S, RTT_S, Cell
from bench.loss.simulate import Outcome

SENDERS = ("aiotcp", "linux")
_SLOWEST_S = 120.0


def obstacle() -> str:
    """Why nothing can be measured live here; "" if it can."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces and TUN devices"
    if shutil.which("nsenter") is None:
        return "there is no nsenter"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as exc:
        return f"/dev/net/tun: {exc.strerror}"
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    return "no network namespace to be had" if probe.returncode else ""


def kernel_knows(algorithm: str) -> bool:
    """Whether the kernel has that congestion control."""
    with open("/proc/sys/net/ipv4/tcp_available_congestion_control") as known:
        return algorithm in known.read().split()


class LivePath:
    """The forwarder's process; `stop` gives what it saw."""

    def __init__(
        self, seed: int, there: dict[str, Any], back: dict[str, Any], offload: bool = False
    ) -> None:
        keywords = json.dumps({"seed": seed, "there": there, "back": back, "offload": offload})
        self._process = _python("bench.loss.forward", keywords)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the forwarder failed")
        self._spaces = json.loads(line)

    def start(self, side: str, *words: str) -> subprocess.Popen[str]:
        """An endpoint in the namespace of that side, "near" or "far"."""
        return _python(
            "bench.loss.endpoint", *words, within=("nsenter", f"--net={self._spaces[side]}")
        )

    def stop(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._process.communicate(timeout=10)[0])
        return told

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def _python(module: str, *words: str, within: Sequence[str] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*within, sys.executable, "-m", module, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@dataclass(frozen=True)
class Transfer:
    """What all three processes told of one transfer; times are of the monotonic clock."""

    began: float
    again: int
    received: list[tuple[float, list[int]]]
    """(time, bytes by flow) at the sink."""
    path: dict[str, Any]

    def taken(self, at: float) -> list[int]:
        """Bytes of each flow that the sink had by then."""
        index = bisect_right(self.received, at, key=lambda sample: sample[0]) - 1
        return self.received[index][1] if index >= 0 else []

    def carried(self, at: float) -> float:
        samples = self.path["samples"]
        index = bisect_right(samples, at, key=lambda sample: sample[0]) - 1
        return float(samples[index][1]) if index >= 0 else 0.0


def transfer(
    sender: str,
    algorithm: str,
    *,
    seed: int,
    there: dict[str, Any],
    back: dict[str, Any],
    flows: int = 1,
    seconds: float = 0.0,
    size: int = 0,
    offload: bool = False,
) -> Transfer:
    """One transfer for `seconds`, or of `size` bytes in each flow, over the path described."""
    path = LivePath(seed, there, back, offload)
    started: list[subprocess.Popen[str]] = []
    try:
        sink = path.start("far", "sink", str(flows))
        started.append(sink)
        assert sink.stdout is not None
        sink.stdout.readline()  # it listens
        source = path.start(
            "near", sender, algorithm, str(flows), str(seconds), str(size), str(seed)
        )
        started.append(source)
        sent = json.loads(source.communicate(timeout=seconds + _SLOWEST_S)[0])
        received = json.loads(sink.communicate(timeout=_SLOWEST_S)[0])
        seen = path.stop()
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.wait()
        path.kill()
    samples = [(at, totals) for at, totals in received["samples"]]
    return Transfer(sent["began"], sent["again"], samples, seen)


def measure(cell: Cell, sender: str, algorithm: str, seed: int) -> Outcome:
    """What `simulate` gives, live."""
    there = {
        "delay": RTT_S / 2,
        "rate": RATE_BIT_S,
        "limit": max(round(cell.buffer_bdp * BDP_PACKETS), 1),
        "loss": cell.loss,
        "reorder": cell.reorder,
    }
    back = {"delay": RTT_S / 2, "loss": cell.ack_loss}
    made = transfer(
        sender,
        algorithm,
        seed=seed,
        there=there,
        back=back,
        flows=cell.flows,
        seconds=cell.seconds,
    )
    settled, end = made.began + cell.settled_s, made.began + cell.seconds
    taken, early = made.taken(end), made.taken(settled)
    early = early + [0] * (len(taken) - len(early))
    late = [now - before for now, before in zip(taken, early, strict=True)]
    bits = 8 * (made.carried(end) - made.carried(settled))
    delivered = sum(made.received[-1][1])
    return Outcome(
        goodput=8 * sum(taken) / cell.seconds / 1e6,
        busy=bits / RATE_BIT_S / (cell.seconds - cell.settled_s),
        share=min(late) / sum(late) if cell.flows > 1 else None,
        delivered=delivered,
        retransmitted=made.again,
        duplicate=made.path["payload"] - delivered,
        queue_drops=made.path["queue_drops"],
    )
