"""The same seed gives the same trace in any process: other people's programs, TLS, a reboot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip("aiohttp")
pytest.importorskip("httpx")


def test_another_process_with_another_hash_seed() -> None:
    from tests.testing.repeat import SEEDS, digests

    here = digests()
    assert len(set(here)) == len(SEEDS)
    for hash_seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-m", "tests.testing.repeat"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=250,
            check=True,
        )
        assert there.stdout.split() == here
