"""make bench runs and measures what it promises; how fast is not a test's business."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench import client
from bench.client import Echo, Failed, NotHere
from bench.measure import Server
from tests.support.netns import loopback as loopback
from tests.support.netns import obstacle

ROOT = Path(__file__).parents[2]

COMPILER = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)


def serve(kernel: socket.socket) -> None:
    """Echoes."""
    with kernel:
        while data := kernel.recv(1 << 16):
            kernel.sendall(data)


@contextmanager
def echo_server(connections: int = 1) -> Iterator[int]:
    """On kernel sockets, with a thread for each of so many connections. The port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)

        def accept() -> None:
            for _ in range(connections):
                kernel, _ = listening.accept()
                kernel.settimeout(20)
                threads.append(threading.Thread(target=serve, args=(kernel,)))
                threads[-1].start()

        threads = [threading.Thread(target=accept)]
        threads[0].start()
        yield listening.getsockname()[1]
        for thread in threads:
            thread.join()


@COMPILER
@pytest.mark.usefixtures("loopback")
class TestClient:
    def test_bulk_both_ways_counts_what_was_sent_and_what_came(self) -> None:
        with echo_server(connections=2) as port:
            told = client.run("both", "127.0.0.1", port, 0.05, 2)
        assert told.count > 0
        assert told.count % 2 == 0  # all that was sent came back
        assert told.seconds >= 0.05

    def test_bulk_sent_is_over_when_the_peer_has_closed(self) -> None:
        taken: list[int] = []

        def take() -> None:
            kernel, _ = listening.accept()
            with kernel:
                taken.append(sum(iter(lambda: len(kernel.recv(1 << 20)), 0)))

        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=take)
            thread.start()
            told = client.run("send", "127.0.0.1", listening.getsockname()[1], 0.05)
            thread.join()
        assert [told.count] == taken

    def test_round_trips_on_connections_that_stay(self) -> None:
        with echo_server(connections=3) as port, Echo("127.0.0.1", port, 3) as echo:
            assert echo.opened.count == 3
            assert echo.turn(1, 0.01).count > 0
            assert echo.turn(3, 0.01).count > 0

    def test_an_answer_that_is_another_is_an_error(self) -> None:
        def lie() -> None:
            kernel, _ = listening.accept()
            with kernel:
                kernel.sendall(kernel.recv(64)[::-1].replace(b"\0", b"x"))

        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=lie)
            thread.start()
            with (
                Echo("127.0.0.1", listening.getsockname()[1]) as echo,
                pytest.raises(Failed, match="something else came back"),
            ):
                echo.turn(1, 0.01)
            thread.join()

    def test_nobody_there_is_an_error(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        with pytest.raises(Failed, match="Connection refused"):
            client.run("send", "127.0.0.1", port, 0.05)


def test_without_a_compiler_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "BUILD", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(NotHere, match="no C compiler"):
        client.compiled()


@COMPILER
@pytest.mark.tun
@pytest.mark.skipif(bool(obstacle()), reason=obstacle())
@pytest.mark.parametrize(
    "rows",
    [["in-streams"], ["echo-protocol", "crowd-*", "--ipv6", "--veth"]],
)
def test_rows_are_measured(rows: list[str]) -> None:
    words = [word for row in rows for word in ([row] if row.startswith("--") else ["--only", row])]
    command = [sys.executable, "-m", "bench", "--runs", "1", "--seconds", "0.05", "--crowd", "20"]
    done = subprocess.run(
        [*command, *words, "--json"],
        cwd=ROOT,
        env=os.environ,
        stdout=subprocess.PIPE,
        check=True,
        timeout=250,
    )
    for row in json.loads(done.stdout)["rows"]:
        for cell in row["cells"]:
            assert cell["missing"] == "", cell
            assert len(cell["runs"]) == 1
            assert cell["median"] > 0 or row["key"] == "crowd-idle"
        assert row["ratio"] is not None


def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(Failed, match="did not start: it said: ValueError: broken"):
        Server([sys.executable, "-c", "raise ValueError('broken')"])


def test_a_server_that_ends_by_itself_is_a_failure() -> None:
    server = Server([sys.executable, "-c", "print('READY nowhere 80', flush=True)"])
    server.stop()
    with pytest.raises(Failed, match="the server has ended"):
        server.cpu_s()
