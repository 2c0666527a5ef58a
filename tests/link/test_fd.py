"""A descriptor as a link: what is one, prefixes, and the end of the other side."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotcp.link.fd import Fd, Prefix
from aiotcp.streams import Stack
from aiotcp.wire.frame import Frame
from tests.link.test_descriptor import attached, packet, transfer, turns, until
from tests.support.netns import loopback as loopback

pytestmark = pytest.mark.real_loop


@pytest.fixture(params=["seqpacket", "dgram"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[Fd, socket.socket]]:
    """A link, and the socket at its other end."""
    kind = socket.SOCK_SEQPACKET if request.param == "seqpacket" else socket.SOCK_DGRAM
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    theirs.setblocking(False)
    link = Fd(ours)
    yield link, theirs
    link.close()
    theirs.close()


async def test_an_end_that_is_closed_loses_the_link_once_its_packets_are_read() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link = Fd(ours)
    theirs.send(packet(b"last words"))
    theirs.close()
    recorder = attached(link)
    lost = await recorder.until_lost()
    assert lost.errno == errno.ENETDOWN
    assert "the other end was closed" in str(lost)
    assert recorder.packets == [packet(b"last words")]
    await turns()
    link.send(Frame(packet(b"late")))
    await turns()
    assert link.counters["send_no_peer"] == 1
    assert len(recorder.lost) == 1
    assert "lost" in repr(link)
    link.close()
    link.close()


async def test_a_sender_notices_the_end_in_either_kind(ends: tuple[Fd, socket.socket]) -> None:
    link, theirs = ends
    recorder = attached(link)
    theirs.close()
    link.send(Frame(packet(b"one")))
    link.send(Frame(packet(b"two")))
    assert link.counters["send_no_peer"] == 2
    assert recorder.lost == []  # not in the call of send()
    await recorder.until_lost()
    await turns()
    assert len(recorder.lost) == 1


async def test_unread_packets_at_the_other_end_make_no_difference() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link = Fd(ours)
    recorder = attached(link)
    link.send(Frame(packet(b"never read")))
    theirs.close()
    assert (await recorder.until_lost()).errno in (errno.ECONNRESET, errno.ENETDOWN)
    link.close()


async def test_connections_end_with_the_link() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    left, right = Fd(ours), Fd(theirs)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with (
        Stack(left, addresses=["192.0.2.1"]) as client,
        Stack(right, addresses=["192.0.2.2"]) as server,
    ):
        await server.start_server(serve, "192.0.2.2", 7)
        reader, writer = await client.open_connection("192.0.2.2", 7)
        right.close()
        with pytest.raises(OSError, match="other end was closed") as caught:
            await reader.read()
        assert caught.value.errno == errno.ENETDOWN
        writer.close()
        with pytest.raises(OSError, match="other end was closed"):
            await client.open_connection("192.0.2.2", 7)


async def test_an_empty_datagram_is_no_end() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    link = Fd(ours)
    recorder = attached(link)
    theirs.send(b"")
    theirs.send(packet(b"more"))
    await recorder.until(lambda p: p == packet(b"more"))
    assert link.counters["received_empty"] == 1
    assert recorder.lost == []
    link.close()
    theirs.close()


V4, V6 = packet(b"four"), b"\x60" + bytes(39) + b"six"


@pytest.mark.parametrize(
    ("prefix", "four", "six"),
    [
        ("none", b"", b""),
        ("family", struct.pack("!I", socket.AF_INET), struct.pack("!I", socket.AF_INET6)),
        ("ethertype", b"\0\0\x08\x00", b"\0\0\x86\xdd"),
    ],
)
async def test_prefixes(prefix: Prefix, four: bytes, six: bytes) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    link = Fd(ours, prefix=prefix)
    recorder = attached(link)
    link.send(Frame(V4[:20], [V4[20:]]))
    link.send(Frame(V6[:40], [V6[40:]]))
    assert [theirs.recv(2000) for _ in range(2)] == [four + V4, six + V6]
    largest = packet(bytes(1480))
    for text in (four, four[:3], four + V4, six + V6, four + largest, four + largest + b"!"):
        theirs.send(text)
    theirs.send(four + b"\x45end")
    await recorder.until(lambda p: p == b"\x45end")
    assert recorder.packets == [V4, V6, largest, b"\x45end"]
    assert link.counters["received_empty"] == 2
    assert link.counters["received_too_big"] == 1
    assert link.counters["received_bytes"] == len(V4) + len(V6) + 1500 + 4
    link.close()
    theirs.close()


@pytest.mark.parametrize("prefix", ["none", "family", "ethertype"])
async def test_both_families_travel_behind_prefixes(prefix: Prefix) -> None:
    for version in (4, 6):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        await transfer(Fd(ours, prefix=prefix), Fd(theirs, prefix=prefix), version, 100_000)


@pytest.mark.usefixtures("loopback")
async def test_a_connected_udp_socket_survives_the_errors_of_the_network() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs:
        theirs.bind(("127.0.0.1", 0))
        where = theirs.getsockname()
    ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ours.connect(where)
    own = ours.getsockname()
    link = Fd(ours)
    try:
        recorder = attached(link)
        link.send(Frame(packet(b"refused")))  # an ICMP error comes back
        await until(lambda: link.counters["receive_error"])
        # Once more, and the error is found by the next packet that is sent, not by reading.
        for _ in range(2):
            link.send(Frame(packet(b"refused")))
        assert link.counters["send_no_peer"] == 1
        await turns()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs:
            theirs.bind(where)
            theirs.sendto(packet(b"here now"), own)
            await recorder.until(lambda p: p == packet(b"here now"))
        assert recorder.lost == []
    finally:
        link.close()


async def test_a_descriptor_closed_by_somebody_else_loses_the_link(
    ends: tuple[Fd, socket.socket],
) -> None:
    link, _ = ends
    recorder = attached(link)
    spare = os.dup(link.fileno())
    asyncio.get_running_loop().remove_reader(link.fileno())  # epoll forgets it, the loop does not
    os.close(link.fileno())
    try:
        link.send(Frame(packet(b"lost")))
        assert link.counters["send_closed"] == 1
        assert (await recorder.until_lost()).errno == errno.EBADF
    finally:
        os.dup2(spare, link.fileno())  # for the link to close
        os.close(spare)


def test_what_keeps_no_boundaries_is_refused_and_stays_its_owners(tmp_path: Path) -> None:
    stream, other = socket.socketpair()
    with stream, other:
        with pytest.raises(ValueError, match="stream"):
            Fd(stream)
        assert stream.fileno() >= 0
        assert stream.getblocking()
    reading, writing = os.pipe()
    with pytest.raises(ValueError, match="pipes"):
        Fd(reading)
    os.close(reading)
    os.close(writing)
    with (tmp_path / "file").open("w") as file, pytest.raises(ValueError, match="files"):
        Fd(file.fileno())
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lonely,
        pytest.raises(ValueError, match="not connected"),
    ):
        Fd(lonely)
    with pytest.raises(OSError, match="descriptor"):
        Fd(reading)
    with pytest.raises(ValueError, match="prefix must be one of none, family, ethertype"):
        Fd(0, prefix="utun")  # type: ignore[arg-type]
