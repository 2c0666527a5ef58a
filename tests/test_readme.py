"""What the README shows works as it is shown."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from tests.support.documents import Document, connect
from tests.support.netns import netns as netns

README = Document("README.md")


@pytest.mark.tun
@pytest.mark.usefixtures("netns")
def test_the_ten_line_server_greets_curl(tmp_path: Path) -> None:
    server = README.start("hello.py", tmp_path)
    try:
        with connect(server, "192.0.2.2", 7000) as client, client.makefile("rw") as stream:
            stream.write("world\n")
            stream.flush()
            assert stream.read() == "hello, world\n"
    finally:
        server.terminate()
        server.wait()


def test_the_lossy_transfer_is_whole_and_the_same_each_time(tmp_path: Path) -> None:
    first = README.run("lossy.py", tmp_path)
    assert first.startswith("1000000 bytes at ")
    assert "retransmit" in first
    assert README.run("lossy.py", tmp_path) == first


def test_every_option_that_is_shown_exists() -> None:
    from click.testing import CliRunner

    from aiotcp.cli.main import cli as aiotcp
    from aiotcp.serve.main import cli as serve

    def options(command: click.Command, *args: str) -> set[str]:
        return set(re.findall(r"--[a-z][a-z-]+", CliRunner().invoke(command, args).output))

    known = options(serve, "http", "--help")
    for line in README.text.splitlines():
        shown = set(re.findall(r"--[a-z][a-z-]+", line)) - {"--help"}
        named = re.match(r"    aiotcp ([a-z]+) ", line)
        if named is not None:
            assert shown <= options(aiotcp, named[1], "--help"), line
        else:
            assert shown <= known, line


def test_the_control_is_chosen_for_a_connection(tmp_path: Path) -> None:
    lines = README.run("choose.py", tmp_path).splitlines()
    seconds = {line.partition(":")[0]: float(line.split()[1]) for line in lines}
    assert list(seconds) == ["reno", "cubic", "bbr"]
    assert 2 * seconds["bbr"] < seconds["reno"]
