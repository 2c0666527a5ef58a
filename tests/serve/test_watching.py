"""`aiotcp` asks a running aiotcp-serve about the connections of curl."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
        told = json.loads(aiotcp("stat", "-a", "--json", *sockets))
        assert told["pid"] == parent
        assert told["nstat"]["TcpPassiveOpens"] == 12
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
        assert "LISTEN" in aiotcp("ss", "-tlni", "--pid", str(pid))
        with socket.create_connection(("192.0.2.2", 7)):
            assert "ESTAB" in aiotcp("ss", "-tin", "--pid", str(pid))
        assert "TcpPassiveOpens" in aiotcp("stat", "--pid", str(pid))
        refused = subprocess.run(
            [sys.executable, "-m", "aiotcp.cli", "capture", "--pid", str(pid), "--secrets"],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert (refused.returncode, "SSLKEYLOGFILE=FILE" in refused.stderr) == (1, True)
        program.signal(signal.SIGTERM)
        assert program.wait() == 0


@contextmanager
def capturing(file: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`aiotcp capture` into `file`, once it has begun. Ends with the block, by SIGINT."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aiotcp.cli", "capture", "-w", str(file), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )
    try:
        while not (file.exists() and file.stat().st_size):
            assert process.poll() is None
        yield process
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def tshark(file: Path, *fields: str) -> list[list[str]]:
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    asked = [word for field in fields for word in ("-e", field)]
    shown = subprocess.run(
        ["tshark", "-r", str(file), "-T", "fields", "-E", "separator=;", *asked],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert shown.returncode == 0, shown.stderr
    return [line.split(";") for line in shown.stdout.splitlines()]


def test_a_capture_is_read_by_tshark_with_the_reasons(tmp_path: Path) -> None:
    file = tmp_path / "all.pcapng"
    with serving("http") as program, capturing(file, "--pid", str(program.process.pid), "tcp"):
        curl(f"http://{program.endpoints[0]}/")
    rows = tshark(file, "frame.comment", "_ws.malformed", "http")
    assert [row[1] for row in rows] == [""] * len(rows), "none is malformed"
    reasons = [row[0] for row in rows if row[0]]
    assert reasons[0] == "open_reply"
    assert {"new_data", "close"} <= set(reasons)
    assert sum(bool(row[2]) for row in rows) >= 2, "the request, and the answer"


def test_a_capture_with_secrets_opens_decrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, keys = tmp_path / "all.pcapng", tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    certificate = ROOT / "tests" / "support" / "tls" / "self-signed.pem"
    with serving("http", "--certfile", str(certificate)) as program:
        monkeypatch.delenv("SSLKEYLOGFILE")
        with capturing(file, "--secrets", "--pid", str(program.process.pid)):
            assert "Live connections" in curl("--insecure", f"https://{program.endpoints[0]}/")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    rows = tshark(file, "http.request.uri", "http.response.code", "http2.headers.path")
    seen = {value for row in rows for value in row if value}
    assert "/" in seen, rows
