"""Data and header: segment sizes, numbers that wrap, order, checksums, as far as the scenarios of
that name do not show them: other sizes, many seeds, every bit."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from aiotcp.link import memory
from aiotcp.link.impair import Impair, Netem
from aiotcp.options import Options
from aiotcp.reasons import Drop
from aiotcp.streams import Stack
from aiotcp.wire.tcp import ACK, FIN, PSH, SYN
from tests.support.conversation import Peer
from tests.support.programs import Reader, Writer, connected
from tests.support.story import CLIENT, SERVER, Story, segment_of

DATA = random.Random(1).randbytes(100_000)


# -- mss-negotiation ---------------------------------------------------------------------------


@pytest.mark.req("MUST-14", "MUST-16", "SHLD-5", "6691-1")
@pytest.mark.parametrize(("client", "server"), [(1460, 1000), (536, 1460), (100, 200)])
async def test_mss_negotiation(client: int, server: int) -> None:
    """Each side offers its own; the smaller one holds in both directions, as far as each sender
    is concerned: nobody sends more than the other one offered, or than its own link carries."""
    options = Options(timestamps=False)
    async with (
        Story(client=options.replace(mss=client), server=options.replace(mss=server)) as story,
        connected(story) as (reader, writer, their_reader, their_writer),
    ):
        offers = [segment_of(passing.packet).mss for passing in story.passed[:2]]
        assert offers == [client, server]
        for ours, theirs in ((writer, their_reader), (their_writer, reader)):
            ours.write(DATA[:20_000])
            assert await theirs.readexactly(20_000) == DATA[:20_000]
        largest = {
            side: max(len(passing.payload) for passing in story.segments(side))
            for side in ("client", "server")
        }
        assert largest == {"client": min(server, 1460), "server": min(client, 1460)}


@pytest.mark.req("MUST-15")
@pytest.mark.parametrize(("ipv6", "default"), [(False, 536), (True, 1220)])
async def test_mss_negotiation_none_offered(ipv6: bool, default: int) -> None:
    async with Peer(ipv6=ipv6) as peer:
        app = await peer.connects(mss=None)
        app.write(DATA[:5000])
        sizes = [len(seen.payload) for seen in await peer.sees_all()]
        assert sizes[:-1] == [default] * (5000 // default)


# -- sequence-wrap -----------------------------------------------------------------------------


@pytest.mark.req("ST-21")
@pytest.mark.parametrize("lossy", [False, True])
async def test_sequence_wrap(lossy: bool) -> None:
    """A transfer across 2**32 in both directions: every byte arrives once, in order."""
    async with contextlib.AsyncExitStack() as exits:
        story = await exits.enter_async_context(Story())
        story.client.initial_number = 2**32 - 30_000
        story.server.initial_number = 2**32 - 70_000
        streams = await exits.enter_async_context(connected(story))
        reader, writer, their_reader, their_writer = streams
        if lossy:
            chance = random.Random(2)
            story.rule(lambda passing: "lost" if chance.random() < 0.03 else None)
        for ours in (writer, their_writer):
            ours.write(DATA)
            ours.write_eof()
        assert await their_reader.read() == DATA
        assert await reader.read() == DATA
        await story.until(story.now + 10)
        for side in ("client", "server"):
            numbers = [segment_of(passing.packet).seq for passing in story.segments(side)]
            assert numbers[0] > 2**31
            assert numbers[-1] < 2**31
            ends = [p.seq + segment_of(p.packet).length for p in story.segments(side)]
            assert max(ends) == 1 + len(DATA) + 1  # SYN, text, FIN


class Program(asyncio.StreamReaderProtocol):
    """A program with streams."""

    writer: asyncio.StreamWriter

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        super().__init__(self.reader, self.accepted)

    def accepted(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer


# -- reassembly --------------------------------------------------------------------------------


@pytest.mark.req("SHLD-31", "ST-19", "ST-20")
@pytest.mark.parametrize("seed", range(10))
async def test_reassembly(seed: int) -> None:
    """Segments arrive in any order, twice, and overlapping, the FIN among them; the program reads
    the stream."""
    chance = random.Random(seed)
    data = DATA[:20_000]
    pieces = [(at, min(at + chance.randint(1, 1400), len(data))) for at in range(0, len(data), 700)]
    pieces += [(at, min(at + 700, len(data))) for at in range(0, len(data), 700)]
    pieces += chance.sample(pieces, 20)
    chance.shuffle(pieces)
    async with Peer() as peer:
        program = Program()
        await peer.stack.create_server(lambda: program, peer.stack_host, 80)
        peer.sends(SYN, mss=1460, sack_permitted=True)
        await peer.sees(SYN | ACK)
        peer.sends(ACK)
        reading = asyncio.ensure_future(program.reader.read())
        edges = []
        for start, end in pieces:
            fin = FIN * (end == len(data))
            peer.sends(ACK | fin, seq=1 + start, data=data[start:end])
            edges += [seen.ack for seen in await peer.sees_all()]
        assert await reading == data
        await peer.wait(0.1)
        edges += [seen.ack for seen in await peer.sees_all()]
        assert edges == sorted(edges)
        assert edges[-1] == 1 + len(data) + 1
        assert peer.states[-1] == "CLOSE-WAIT"
        program.writer.transport.abort()
        await peer.sees_all()
        await peer.wait(0.1)
        await peer.sees_all()


@pytest.mark.req("SHLD-31", "X-3")
async def test_reassembly_on_the_way() -> None:
    """The same by a network that reorders and repeats: two programs, both directions."""
    left, right = memory.pair()
    bad = Netem(delay=0.01, jitter=0.02, duplicate=0.2)
    network = Impair(left, outbound=bad, inbound=bad, seed=6)
    async with (
        Stack(network, addresses=[CLIENT], seed=b"client") as here,
        Stack(right, addresses=[SERVER], seed=b"server") as there,
    ):
        assert await echoed(here, there) == DATA
        assert network.counters["outbound_duplicate"] > 10
        assert there.counters.dropped[Drop.DUPLICATE_DATA] > 10


async def echoed(here: Stack, there: Stack) -> bytes:
    """What comes back of DATA through an echo server."""

    async def echo(reader: Reader, writer: Writer) -> None:
        while data := await reader.read(10_000):
            writer.write(data)
            await writer.drain()
        writer.close()

    await there.start_server(echo, SERVER, 7)
    reader, writer = await here.open_connection(SERVER, 7)
    reading = asyncio.ensure_future(reader.read())
    writer.write(DATA)
    writer.write_eof()
    got = await reading
    writer.close()
    await writer.wait_closed()
    return got


# -- checksum ----------------------------------------------------------------------------------


@pytest.mark.req("MUST-3", "MUST-2", "X-3")
async def test_checksum() -> None:
    """Of every ten packets one has a bit flipped, anywhere in it. Each such packet is dropped and
    counted under one name, and the stream is exact."""
    left, right = memory.pair()
    bad = Netem(delay=0.01, corrupt=0.1)
    network = Impair(left, outbound=bad, inbound=bad, seed=5)
    async with (
        Stack(network, addresses=[CLIENT], seed=b"client") as here,
        Stack(right, addresses=[SERVER], seed=b"server") as there,
    ):
        assert await echoed(here, there) == DATA
        await asyncio.sleep(1)
        for receiver, direction in ((there, "outbound"), (here, "inbound")):
            dropped = receiver.counters.dropped
            found = sum(count for name, count in dropped.items() if name in _DAMAGED)
            assert found == network.counters[f"{direction}_corrupt"] > 10
            assert dropped[Drop.TCP_CHECKSUM] > 10


_DAMAGED = {
    Drop.IP_CHECKSUM,
    Drop.IP_VERSION,
    Drop.IP_HEADER_LENGTH,
    Drop.IP_TRUNCATED,
    Drop.TCP_CHECKSUM,
    Drop.TCP_DATA_OFFSET,
}


@pytest.mark.req("MUST-3")
@pytest.mark.parametrize("bit", [0, 7, 8 * 20, 8 * 23 + 3, 8 * 33, 8 * 36 + 2, 8 * 40 + 5])
async def test_checksum_one_flipped_bit(bit: int) -> None:
    """In the version, the addresses' sum, a port, a number, the flags, the checksum itself, the
    text: nothing is delivered, nothing is answered, one counter moves."""
    async with Peer() as peer:
        app = await peer.connects()
        packet = bytearray(peer.packet(ACK | PSH, data=b"hello"))
        packet[bit // 8] ^= 0x80 >> bit % 8
        before = dict(peer.stack.counters.dropped)
        peer.injects(bytes(packet))
        await peer.sees_nothing(for_s=1)
        assert app.received == b""
        assert sum(peer.stack.counters.dropped.values()) == sum(before.values()) + 1
        peer.sends(ACK | PSH, seq=1, data=b"hello")
        await peer.sees(ACK, ack=6, within=0.1)
        assert app.received == b"hello"
