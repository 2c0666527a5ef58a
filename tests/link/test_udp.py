"""UDP as a link: whose datagrams are taken, and what becomes of the rest."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from aiotcp.link import descriptor
from aiotcp.link.udp import Udp
from aiotcp.wire import ipv4
from aiotcp.wire.frame import Frame
from tests.link.test_descriptor import attached, packet, transfer, turns, until
from tests.support.netns import has_ipv6
from tests.support.netns import loopback as loopback

pytestmark = [pytest.mark.real_loop, pytest.mark.usefixtures("loopback")]


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


@pytest.fixture
def link(peer: socket.socket) -> Iterator[Udp]:
    link = Udp(("127.0.0.1", 0), peer=peer.getsockname())
    yield link
    link.close()


async def test_datagrams_of_others_are_discarded_and_counted(
    link: Udp, peer: socket.socket, stranger: socket.socket
) -> None:
    recorder = attached(link)
    stranger.sendto(packet(b"forged"), link.address)
    peer.sendto(packet(b"ours"), link.address)
    await recorder.until(lambda p: p == packet(b"ours"))
    assert recorder.packets == [packet(b"ours")]
    assert link.counters["received_foreign"] == 1
    assert link.counters["received_packets"] == 1


async def test_a_batch_of_foreign_datagrams_alone_is_no_batch(
    link: Udp, stranger: socket.socket
) -> None:
    recorder = attached(link)
    for _ in range(100):
        stranger.sendto(packet(b"forged"), link.address)
    await until(lambda: link.counters["received_foreign"] == 100)
    assert recorder.batches == []
    assert link.counters["received_batches"] == 0


async def test_empty_datagrams_are_no_packets(link: Udp, peer: socket.socket) -> None:
    recorder = attached(link)
    peer.sendto(b"", link.address)
    peer.sendto(packet(b"end"), link.address)
    await recorder.until(lambda p: p == packet(b"end"))
    assert len(recorder.packets) == 1
    assert link.counters["received_empty"] == 1


async def test_the_first_that_sends_a_packet_is_the_peer_for_good(
    peer: socket.socket, stranger: socket.socket
) -> None:
    link = Udp(("127.0.0.1", 0))
    try:
        recorder = attached(link)
        link.send(Frame(packet(b"to nobody")))
        assert link.counters["send_no_peer"] == 1
        for noise in (b"", b"\x45", b"GET / HTTP/1.0\r\n\r\n" * 3, b"\x60" + bytes(38)):
            stranger.sendto(noise, link.address)
        first = ipv4.header(bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2)), 6, 5) + b"first"
        peer.sendto(first, link.address)
        stranger.sendto(packet(b"second"), link.address)
        await recorder.until(lambda p: p == first)
        await until(lambda: link.counters["received_foreign"] == 5)
        assert recorder.packets == [first]
        assert link.peer == peer.getsockname()
        link.send(Frame(packet(b"answer")))
        assert await asyncio.get_running_loop().sock_recv(peer, 100) == packet(b"answer")
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            stranger.recv(100)
    finally:
        link.close()


async def test_a_peer_that_is_not_there_costs_packets_and_comes_again() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as early:
        early.bind(("127.0.0.1", 0))
        where = early.getsockname()
    link = Udp(("127.0.0.1", 0), peer=where)
    try:
        recorder = attached(link)
        for _ in range(3):
            link.send(Frame(packet(b"to nobody")))
            await turns()
        assert recorder.lost == []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
            late.setblocking(False)
            late.bind(where)
            link.send(Frame(packet(b"hello")))
            assert await asyncio.get_running_loop().sock_recv(late, 100) == packet(b"hello")
            late.sendto(packet(b"back"), link.address)
            await recorder.until(lambda p: p == packet(b"back"))
    finally:
        link.close()


async def test_no_route_is_a_drop() -> None:
    """In a private network there is none but to loopback; elsewhere the prefix is nobody's."""
    link = Udp(("0.0.0.0", 0), peer=("203.0.113.1", 9))
    try:
        recorder = attached(link)
        link.send(Frame(packet(b"lost")))
        assert link.counters["send_unreachable"] + link.counters["sent_packets"] == 1
        assert recorder.lost == []
    finally:
        link.close()


async def test_a_datagram_that_udp_cannot_carry_is_a_drop(peer: socket.socket) -> None:
    link = Udp(("127.0.0.1", 0), peer=peer.getsockname(), mtu=65_535)
    try:
        attached(link)
        link.send(Frame(packet(bytes(65_507 - 20 + 1))))
        assert link.counters["send_too_big"] == 1
        link.send(Frame(packet(bytes(65_507 - 20))))
        assert link.counters["sent_packets"] == 1
    finally:
        link.close()


async def test_short_queues_hold_no_windows_down_and_tcp_finds_their_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What Linux gives where nobody has raised net.core.rmem_max."""
    monkeypatch.setattr(descriptor, "SOCKET_BUFFER_BYTES", 212_992)
    left = Udp(("127.0.0.1", 0))
    right = Udp(("127.0.0.1", 0), peer=left.address)
    left.peer = right.address
    assert left.receive_queue_packets is None
    await transfer(left, right, 4, 1_000_000)


def test_every_address_of_the_machine_can_be_bound() -> None:
    link = Udp(("", 0))
    assert link.address[0] in ("0.0.0.0", "::")
    link.close()


def test_by_default_a_packet_fits_an_ethernet_path_in_one_piece() -> None:
    for host, headers in (("127.0.0.1", 28), ("::1", 48)):
        if ":" in host and not has_ipv6():
            continue
        link = Udp((host, 0))
        assert link.mtu == 1500 - headers
        link.close()


def test_addresses_that_cannot_be_had() -> None:
    first = Udp(("127.0.0.1", 0))
    try:
        with pytest.raises(OSError, match="in use"):
            Udp(first.address)
    finally:
        first.close()
    with pytest.raises(OSError, match="assign"):
        Udp(("203.0.113.1", 0))
    with pytest.raises(socket.gaierror):
        Udp(("127.0.0.1", 0), peer=("::1", 9))
