"""The examples of `aiotcp.testing`, run as their users run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(ROOT),
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # the same with the checkout installed and without
}
GUARD_S = 250

pytest.importorskip("aiohttp")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT / "examples",
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=GUARD_S,
    )


def run_pytest(*words: str) -> subprocess.CompletedProcess[str]:
    return run("pytest", "-p", "aiotcp.testing.plugin", "-c", os.devnull, "--rootdir=.", *words)


def test_the_half_open_connection_is_found_within_50_seeds_and_again_by_its_seed() -> None:
    example = "test_half_open.py"
    assert run_pytest(example).returncode == 0, "the bug is one that a single run does not show"
    found = run_pytest(example, "--aiotcp-seeds=50", "-x")
    assert found.returncode == 1
    told = re.search(r"^replay  pytest '?(\S+?)'? (--aiotcp-replay=\d+)$", found.stdout, re.M)
    assert told is not None, found.stdout
    assert told[1] == "test_half_open.py::test_prices_in_spite_of_a_power_cut[None]"
    again = run_pytest(told[1], told[2])
    assert again.returncode == 1
    for out in found.stdout, again.stdout:
        assert "client: prices at " in out
        assert re.search(r"^client:\d+ to shop:8080: ESTABLISHED, waits for", out, re.M)
    ladder = r"(?s)shop +client\n.*?(?=\n=)"
    assert re.findall(ladder, found.stdout) == re.findall(ladder, again.stdout)


def test_with_a_timeout_it_is_right_with_every_seed() -> None:
    done = run_pytest("test_half_open.py", "--aiotcp-seeds=50", "-k", "5 and not None")
    assert done.returncode == 0, done.stdout
    assert "50 passed" in done.stdout


@pytest.mark.parametrize("seeds", ["1", "5"])
def test_the_service(seeds: str) -> None:
    pytest.importorskip("httpx")
    done = run_pytest("test_service.py", f"--aiotcp-seeds={seeds}")
    assert done.returncode == 0, done.stdout


def test_without_pytest() -> None:
    done = run("unittest", "-q", "test_with_unittest")
    assert done.returncode == 0, done.stderr
    assert "Ran 2 tests" in done.stderr
