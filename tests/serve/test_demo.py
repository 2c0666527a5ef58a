"""`make demo` shows what it promises: on a TUN device, and without one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.serve.support import TIMEOUT_S
from tests.support.netns import netns as netns

DEMO = Path(__file__).parents[2] / "bin" / "demo.py"


def demo(environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DEMO],
        env={**environment, "PYTHONPATH": str(DEMO.parents[1])},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


@pytest.mark.tun
@pytest.mark.usefixtures("netns")
def test_on_a_tun_device_with_curl() -> None:
    done = demo(os.environ)
    assert done.returncode == 0, done.stderr
    assert "On a TUN device" in done.stdout
    assert done.stdout.count("HTTP/1.1 200 OK") == 2
    assert done.stdout.count("ESTABLISHED") >= 3


def test_in_memory_where_no_namespace_can_be_had(tmp_path: Path) -> None:
    done = demo({"PATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "can be had here" in done.stdout
    assert "unshare: No such file" in done.stdout
    assert done.stdout.count("HTTP/1.1 200 OK") == 2
    assert done.stdout.count("ESTABLISHED") >= 3
