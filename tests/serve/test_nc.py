"""`aiotcp nc`, with the kernel's sockets at the other end."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from aiotcp.trace import capturefile
from tests.serve.support import ROOT, TIMEOUT_S
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns", "_own_directory")]

HOST, STACK = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@contextmanager
def nc(
    *arguments: str, stdin: int = subprocess.PIPE, stdout: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "aiotcp.cli", "nc", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(process: subprocess.Popen[bytes], word: str) -> str:
    """The line of stderr that has it."""
    assert process.stderr is not None
    seen = []
    while line := process.stderr.readline().decode():
        if word in line:
            return line
        seen.append(line)
    raise AssertionError("".join(seen))


def listener() -> socket.socket:
    """The kernel's, at all its addresses: that of the device is not there yet."""
    made = socket.create_server(("0.0.0.0", 0))
    made.settimeout(TIMEOUT_S)
    return made


def test_it_connects_stdin_and_stdout_to_a_server_of_the_kernel(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    file = tmp_path / "nc.pcapng"
    with listener() as server:
        port = str(server.getsockname()[1])
        with nc("-v", HOST, port, "--capture", str(file)) as process:
            until(process, "connected: 192.0.2.2:")
            peer, address = server.accept()
            assert address[0] == STACK
            assert process.stdin is not None
            with peer, peer.makefile("rb") as stream:
                peer.settimeout(TIMEOUT_S)
                process.stdin.write(data)
                process.stdin.close()
                process.stdin = None
                assert stream.read() == data, "the end of stdin is a FIN, and not the end"
                peer.sendall(b"answer")
            assert process.stdout is not None
            assert process.stdout.read() == b"answer"
            assert "sent 300000 bytes, received 6 bytes" in until(process, "received")
            assert process.wait(TIMEOUT_S) == 0
    with file.open("rb") as captured:
        assert "open" in [packet.comment for packet in capturefile.packets(captured)]


def test_it_listens_for_one_connection(tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.write_bytes(bytes(range(256)) * 1000)
    with source.open("rb") as stdin, nc("-lv", "8000", stdin=stdin.fileno()) as process:
        assert f"listening at {STACK}:8000" in until(process, "listening")
        with socket.create_connection((STACK, 8000), timeout=TIMEOUT_S) as peer:
            peer.sendall(b"hello")
            peer.shutdown(socket.SHUT_WR)
            with peer.makefile("rb") as stream:
                assert stream.read() == source.read_bytes()
        assert process.stdout is not None
        assert process.stdout.read() == b"hello"
        assert process.wait(TIMEOUT_S) == 0


def test_it_goes_on_to_listen_if_asked() -> None:
    with nc("-lkv", "8000", stdin=subprocess.DEVNULL) as process:
        until(process, "listening")
        for _ in range(3):
            with socket.create_connection((STACK, 8000), timeout=TIMEOUT_S) as peer:
                peer.sendall(b"once more")
                peer.shutdown(socket.SHUT_WR)
                assert peer.recv(1) == b""
            until(process, "received 9 bytes")
        process.send_signal(2)
        assert process.wait(TIMEOUT_S) == 130


def test_exit_codes_tell_what_went_wrong() -> None:
    with nc(HOST, "9", stdin=subprocess.DEVNULL) as process:
        _, said = process.communicate(timeout=TIMEOUT_S)
        assert (process.returncode, said) == (1, b"aiotcp nc: 192.0.2.1 9: Connection refused\n")
    with nc("-w", "0.2", "192.0.2.9", "9", stdin=subprocess.DEVNULL) as process:
        _, said = process.communicate(timeout=TIMEOUT_S)
        assert (process.returncode, b"no answer within 0.2 s" in said) == (1, True)
    with nc("-l", "-z", "9") as process:
        _, said = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 2
    with nc(HOST, "9", "--address", "10.1.1.1") as process:
        _, said = process.communicate(timeout=TIMEOUT_S)
        assert (process.returncode, said[:11]) == (2, b"aiotcp nc: ")
    with listener() as server, nc("-zv", HOST, str(server.getsockname()[1])) as process:
        until(process, "connected")
        assert process.wait(TIMEOUT_S) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_and_the_connection_though_nobody_reads_what_came(
    number: signal.Signals,
) -> None:
    with listener() as server, nc("-v", HOST, str(server.getsockname()[1])) as process:
        until(process, "connected")
        peer, _ = server.accept()
        peer.settimeout(TIMEOUT_S)
        with peer:
            peer.sendall(bytes(500_000))  # more than a pipe holds
            process.send_signal(number)
            assert process.wait(TIMEOUT_S) == 128 + number
            with suppress(ConnectionResetError):
                assert peer.recv(1) == b""


def test_who_does_not_read_stdout_any_more_is_the_end_of_it() -> None:
    with listener() as server, nc("-v", HOST, str(server.getsockname()[1])) as process:
        until(process, "connected")
        peer, _ = server.accept()
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        with peer:
            peer.sendall(b"who is there")
            assert process.wait(TIMEOUT_S) == 141
        assert process.stderr is not None
        assert process.stderr.read() == b"sent 0 bytes, received 12 bytes\n"


def test_a_full_disk_is_not_the_connections_fault() -> None:
    with open("/dev/full", "wb") as full:
        full_disk = full.fileno()
        with nc("-lkv", "8000", stdin=subprocess.DEVNULL, stdout=full_disk) as process:
            until(process, "listening")
            with socket.create_connection((STACK, 8000), timeout=TIMEOUT_S) as peer:
                peer.sendall(b"keep this")
                until(process, "aiotcp nc: stdout: No space left on device\n")
                assert process.wait(TIMEOUT_S) == 1


def test_names_that_do_not_exist_are_told_in_words() -> None:
    with nc("-4", "fd61:696f:7463:70::1", "9", stdin=subprocess.DEVNULL) as process:
        _, said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert said == (
        b"aiotcp nc: fd61:696f:7463:70::1 9: Address family for hostname not supported\n"
    )


def test_a_reset_is_a_failure() -> None:
    with listener() as server, nc("-v", HOST, str(server.getsockname()[1])) as process:
        until(process, "connected")
        peer, _ = server.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        assert "Connection reset by peer" in until(process, "lost")
        assert process.wait(TIMEOUT_S) == 1
