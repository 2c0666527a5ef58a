"""What the README shows works as it is shown."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.netns import netns as netns

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
TIMEOUT_S = 60.0


def program(name: str, folder: Path) -> Path:
    (text,) = re.findall(rf"```python\n(# {re.escape(name)}\n.*?)```", README, re.DOTALL)
    path = folder / name
    path.write_text(text)
    return path


def run(path: Path) -> str:
    done = subprocess.run(
        [sys.executable, path],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def connect(server: subprocess.Popen[bytes], host: str, port: int) -> socket.socket:
    """Tries as long as `server` runs: it says nowhere when it is ready."""
    while server.poll() is None:
        with suppress(OSError):
            return socket.create_connection((host, port), timeout=TIMEOUT_S)
    raise AssertionError(f"the server has ended with {server.returncode}")


@pytest.mark.tun
@pytest.mark.usefixtures("netns")
def test_the_ten_line_server_greets_curl(tmp_path: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, program("hello.py", tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        with connect(server, "192.0.2.2", 7000) as client, client.makefile("rw") as stream:
            stream.write("world\n")
            stream.flush()
            assert stream.read() == "hello, world\n"
    finally:
        server.terminate()
        server.wait()


def test_the_lossy_transfer_is_whole_and_the_same_each_time(tmp_path: Path) -> None:
    path = program("lossy.py", tmp_path)
    first = run(path)
    assert first.startswith("1000000 bytes at ")
    assert "retransmit" in first
    assert run(path) == first


def test_every_option_that_is_shown_exists() -> None:
    from click.testing import CliRunner

    from aiotcp.serve.main import cli

    known = CliRunner().invoke(cli, ["http", "--help"]).output
    shown = set(re.findall(r"--[a-z][a-z-]+", README)) - {"--help"}
    assert shown <= set(re.findall(r"--[a-z][a-z-]+", known))


def test_the_control_is_chosen_for_a_connection(tmp_path: Path) -> None:
    lines = run(program("choose.py", tmp_path)).splitlines()
    seconds = {line.partition(":")[0]: float(line.split()[1]) for line in lines}
    assert list(seconds) == ["reno", "cubic", "bbr"]
    assert 2 * seconds["bbr"] < seconds["reno"]
