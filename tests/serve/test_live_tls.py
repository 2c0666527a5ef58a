"""The program as a process that speaks TLS, with curl and openssl as its clients."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from aiotcp.serve import privileges
from tests.serve.support import TIMEOUT_S, curl, ended, serving
from tests.support.netns import netns as netns

PEM = Path(__file__).parents[1] / "support" / "tls" / "self-signed.pem"

pytestmark = [
    pytest.mark.tun,
    pytest.mark.usefixtures("netns"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]

root_only = pytest.mark.skipif(
    not privileges.is_root(), reason="needs the machine's root: the program becomes someone else"
)


def trusting(*arguments: str) -> str:
    return curl("--cacert", str(PEM), *arguments)


@pytest.mark.parametrize("offload", ["--offload", "--no-offload"])
def test_curl_verifies_and_fetches(offload: str) -> None:
    with serving(
        "http", offload, "--certfile", str(PEM), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as program:
        assert program.endpoints[0] == "192.0.2.2:443"
        for version in ("1.2", "1.3"):
            page = trusting(f"--tlsv{version}", "--tls-max", version, "https://192.0.2.2/")
            assert "Live connections: " in page  # 1, or the last one still ends
        assert program.process.stdout is not None
        printed = [program.process.stdout.readline() for _ in range(2 + len(program.endpoints))]
        commands = [line[9:].strip() for line in printed[2:]]
        assert commands[0] == f"curl --cacert {PEM} https://192.0.2.2/"
        for command in commands:
            assert "Live connections" in curl(*shlex.split(command)[1:])
        # Someone who doesn't trust it, and someone who does not speak TLS at all
        for arguments in (["https://192.0.2.2/"], ["http://192.0.2.2:443/"]):
            done = subprocess.run(["curl", "-sS", *arguments], capture_output=True, text=True)
            assert done.returncode != 0
        assert "Live connections" in trusting("https://192.0.2.2/")
        program.signal(signal.SIGTERM)
        _, stderr = program.process.communicate(timeout=TIMEOUT_S)
    assert "Traceback" not in stderr


def test_a_port_of_ones_own_and_an_application_that_sees_https(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'http':\n"
        "        body = f\"{scope['scheme']} {scope['http_version']}\".encode()\n"
        "        head = {'type': 'http.response.start', 'status': 200, 'headers': []}\n"
        "        await send(head)\n"
        "        await send({'type': 'http.response.body', 'body': body})\n"
    )
    with serving(
        *("asgi", "example:app", "--port", "8443", "--certfile", str(PEM), "--keyfile", str(PEM)),
        cwd=tmp_path,
    ) as program:
        assert program.endpoints[0] == "192.0.2.2:8443"
        assert trusting("https://192.0.2.2:8443/") == "https 1.1"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_echo_over_tls() -> None:
    with serving("echo", "--certfile", str(PEM), stdout=subprocess.PIPE) as program:
        assert program.process.stdout is not None
        printed = [program.process.stdout.readline() for _ in range(3)]
        command = printed[2][9:].strip()
        assert command == "openssl s_client -quiet -connect 192.0.2.2:7"
        client = subprocess.Popen(
            [*shlex.split(command), "-verify_return_error", "-CAfile", str(PEM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"hello\n")
        client.stdin.flush()
        assert client.stdout.readline() == b"hello\n"
        client.stdin.close()
        client.kill()
        client.wait(TIMEOUT_S)
        client.stdout.close()


def in_clear(path: Path) -> list[str]:
    """The URIs that tshark sees in the file, in one pass and without a key log."""
    command = ["tshark", "-r", str(path), "-Y", "http.request", "-T", "fields"]
    command += ["-e", "http.request.uri", "-o", "tls.keylog_file:"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
    return done.stdout.split()


@root_only
@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize(
    ("there", "offload", "version"), [(False, "--offload", "1.3"), (True, "--no-offload", "1.2")]
)
def test_one_capture_opens_decrypted_though_root_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool, offload: str, version: str
) -> None:
    """The key is root's alone, and so is the directory of the key log."""
    key, keylog, capture = tmp_path / "key.pem", tmp_path / "keys", tmp_path / "all.pcapng"
    shutil.copy(PEM, key)
    key.chmod(0o600)
    if there:
        keylog.write_text("CLIENT_RANDOM 00 00\n")
    tmp_path.chmod(0o700)
    monkeypatch.setenv("SSLKEYLOGFILE", str(keylog))
    with serving(
        *("http", offload, "--certfile", str(key), "--user", "nobody"),
        *("--capture", str(capture)),
        stderr=subprocess.PIPE,
    ) as program:
        monkeypatch.delenv("SSLKEYLOGFILE")  # curl must not write to it
        for path in ("/", "/connections.json"):
            trusting("--tls-max", version, f"https://{program.endpoints[0]}{path}")
        program.signal(signal.SIGTERM)
        _, stderr = program.process.communicate(timeout=TIMEOUT_S)
        assert program.process.returncode == 0
    assert "key log" not in stderr
    assert in_clear(capture) == ["/", "/connections.json"]
    assert b"CLIENT_RANDOM 00 00" not in capture.read_bytes()
    if not there:
        status = keylog.stat()
        assert (status.st_uid, status.st_mode & 0o777) == (pwd.getpwnam("nobody").pw_uid, 0o600)


def test_a_key_log_that_can_not_be_opened_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (tmp_path / "no" / "keys", tmp_path):
        monkeypatch.setenv("SSLKEYLOGFILE", str(path))
        code, stderr = ended("http", "--certfile", str(PEM))
        assert code == 2
        assert f"SSLKEYLOGFILE {path}: " in stderr
        assert "Traceback" not in stderr


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_without_a_certificate_the_secrets_of_others_stay_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keylog, capture = tmp_path / "keys", tmp_path / "all.pcapng"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keylog))
    with serving("http", "--capture", str(capture)) as program:
        keylog.write_text("CLIENT_RANDOM 00 00\n")
        curl(f"http://{program.endpoints[0]}/")
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
    assert os.stat(capture).st_size > 0
    assert b"CLIENT_RANDOM 00 00" not in capture.read_bytes()
