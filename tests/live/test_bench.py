"""make bench runs and prints what it promises; how fast is not a test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]

ROOT = Path(__file__).parents[2]


def bench(*arguments: str) -> str:
    command = [sys.executable, "-m", "bench", "--runs", "1", "--seconds", "0.1", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("options", [[], ["--ipv6", "--no-offload", "--loop", "asyncio"]])
def test_every_row_is_measured(options: list[str]) -> None:
    report = json.loads(bench("--json", *options))
    assert [(row["direction"], row["server"]) for row in report["rows"]] == [
        (direction, server)
        for direction in ("in", "out")
        for server in ("raw", "protocol", "streams")
    ]
    for row in report["rows"]:
        assert row["gbit_s"] > 0
        assert row["of_raw"] > 0
        assert len(row["runs_gbit_s"]) == 1
    assert report["machine"]["busy_elsewhere"] >= 0


def test_the_table_names_the_ratio_and_the_load() -> None:
    table = bench("--only", "raw", "--only", "protocol")
    assert "of raw" in table
    assert "busy with other work" in table
    rows = [line.split() for line in table.splitlines()]
    assert any(row[:3] == ["out", "of", "protocol"] and row[4].endswith("%") for row in rows)
