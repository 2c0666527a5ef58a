"""What docs/watching.md shows works as it is typed there, and shows what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.documents import ENVIRONMENT, TIMEOUT_S, Document
from tests.support.netns import netns as netns

PAGE = Document("docs/watching.md")
_TRIES = 60
_END = "----"
_AIOTCP = """
from pathlib import Path
from aiotcp.cli.start import main
from aiotcp.control import places

places.sockets = lambda: sorted(Path({folder!r}, "aiotcp").glob("*.sock"))
main()
"""
"""The command, which finds the stacks of the session alone: for root, those of all that run on the
machine, other tests' as well, are stacks to be asked."""


def typed() -> list[tuple[str, list[str]]]:
    """Each command, and the lines that the page shows below it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", PAGE.text, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


class Shell:
    """A shell that commands are typed into, one after the other."""

    def __init__(self, folder: Path) -> None:
        python = Path(sys.executable)
        command = folder / "bin" / "aiotcp"
        command.parent.mkdir()
        program = folder / "bin" / "aiotcp.py"
        program.write_text(_AIOTCP.format(folder=str(folder)))
        command.write_text(f'#!/bin/sh\nexec {python} -P {program} "$@"\n')
        command.chmod(0o755)
        paths = f"{command.parent}:{python.parent}:{os.environ['PATH']}"
        self._process = subprocess.Popen(
            ["bash", "-m"],
            cwd=folder,
            env=ENVIRONMENT | {"PATH": paths, "XDG_RUNTIME_DIR": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def type(self, command: str) -> list[str]:
        """What is said until the next prompt."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\necho {_END}\n")
        self._process.stdin.flush()
        said: list[str] = []
        while (line := self._process.stdout.readline()) != f"{_END}\n":
            assert line, "".join(said)
            said.append(line)
        return [line.rstrip("\n") for line in said]

    def until(self, command: str, shape: list[str]) -> None:
        """Type it again until it says what it is to say."""
        heard: dict[str, None] = {}  # what those in the background say, too
        for _ in range(_TRIES):
            said = self.type(command)
            if all(any(is_like(line, each) for each in said) for line in shape):
                return
            heard |= dict.fromkeys(said)
        raise AssertionError(f"{command} says:\n" + "\n".join(heard))

    def close(self) -> None:
        self._process.communicate("kill $(jobs -p) 2>/dev/null\n", timeout=TIMEOUT_S)


def is_like(shown: str, said: str) -> bool:
    """Whether they tell the same, in other numbers. Of a line of `ss -i`, the words that the text
    is about."""
    waits = re.search(r'waits:"[^"]*"', shown)
    if waits is not None:
        words = re.findall(r" (ts sack|backoff|until|unacked|retrans)\b", shown)
        return all(word in said for word in (waits[0], *words))
    drawn = re.split(r"  +|─+", shown)
    pattern = r"[ ─]*".join(re.sub(r"\d+(\\\.\d+)?", r"[0-9.]+", re.escape(word)) for word in drawn)
    return re.fullmatch(pattern, said) is not None


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    yield made
    made.close()


@pytest.mark.tun
@pytest.mark.usefixtures("netns")
def test_the_session(shell: Shell, tmp_path: Path) -> None:
    commands = typed()
    assert len(commands) > 10
    last, lines = commands.pop()
    assert last == "python watched.py"
    for command, shown in commands:
        repeatable = command.startswith(("aiotcp ss", "aiotcp ladder"))
        if repeatable:
            shell.until(command, shown)
            continue
        said = shell.type(command)
        for line in shown:
            assert any(is_like(line, each) for each in said), f"{command}: {line}\n{said}"
        if command.startswith("aiotcp nc"):
            shell.until("aiotcp ss -tnH | cut -c-5", ["ESTAB"])
        elif command.startswith("aiotcp capture"):
            begun = """aiotcp info --json | grep -q '"captures": 1,' && echo begun"""
            shell.until(begun, ["begun"])
    (tmp_path / "watched.py").write_text(PAGE.programs["watched.py"])
    shell.until(last, lines)
