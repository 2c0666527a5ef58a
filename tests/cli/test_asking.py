"""`aiotcp ss`, `stat` and `info`, on a stack that answers in the same process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import click
import pytest
import pytest_asyncio

from aiotcp import control
from aiotcp.cli import main, sstext
from aiotcp.control import client, places
from aiotcp.link import memory
from aiotcp.streams import Stack
from tests.cli.support import aiotcp, invoke
from tests.support.controlled import CLIENT, PORT, SERVER, Watched, watched

pytestmark = pytest.mark.real_loop


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[Watched]:
    async with watched(tmp_path / "c.sock", name="test", what="echo") as made:
        yield made


def at(world: Watched) -> tuple[str, str]:
    return "--socket", str(world.control.path)


# ss


async def test_ss_has_the_columns_of_ss(world: Watched) -> None:
    _, writer = await world.connected()
    port = writer.get_extra_info("sockname")[1]
    head, row = (await aiotcp("ss", "-tn", *at(world))).splitlines()
    assert head.split() == (
        ["State", "Recv-Q", "Send-Q", "Local", "Address:Port", "Peer", "Address:Port", "Process"]
    )
    assert row.split()[:2] == ["ESTAB", "0"]
    assert row.split()[3:] == [f"{SERVER}:{PORT}", f"{CLIENT}:{port}"]
    assert row.index(":") == head.index(":"), "ports begin below each other"
    everything = (await aiotcp("ss", "-tanH", *at(world))).splitlines()
    assert [line.split()[0] for line in everything] == ["LISTEN", "ESTAB"]
    assert everything[0].split()[1:] == ["0", "100", f"{SERVER}:{PORT}", "0.0.0.0:*"]
    listening = await aiotcp("ss", "-tlnpH", *at(world))
    assert listening.split()[-1] == f'users:(("test",pid={os.getpid()}))'
    assert f"{SERVER}:echo" in await aiotcp("ss", "-tlH", *at(world))
    assert await aiotcp("ss", "-6tanH", *at(world)) == ""
    assert len((await aiotcp("ss", "-4tanH", *at(world))).splitlines()) == 2


async def test_ss_shows_tcp_info_in_the_words_of_ss_and_what_it_waits_for(world: Watched) -> None:
    await world.connected()
    _, row, info = (await aiotcp("ss", "-tino", *at(world))).splitlines()
    assert row.startswith("ESTAB")
    words = info.split()
    assert words[:4] == ["ts", "sack", "cubic", "wscale:10,10"]
    names = [word.partition(":")[0] for word in words]
    usual = [
        *("rto", "rtt", "ato", "mss", "pmtu", "rcvmss", "advmss", "cwnd"),
        *("bytes_sent", "bytes_received", "segs_out", "segs_in", "data_segs_out", "data_segs_in"),
        *("send", "rcv_space", "rcv_ssthresh", "minrtt", "snd_wnd", "rcv_wnd"),
    ]
    assert [name for name in names if name in usual] == usual
    (info_only,) = (await aiotcp("ss", "-tinOH", *at(world))).splitlines()
    assert " cubic wscale:10,10 rto:" in info_only, "options are for -o, as there"
    assert " ts " not in info_only
    assert re.search(r"mss:1448 pmtu:1500 rcvmss:\d+ advmss:1460 cwnd:10 bytes_sent:5 ", info)
    assert re.search(r' waits:"[^"]+"( until:\d+\.\d{3}s)?$', info)


async def test_ss_filters_by_state_and_by_address_and_port(world: Watched) -> None:
    _, writer = await world.connected()
    port = writer.get_extra_info("sockname")[1]
    await world.connected()

    async def shown(*filter: str) -> int:
        return len((await aiotcp("ss", "-tnH", *at(world), *filter)).splitlines())

    assert await shown("state", "established", f"( sport = :{PORT} )") == 2
    assert await shown("state", "listening") == 1
    assert await shown("state", "time-wait") == 0
    assert await shown(f"dport = :{port}") == 1
    assert await shown("dst", "198.51.100.0/24") == 0
    wrong = await asyncio.to_thread(invoke, "ss", *at(world), "colour", "red")
    assert wrong.exit_code == 2
    assert "conditions are src, dst, sport and dport" in wrong.output


async def test_ss_for_programs_and_again_and_again(world: Watched) -> None:
    await world.connected()
    (row,) = json.loads(await aiotcp("ss", "--json", *at(world)))
    assert row["process"] == {"pid": os.getpid(), "uid": os.geteuid(), "name": "test"}
    assert row["tcp_info"]["bytes_received"] == 5
    assert {"for", "in_s"} == row["waits"].keys()
    # Three times, until nobody reads any more.
    watching = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aiotcp.cli", "ss", "--json", "-w", "0.05", *at(world)),
        stdout=subprocess.PIPE,
    )
    assert watching.stdout is not None
    seen = [json.loads(await watching.stdout.readline()) for _ in range(3)]
    assert [len(each["rows"]) for each in seen] == [1, 1, 1]
    assert seen[0]["at"] < seen[1]["at"] < seen[2]["at"]
    watching.send_signal(2)
    await watching.communicate()
    assert watching.returncode == 0
    summary = await aiotcp("ss", "-s", *at(world))
    assert "TCP:   2 (estab 1, synrecv 0, orphaned 0, timewait 0, listening 1)" in summary


async def test_colours_are_for_terminals_that_want_them(world: Watched) -> None:
    await world.connected()
    colours = await aiotcp("ss", "-tn", *at(world), FORCE_COLOR="1", TERM="xterm-256color")
    assert "\x1b[32m" in colours, "green"
    plain = await aiotcp(
        "ss", "-tn", *at(world), FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR="1"
    )
    assert "\x1b[32m" not in plain
    assert "\x1b" not in await aiotcp("ss", "-tn", *at(world))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.204, "204ms"),
        (0.004, "004ms"),
        (0.0, "0ms"),
        (1.2, "1.200ms"),
        (9.0, "9sec"),
        (59.9, "59sec"),
        (119.0, "1min59sec"),
        (7199.9, "119min"),
    ],
)
def test_timers_are_spelled_as_ss_does(seconds: float, text: str) -> None:
    found = sstext.timer({"name": "on", "in_s": seconds, "retrans": 3})
    assert found == f"timer:(on,{text},3)"


# stat


async def test_stat_shows_what_is_new_since_the_last_call(world: Watched, tmp_path: Path) -> None:
    history = {"NSTAT_HISTORY": str(tmp_path / "history")}

    async def numbers(*options: str) -> dict[str, int]:
        lines = (await aiotcp("stat", *at(world), *options, **history)).splitlines()
        rows = [line.split() for line in lines if not line.startswith("#")]
        return {row[0]: int(row[1]) for row in rows}

    await world.connected()
    first = await numbers()
    assert (first["TcpPassiveOpens"], first["open_reply"]) == (1, 1)
    await world.connected()
    await world.connected()
    assert (await numbers("-s"))["TcpPassiveOpens"] == 2
    assert (await numbers())["TcpPassiveOpens"] == 2
    assert "TcpPassiveOpens" not in await numbers()
    assert (await numbers("-z"))["TcpPassiveOpens"] == 0
    every = await numbers("-a")
    assert (every["TcpPassiveOpens"], every["TcpCurrEstab"]) == (3, 3)
    await world.connected()
    assert await aiotcp("stat", "-n", *at(world), **history) == ""
    assert await numbers("Tcp*Opens") == {}
    assert await numbers("-a", "TcpPass*") == {"TcpPassiveOpens": 4}
    await world.connected()
    assert (await numbers("-r"))["TcpPassiveOpens"] == 5
    assert await numbers("TcpPass*") == {}
    found = json.loads(await aiotcp("stat", "-a", "--json", *at(world), **history))
    assert found["nstat"]["TcpPassiveOpens"] == found["sent"]["open_reply"] == 5
    assert found["pid"] == os.getpid()


async def test_stat_shows_drop_reasons_as_a_group(world: Watched, tmp_path: Path) -> None:
    history = {"NSTAT_HISTORY": str(tmp_path / "history")}
    world.server.receive(memoryview(b"\x00" * 40))
    world.server.flush()
    lines = (await aiotcp("stat", *at(world), **history)).splitlines()
    group = lines.index("#dropped  packets dropped, by reason")
    assert lines[group + 1].split()[:2] == ["ip_version", "1"]


async def test_a_history_that_makes_no_sense_is_none(world: Watched, tmp_path: Path) -> None:
    (tmp_path / "history").write_text('{"a": {"at": "never"}, "b": 1')
    await world.connected()
    found = await aiotcp("stat", *at(world), NSTAT_HISTORY=str(tmp_path / "history"))
    assert "TcpPassiveOpens" in found


# Which stack


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No stacks but those of the test."""
    place = tmp_path / "aiotcp"
    place.mkdir(mode=0o700)
    monkeypatch.setattr(places, "own_directories", lambda: [place])
    monkeypatch.setattr(places, "sockets", lambda: sorted(place.glob("*.sock")))


@pytest.mark.usefixtures("alone")
async def test_the_only_stack_is_meant_of_several_one_must_be_chosen() -> None:
    none = await asyncio.to_thread(invoke, "ss")
    assert none.exit_code == 1
    assert "aiotcp.control.serve(stack)" in none.output
    assert (await asyncio.to_thread(invoke, "info")).exit_code == 1
    stacks = [Stack(memory.pair()[0], addresses=[SERVER]) for _ in range(2)]
    async with control.serve(stacks[0], name="one") as one:
        await aiotcp("ss")
        assert re.search(r"one$", await aiotcp("info"), re.MULTILINE)
        async with control.serve(stacks[1], name="other"):
            several = await asyncio.to_thread(invoke, "ss")
            assert several.exit_code == 2
            assert "2 stacks are running" in several.output
            assert f"{os.getpid()}  other at {SERVER}" in several.output
            assert f"other at {SERVER}  --socket {one.path.with_name(f'{os.getpid()}-2.sock')}" in (
                several.output
            )
            either = await asyncio.to_thread(invoke, "ss", "--pid", str(os.getpid()))
            assert either.exit_code == 2
            assert f"process {os.getpid()} has 2 stacks; say which with --socket" in either.output
            assert [line.split()[1] for line in either.output.splitlines()[-2:]] == ["one", "other"]
            await aiotcp("ss", "--socket", str(one.path))
            assert len(json.loads(await aiotcp("info", "--json"))) == 2
        wrong = await asyncio.to_thread(invoke, "ss", "--pid", "1")
        assert wrong.exit_code == 1
        assert f"these do:\n  {os.getpid()}  one at {SERVER}" in wrong.output
    for each in stacks:
        await each.aclose()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("command", ["ss", "stat", "capture", "info"])
async def test_one_that_is_named_and_does_not_answer_is_told_with_the_reason(
    command: str, tmp_path: Path
) -> None:
    async with watched(tmp_path / "c.sock") as world:
        here, nobody = str(world.control.path), str(tmp_path / "nobody")
        too_long = "/tmp/" + 200 * "x"
        for path, why in ((nobody, "No such file or directory"), (too_long, "path too long")):
            failed = await asyncio.to_thread(invoke, command, "--socket", path)
            assert failed.exit_code == 1
            assert re.search(rf"{path}: .*{why}", failed.output)
        if command != "info":
            both = await asyncio.to_thread(invoke, command, "--socket", here, "--socket", nobody)
            assert (both.exit_code, nobody in both.output) == (1, True)


@pytest.mark.usefixtures("alone")
async def test_one_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TIMEOUT_S", 0.05)
    with socket.socket(socket.AF_UNIX) as hangs:
        path = tmp_path / "aiotcp" / "4711.sock"
        hangs.bind(os.fspath(path))
        hangs.listen()
        for command in (("ss",), ("info",), ("ss", "--pid", "4711")):
            failed = await asyncio.to_thread(invoke, *command)
            assert failed.exit_code == 1
            assert f"{path}: it does not answer" in failed.output


@pytest.mark.usefixtures("alone")
async def test_workers_are_one_stack(tmp_path: Path) -> None:
    stacks = [Stack(memory.pair()[0], addresses=[SERVER]) for _ in range(2)]
    history = {"NSTAT_HISTORY": str(tmp_path / "history")}
    async with (
        control.serve(stacks[0], worker=0, group=4711),
        control.serve(stacks[1], worker=1, group=4711),
    ):
        for stack in stacks:
            stack.receive(memoryview(b"\x00" * 40))
            stack.flush()
        (found,) = json.loads(await aiotcp("info", "--json"))
        assert (found["pid"], len(found["processes"])) == (4711, 2)
        assert "2 workers" in await aiotcp("info")
        told = await aiotcp("stat", "--pid", "4711", "ip_version", **history)
        assert told.split()[-3:-1] == ["ip_version", "2"]
    for each in stacks:
        await each.aclose()


# The command


def test_help_imports_no_subcommand_and_lists_them() -> None:
    program = (
        "import sys\n"
        "from aiotcp.cli.main import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        "slow = {'pyroute2', 'rich', 'starlette', 'structlog', 'uvicorn', 'uvloop'}\n"
        "sys.exit(f'imported {slow & set(sys.modules)}' if slow & set(sys.modules) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("serve", "ss", "stat", "info"):
        assert re.search(rf"^  {name} ", done.stdout, re.MULTILINE)


def test_each_subcommand_says_its_exit_codes_and_unknown_ones_are_refused() -> None:
    assert isinstance(main.cli, click.Group)
    for name in main.cli.list_commands(click.Context(main.cli)):
        told = invoke(name, "--help")
        assert told.exit_code == 0
        assert "Exit codes:" in told.output
    assert invoke("dance").exit_code == 2
    assert "aiotcp, version" in invoke("--version").output.replace("cli,", "aiotcp,")


def test_serve_is_aiotcp_serve() -> None:
    told = invoke("serve", "echo", "--mtu", "100")
    assert told.exit_code == 2
    assert "--mtu" in told.output


def test_the_launcher_runs_from_anywhere(tmp_path: Path) -> None:
    link = tmp_path / "aiotcp"
    link.symlink_to(Path(__file__).parents[2] / "bin" / "aiotcp")
    # A checkout may have no environment of its own: then it is who is first on the path.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        [link, "--version"],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "aiotcp, version" in done.stdout
