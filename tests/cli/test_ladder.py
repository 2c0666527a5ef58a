"""`aiotcp ladder`: the ladder of any capture, as text."""

from __future__ import annotations

import cProfile
import json
import subprocess
import sys
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP

from aiotcp.link import memory
from aiotcp.link.pcapng import Capture, enhanced_packet, interface_description, section_header
from aiotcp.report.page import MAX_SEGMENTS
from aiotcp.sim import VirtualLoop
from aiotcp.streams import Stack
from aiotcp.trace import capturefile, ladder
from aiotcp.trace.capturefile import OUTBOUND
from tests.cli.support import invoke

HERE, THERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two connections, one after the other, as the client has seen them."""
    path = tmp_path / "two.pcapng"

    async def run() -> None:
        left, right = memory.pair()
        capture = Capture(left, path, epoch_s=0.0)
        async with (
            Stack(capture, addresses=[HERE]) as here,
            Stack(right, addresses=[THERE]) as there,
        ):
            server = await there.start_server(lambda reader, writer: writer.close(), THERE, 80)
            for _ in range(2):
                reader, writer = await here.open_connection(THERE, 80)
                await reader.read()
                writer.close()
                await writer.wait_closed()
            server.close()

    loop = VirtualLoop()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
    return path


def test_the_ladder_is_that_of_the_trace(file: Path) -> None:
    shown = invoke("ladder", str(file))
    assert shown.exit_code == 0
    assert shown.output == ladder.text(capturefile.read(file))
    assert " open\n" in shown.output
    narrow = invoke("ladder", str(file), "--width", "70").output
    assert max(map(len, narrow.splitlines())) <= 70 < max(map(len, shown.output.splitlines()))


def test_one_connection_of_several(file: Path) -> None:
    both = invoke("ladder", str(file)).output
    one = invoke("ladder", str(file), "--flow", "1").output
    assert both.count("├─ SYN ") == 2
    assert one.count("├─ SYN ") == 1
    assert len(invoke("ladder", str(file), "--flows").output.splitlines()) == 2
    wrong = invoke("ladder", str(file), "--flow", "3")
    assert wrong.exit_code == 2
    assert "there are 2 connections" in wrong.output


def test_for_programs_and_in_colours(file: Path) -> None:
    found = json.loads(invoke("ladder", "--json", str(file)).output)
    assert found["hosts"] == [HERE, THERE]
    assert found["events"][0]["why"] == "open"
    colours = invoke("ladder", str(file), FORCE_COLOR="1", TERM="xterm-256color").output
    assert "\x1b[34mopen" in colours.replace("  \x1b", "\x1b").replace("\x1b[34m  ", "\x1b[34m")


def many(path: Path, count: int) -> Path:
    """A capture of so many segments of one connection."""
    packet = bytes(
        IP(src=HERE, dst=THERE) / TCP(sport=50000, dport=80, flags="A", seq=2, ack=10, window=100)
    )
    with path.open("wb") as file:
        file.write(section_header() + interface_description("x"))
        for number in range(count):
            file.write(enhanced_packet(10**18 + number * 10**6, packet, OUTBOUND, "ack_data"))
    return path


def test_a_line_costs_little(tmp_path: Path) -> None:
    """In calls of Python functions: a terminal's library would make two hundred for each line."""
    short, long = many(tmp_path / "short", 200), many(tmp_path / "long", 1200)
    counts = []
    for path in (short, short, long):
        profile = cProfile.Profile(builtins=False)
        shown = profile.runcall(invoke, "ladder", str(path))
        assert shown.exit_code == 0
        counts.append(sum(entry.callcount for entry in profile.getstats()))
    assert (counts[2] - counts[1]) / 1000 < 50


def test_what_others_wrote_into_a_file_is_not_obeyed(tmp_path: Path) -> None:
    packet = bytes(IP(src=HERE, dst=THERE) / TCP(sport=50000, dport=80, flags="S", seq=2))
    path = tmp_path / "evil.pcapng"
    path.write_bytes(
        section_header()
        + interface_description("x")
        + enhanced_packet(10**18, packet, OUTBOUND, "\x1b[2J\r\nno")
    )
    shown = invoke("ladder", str(path)).output
    assert len(shown.splitlines()) == 2
    assert shown.endswith("  [2Jno\n")


def test_what_the_reader_should_know_is_said(tmp_path: Path) -> None:
    path = many(tmp_path / "many", 3)
    shown = invoke("ladder", str(path)).output
    assert "window scale unknown: the handshake is not in the capture" in shown.splitlines()[-1]
    reported = invoke("report", str(path), "-o", str(tmp_path / "r.html"))
    assert "3 segments" in reported.output
    assert "window scale unknown" in reported.output
    path = many(tmp_path / "many", MAX_SEGMENTS + 1)
    reported = invoke("report", str(path), "-o", str(tmp_path / "r.html"))
    assert f": {MAX_SEGMENTS} segments\n" in reported.output
    assert f"only the first {MAX_SEGMENTS} segments: 1 packet behind them" in reported.output


def test_what_is_no_capture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a capture")
    for name, why in (("text", "no capture"), ("none", "No such file or directory")):
        shown = invoke("ladder", str(tmp_path / name))
        assert shown.exit_code == 1
        assert why in shown.output


def test_a_capture_comes_through_a_pipe(file: Path, tmp_path: Path) -> None:
    with file.open("rb") as stdin:
        shown = subprocess.run(
            [sys.executable, "-m", "aiotcp.cli", "ladder", "-"],
            stdin=stdin,
            capture_output=True,
            timeout=60,
            check=True,
        )
    assert "├─ SYN " in shown.stdout.decode()
    page = tmp_path / "page.html"
    with subprocess.Popen(["cat", file], stdout=subprocess.PIPE) as cat:
        command = [sys.executable, "-m", "aiotcp.cli", "report", "-", "-o", str(page)]
        subprocess.run(command, stdin=cat.stdout, capture_output=True, timeout=60, check=True)
    assert "<title>stdin" in page.read_text()
