"""What is shown in a narrow terminal has its lines broken between words; in a pipe it has not."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from rich.cells import cell_len

from aiotcp.cli import output
from aiotcp.scenario.model import find, shipped
from aiotcp.scenario.player import play
from aiotcp.trace import ladder
from aiotcp.trace.events import Event, Segment, Trace
from tests.cli.support import aiotcp, invoke
from tests.support.controlled import watched


def in_terminal(columns: int, *arguments: str) -> str:
    """What `aiotcp` shows in one of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    process = subprocess.Popen(
        [sys.executable, "-m", "aiotcp.cli", *arguments],
        stdout=theirs,
        env={**environment, "TERM": "dumb"},
    )
    os.close(theirs)
    found = b""
    try:
        while data := os.read(ours, 65536):
            found += data
    except OSError:  # how Linux says that nobody has it open any more
        pass
    finally:
        os.close(ours)
        process.wait(60)
    return found.decode().replace("\r\n", "\n")


def words(text: str) -> list[str]:
    return [word.rstrip(",") for word in text.split() if any(map(str.isalnum, word))]


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_the_list_of_scenarios(columns: int) -> None:
    shown = in_terminal(columns, "run", "--list")
    assert max(map(len, shown.splitlines())) <= columns
    assert words(shown) == words(invoke("run", "--list").output)
    assert len(invoke("run", "--list", COLUMNS="40").output.splitlines()) < 80, "in a pipe"


@pytest.mark.parametrize("columns", [40, 60])
def test_a_scenario_and_its_answer(columns: int) -> None:
    for language in ("en", "zh"):
        shown = in_terminal(columns, "run", "close-active", "--lang", language)
        assert max(map(cell_len, shown.splitlines())) <= columns
    assert "FIN,ACK seq=1 ack=1 " in shown


def test_what_doctor_finds() -> None:
    lines = in_terminal(40, "doctor").splitlines()
    wide = [line for line in lines if len(line) > 40]
    assert all(line.startswith(" " * 18) and "aiotcp" in line for line in wide), "commands alone"


@pytest.mark.real_loop
@pytest.mark.parametrize("columns", [40, 60, 80, None])
async def test_connections(
    columns: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path / "c.sock") as world:
        _, writer = await world.connected()
        asking = ("ss", "--socket", str(tmp_path / "c.sock"), "-np")
        wide = await aiotcp(*asking, "-l")  # what does not change meanwhile
        monkeypatch.setattr(output, "columns", lambda: columns)
        shown = await aiotcp(*asking, "-l")
        everything = await aiotcp(*asking, "-ai")
        writer.close()
    assert "".join(wide.split()) == "".join(shown.split())
    if columns is not None:
        assert max(map(len, wide.splitlines())) > 80
        assert max(map(len, everything.splitlines())) <= columns


@pytest.mark.parametrize("width", [40, 50, 60, 80])
def test_a_narrow_ladder_has_all_that_a_wide_one_has(width: int) -> None:
    for name in shipped():
        trace = play(find(name))
        narrow, wide = ladder.text(trace, width=width), ladder.text(trace, width=180)
        assert max(map(len, narrow.splitlines())) <= width, name
        if width < 60:
            continue  # words themselves may be broken
        missing = Counter(words(wide)) - Counter(words(narrow))
        # Options are shown where there is room; what is crossed out need not be called lost.
        assert [each for each in missing if not each.startswith(("sack=", "mss=", "lost"))] == []


def test_three_lanes_in_eighty_columns() -> None:
    lines = ladder.text(play(find("syn-flood")), width=80).splitlines()
    assert sum(line.rstrip().endswith(("│", "┤")) for line in lines) > len(lines) / 2
    assert "…" not in "".join(lines)


@pytest.mark.parametrize("width", [40, 60, 80, 100])
@pytest.mark.parametrize("count", range(2, 9))
def test_numbers_are_whole_however_many_lanes_there_are(count: int, width: int) -> None:
    hosts = [f"host-{n}" for n in range(count)]
    numbers = ["seq=1234567890", "ack=4294967295", "win=65535", "len=1448"]
    events: list[Event] = [
        Segment(0.0, *way, 0, "ACK", 1234567890, 4294967295, 65535, 1448)
        for there in pairwise(hosts)
        for way in (there, there[::-1])
    ]
    shown = ladder.text(Trace(title="", hosts=hosts, events=events), width=width)
    assert shown.count("▶") == shown.count("◀") == count - 1, "every arrow has its head"
    if width >= 60:
        found = words(shown.replace("│", " "))
        assert [each for each in found if "=" in each] == numbers * len(events)
    bare = "".join(sign for sign in shown.partition("0.000")[2] if sign.isalnum() or sign in ",=")
    told = "".join(["ACK", *numbers])
    assert bare == "0000".join([told] * len(events)), "and nothing else stands between"


def test_names_above_narrow_lanes_stand_below_each_other() -> None:
    hosts = ["fd61:696f:7463:70::1", "fd61:696f:7463:70::2"]
    first, second, *_ = ladder.text(Trace(title="", hosts=hosts), width=40).splitlines()
    assert (first.strip(), second.strip()) == (hosts[0], hosts[1])


def test_times_of_weeks_leave_the_lanes_in_line() -> None:
    lines = ladder.text(play(find("partition-idle"))).splitlines()
    assert "604801.000" in "".join(lines)
    assert len({line.rstrip().rindex("│") for line in lines if line.count("│") == 2}) == 1
