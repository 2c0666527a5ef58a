"""The compiled core sends what the Python core sends, byte for byte and at the same times."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

import aiotcp
from tests.model.soak import one_seed
from tests.model.test_repeatable import captured, without_cpu

ROOT = Path(__file__).resolve().parents[2]

PURE = """
from tests.support.pure import prefer_sources
prefer_sources()
from tests.model import test_compiled
test_compiled.main()
"""


@pytest.mark.skipif(not aiotcp.COMPILED, reason="the core is not compiled: make test-compiled")
@pytest.mark.req("X-4")
def test_the_same_packets_as_in_python() -> None:
    there = subprocess.run(
        [sys.executable, "-c", PURE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert there.stdout.splitlines() == ["not compiled", *shown()]


def shown() -> list[str]:
    lines = []
    for seed in range(4):
        client, server, digest = captured(seed, seed)
        files = hashlib.sha256(client).hexdigest(), hashlib.sha256(server).hexdigest()
        lines.append(f"{files[0]} {files[1]} {digest}")
    for network in ("lossy", "hostile"):
        lines += [without_cpu(one_seed(network, 200_000, seed)[1]) for seed in range(3)]
    return lines


def main() -> None:
    print("compiled" if aiotcp.COMPILED else "not compiled")
    print(*shown(), sep="\n")
