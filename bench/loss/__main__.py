"""make bench-loss: how much a sender carries over a bad path of 40 ms and 100 Mbit/s.

    python -m bench.loss [--seeds 10] [--quick] [--cells clean,loss1] [--only cubic,bbr]
                         [--processes 2] [--no-offload] [--no-live] [--live-runs 2]
                         [--check] [--json]

aiotcp sends to aiotcp over a simulated path in virtual time, so that a seed gives the same numbers
on any machine. Goodput is what the receiving application took from the first call of connect() to
the end of the measurement, handshake and slow start included. A bottleneck with a drop-tail buffer
of one bandwidth-delay product (333 packets) comes before loss and reordering, which concern the
data alone unless the cell says both ways.

Then the same live, over two TUN devices and a forwarder that has the same path in it: aiotcp, and
Linux, each sending to Linux. These numbers depend on the machine, and on what else it does.

again: bytes sent again, of those delivered. spurious: bytes that arrived a second time, of those
sent again. busy: of the bottleneck, without the first seconds. share: of two flows, likewise.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial

from aiotcp.options import CONGESTION_CONTROLS
from bench.loss.cells import BDP_PACKETS, CELLS, MTU, RATE_BIT_S, RTT_S, Cell
from bench.loss.live import SENDERS, kernel_knows, measure, obstacle
from bench.loss.report import BESIDE, HEADER, Row, beside, line, row
from bench.loss.simulate import Outcome, simulate

QUICK_SEEDS, QUICK_S = 2, 5.0


_ORDER = ("reno", "cubic", "bbr")


def _rank(algorithm: str) -> tuple[int, str]:
    known = algorithm in _ORDER
    return _ORDER.index(algorithm) if known else len(_ORDER), algorithm


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench.loss", description="Goodput over a bad path of 40 ms and 100 Mbit/s."
    )
    parser.add_argument("--seeds", type=int, help="of each cell (default: 10)")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="2 seeds and short transfers")
    parser.add_argument("--cells", type=_names, default=list(CELLS), help=", ".join(CELLS))
    parser.add_argument("--only", type=_names, help="these congestion controls alone")
    parser.add_argument("--seconds", type=float, help="of each transfer, whatever the cell says")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--no-offload", dest="offload", action="store_false")
    parser.add_argument("--no-live", dest="live", action="store_false")
    parser.add_argument("--live-runs", type=int, default=2, help="of each cell (default: 2)")
    parser.add_argument("--check", action="store_true", help="end with 1 if a target is missed")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    chosen = parser.parse_args(words)
    unknown = set(chosen.cells) - set(CELLS)
    unknown |= set(chosen.only or ()) - CONGESTION_CONTROLS
    if unknown:
        parser.error(f"no such cell or congestion control: {', '.join(sorted(unknown))}")
    return chosen


def _one(job: tuple[Cell, str, int], offload: bool) -> Outcome:
    cell, algorithm, seed = job
    return simulate(cell, algorithm, seed, offload=offload)


def main(words: Sequence[str] | None = None) -> int:
    chosen = arguments(words)
    seeds = chosen.seeds or (QUICK_SEEDS if chosen.quick else 10)
    seconds = chosen.seconds or (QUICK_S if chosen.quick else None)
    cells = [CELLS[name] for name in chosen.cells]
    if seconds is not None:
        cells = [
            replace(cell, seconds=seconds, settled_s=min(cell.settled_s, seconds / 2))
            for cell in cells
        ]
    algorithms = chosen.only or sorted(CONGESTION_CONTROLS, key=_rank)
    jobs = [
        (cell, algorithm, seed)
        for cell in cells
        for algorithm in algorithms
        for seed in range(chosen.first_seed, chosen.first_seed + seeds)
    ]
    if not chosen.json:
        print(
            f"{RATE_BIT_S / 1e6:.0f} Mbit/s, {RTT_S * 1000:.0f} ms, MTU {MTU}, buffer of "
            f"{BDP_PACKETS} packets, {seeds} seeds, Python {platform.python_version()}\n\n{HEADER}"
        )
    rows: list[Row] = []
    with concurrent.futures.ProcessPoolExecutor(chosen.processes) as pool:
        outcomes = pool.map(partial(_one, offload=chosen.offload), jobs)
        for cell in cells:
            for algorithm in algorithms:
                made = row(cell, algorithm, [next(outcomes) for _ in range(seeds)])
                rows.append(made)
                if not chosen.json:
                    print(line(made), flush=True)
    missed = [made for made in rows if made.missed]
    if missed and not chosen.json:
        print(f"\n{len(missed)} of {len(rows)} rows miss a target (!)")
    live = _live(cells, rows, chosen) if chosen.live else []
    if chosen.json:
        path = {"rate_bit_s": RATE_BIT_S, "rtt_s": RTT_S, "mtu": MTU, "buffer": BDP_PACKETS}
        every = [asdict(made) for made in (*rows, *live)]
        print(json.dumps({"path": path, "rows": every}, indent=2))
    return 1 if chosen.check and missed else 0


def _live(cells: Sequence[Cell], simulated: Sequence[Row], chosen: argparse.Namespace) -> list[Row]:
    """The same cells live, and a table of both; nothing, with the reason, where it can't be."""
    reason = obstacle()
    if reason:
        print(f"\nnot measured live: {reason}", file=sys.stderr)
        return []
    if not chosen.json:
        print(f"\nlive, {chosen.live_runs} runs of each: aiotcp and Linux, to Linux\n\n{BESIDE}")
    by_name = {cell.name: cell for cell in cells}
    rows: list[Row] = []
    for known in simulated:
        cell = by_name[known.cell]
        made: list[Row | None] = []
        for sender in SENDERS:
            if sender == "linux" and not kernel_knows(known.algorithm):
                made.append(None)
                continue
            outcomes = [
                measure(cell, sender, known.algorithm, seed)
                for seed in range(chosen.first_seed, chosen.first_seed + chosen.live_runs)
            ]
            made.append(row(cell, known.algorithm, outcomes, sender))
        rows += [each for each in made if each is not None]
        if not chosen.json:
            print(beside([known, *made]), flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
