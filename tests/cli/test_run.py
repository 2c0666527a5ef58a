"""`aiotcp run`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aiotcp.cli.run import command
from aiotcp.scenario.model import SHIPPED, shipped
from aiotcp.trace.events import Trace


def run(*args: str) -> Result:
    return CliRunner().invoke(command, args)


def wrong(tmp_path: Path) -> Path:
    """A scenario that says what does not happen."""
    file = tmp_path / "wrong.toml"
    right = (SHIPPED / "open-refused.toml").read_text()
    file.write_text(right.replace("ECONNREFUSED", "ETIMEDOUT"))
    return file


def test_one_shows_question_ladder_and_answer() -> None:
    result = run("close-active")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "The side that closes first"
    assert any("FIN,ACK seq=1 ack=1" in line and line.endswith("close") for line in lines)
    assert lines[-1] == "This is what must be seen."
    assert "RFC 9293 3.6, RFC 9293 3.4.2" in lines


def test_in_chinese_with_lines_of_the_width_that_was_asked_for() -> None:
    result = run("close-active", "--lang", "zh", "--width", "80")
    lines = result.output.splitlines()
    assert lines[0] == "主动关闭的一方"
    assert max(sum(1 + (sign > "\u2e80") for sign in line) for line in lines) <= 80


def test_a_difference_is_shown_and_is_the_exit_code(tmp_path: Path) -> None:
    result = run(str(wrong(tmp_path)))
    assert result.exit_code == 1
    shown = [line for line in result.output.splitlines() if line.startswith(("+", "-"))]
    assert shown == [
        "- 0.020 client ! ConnectionRefusedError ETIMEDOUT",
        "+ 0.020 client ! ConnectionRefusedError ECONNREFUSED",
    ]


def test_all_of_them() -> None:
    result = run("--all")
    assert result.exit_code == 0
    count = len(shipped())
    assert result.output.splitlines()[-1] == f"{count} of {count} happened as they must"


def test_several_with_one_that_differs(tmp_path: Path) -> None:
    result = run("open-passive", str(wrong(tmp_path)))
    assert result.exit_code == 1
    assert [line.split()[0] for line in result.output.splitlines()][:2] == ["ok", "differs"]
    assert result.output.splitlines()[-1] == "1 of 2 happened as they must"


def test_for_programs() -> None:
    (result,) = json.loads(run("open-passive", "--json", "--seed", "3").output)
    assert (result["id"], result["seed"], result["different"]) == ("open-passive", 3, "")
    assert Trace.from_json(result["trace"]).segments[0].flags == "SYN"
    listed = json.loads(run("--list", "--json").output)
    assert [each["id"] for each in listed] == shipped()


def test_the_list() -> None:
    lines = run("--list").output.splitlines()
    assert lines[0] == "opening"
    assert {line.split()[0] for line in lines if line.startswith("  ")} == set(shipped())


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "say which: NAME, FILE or --all"),
        (("--all", "open-passive"), "--all plays open-passive, too: say either --all or names"),
        (("nothing",), "no scenario and no file 'nothing'"),
        (("nothing.toml",), "nothing.toml: there is no such file"),
        (("./nothing",), "./nothing: there is no such file"),
        (("/",), "/: Is a directory"),
        (("/dev/zero",), "/dev/zero: no scenario is longer than"),
        (("open-passive", "--width", "9" * 20), "is not in the range 40<=x<=1000"),
        (("open-passive", "--lang", "tlh"), "'tlh' is not one of 'en', 'zh'"),
    ],
)
def test_what_is_refused(args: tuple[str, ...], says: str) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert says in result.output


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("[story]", "[story]\nsince = nan", "story.since is seconds, 0 to 1e+09, not nan"),
        ("until = 1", "until = inf", "story.until is seconds"),
        ("rfc = [", "rfc = [3, ", "rfc is a list of texts"),
        ("[hosts.server]", '[hosts."a b"]\n[hosts.server]', "no name for a host: 'a b'"),
        ("[hosts.server]", "[hosts.network]\n[hosts.server]", "no name for a host: 'network'"),
    ],
)
def test_a_file_that_makes_no_sense_is_one_line_of_explanation(
    tmp_path: Path, right: str, wrong: str, said: str
) -> None:
    file = tmp_path / "wrong.toml"
    text = (SHIPPED / "open-refused.toml").read_text()
    assert right in text
    file.write_text(text.replace(right, wrong))
    result = run(str(file))
    assert result.exit_code == 2
    assert result.output.splitlines()[-1].startswith(f"Error: {file}: {said}")


def test_a_port_that_is_taken_is_told_to_the_program(tmp_path: Path) -> None:
    file = tmp_path / "twice.toml"
    text = (SHIPPED / "open-passive.toml").read_text()
    line = "0    server  listens on 80\n"
    assert text.count(line) == 1, text
    file.write_text(text.replace(line, 2 * line))
    result = run(str(file))
    assert "+ 0.000 server ! OSError EADDRINUSE" in result.output.splitlines()
    assert result.exit_code == 1


def test_no_room_for_what_it_prints_is_an_error_and_no_traceback() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "aiotcp.cli", "run", "open-refused"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (1, "Error: stdout: No space left on device\n")
