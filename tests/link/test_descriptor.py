"""What all links over descriptors promise: packets, batches, drops, the end. And TCP on each."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiotcp.link.base import Link, receive_queue_packets
from aiotcp.link.descriptor import BATCH_BYTES, BATCH_PACKETS
from aiotcp.sim import VirtualLoop
from aiotcp.streams import Stack
from aiotcp.wire.frame import Frame
from tests.support.netns import has_ipv6
from tests.support.netns import loopback as loopback
from tests.support.pipes import KINDS, UDP_V6, Kind, Pair, joined
from tests.support.recorder import Recorder

pytestmark = [pytest.mark.real_loop, pytest.mark.usefixtures("loopback")]

SIZE = 2_000_000
HOSTS = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    if chosen is UDP_V6 and not has_ipv6():
        pytest.skip("the kernel has no IPv6")
    return chosen


@pytest.fixture
def pair(kind: Kind, tmp_path: Path) -> Iterator[Pair]:
    with joined(kind, tmp_path) as links:
        yield links


def packet(text: bytes) -> bytes:
    """Begins as IP does: an end that learns its peer looks."""
    return b"\x45" + bytes(19) + text


def attached(link: Link) -> Recorder:
    recorder = Recorder()
    link.attach(recorder, asyncio.get_running_loop())
    return recorder


async def until(condition: Callable[[], object]) -> None:
    """Let the loop go round until it is so."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # nothing tells of a counter
            await asyncio.sleep(0)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def transfer(left: Link, right: Link, version: int, size: int = SIZE) -> None:
    """So many bytes each way at the same time, between two stacks."""
    client_host, server_host = HOSTS[version]
    loop = asyncio.get_running_loop()
    there, back = random.Random(1).randbytes(size), random.Random(2).randbytes(size)
    arrived: asyncio.Future[bytes] = loop.create_future()

    async def digest(reader: asyncio.StreamReader) -> bytes:
        total = hashlib.sha256()
        while data := await reader.read(1 << 16):
            total.update(data)
        return total.digest()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(back)
        writer.write_eof()
        arrived.set_result(await digest(reader))
        writer.close()

    async with (
        Stack(left, addresses=[client_host]) as client,
        Stack(right, addresses=[server_host]) as server,
    ):
        await server.start_server(serve, server_host, 7)
        reader, writer = await client.open_connection(server_host, 7)
        writer.write(there)
        writer.write_eof()
        assert await digest(reader) == hashlib.sha256(back).digest()
        assert await arrived == hashlib.sha256(there).digest()
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("version", [4, 6])
async def test_tcp_carries_megabytes_both_ways(pair: Pair, version: int) -> None:
    left, right = pair
    await transfer(left, right, version)
    for link in pair:
        assert link.counters["received_packets"] > SIZE // link.mtu
        assert link.counters["received_bytes"] > SIZE
        assert link.counters["send_closed"] == link.counters["send_error"] == 0


async def test_a_large_mtu_carries_them_in_few_packets(kind: Kind, tmp_path: Path) -> None:
    mtu = 65_000  # UDP over IPv4 has room for 65507
    with joined(kind, tmp_path, mtu) as (left, right):
        await transfer(left, right, 4)
        assert right.counters["received_packets"] < SIZE // mtu * 6


async def test_packets_arrive_whole_in_order_and_in_batches(pair: Pair) -> None:
    left, right = pair
    at_left, at_right = attached(left), attached(right)
    left.send(Frame(packet(b"one")))
    left.send(Frame(packet(b"tw"), [b"o", memoryview(b"2")]))
    await at_right.until(lambda p: p == packet(b"two2"))
    right.send(Frame(packet(b"back")))
    arrival = await at_left.until(lambda p: p == packet(b"back"))
    assert at_right.packets == [packet(b"one"), packet(b"two2")]
    assert at_right.batches == [2]
    assert (arrival.vouched, arrival.gso_size) == (False, 0)
    assert (left.gso_max_bytes, left.checksum_offload) == (0, False)
    counters = right.counters
    assert [counters[f"received_{what}"] for what in ("packets", "bytes", "batches")] == [2, 47, 1]
    assert (left.counters["sent_packets"], left.counters["sent_bytes"]) == (2, 47)


async def test_a_batch_has_an_end_and_its_packets_have_memory_of_their_own(pair: Pair) -> None:
    class Keeping(Recorder):
        """Looks at the packets of a batch when it is over, as a stack may."""

        def __init__(self) -> None:
            super().__init__()
            self.views: list[memoryview] = []
            self.kept: list[bytes] = []

        def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
            super().receive(packet, vouched, gso_size)
            self.views.append(packet)

        def flush(self) -> None:
            self.kept += map(bytes, self.views)
            self.views.clear()
            super().flush()

    left, right = pair
    attached(left)
    recorder = Keeping()
    right.attach(recorder, asyncio.get_running_loop())
    sent: list[bytes] = []
    while len(sent) < 3 * BATCH_PACKETS:
        before = left.counters["send_would_block"]
        left.send(Frame(packet(b"%d" % len(sent))))
        if left.counters["send_would_block"] > before:  # the queue of a unix socket is short
            await asyncio.sleep(0)
        else:
            sent.append(packet(b"%d" % len(sent)))
    await recorder.until(lambda p: p == sent[-1])
    assert recorder.kept == sent
    assert max(recorder.batches) <= BATCH_PACKETS


async def test_a_batch_of_large_packets_is_shorter(kind: Kind, tmp_path: Path) -> None:
    with joined(kind, tmp_path, 65_000) as (left, right):
        attached(left)
        sent = 0
        for _ in range(12):
            left.send(Frame(packet(bytes(64_000))))
            sent += 64_020
        recorder = attached(right)
        arrived = left.counters["sent_packets"]
        await until(lambda: len(recorder.packets) == arrived)
        largest = max(recorder.batches) * 64_020
        assert largest < BATCH_BYTES + 64_020
        assert largest > BATCH_BYTES or arrived < 9


async def test_a_packet_larger_than_the_mtu_is_a_drop_at_either_end(
    kind: Kind, tmp_path: Path
) -> None:
    with joined(kind, tmp_path, 1500) as (left, right):
        attached(left)
        left.send(Frame(packet(bytes(1481))))
        assert left.counters["send_too_big"] == 1
        recorder = attached(right)
        right.mtu = 1400  # as if the two had been configured differently
        left.send(Frame(packet(bytes(1381))))
        left.send(Frame(packet(bytes(1380))))
        arrival = await recorder.until(lambda _: True)
        assert len(arrival.packet) == 1400
        assert right.counters["received_too_big"] == 1
        assert right.counters["received_packets"] == 1


async def test_what_was_cut_on_arrival_is_not_taken_for_whole(kind: Kind, tmp_path: Path) -> None:
    with joined(kind, tmp_path, 1400) as (left, right):
        attached(left)
        recorder = attached(right)
        left.mtu = 9000
        left.send(Frame(packet(bytes(5000))))
        left.send(Frame(packet(b"next")))
        await recorder.until(lambda p: p == packet(b"next"))
        assert len(recorder.packets) == 1
        assert right.counters["received_too_big"] == 1


async def test_a_full_queue_costs_packets_which_tcp_sends_again(pair: Pair) -> None:
    left, right = pair
    recorder = attached(right)
    attached(left)
    for _ in range(20_000):
        left.send(Frame(packet(bytes(1300))))
    await turns()
    arrived = right.counters["received_packets"]
    assert 10 < arrived == len(recorder.packets)
    blocked = left.counters["send_would_block"]
    assert left.counters["sent_packets"] + blocked == 20_000
    # UDP's receiver drops without a word to the sender.
    assert (arrived < 20_000) if type(left).__name__ == "Udp" else (blocked > 0)


async def test_what_waits_is_known_to_the_stack(pair: Pair) -> None:
    """A queue of so many packets is never too short for them."""
    left, right = pair
    attached(left)
    promised = receive_queue_packets(left)
    if promised is None:
        pytest.skip("sockets have short queues here (net.core.rmem_max)")
    assert promised > 5
    for _ in range(promised):
        left.send(Frame(packet(bytes(left.mtu - 20))))
    recorder = attached(right)
    await turns(promised // BATCH_PACKETS + 20)
    assert len(recorder.packets) == promised


async def test_one_receiver_and_none_after_the_end(pair: Pair) -> None:
    left, right = pair
    recorder = attached(right)
    with pytest.raises(RuntimeError, match="already has a receiver"):
        attached(right)
    attached(left)
    left.send(Frame(packet(b"on its way")))
    right.close()
    right.close()
    await turns()
    assert recorder.packets == []
    assert recorder.lost == []
    assert right.fileno() == -1
    right.send(Frame(packet(b"late")))
    assert right.counters["send_closed"] == 1
    with pytest.raises(RuntimeError, match="closed"):
        attached(right)
    assert "closed" in repr(right)


async def test_a_loop_that_watches_no_descriptors_is_refused_and_nothing_changes(
    pair: Pair,
) -> None:
    left, right = pair
    virtual = VirtualLoop()
    try:
        with pytest.raises(RuntimeError, match="virtual time"):
            right.attach(Recorder(), virtual)
    finally:
        virtual.close()
    recorder = attached(right)
    attached(left)
    left.send(Frame(packet(b"hello")))
    await recorder.until(lambda p: p == packet(b"hello"))


async def test_a_receiver_may_close_the_link(pair: Pair) -> None:
    left, right = pair

    class Closing(Recorder):
        def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
            super().receive(packet, vouched, gso_size)
            right.close()

    attached(left)
    closing = Closing()
    left.send(Frame(packet(b"one")))
    left.send(Frame(packet(b"two")))
    right.attach(closing, asyncio.get_running_loop())
    await turns()
    assert closing.packets == [packet(b"one")]
    assert closing.batches == []


def test_a_link_closed_after_its_loop_is_no_trouble(kind: Kind, tmp_path: Path) -> None:
    with joined(kind, tmp_path) as (left, _):
        loop = asyncio.SelectorEventLoop()
        left.attach(Recorder(), loop)
        loop.close()


@pytest.mark.parametrize("mtu", [575, 65_536])
def test_an_mtu_out_of_range_is_refused(kind: Kind, tmp_path: Path, mtu: int) -> None:
    with pytest.raises(ValueError, match="mtu must be 576 to 65535 bytes"):
        kind.make(tmp_path, mtu)
    assert list(tmp_path.iterdir()) == []
