"""make bench: throughput of the stack between its asyncio transports and the kernel's TCP.

    python -m bench [--runs 5] [--seconds 1.5] [--mtu 1500] [--ipv6] [--no-offload]
                    [--loop uvloop|asyncio] [--json]

Into a discard server and out of a source server on aiotcp, written as asyncio protocols and as
streams, over a TUN device; the client is a process of its own on kernel sockets (CUBIC). Beside
them the raw limit: a responder on the same kind of device that acknowledges and does nothing else.
The runs of all rows are taken in turn, and of each row the median counts, so that what else the
machine does meets all alike.

Runs in a network namespace of its own, as root or where user namespaces are allowed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
from typing import Any

from bench.servers import SERVERS
from bench.throughput import RAW, Load, Result, Setting, measure

_INSIDE = "AIOTCP_BENCH_INSIDE"
_DIRECTIONS = ("in", "out")
_WORDS = {"in": "into", "out": "out of"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Throughput against the kernel.")
    parser.add_argument("--runs", type=int, default=5, help="of each row (default: 5)")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each run (default: 1.5)")
    parser.add_argument("--mtu", type=int, default=1500)
    parser.add_argument("--ipv6", action="store_true")
    parser.add_argument("--no-offload", dest="offload", action="store_false")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--only", choices=(RAW, *SERVERS), action="append", help="these rows alone")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    return parser.parse_args()


def in_private_network() -> int:
    """Run this program again in a network namespace of its own."""
    ways = [["unshare", "-n"]] if os.geteuid() == 0 else []
    for way in (*ways, ["unshare", "-Urn"]):
        if subprocess.run([*way, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            again = [*way, sys.executable, "-m", "bench", *sys.argv[1:]]
            return subprocess.run(again, env=os.environ | {_INSIDE: "1"}, check=False).returncode
    print("bench: no network namespace to be had here; run it as root", file=sys.stderr)
    return 1


def main() -> int:
    chosen = arguments()
    if _INSIDE not in os.environ:
        return in_private_network()
    setting = Setting(
        seconds=chosen.seconds,
        mtu=chosen.mtu,
        offload=chosen.offload,
        version=6 if chosen.ipv6 else 4,
        loop=chosen.loop,
    )
    servers = chosen.only or (RAW, *SERVERS)
    found: dict[tuple[str, str], list[Result]] = {
        (direction, server): [] for direction in _DIRECTIONS for server in servers
    }
    load = Load()
    for number in range(chosen.runs):
        for (direction, server), results in found.items():
            if not chosen.json and sys.stderr.isatty():
                print(f"\rrun {number + 1} of {chosen.runs} ", end="", file=sys.stderr, flush=True)
            results.append(measure(server, direction, setting))
    report = summary(setting, found, load)
    print(json.dumps(report, indent=2) if chosen.json else table(report))
    return 0


def summary(
    setting: Setting, found: dict[tuple[str, str], list[Result]], load: Load
) -> dict[str, Any]:
    rows = []
    for (direction, server), results in found.items():
        speed = statistics.median(result.gbit_s for result in results)
        raw = found.get((direction, RAW))
        rows.append(
            {
                "direction": direction,
                "server": server,
                "gbit_s": speed,
                "cpu_gbit_s": statistics.median(result.cpu_gbit_s for result in results),
                "of_raw": speed / statistics.median(each.gbit_s for each in raw) if raw else None,
                "runs_gbit_s": [result.gbit_s for result in results],
                "device_drops": sum(result.dropped for result in results),
                "repeated": sum(result.repeated for result in results),
            }
        )
    return {
        "rows": rows,
        "setting": dataclasses.asdict(setting),
        "machine": {
            "processors": os.cpu_count(),
            "load_average": os.getloadavg(),
            "busy_elsewhere": load.elsewhere(),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
    }


def table(report: dict[str, Any]) -> str:
    setting, machine = report["setting"], report["machine"]
    lines = [
        f"IPv{setting['version']}, MTU {setting['mtu']}, "
        f"{'with' if setting['offload'] else 'without'} offload, {setting['loop']}, "
        f"Python {machine['python']}, Linux {machine['kernel']}",
        f"{machine['processors']} processors, {machine['busy_elsewhere']:.2f} of them busy with "
        f"other work; load average {machine['load_average'][0]:.2f}",
        "",
        f"{'':24}{'Gbit/s':>8}{'of raw':>8}{'lowest':>8}{'highest':>8}{'per CPU s':>11}"
        f"{'drops':>7}{'repeats':>9}",
    ]
    for row in report["rows"]:
        runs = row["runs_gbit_s"]
        share = "" if row["of_raw"] is None else f"{row['of_raw']:.0%}"
        lines.append(
            f"{_WORDS[row['direction']] + ' ' + row['server']:24}{row['gbit_s']:8.2f}{share:>8}"
            f"{min(runs):8.2f}{max(runs):8.2f}{row['cpu_gbit_s']:11.2f}"
            f"{row['device_drops']:7}{row['repeated']:9}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
