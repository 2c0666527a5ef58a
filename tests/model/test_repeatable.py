"""The same seed gives the same run, byte for byte, in any process."""

from __future__ import annotations

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest

from tests.model.soak import one_seed
from tests.support.exchange import Exchange, hostile, lossy, run_until_quiet

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.req("X-4")


def captured(seed: int, network_seed: int) -> tuple[bytes, bytes, str]:
    """Both sides' capture files, and the taps' digest."""
    files = BytesIO(), BytesIO()

    async def main() -> str:
        exchange = Exchange(hostile(network_seed), seed, captures=files)
        await exchange.transfer(30_000)
        for stack in exchange.stacks:
            await stack.aclose()
        return exchange.digest

    digest, _ = run_until_quiet(main())
    return files[0].getvalue(), files[1].getvalue(), digest


@pytest.mark.parametrize("seed", range(5))
def test_equal_captures(seed: int) -> None:
    first = captured(seed, seed)
    assert len(first[0]) > 30_000
    assert captured(seed, seed) == first


def test_another_seed_is_another_run() -> None:
    assert captured(1, 1) != captured(2, 1)


def test_another_process_with_another_hash_seed() -> None:
    arguments = ["--seeds", "0-3", "--mib", "0.1", "--network"]
    for network in ("lossy", "hostile"):
        here = [one_seed(network, round(0.1 * (1 << 20)), seed)[1] for seed in range(4)]
        for hash_seed in ("1", "2"):
            there = subprocess.run(
                [sys.executable, "-m", "tests.model.soak", *arguments, network],
                cwd=ROOT,
                env={**os.environ, "PYTHONHASHSEED": hash_seed},
                capture_output=True,
                text=True,
                check=True,
            )
            lines = there.stdout.splitlines()
            assert [without_cpu(line) for line in lines[:4]] == list(map(without_cpu, here))


def without_cpu(line: str) -> str:
    return line.partition("  (")[0]


def test_capturing_changes_nothing() -> None:
    async def main() -> str:
        exchange = Exchange(lossy(7), 7)
        await exchange.transfer(50_000)
        return exchange.digest

    async def captured_main() -> str:
        exchange = Exchange(lossy(7), 7, captures=(BytesIO(), BytesIO()))
        await exchange.transfer(50_000)
        return exchange.digest

    assert run_until_quiet(main())[0] == run_until_quiet(captured_main())[0]
