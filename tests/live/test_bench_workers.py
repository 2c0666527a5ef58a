"""make bench-workers measures all workers; how fast they are is not a test's business."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.workers import Run, table
from tests.support.netns import obstacle

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.tun,
    pytest.mark.skipif(bool(obstacle()), reason=obstacle() or "-"),
    pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed"),
]


def bench(*arguments: str) -> str:
    command = [sys.executable, "-m", "bench.workers", "--runs", "1", "--seconds", "1", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_worker_has_its_share() -> None:
    requests, connections = json.loads(bench("--workers", "2", "--json"))
    assert (requests["work"], connections["work"]) == ("requests", "connections")
    for run in (requests, connections):
        assert run["workers"] == 2
        assert run["per_s"] > 0
        assert run["cpu_ms"] > 0
        assert len(run["shares"]) == 2
        assert min(run["shares"]) > 0


def test_a_speed_for_which_there_are_too_few_processors_is_not_shown() -> None:
    def shown(workers: int) -> str:
        return table([Run(workers, "requests", 1234.0, 5.0, [1.0] * workers)])

    assert "1,234" not in shown(1 << 20)
    assert f"here are {len(os.sched_getaffinity(0))}" in shown(1 << 20)
    if len(os.sched_getaffinity(0)) > 1:
        assert "1,234" in shown(1)
