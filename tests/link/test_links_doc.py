"""What docs/links.md and the docstring of link/base.py show works as it is shown."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import aiotcp.link
from aiotcp.link import base
from tests.link.test_descriptor import transfer
from tests.support.netns import loopback as loopback
from tests.support.netns import obstacle, private_network

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "links.md").read_text()
PROGRAMS = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", DOCUMENT, re.DOTALL))
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
TIMEOUT_S = 250.0


def run(name: str, folder: Path) -> str:
    path = folder / name
    path.write_text(PROGRAMS[name])
    done = subprocess.run(
        [sys.executable, path],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_links_in_memory_wrap_each_other(tmp_path: Path) -> None:
    assert run("memory.py", tmp_path) == "b'hello' 0.2\n"
    assert (tmp_path / "memory.pcapng").stat().st_size > 500


@pytest.mark.tun
def test_two_processes_share_a_device(tmp_path: Path) -> None:
    if why_not := obstacle():
        pytest.skip(why_not)
    path = tmp_path / "queues.py"
    path.write_text(PROGRAMS["queues.py"])
    with private_network():
        parent = subprocess.Popen(
            [sys.executable, path], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
        )
        try:
            assert parent.stdout is not None
            assert sorted(parent.stdout.read(12)) == sorted("ready\n" * 2)  # in any order
            answers = set()
            for _ in range(40):
                with socket.create_connection(("192.0.2.2", 7), TIMEOUT_S) as client:
                    answers.add(int(client.makefile().readline()))
        finally:
            listed = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text()
            processes = {int(each) for each in listed.split()}
            for process in processes:
                os.kill(process, signal.SIGTERM)
            parent.communicate(timeout=TIMEOUT_S)
    assert parent.returncode == 0
    assert answers == processes
    assert len(processes) == 2


@pytest.mark.usefixtures("loopback")
def test_two_processes_are_joined_by_udp(tmp_path: Path) -> None:
    path = tmp_path / "server.py"
    path.write_text(PROGRAMS["udp_server.py"])
    server = subprocess.Popen(
        [sys.executable, path], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        for _ in range(2):  # the client may come back
            assert run("udp_client.py", tmp_path) == "b'hello, world\\n'\n"
    finally:
        server.terminate()
        server.communicate()


def test_a_child_inherits_its_network(tmp_path: Path) -> None:
    assert run("fd_parent.py", tmp_path) == "b'I have no network but this'\n"


@pytest.mark.real_loop
async def test_a_link_of_ones_own_carries_packets_over_a_stream() -> None:
    names: dict[str, Any] = {}
    exec(PROGRAMS["stream_link.py"], names)
    lines = PROGRAMS["stream_link.py"].split("class StreamLink")[1].splitlines()
    assert len([line for line in lines if line.strip()]) <= 40
    loop = asyncio.get_running_loop()
    ends = socket.socketpair()
    (_, left), (_, right) = [
        await loop.create_connection(names["StreamLink"], sock=end) for end in ends
    ]
    await transfer(left, right, 4, 1_000_000)
    assert left.counters["send_closed"] == right.counters["send_closed"] == 0
    with pytest.raises(RuntimeError, match="closed"):
        left.attach(None, loop)


def thirty_lines() -> str:
    """The example in the docstring of link/base.py."""
    assert base.__doc__ is not None
    (found,) = re.findall(r"\n    class CallbackLink:\n(?:    .*\n|\n)+", base.__doc__)
    return textwrap.dedent(found)


async def test_the_thirty_lines_are_a_link() -> None:
    example = thirty_lines()
    assert len(example.strip().splitlines()) <= 30
    names: dict[str, Any] = {
        "asyncio": asyncio,
        "Callable": Callable,
        "Iterable": Iterable,
        "Frame": aiotcp.link.Frame,
        "Receiver": aiotcp.link.Receiver,
    }
    exec(example, names)
    loop = asyncio.get_running_loop()
    right: Any = None
    left = names["CallbackLink"](lambda packet: loop.call_soon(right.deliver, [packet]))
    right = names["CallbackLink"](lambda packet: loop.call_soon(left.deliver, [packet]))
    await transfer(left, right, 6, 500_000)


def test_a_link_that_stands_between(tmp_path: Path) -> None:
    overhead, text = run("meter.py", tmp_path).split("%", 1)
    assert 2 < float(overhead) < 6  # 52 bytes of header for each 1448, and the handshake
    assert text.startswith(" more than the data, ")


def test_every_link_has_its_line() -> None:
    table = {row.split("|")[1].strip() for row in re.findall(r"^\| `.*$", DOCUMENT, re.MULTILINE)}
    wanted = {"Udp", "Unix", "Fd", "Impair", "Capture", "memory.pair()", "tun.Tun"}
    assert table == {f"`{name}`" for name in wanted}
    for name in ("Udp", "Unix", "Fd", "Impair", "Capture", "pair"):
        assert name in aiotcp.link.__all__


def test_programs_say_which_they_are() -> None:
    assert len(PROGRAMS) == DOCUMENT.count("```python")
