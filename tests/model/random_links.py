"""The full run that tests/model/test_random_links.py takes a sample of: `make random-links`.

    python -m tests.model.random_links [--seeds 0-999] [--processes 2] [--show]

A line for each seed that went wrong, and one at the end. Ends with 1 if any did. `--show` also
prints what was drawn.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import pprint
import sys
import time

from tests.support.random_links import one_seed, plan


def _attempt(seed: int) -> tuple[int, list[str], float]:
    began = time.process_time()
    try:
        problems = one_seed(seed)
    except Exception as exc:
        problems = [f"{type(exc).__name__}: {exc}"]
    return seed, problems, time.process_time() - began


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="random_links", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", default="0-999", help="first-last (0-999)")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="print what was drawn")
    chosen = parser.parse_args(arguments)
    first, _, last = chosen.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    failed, used = 0, 0.0
    if chosen.show:
        for seed in seeds:
            pprint.pp(plan(seed))
    with concurrent.futures.ProcessPoolExecutor(chosen.processes) as pool:
        for seed, problems, cpu_s in pool.map(_attempt, seeds, chunksize=4):
            used += cpu_s
            if problems:
                failed += 1
                print("\n    ".join((f"seed {seed}:", *problems)), flush=True)
    verdict = f"{failed} FAILED" if failed else "all well"
    print(f"{len(seeds)} seeds: {verdict} ({used:.0f} s of CPU)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
