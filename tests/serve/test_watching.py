"""`aiotcp` asks a running aiotcp-serve about the connections of curl."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from aiotcp.serve import privileges
from tests.serve.support import ROOT, TIMEOUT_S, curl, ended, serving
from tests.support.netns import netns as netns

pytestmark = [
    pytest.mark.tun,
    pytest.mark.usefixtures("netns", "_own_directory"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


@pytest.fixture
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def aiotcp(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "aiotcp.cli", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ss_shows_a_connection_of_the_kernel_and_stat_what_it_took(tmp_path: Path) -> None:
    with serving("http", "--device", "watched0") as program:
        curl(f"http://{program.endpoints[0]}/")
        pid = str(program.process.pid)
        assert (tmp_path / "aiotcp" / f"{pid}.sock").is_socket()
        with socket.create_connection(("192.0.2.2", 80)) as idle:
            port = idle.getsockname()[1]
            _, row, info = aiotcp("ss", "-tino", "--pid", pid).splitlines()
            assert row.split() == ["ESTAB", "0", "0", "192.0.2.2:80", f"192.0.2.1:{port}"]
            # What both sides know is the same on both sides.
            kernel = subprocess.run(
                ["ss", "-tinoH", f"sport = :{port}"], capture_output=True, text=True, check=True
            ).stdout
            for word in ("ts", "sack", "pmtu:1500", "segs_in:1"):
                assert word in info.split()
                assert word in kernel.split()
            assert 'waits:"either side to send"' in info
        assert "TcpPassiveOpens                 2" in aiotcp("stat", "--pid", pid)
        all_that_run = json.loads(aiotcp("info", "--json"))
        (process,) = next(each["processes"] for each in all_that_run if str(each["pid"]) == pid)
        assert (process["name"], process["device"]) == ("aiotcp-serve", "watched0")
        assert process["what"] == "live connections"
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert list((tmp_path / "aiotcp").glob("*.sock")) == []


def test_workers_each_have_a_socket_and_are_shown_as_one(tmp_path: Path) -> None:
    with serving("http", "--workers", "3", "--control", str(tmp_path / "c")) as program:
        sockets = [f"--socket={tmp_path / f'c.{number}'}" for number in range(3)]
        connections = [socket.create_connection(("192.0.2.2", 80)) for _ in range(12)]
        rows = json.loads(aiotcp("ss", "--json", *sockets))
        seen = {row["peer"]["port"] for row in rows}
        assert seen == {each.getsockname()[1] for each in connections}
        parent = program.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        assert {str(row["process"]["pid"]) for row in rows} <= set(children)
        stat = json.loads(aiotcp("stat", "-a", "--json", *sockets))
        assert stat["pid"] == parent
        assert stat["nstat"]["TcpPassiveOpens"] == 12
        for each in connections:
            each.close()
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert list(tmp_path.glob("c*")) == []


def test_the_socket_can_be_elsewhere_or_not_be(tmp_path: Path) -> None:
    with serving("echo", "--control", "off"):
        assert not (tmp_path / "aiotcp").exists()
    code, said = ended("echo", "--control", str(tmp_path / "no" / "such" / "directory"))
    assert code == 2
    assert f"--control {tmp_path}/no/such/directory: No such file or directory" in said


@pytest.mark.skipif(not privileges.is_root(), reason="needs the machine's root")
def test_a_program_that_became_another_user_has_its_socket_where_root_finds_it() -> None:
    with serving("echo", "--user", "nobody") as program:
        pid = program.process.pid
        assert "LISTEN" in aiotcp("ss", "-tln", "--pid", str(pid))
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
