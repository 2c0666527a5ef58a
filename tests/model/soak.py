"""The full run that tests/model/test_transfers.py takes a sample of: `make soak`.

    python -m tests.model.soak [--seeds 0-49] [--mib 100] [--network lossy|hostile] [--processes 2]

For each seed two stacks send each other so many MiB over a bad network in virtual time. What must
be true is what the tests demand. One line for each seed, with the digest of all packets and their
times on both links: the same seed gives the same line, CPU time apart, in any process. Ends with 1
if anything was wrong.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import sys
import time
from functools import partial

from tests.support.exchange import Exchange, hostile, intact, lossy, run_until_quiet

NETWORKS = {"lossy": lossy, "hostile": hostile}


def one_seed(network: str, size: int, seed: int) -> tuple[bool, str]:
    """Whether all went well, and the line that says so."""

    async def main() -> Exchange:
        exchange = Exchange(NETWORKS[network](seed), seed)
        client, server = await exchange.transfer(size)
        intact(client, server, size)
        exchange.verify()
        return exchange

    began = time.process_time()
    try:
        exchange, quiet_at = run_until_quiet(main())
    except Exception as exc:
        return False, f"seed {seed}: {type(exc).__name__}: {exc}"
    packets = sum(tap.packets_sent for tap in exchange.taps)
    line = f"seed {seed:2}  {packets} packets in {quiet_at:.3f} s  {exchange.digest}"
    return True, f"{line}  ({time.process_time() - began:.1f} s of CPU)"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", default="0-49", help="first-last (0-49)")
    parser.add_argument("--mib", type=float, default=100, help="MiB each way (100)")
    parser.add_argument("--network", choices=sorted(NETWORKS), default="lossy")
    parser.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args(arguments)
    first, _, last = chosen.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    work = partial(one_seed, chosen.network, round(chosen.mib * (1 << 20)))
    fine = True
    with concurrent.futures.ProcessPoolExecutor(chosen.processes) as pool:
        for well, line in pool.map(work, seeds):
            fine = fine and well
            print(line, flush=True)
    print(f"{len(seeds)} seeds, {chosen.mib:g} MiB each way: {'all well' if fine else 'FAILED'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
