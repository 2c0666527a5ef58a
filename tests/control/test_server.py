"""A running stack answers at its control socket, to its user and nobody else, and is never held
up by those who ask."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from aiotcp import control
from aiotcp.control import places, protocol, server, stream
from aiotcp.control.client import ControlError, running
from aiotcp.link import memory
from aiotcp.streams import Stack
from aiotcp.trace import capturefile
from tests.support.controlled import CLIENT, PORT, SERVER, watched

pytestmark = pytest.mark.real_loop


async def until(condition: Callable[[], bool]) -> None:
    """Turns of the loop, until it is so."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.sock"


async def test_rows_are_those_of_ss_with_tcp_info_and_what_it_waits_for(path: Path) -> None:
    async with watched(path) as world:
        _, writer = await world.connected()
        local = writer.get_extra_info("sockname")
        rows = await world.ask(lambda client: list(client.items("ss", info=True)))
        listener, connection = rows
        assert listener["state"] == "LISTEN"
        assert (listener["recv_q"], listener["send_q"]) == (0, 100)
        assert listener["local"] == {"address": SERVER, "port": PORT}
        assert connection["state"] == "ESTAB"
        assert connection["local"] == {"address": SERVER, "port": PORT}
        assert connection["peer"] == {"address": CLIENT, "port": local[1]}
        info = connection["tcp_info"]
        assert (info["bytes_received"], info["bytes_sent"], info["state"]) == (5, 5, "ESTABLISHED")
        assert {"timestamps", "sack", "wscale"} == set(info["options"])
        assert connection["waits"]["for"]
        assert connection["mem"]["rcvbuf"] > 0
        writer.close()
        await writer.wait_closed()
        assert len(await world.ask(lambda c: list(c.items("ss", states=["LISTEN"])))) == 1
        assert await world.ask(lambda c: list(c.items("ss", states=["SYN-SENT"]))) == []
        with pytest.raises(ControlError, match="states: a list of ESTAB"):
            await world.ask(lambda client: client.ask("ss", states=["ESTABLISHED"]))


async def test_half_open_entries_and_time_wait_records_have_rows_with_their_timers(
    path: Path,
) -> None:
    async with watched(path) as world:
        reader, writer = await world.connected()
        # The server closes first.
        for conn in world.server.entries():
            assert conn.user is not None  # type: ignore[union-attr]
            conn.user.close()  # type: ignore[union-attr]
        await reader.read()
        writer.close()
        await writer.wait_closed()
        world.client.link.close()
        await asyncio.sleep(0)
        rows = await world.ask(lambda client: list(client.items("ss", states=["TIME-WAIT"])))
        assert [row["timer"]["name"] for row in rows] == ["timewait"]
        assert 0 < rows[0]["waits"]["in_s"] <= 60
        assert rows[0]["waits"]["for"] == "end of 2MSL"


async def test_numbers_are_those_of_the_stack(path: Path) -> None:
    async with watched(path) as world:
        await world.connected()
        # Until the client has acknowledged its word; nothing comes after that.
        await until(lambda: not any(row.send_queue for row in world.server.connections()))
        found = await world.ask(lambda client: client.ask("stat"))
        assert found["nstat"] == world.server.nstat()
        told = world.server.counters.as_dict()
        again = {
            **found["totals"],
            **{f"sent_{name}": count for name, count in found["sent"].items()},
            **{f"dropped_{name}": count for name, count in found["dropped"].items()},
            **{f"event_{name}": count for name, count in found["events"].items()},
        }
        assert again == told
        assert found["sent"]["open_reply"] == 1
        assert found["link"] == world.server.link.counters


async def test_info_tells_who_answers(path: Path) -> None:
    async with watched(path, name="a test", what="echo") as world:
        found = await world.ask(lambda client: client.ask("info"))
        assert found["pid"] == os.getpid()
        assert (found["name"], found["what"]) == ("a test", "echo")
        assert found["addresses"] == [SERVER]
        assert (found["mtu"], found["offload"], found["options"]) == (1500, False, {})
        assert (found["connections"], found["listeners"]) == (0, 1)
        assert (found["memory_limit"], found["memory_used"]) == (512 << 20, 0)
        assert found["control"]["requests"] == 1
        (each,) = await asyncio.to_thread(running, [path])
        assert (each.pid, each.paths) == (os.getpid(), [path])


async def test_several_requests_one_after_the_other_and_the_wrong_ones_say_why(
    path: Path,
) -> None:
    def say(lines: bytes) -> list[dict[str, Any]]:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(os.fspath(path))
            asking.sendall(lines)
            asking.shutdown(socket.SHUT_WR)
            with asking.makefile("rb") as answers:
                return [json.loads(line) for line in answers]

    async with watched(path):
        lines = [
            protocol.request("info"),
            b"not JSON\n",
            b"[]\n",
            protocol.encode({"aiotcp": 2, "verb": "info"}),
            protocol.encode({"aiotcp": 1}),
            protocol.request("dance"),
            b"[" * 60000 + b"\n",
            protocol.request("capture", filter="colour red"),
        ]
        answers = await asyncio.to_thread(say, b"".join(lines))
        assert [answer["ok"] for answer in answers] == [True] + [False] * 7
        wrong = [answer["error"] for answer in answers[1:]]
        assert wrong[0] == "not a line of JSON"
        assert wrong[1] == "not a JSON object"
        assert wrong[2] == '"aiotcp": 2: I speak version 1'
        assert wrong[3] == 'no "verb"'
        assert wrong[4] == "no verb: 'dance'"
        assert "JSON" in wrong[5]
        assert "colour red" in wrong[6]
        (answer,) = await asyncio.to_thread(say, b"x" * (protocol.LINE_BYTES + 1) + b"\n")
        assert "longer than" in answer["error"]


# Captures


async def captured(world: Any, **asked: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A capture under way."""
    reader, writer = await asyncio.open_unix_connection(world.control.path)
    writer.write(protocol.request("capture", **asked))
    assert json.loads(await reader.readline())["ok"] is True
    return reader, writer


def read(file: bytes) -> list[capturefile.Packet]:
    return list(capturefile.packets(io.BytesIO(file)))


async def test_a_capture_has_what_passes_while_it_is_taken_with_reasons(path: Path) -> None:
    async with watched(path) as world:
        link = world.server.link
        await world.connected()
        reader, writer = await captured(world)
        assert world.server.link is not link
        _, connection = await world.connected()
        connection.write(b"x" * 5000)
        writer.write_eof()
        file = await reader.read()
        writer.close()
        assert world.server.link is link
        packets = read(file)
        syns = [packet for packet in packets if packet.data[33] == 2]
        assert len(syns) == 1, "that of the connection that came later"
        sent = [packet.comment for packet in packets if packet.direction == capturefile.OUTBOUND]
        assert sent.count("open_reply") == 1
        assert "new_data" in sent
        assert {packet.comment for packet in packets if packet.direction == 1} == {""}
        assert world.control.counters["captures"] == 1


async def test_a_capture_ends_by_itself_after_so_many_packets_that_the_filter_wants(
    path: Path,
) -> None:
    async with watched(path) as world:
        reader, writer = await captured(world, filter=f"src {SERVER}", count=2)
        await world.connected()
        file = await reader.read()
        writer.close()
        assert [packet.comment for packet in read(file)] == ["open_reply", "new_data"]
        assert statistics(file) == (2, 0)


def statistics(file: bytes) -> tuple[int, int]:
    """Received and dropped, of the block at the end."""
    length = int.from_bytes(file[-4:], sys.byteorder)
    block = file[-length:]
    assert int.from_bytes(block[:4], sys.byteorder) == 5
    numbers = {}
    at = 20
    while code := int.from_bytes(block[at : at + 2], sys.byteorder):
        numbers[code] = int.from_bytes(block[at + 4 : at + 12], sys.byteorder)
        at += 12
    return numbers[4], numbers[5]


async def test_a_reader_who_is_too_slow_misses_packets_and_is_told_how_many(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "WAITING_BYTES", 100_000)
    async with watched(path) as world:
        reader, writer = await captured(world)
        echoed, connection = await world.connected()
        for _ in range(40):  # nobody reads the capture meanwhile
            connection.write(bytes(50_000))
            await echoed.readexactly(50_000)
        writer.write_eof()
        file = await reader.read()
        writer.close()
        received, dropped = statistics(file)
        assert dropped > 0
        assert len(read(file)) == received - dropped > 0
        assert world.control.counters["capture_dropped"] == dropped


async def test_one_who_goes_in_the_middle_of_a_capture_takes_his_tap_along(path: Path) -> None:
    async with watched(path) as world:
        link = world.server.link
        _, writer = await captured(world)
        writer.transport.abort()
        await until(lambda: world.server.link is link)
        await world.connected()


async def test_a_capture_ends_in_order_when_the_program_does(path: Path) -> None:
    async with watched(path) as world:
        reader, writer = await captured(world)
        await world.connected()
        await world.control.close()
        packets = read(await reader.read())
        assert "open_reply" in {packet.comment for packet in packets}
        writer.close()


async def test_a_capture_is_whole_though_its_reader_is_behind_when_the_program_ends(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "WAITING_BYTES", 1_000_000)
    async with watched(path) as world:
        reader, writer = await captured(world)
        echoed, connection = await world.connected()
        for _ in range(30):
            connection.write(bytes(50_000))
            await echoed.readexactly(50_000)
        closing = asyncio.create_task(world.control.close())
        file = await reader.read()
        writer.close()
        await closing
        received, dropped = statistics(file)
        assert dropped > 0
        assert len(read(file)) == received - dropped


async def test_the_end_does_not_wait_for_one_who_does_not_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_CLOSING_S", 0.01)
    async with watched(path) as world:
        reader, writer = await captured(world)
        echoed, connection = await world.connected()
        for _ in range(30):
            connection.write(bytes(50_000))
            await echoed.readexactly(50_000)
        await world.control.close()
        file = await reader.read()
        writer.close()
        with pytest.raises(AssertionError):
            statistics(file)


async def test_secrets_that_the_program_does_not_keep_are_refused(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSLKEYLOGFILE", raising=False)
    secrets = tmp_path / "keys"
    secrets.write_text("")
    async with watched(path) as world:
        with pytest.raises(ControlError, match="SSLKEYLOGFILE=FILE"):
            await world.ask(lambda client: client.stream("capture", keylog=True))
        reader, writer = await captured(world, keylog=str(secrets))
        with secrets.open("a") as file:
            file.write("CLIENT_RANDOM 0123 4567\n")
        await world.connected()
        writer.write_eof()
        assert b"CLIENT_RANDOM 0123 4567\n" in await reader.read()
        writer.close()


# Who may ask, and how many


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
async def test_another_user_is_refused_even_where_the_socket_is_open_to_him(
    tmp_path: Path,
) -> None:
    path = Path("/tmp") / f"aiotcp-test-{os.getpid()}.sock"
    ask = (
        "import os, socket, sys\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "s.connect(sys.argv[1])\n"
        "print(s.makefile().readline())\n"
    )
    async with watched(path) as world:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for mode, word in ((0o600, "PermissionError"), (0o666, "user 65534 may not ask")):
            path.chmod(mode)
            done = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-c", ask, str(path)],
                capture_output=True,
                text=True,
            )
            assert word in done.stdout + done.stderr
        assert world.control.counters["peers_refused"] == 1


async def test_there_is_a_limit_to_how_many_ask_at_a_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_CLIENTS", 2)
    async with watched(path) as world:
        held = [await captured(world) for _ in range(2)]
        with pytest.raises(ControlError, match="2 are asking already"):
            await world.ask(lambda client: client.ask("info"))
        assert world.control.counters["clients_refused"] == 1
        for _, writer in held:
            writer.transport.abort()
        link = world.server.link
        await until(lambda: world.server.link is not link)  # the last tap has gone
        assert (await world.ask(lambda client: client.ask("info")))["pid"] == os.getpid()


async def test_one_who_does_not_read_his_answer_is_cut_off(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STALLED_S", 0.05)
    async with watched(path) as world:
        await world.connected()
        asking = socket.socket(socket.AF_UNIX)
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        asking.setblocking(False)
        asking.connect(os.fspath(path))
        with asking:
            request = protocol.request("ss", info=True)
            with suppress(BlockingIOError):
                while True:
                    asking.send(request * 10)
            await until(lambda: world.control.counters["cut_off"] == 1)
        await world.connected()  # and nobody else has noticed


# The socket


async def test_what_a_process_that_has_ended_left_is_replaced_and_what_answers_is_not(
    path: Path,
) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(os.fspath(path))
    async with watched(path) as world:
        assert (await world.ask(lambda client: client.ask("info")))["pid"] == os.getpid()
        link, _ = memory.pair()
        async with Stack(link, addresses=[SERVER]) as other:
            with pytest.raises(OSError, match="another process answers") as failed:
                async with control.serve(other, path):
                    pass
            assert failed.value.errno == errno.EADDRINUSE
    assert os.listdir(path.parent) == []
    Path(path).write_text("mine")  # noqa: ASYNC240
    link, _ = memory.pair()
    async with Stack(link, addresses=[SERVER]) as other:
        with pytest.raises(OSError, match="is no socket"):
            async with control.serve(other, path):
                pass
    assert Path(path).read_text() == "mine"  # noqa: ASYNC240


async def test_stacks_of_one_process_have_places_of_their_own_in_a_private_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    stacks = [Stack(memory.pair()[0], addresses=[SERVER]) for _ in range(2)]
    async with control.serve(stacks[0]) as one, control.serve(stacks[1]) as other:
        assert one.path == tmp_path / "aiotcp" / f"{os.getpid()}.sock"
        assert other.path == tmp_path / "aiotcp" / f"{os.getpid()}-2.sock"
        assert stat.S_IMODE(one.path.parent.stat().st_mode) == 0o700
        assert {one.path, other.path} <= set(places.sockets())
    assert list((tmp_path / "aiotcp").iterdir()) == []
    for each in stacks:
        await each.aclose()


async def test_a_directory_that_others_may_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "aiotcp").mkdir(mode=0o700)
    (tmp_path / "run" / "aiotcp").chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(places, "RUN", tmp_path / "no" / "such" / "place")
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    assert places.usable_directory() == tmp_path / f"aiotcp-{os.geteuid()}"
    (tmp_path / f"aiotcp-{os.geteuid()}").rmdir()
    (tmp_path / f"aiotcp-{os.geteuid()}").symlink_to(tmp_path / "run")
    with pytest.raises(PermissionError, match="belongs to somebody else, or is open to others"):
        places.usable_directory()


async def test_a_place_whose_name_is_too_long_for_a_socket_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / (60 * "x")
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setattr(places, "RUN", tmp_path / "no" / "such" / "place")
    (Path("/tmp") / (name := f"a{os.getpid()}")).mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: f"/tmp/{name}")
    stack = Stack(memory.pair()[0], addresses=[SERVER])
    async with control.serve(stack) as one:
        assert one.path == Path(f"/tmp/{name}/aiotcp-{os.geteuid()}/{os.getpid()}.sock")
    long = tmp_path / (100 * "x")
    with pytest.raises(OSError, match="too long for a socket") as failed:
        async with control.serve(stack, long):
            pass
    assert failed.value.errno == errno.ENAMETOOLONG
    await stack.aclose()
    (Path("/tmp") / name / f"aiotcp-{os.geteuid()}").rmdir()
    (Path("/tmp") / name).rmdir()
