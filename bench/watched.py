"""make bench-watched: what it costs that somebody looks at the live page of `aiotcp-serve --web`.

    python -m bench.watched [--rounds 35] [--seconds 0.6] [--json]

One connection at full speed, once a download and once 64 bytes to and fro. In each round it is
looked at twice and left alone twice, in an order that changes, and a round is one ratio: with the
page to without. The page is told as often as a browser would be told; curl takes what it says.
It needs root, since files are served as another user.

Shown are the medians of the rounds' ratios of speed, of the server's CPU for each byte or round
trip, and of two halves of a round in which nobody looked (what the machine alone makes); behind
each, in brackets, where that median lies with a probability of 95 % (bootstrap).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from urllib.request import urlopen

from bench import machine
from bench.program import serving

_SETTLES_S = 0.3
_FILE_BYTES = 4 << 40  # sparse, and longer than anybody waits
_ECHO_CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as client:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while client.send(bytes(64)):
        client.recv(64)
"""


@dataclass
class Ratios:
    """Of one kind of work, one number for each round."""

    speed: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    unwatched: list[float] = field(default_factory=list)


def interval(ratios: list[float]) -> str:
    chance = random.Random(1)
    medians = sorted(median(chance.choices(ratios, k=len(ratios))) for _ in range(2000))
    return f"{median(ratios):.3f} [{medians[50]:.3f}, {medians[-51]:.3f}]"


@contextmanager
def looking(page: str, flow: str) -> Iterator[None]:
    command = ["curl", "-sS", "-N", "-o", "/dev/null", f"{page}events?flow={flow}"]
    with subprocess.Popen(command) as reader:
        time.sleep(_SETTLES_S)
        try:
            yield
        finally:
            reader.kill()


def chosen(page: str) -> str:
    """The page's name for the only connection."""
    with urlopen(f"{page}events") as events:
        told = json.loads(events.readline().removeprefix(b"data: "))
    flow: str = told["table"]["rows"][0][0]
    return flow


def rounds(program: subprocess.Popen[str], count: Callable[[], int], many: int, s: float) -> Ratios:
    """`count`: what the client has done so far."""
    assert program.stdout is not None
    page = next(line.split()[1] for line in program.stdout if line.startswith("live"))
    time.sleep(_SETTLES_S)
    flow = chosen(page)

    def window() -> tuple[float, float]:
        at, used, done = time.perf_counter(), machine.cpu_s(program.pid), count()
        time.sleep(s)
        done = count() - done
        used = machine.cpu_s(program.pid) - used
        return done / (time.perf_counter() - at), used / done

    def watched() -> tuple[float, float]:
        with looking(page, flow):
            return window()

    ratios = Ratios()
    for number in range(many):
        if number % 2:
            alone, on, on_too, alone_too = window(), watched(), watched(), window()
        else:
            on, alone, alone_too, on_too = watched(), window(), window(), watched()
        ratios.speed.append((on[0] + on_too[0]) / (alone[0] + alone_too[0]))
        ratios.cpu.append((on[1] + on_too[1]) / (alone[1] + alone_too[1]))
        ratios.unwatched.append(alone_too[0] / alone[0])
    return ratios


def download(many: int, s: float) -> Ratios:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # for the user who serves it
        with open(f"{folder}/big", "wb") as big:
            os.truncate(big.fileno(), _FILE_BYTES)
        with serving("http", "--root", folder, "--user", "nobody", "--web") as (program, address):
            command = ["curl", "-sS", "-o", "/dev/null", f"http://{address}/big"]
            with subprocess.Popen(command) as client:
                try:
                    return rounds(program, lambda: _written(client.pid), many, s)
                finally:
                    client.kill()


def echo(many: int, s: float) -> Ratios:
    with serving("echo", "--web") as (program, address):
        host, port = address.rsplit(":", 1)
        with subprocess.Popen([sys.executable, "-c", _ECHO_CLIENT, host, port]) as client:
            try:
                return rounds(program, lambda: _segments_out(port), many, s)
            finally:
                client.kill()


def _written(pid: int) -> int:
    return int(re.search(r"wchar: (\d+)", Path(f"/proc/{pid}/io").read_text())[1])  # type: ignore[index]


def _segments_out(port: str) -> int:
    """Of the kernel's connection to there: one for each round trip."""
    command = ["ss", "-tniH", "dport", "=", port]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(re.search(r"segs_out:(\d+)", listed)[1])  # type: ignore[index]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.watched", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=35, help="of each (default: 35)")
    parser.add_argument("--seconds", type=float, default=0.6, help="of a quarter of one (0.6)")
    parser.add_argument("--json", action="store_true", help="print every ratio instead")
    arguments = parser.parse_args()
    if not machine.inside():
        return machine.in_private_network("bench.watched")
    machine.settle()
    found = {
        name: work(arguments.rounds, arguments.seconds)
        for name, work in {"a download": download, "round trips": echo}.items()
    }
    if arguments.json:
        print(json.dumps({name: asdict(ratios) for name, ratios in found.items()}))
        return 0
    print(f"{'':12}{'speed':>24}{'CPU for each':>24}{'unwatched':>24}")
    for name, ratios in found.items():
        told = map(interval, (ratios.speed, ratios.cpu, ratios.unwatched))
        print(f"{name:12}" + "".join(f"{each:>24}" for each in told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
