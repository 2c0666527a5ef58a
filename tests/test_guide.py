"""What docs/guide.md shows works as it is shown."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.documents import ENVIRONMENT, ROOT, TIMEOUT_S, Document, connect
from tests.support.netns import netns as netns

GUIDE = Document("docs/guide.md")


@pytest.mark.parametrize(
    ("name", "prints"),
    [
        ("block.py", "b''\n"),
        ("race.py", "('192.0.2.2', 7) 0.25\n"),
        ("anywhere.py", "b'you wanted 203.0.113.80 port 8080'\n"),
        ("options.py", "6 probes\nESTABLISHED\n"),
        ("hosts.py", "b'are you there?\\n' after 1.2 s\n"),
    ],
)
def test_programs_in_memory(name: str, prints: str, tmp_path: Path) -> None:
    assert GUIDE.run(name, tmp_path) == prints


def test_the_capture_opens_decrypted(tmp_path: Path) -> None:
    if shutil.which("openssl") is not None:
        (command,) = [line for line in GUIDE.text.splitlines() if line.startswith("    openssl ")]
        subprocess.run(command.split(), cwd=tmp_path, check=True, stderr=subprocess.DEVNULL)
    else:
        shutil.copy(ROOT / "tests" / "support" / "tls" / "self-signed.pem", tmp_path / "server.pem")
    assert GUIDE.run("tls.py", tmp_path) == "b'GET / HTTP/1.0\\r\\n\\r\\n' TLSv1.3\n"
    if shutil.which("tshark") is None:
        pytest.skip("there is no tshark here")
    seen = subprocess.run(
        ["tshark", "-r", "tls.pcapng", "-Y", "http"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert "GET / HTTP/1.0" in seen.stdout


@pytest.mark.tun
@pytest.mark.usefixtures("netns")
class TestOnTun:
    def test_one_server_on_both(self, tmp_path: Path) -> None:
        assert GUIDE.run("both.py", tmp_path) == "('127.0.0.1', 7)\n"

    def test_the_echo(self, tmp_path: Path) -> None:
        server = GUIDE.start("echo.py", tmp_path)
        try:
            with connect(server, "192.0.2.2", 7) as client:
                client.sendall(b"hello")
                client.shutdown(socket.SHUT_WR)
                assert client.makefile("rb").read() == b"hello"
        finally:
            server.terminate()
            server.wait()


@pytest.mark.integration
@pytest.mark.tun
@pytest.mark.usefixtures("netns")
class TestLibraries:
    def test_aiohttp_on_both_sides(self, tmp_path: Path) -> None:
        assert GUIDE.run("aiohttp_both.py", tmp_path) == "hello, 192.0.2.2\n"

    def test_an_application_is_fetched_by_curl(self, tmp_path: Path) -> None:
        GUIDE.write("app.py", tmp_path)
        (line,) = [line for line in GUIDE.text.splitlines() if line.startswith("    uvicorn ")]
        server = subprocess.Popen(
            [sys.executable, "-m", *line.split()], cwd=tmp_path, env=ENVIRONMENT
        )
        try:
            connect(server, "192.0.2.2", 80).close()
            body = subprocess.check_output(
                ["curl", "--silent", "--max-time", "20", "http://192.0.2.2/"], text=True
            )
            assert body == '{"hello":"world"}'
        finally:
            server.terminate()
            server.wait()

    def test_a_client_asks_the_kernels_server(self, tmp_path: Path) -> None:
        # The program makes the device that has the server's address; a wildcard needs none.
        with ThreadingHTTPServer(("", 80), Answer) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                assert GUIDE.run("client.py", tmp_path) == "{200}\n"
            finally:
                server.shutdown()
                thread.join()


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass
