"""What the commands make of signals, closed descriptors, readers who go and odd terminals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import invoke
from tests.support.documents import ROOT

AIOTCP = (sys.executable, "-m", "aiotcp.cli")


def test_ctrl_c_ends_a_command_with_130_and_without_a_traceback() -> None:
    running = subprocess.Popen(
        (*AIOTCP, "run", "--all"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout is not None
    running.stdout.read(1)  # it is at work
    running.send_signal(signal.SIGINT)
    _, told = running.communicate()
    assert (running.returncode, told) == (-signal.SIGINT, b""), "130, as shells have it"


@pytest.mark.parametrize("program", ["cli", "serve"])
def test_ctrl_c_while_modules_are_imported_is_no_traceback(program: str, tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import os\nos.kill(os.getpid(), 2)\n")
    paths = f"{tmp_path}:{ROOT}"
    done = subprocess.run(
        (sys.executable, "-m", f"aiotcp.{program}", "--help"),
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
    )
    assert (done.returncode, done.stdout + done.stderr) == (-signal.SIGINT, b"")


def test_ctrl_c_before_it_serves_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "pyroute2.py").write_text(
        "import signal\nassert signal.getsignal(2) is signal.default_int_handler\n"
        "signal.raise_signal(2)\n"
    )
    done = subprocess.run(
        ("unshare", "-rn", sys.executable, "-m", "aiotcp.serve", "echo"),
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
    )
    assert (done.returncode, done.stdout + done.stderr) == (130, b"")


def test_a_signal_ends_a_run_on_a_device_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    """What runs in the namespace of its own is the process that was started, and no other."""
    script = tmp_path / "unshare"
    script.write_text('#!/bin/sh\n[ "$2" = true ] && exit\necho $$\nexec sleep 1000\n')
    script.chmod(0o755)
    running = subprocess.Popen(
        (*AIOTCP, "run", "--all", "--on", "tun"),
        stdout=subprocess.PIPE,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert running.stdout is not None
    try:
        assert int(running.stdout.readline()) == running.pid
    finally:
        running.kill()
        running.communicate()


@pytest.mark.parametrize("command", [("run", "--list"), ("doctor", "--json")])
def test_a_reader_who_goes_is_told_by_the_exit_code(command: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run((*AIOTCP, *command), stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_without_stdout_there_is_nothing_to_see_and_nothing_breaks() -> None:
    done = subprocess.run(
        ("sh", "-c", 'exec "$@" <&- >&-', "sh", *AIOTCP, "run", "close-active"),
        stderr=subprocess.PIPE,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_is_opened_is_never_taken_for_stdin_or_stdout() -> None:
    program = (
        "import os, sys\n"
        "from aiotcp.serve.standard import open_standard_files\n"
        "open_standard_files()\n"
        "assert os.open('/', os.O_RDONLY) > 2\n"
        "assert sys.stdin.read() == ''\n"
        "print('into the void')\n"
        "sys.stdout.flush()\n"
    )
    done = subprocess.run(
        ("sh", "-c", 'exec "$@" <&- >&-', "sh", sys.executable, "-c", program),
        stderr=subprocess.PIPE,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_terminal_without_the_signs_of_a_ladder_shows_others() -> None:
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run((*AIOTCP, "run", "close-active"), capture_output=True, env=ascii_only)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    assert b"FIN,ACK seq=1 ack=1" in done.stdout
    whole = (*AIOTCP, "run", "--list", "--json")
    for_programs = subprocess.run(whole, capture_output=True, env=ascii_only)
    assert json.loads(for_programs.stdout) == json.loads(
        subprocess.run(whole, capture_output=True).stdout
    )


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "-1", "1e400"])
@pytest.mark.parametrize(
    "command", [("ss", "-w"), ("nc", "192.0.2.1", "7", "-w"), ("serve", "echo", "--grace")]
)
def test_seconds_are_a_number_of_them(command: tuple[str, ...], seconds: str) -> None:
    if command[0] == "serve" and seconds == "0":
        return  # to wait for nobody is a way to end
    done = invoke(*command, seconds)
    assert done.exit_code == 2
    assert seconds in done.output or "inf" in done.output or "0.0" in done.output


@pytest.mark.parametrize(("nohup", "ends"), [("", True), ("nohup", False)])
def test_a_terminal_that_is_closed_ends_a_program_but_for_nohup(nohup: str, ends: bool) -> None:
    program = (
        "import signal\n"
        "from aiotcp.serve.standard import ending_signals\n"
        "print(signal.SIGHUP in ending_signals())\n"
    )
    done = subprocess.run(
        ("sh", "-c", f'{nohup} "$@" </dev/null', "sh", sys.executable, "-c", program),
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    assert done.stdout.decode().strip() == str(ends)
