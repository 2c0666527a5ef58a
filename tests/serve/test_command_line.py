"""What a user gets for options that can't work and machines that don't have what it takes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aiotcp.link import network
from aiotcp.options import KINDS, Options
from aiotcp.serve import privileges
from aiotcp.serve.main import cli
from aiotcp.serve.tunables import read_options

pytestmark = pytest.mark.usefixtures("logging_as_before")


def invoke(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.mark.parametrize("command", [[], ["echo"], ["http"], ["asgi"]])
def test_help_is_quick_it_imports_nothing_that_only_serving_needs(command: list[str]) -> None:
    program = (
        "import sys\n"
        "from aiotcp.serve.main import cli\n"
        f"cli({[*command, '--help']!r}, standalone_mode=False)\n"
        "slow = {'pyroute2', 'starlette', 'structlog', 'uvicorn', 'uvloop'}\n"
        "sys.exit(f'imported {slow & set(sys.modules)}' if slow & set(sys.modules) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage: " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["echo", "--address", "192.0.2.300"], "not an IPv4 or IPv6 address"),
        (["echo", "--address", "10.1.2.3"], "--host-address ADDRESS/PREFIX to match"),
        (["echo", "--address", "192.0.2.1"], "both the host's and the stack's"),
        (["echo", "--host-address", "10.1.2.1/24"], "--host-address needs --address"),
        (
            ["echo", "--address", "10.1.2.3", "--host-address", "10.1.2.1"],
            "not ADDRESS/PREFIX, as in 192.0.2.1/24",
        ),
        (["echo", "--mtu", "100"], "--mtu"),
        (["echo", "--port", "65536"], "--port"),
        (["echo", "--grace", "-1"], "--grace"),
        (["echo", "--fd", "999"], "999 is no open file descriptor"),
        (["echo", "--ready-fd", "999"], "999 is no open file descriptor"),
        (["echo", "--ready-fd", "1"], "stdin, stdout or stderr"),
        (["echo", "--ready-fd", "@read-only"], "not open for writing"),
        (["echo", "--ready-fd", "@device", "--fd", "@device"], "the same descriptor"),
        (["echo", "--device", "typo0", "--no-configure"], "there is no interface typo0"),
        (["echo", "--fd", "0", "--device", "tun7"], "--fd and --device exclude each other"),
        (["echo", "--no-configure"], "--no-configure needs --device"),
        (["echo", "--workers", "0"], "--workers"),
        (["echo", "--workers", "2", "--fd", "0"], "--workers needs a queue for each"),
        (["echo", "--workers", "2", "--capture", "all"], "--capture is for one process"),
        (["echo", "--user", "no-such-user-here"], "there is no such user"),
        (["http", "--root", "/no/such/directory"], "does not exist"),
        (["asgi", "example"], "not MODULE:APP, as in example.main:app"),
        (["asgi"], "MODULE:APP"),
        (["nonsense"], "nonsense"),
        (["echo", "-o", "cc=vegas"], "-o cc=vegas: cc must be bbr, cubic or reno, not 'vegas'"),
        (["echo", "-o", "cc"], "-o cc: not NAME=VALUE, as in -o cc=bbr"),
        (["echo", "-o", "nodely=on"], "did you mean 'nodelay'? -o help lists all"),
        (["echo", "-o", "colour=red"], "no option is called 'colour'. -o help lists all"),
        (
            ["echo", "-o", "rto_min_s=30", "-o", "rto_max_s=20"],
            "rto_max_s must be between 30 and 600, not 20.0",
        ),
    ],
)
def test_bad_options_exit_with_2_and_say_what_is_wrong(arguments: list[str], message: str) -> None:
    with open(os.devnull) as read_only, open(os.devnull, "r+b", 0) as device:
        numbers = {"@read-only": str(read_only.fileno()), "@device": str(device.fileno())}
        result = invoke(*(numbers.get(argument, argument) for argument in arguments))
    assert result.exit_code == 2
    assert message in result.output


def test_files_are_not_served_as_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]
) -> None:
    monkeypatch.setattr(privileges, "is_root", lambda: True)
    for options in ([], ["--user", "root"]):
        result = invoke("http", "--root", str(tmp_path), *options)
        assert result.exit_code == 2
        assert "refusing to serve files as root" in result.output
        assert "--user NAME" in result.output


@pytest.mark.parametrize(
    ("error", "code", "messages"),
    [
        (OSError(errno.ENOENT, "there is no /dev/net/tun"), 3, ["no /dev/net/tun"]),
        (
            OSError(errno.EPERM, "not allowed"),
            4,
            ["sudo /", "unshare -Urn", "ip tuntap add", "--no-configure"],
        ),
        (
            network.PrefixInUse("192.0.2.0/24", "eth7", "routed through"),
            5,
            ["192.0.2.0/24 is already routed through eth7", "--host-address", "--address"],
        ),
        (OSError(errno.EBUSY, "tun7 is in use by another process"), 6, ["tun7", "--device"]),
        (OSError(errno.EIO, "what else may happen"), 1, ["what else may happen"]),
        (ValueError("a device name has 1 to 15 bytes"), 2, ["a device name has"]),
    ],
)
def test_what_the_machine_does_not_have_has_a_message_and_a_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, messages: list[str]
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(network, "open_tun", fail)
    result = invoke("echo")
    assert result.exit_code == code
    assert result.output.startswith("aiotcp-serve: ")
    for message in messages:
        assert message in result.output


def test_the_launcher_runs_from_anywhere(tmp_path: os.PathLike[str]) -> None:
    launcher = os.path.join(os.path.dirname(__file__), "../../bin/aiotcp-serve")
    link = os.path.join(tmp_path, "aiotcp-serve")
    os.symlink(os.path.abspath(launcher), link)
    # A checkout may have no environment of its own: then it is who is first on the path.
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))
    done = subprocess.run(
        [link, "--version"],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "aiotcp-serve, version" in done.stdout


def test_options_of_the_stack_are_listed_and_read() -> None:
    listed = invoke("echo", "-o", "help")
    assert listed.exit_code == 0
    lines = [line.split(maxsplit=2) for line in listed.output.splitlines()]
    shown = {line[0]: line[1:] for line in lines if line}
    assert shown["cc"] == ["cubic", "bbr, cubic or reno"]
    assert shown["send_buffer"] == ["none", "between 1 and 2**30, or none"]
    assert set(KINDS) <= set(shown)
    assert read_options([]) == Options()
    read = read_options(["cc=bbr", "send_buffer=4m", "cc=reno"])
    assert read == Options(cc="reno", send_buffer=4 << 20)
