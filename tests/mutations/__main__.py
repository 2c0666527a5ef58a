"""make mutations: take one rule of each RFC away, and see the tests fail.

    python -m tests.mutations [--only 6675,8985] [--processes 2] [--list]

Ends with 1 if a mutation was not caught. The named tests must pass as the code stands; that is
checked first.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.mutations.catalogue import MUTATIONS
from tests.mutations.runner import Mutation, Verdict, attempt, run_tests, tree


def _share(mutations: Sequence[Mutation]) -> list[tuple[Mutation, Verdict, str]]:
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder, tree(Path(folder)) as copy:
        return [(each, *attempt(each, copy)) for each in mutations]


def _baseline(tests: tuple[str, ...]) -> tuple[int | None, str]:
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder, tree(Path(folder)) as copy:
        return run_tests(copy, tests)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mutations", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", help="these RFCs alone, 6675,8985")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--list", action="store_true")
    chosen = parser.parse_args(words)
    wanted = chosen.only.split(",") if chosen.only else None
    mutations = [
        each for each in MUTATIONS if wanted is None or each.rfc.split(maxsplit=1)[0] in wanted
    ]
    if chosen.list:
        for each in mutations:
            print(f"{each.name}  ({each.file})")
        return 0
    tests = sorted({test for each in mutations for test in each.tests})
    status, said = _baseline(tuple(tests))
    if status != 0:
        print(f"the tests fail as the code stands:\n{said}", file=sys.stderr)
        return 1
    missed = 0
    width = max(len(each.name) for each in mutations)
    with concurrent.futures.ProcessPoolExecutor(chosen.processes) as pool:
        for verdicts in pool.map(_share, [[each] for each in mutations]):
            for mutation, verdict, said in verdicts:
                print(f"{mutation.name:{width}}  {verdict.value}", flush=True)
                if verdict in (Verdict.SURVIVED, Verdict.BROKEN):
                    missed += 1
                    print(said)
    print(f"{len(mutations)} mutations, {missed} not caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
