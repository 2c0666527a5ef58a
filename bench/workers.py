"""make bench-workers: requests and new connections per second, by the number of workers.

    python -m bench.workers [--workers 1 2 4] [--runs 3] [--seconds 2] [--json]

`aiotcp-serve asgi --workers N` with the application of the row `http`, wrk as its client with a
thread for each worker: requests on 64 connections that are kept alive for each worker, and one
request for each connection. The numbers of workers are taken in turn, round by round.

Shown are the medians of: operations per second; CPU of all workers for 1,000 of them, in
milliseconds, the kernel's part included; and the smallest and the largest share that a worker had
of that CPU, where 1 is an even one. N workers and their client want 2 N processors: where there are
fewer, the speed is that of what they have, and is not shown.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench import machine
from bench.client import Told, read_wrk
from bench.program import serving

_CONNECTIONS = 64
_GUARD_S = 60
_WORK = {"requests": (), "connections": ("-H", "Connection: close")}


@dataclass(frozen=True)
class Run:
    """One measurement."""

    workers: int
    work: str
    per_s: float
    cpu_ms: float
    """Of all workers, for 1,000 operations."""
    shares: list[float]
    """Of each worker: 1 is an even share."""


def processes_of(program: subprocess.Popen[str]) -> list[int]:
    """The workers' process ids; without workers its own."""
    pid = program.pid
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in listed.split()] or [pid]


def wrk(address: str, work: str, workers: int, seconds: int) -> Told:
    done = subprocess.run(
        [
            *("wrk", "-t", str(workers), "-c", str(_CONNECTIONS * workers)),
            *("-d", f"{seconds}s", *_WORK[work], f"http://{address}/"),
        ],
        capture_output=True,
        text=True,
        timeout=seconds + _GUARD_S,
        check=False,
    )
    return read_wrk(done.stdout or done.stderr)


def measure(workers: int, work: str, seconds: int) -> Run:
    options = ("--workers", str(workers), "--grace", "0")
    with serving("asgi", "bench.servers:hello", *options) as (program, address):
        processes = processes_of(program)
        wrk(address, work, workers, 1)  # what is imported and made only once
        before = [machine.cpu_s(pid) for pid in processes]
        told = wrk(address, work, workers, seconds)
        used = [machine.cpu_s(pid) - at for pid, at in zip(processes, before, strict=True)]
    even = sum(used) / workers
    shares = [round(each / even, 2) for each in used]
    return Run(workers, work, told.count / told.seconds, 1e6 * sum(used) / told.count, shares)


def table(runs: list[Run]) -> str:
    processors = len(os.sched_getaffinity(0))
    lines = [f"{'':12}{'workers':>8}{'per second':>12}{'CPU ms/1000':>13}{'shares':>14}"]
    for work, workers in dict.fromkeys((run.work, run.workers) for run in runs):
        these = [run for run in runs if (run.work, run.workers) == (work, workers)]
        speed = f"{median(run.per_s for run in these):,.0f}" if 2 * workers <= processors else "-"
        cpu_ms = median(run.cpu_ms for run in these)
        least = median(min(run.shares) for run in these)
        most = median(max(run.shares) for run in these)
        lines.append(
            f"{work:12}{workers:8}{speed:>12}{cpu_ms:13.0f}{f'{least:.2f} to {most:.2f}':>14}"
        )
    if any(2 * run.workers > processors for run in runs):
        lines.append(f"-: N workers and their client want 2 N processors; here are {processors}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.workers", description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], metavar="N")
    parser.add_argument("--runs", type=int, default=3, help="of each (default: 3)")
    parser.add_argument("--seconds", type=int, default=2, help="of each run (default: 2)")
    parser.add_argument("--json", action="store_true", help="print every run instead")
    arguments = parser.parse_args()
    if not machine.inside():
        return machine.in_private_network("bench.workers")
    machine.settle()
    runs = [
        measure(workers, work, arguments.seconds)
        for _ in range(arguments.runs)
        for work in _WORK
        for workers in arguments.workers
    ]
    runs.sort(key=lambda run: (list(_WORK).index(run.work), run.workers))
    print(json.dumps([asdict(run) for run in runs]) if arguments.json else table(runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
