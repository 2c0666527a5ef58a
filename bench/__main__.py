"""make bench: aiotcp against kernel sockets and against the limit of the device, in one table.

    python -m bench [--only 'in-*'] [--runs 5] [--seconds 1] [--quick] [--json | --markdown]
                    [--mtu 1500] [--ipv6] [--veth]

docs/performance.md says what each row means. The same programs run on aiotcp, over a TUN device,
and on kernel sockets, both under uvloop, each run in a process of its own; the client is a C
program on kernel sockets with CUBIC, compiled at first use. Cells that are compared are measured in
turn, round by round; shown are the medians, and of the rounds' ratios the median.

Runs in a network namespace of its own, as root or where user namespaces are allowed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from bench import client, machine
from bench.cells import Cell, Common
from bench.client import Failed, NotHere
from bench.report import Found, markdown, summary, table
from bench.rows import Block, chosen

_USUAL, _QUICK = (5, 1.0), (3, 0.3)


def _runs(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than one")
    return number


def _seconds(text: str) -> float:
    if not 0 < (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no time to measure for")
    return number


def _mtu(text: str) -> int:
    if not 1280 <= (number := int(text)) <= 65535:
        raise argparse.ArgumentTypeError(f"{number} is not 1280 to 65535 bytes")
    return number


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="aiotcp against the kernel.")
    parser.add_argument(
        "--only", action="append", default=[], metavar="ROW", help="these rows alone: 'in-*', http"
    )
    parser.add_argument("--runs", type=_runs, help="of each cell (default: 5)")
    parser.add_argument("--seconds", type=_seconds, help="of each run (default: 1)")
    parser.add_argument(
        "--quick", action="store_true", help=f"{_QUICK[0]} runs of {_QUICK[1]} s: a first look"
    )
    parser.add_argument("--mtu", type=_mtu, default=1500)
    parser.add_argument("--ipv6", action="store_true")
    parser.add_argument(
        "--veth",
        action="store_true",
        help="kernel sockets behind a veth pair instead of on the loopback, where they are faster",
    )
    parser.add_argument("--crowd", type=int, default=10_000, help=argparse.SUPPRESS)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object instead")
    form.add_argument("--markdown", action="store_true", help="print a table for the docs instead")
    return parser.parse_args()


def measure(block: Block, common: Common, runs: int) -> list[dict[str, Any]]:
    """The rows of one block, cell after cell, as often as there are runs."""
    cells = dict.fromkeys(
        cell
        for row in block.rows
        for cell in (row.ours, *row.references, *row.beside, *(row.limit or ()))
    )
    found: dict[Cell, Found] = {cell: Found() for cell in cells}
    for number in range(runs):
        # Every other round backwards, so that neither of two neighbours is always the first.
        for cell in list(cells)[:: -1 if number % 2 else 1]:
            _progress(f"{block.name}: run {number + 1} of {runs}, {cell.name}")
            results = found[cell]
            sample = None
            if not results.missing:
                try:
                    sample = cell.run(common)
                except (NotHere, Failed) as exc:
                    results.missing = str(exc)
            results.samples.append(sample)
    common.done()
    return [summary(row, found) for row in block.rows]


def _progress(words: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)


def main() -> int:
    options = arguments()
    try:
        blocks = chosen(options.only)
        client.compiled()
    except (ValueError, NotHere) as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 2
    if not machine.inside():
        return machine.in_private_network("bench")
    machine.settle()
    runs, seconds = _QUICK if options.quick else _USUAL
    runs, seconds = options.runs or runs, options.seconds or seconds
    common = Common(
        seconds=seconds,
        mtu=options.mtu,
        version=6 if options.ipv6 else 4,
        veth=options.veth,
        crowd=options.crowd,
    )
    load = machine.Load()
    try:
        rows = [row for block in blocks for row in measure(block, common, runs)]
    finally:
        common.done()
        _progress("")
    report = {
        "rows": rows,
        "setting": {
            "runs": runs,
            "seconds": seconds,
            "mtu": common.mtu,
            "version": common.version,
            "veth": common.veth,
        },
        "machine": {
            "processors": os.cpu_count(),
            "load_average": os.getloadavg(),
            "busy_elsewhere": load.elsewhere(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "uvloop": version("uvloop"),
            "http": "httptools" if find_spec("httptools") else "h11",
        },
    }
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print(markdown(report) if options.markdown else table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
