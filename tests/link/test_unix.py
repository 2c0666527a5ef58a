"""Unix datagram sockets as a link: paths, and peers that come and go."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from aiotcp.link.unix import Unix
from aiotcp.wire.frame import Frame
from tests.link.test_descriptor import attached, packet, transfer
from tests.support.netns import loopback as loopback
from tests.support.pipes import UNIX, joined

pytestmark = pytest.mark.real_loop


async def test_datagrams_of_others_are_discarded_and_counted(tmp_path: Path) -> None:
    with joined(UNIX, tmp_path) as (left, right):
        attached(left)
        recorder = attached(right)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            where = str(tmp_path / "right.sock")
            stranger.sendto(packet(b"from no path"), where)
            stranger.bind(str(tmp_path / "stranger.sock"))
            stranger.sendto(packet(b"from another"), where)
        left.send(Frame(packet(b"ours")))
        await recorder.until(lambda p: p == packet(b"ours"))
        assert recorder.packets == [packet(b"ours")]
        assert right.counters["received_foreign"] == 2


async def test_a_peer_may_go_and_come_again(tmp_path: Path) -> None:
    left_path, right_path = tmp_path / "left.sock", tmp_path / "right.sock"
    left = Unix(left_path, peer=right_path)
    try:
        recorder = attached(left)
        left.send(Frame(packet(b"nobody is there yet")))
        assert left.counters["send_no_peer"] == 1
        for generation in (b"first", b"second"):
            right = Unix(right_path, peer=left_path)
            at_right = attached(right)
            # Either may begin.
            right.send(Frame(packet(generation)))
            await recorder.until(lambda p, text=generation: p == packet(text))  # type: ignore[misc]
            left.send(Frame(packet(generation)))
            await at_right.until(lambda p, text=generation: p == packet(text))  # type: ignore[misc]
            right.close()
            left.send(Frame(packet(b"nobody is there now")))
        assert left.counters["send_no_peer"] == 3
        assert recorder.lost == []
    finally:
        left.close()


def test_the_path_is_removed_at_the_end_and_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    link = Unix(path, peer=tmp_path / "b.sock")
    assert path.is_socket()
    link.close()
    assert not path.exists()
    link = Unix(path, peer=tmp_path / "b.sock")
    path.unlink()
    path.write_text("somebody else's")
    link.close()
    assert path.read_text() == "somebody else's"


def test_a_relative_path_is_removed_wherever_the_program_is_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    link = Unix("a.sock", peer="b.sock")
    monkeypatch.chdir("/")
    link.close()
    assert not (tmp_path / "a.sock").exists()


def test_a_path_that_a_dead_program_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(path))
    assert path.is_socket()
    link = Unix(path, peer=tmp_path / "b.sock")
    link.close()
    assert not path.exists()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM, None])
def test_a_path_in_use_is_not(tmp_path: Path, kind: socket.SocketKind | None) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX, kind or socket.SOCK_DGRAM) as alive:
        if kind is None:
            path.write_text("a file")
        else:
            alive.bind(str(path))
            if kind == socket.SOCK_STREAM:
                alive.listen()
        with pytest.raises(OSError, match=f"in use: {path}"):
            Unix(path, peer=tmp_path / "b.sock")
        assert path.exists()


def test_what_cannot_be_bound_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Unix(tmp_path / "none" / "a.sock", peer=tmp_path / "b.sock")
    with pytest.raises(OSError, match="too long"):
        Unix(tmp_path / ("a" * 200), peer=tmp_path / "b.sock")


async def test_relative_paths_and_bytes_are_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    left, right = Unix("left.sock", peer=b"right.sock"), Unix(b"right.sock", peer="left.sock")
    try:
        monkeypatch.chdir("/")
        attached(left)
        recorder = attached(right)
        left.send(Frame(packet(b"hello")))
        await recorder.until(lambda p: p == packet(b"hello"))
        assert str(tmp_path / "right.sock") in repr(left)
    finally:
        left.close()
        right.close()


@pytest.mark.usefixtures("loopback")  # abstract names belong to a network namespace
async def test_abstract_names_carry_a_transfer() -> None:
    left = Unix("\0aiotcp-left", peer=b"\0aiotcp-right")
    right = Unix("\0aiotcp-right", peer="\0aiotcp-left")
    await transfer(left, right, 4, 100_000)
    assert right.counters["received_foreign"] == 0


async def test_a_queue_of_ten_is_enough_for_tcp(tmp_path: Path) -> None:
    """Linux' default max_dgram_qlen: the stack offers what fits. What both ends send at the same
    time, and the first windows, lose packets; 3 of 100, where they lose 5 to 8 without that."""
    with joined(UNIX, tmp_path) as (left, right):
        await transfer(left, right, 4, 1_000_000)
        blocked = left.counters["send_would_block"] + right.counters["send_would_block"]
        sent = left.counters["sent_packets"] + right.counters["sent_packets"]
        assert blocked * 25 < sent


def test_without_unix_sockets_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(NotImplementedError, match="unix sockets"):
        Unix(tmp_path / "a.sock", peer=tmp_path / "b.sock")
