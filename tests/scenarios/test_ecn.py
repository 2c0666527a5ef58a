"""Congestion marks between two stacks (SCENARIOS, flags): ECE until CWR answers, and the sender
slows down once for all the marks of a window; over a bottleneck that marks, nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise

import pytest

from aiotcp.link import memory
from aiotcp.link.impair import Impair, Netem, congestion_experienced
from aiotcp.options import Options
from aiotcp.stack import Connection, Endpoint
from aiotcp.streams import Stack
from aiotcp.tcp.accecn import AccurateEcn
from aiotcp.wire import ipv4, tcp
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import CWR, ECE, SYN, Segment
from tests.support.tap import Tap
from tests.support.transfer import Talker

CLIENT, SERVER = "192.0.2.1", "192.0.2.2"
NOT_ECT, ECT_1, ECT_0, CE = range(4)
SIZE = 600_000
ONE_WAY_S = 0.020
RATE = 20e6
"""Bits per second: with 40 ms there and back 100 kB, or 68 packets."""

kinds = pytest.mark.parametrize("ecn", ["on", "accurate"])
controls = pytest.mark.parametrize("cc", ["reno"])


@dataclass
class Passed:
    """A segment of the sender (`ours`) or of the receiver, with its codepoint."""

    at: float
    ours: bool
    segment: Segment


class Watch:
    """What the two directions carry, as seen between the sender and its bad network; a filter for
    each that notes and lets pass."""

    def __init__(self) -> None:
        self.passed: list[Passed] = []

    def note(self, packet: bytes, ours: bool) -> bool:
        _, offset, end = ipv4.parse(memoryview(packet), True)
        segment = tcp.parse(memoryview(packet), offset, end)
        segment.ecn = packet[1] & 3
        self.passed.append(Passed(asyncio.get_running_loop().time(), ours, segment))
        return True

    def outbound(self, packet: bytes) -> bool:
        return self.note(packet, True)

    def inbound(self, packet: bytes) -> bool:
        return self.note(packet, False)

    def of(self, *, ours: bool) -> list[Segment]:
        return [each.segment for each in self.passed if each.ours is ours]


class Reader(Talker):
    """The user of the other end, which sends nothing."""

    def __init__(self, stack: Stack, conn: Connection) -> None:
        super().__init__(stack, conn, 0, "none", then_close=False)
        self.heard_all = asyncio.Event()

    def progress(self) -> None:
        super().progress()
        if self.connection.eof:
            self.heard_all.set()


@dataclass
class Run:
    watch: Watch
    link: Impair
    taps: tuple[Tap, Tap]
    sender: Talker
    receiver: Reader
    client: Stack

    def verify(self) -> None:
        for tap in self.taps:
            tap.verify()
        assert self.receiver.received.digest() == self.sender.sent.digest()

    @property
    def repeated(self) -> int:
        return sum(n for why, n in self.client.counters.sent.items() if "retransmit" in why)


@asynccontextmanager
async def transfer(
    options: Options, *, size: int = SIZE, server: Options | None = None, **outbound: object
) -> AsyncIterator[Run]:
    """The client sends `size` bytes over a network with the faults of `outbound`."""
    watch = Watch()
    left, right = memory.pair(limit=100_000)
    there = Netem(delay=ONE_WAY_S, limit=10_000, filter=watch.outbound, **outbound)  # type: ignore[arg-type]
    back = Netem(delay=ONE_WAY_S, limit=10_000, filter=watch.inbound)
    link = Impair(left, outbound=there, inbound=back, seed=3)
    taps = Tap(link), Tap(right)
    async with (
        Stack(taps[0], addresses=[CLIENT], options=options, seed=b"client") as client,
        Stack(taps[1], addresses=[SERVER], options=server or options, seed=b"server") as stack,
    ):
        accepted: asyncio.Future[Reader] = asyncio.get_running_loop().create_future()
        stack.listen(Endpoint(SERVER, 80), lambda conn: accepted.set_result(Reader(stack, conn)))
        sender = Talker(client, client.connect(Endpoint(SERVER, 80)), size, "data")
        receiver = await accepted
        run = Run(watch, link, taps, sender, receiver, client)
        await receiver.heard_all.wait()
        yield run
        receiver.close()
        await asyncio.sleep(1)
        run.verify()


class MarksOne(Impair):
    """A network that marks one packet in the middle of the transfer."""

    seen = 0

    def send(self, frame: Frame) -> None:
        packet = frame.to_bytes()
        if packet[1] & 3 == ECT_0:
            self.seen += 1
            if self.seen == 200:
                frame = Frame(congestion_experienced(packet), reason=frame.reason)
        super().send(frame)


@pytest.mark.req("3168-1", "3168-2", "SHLD-8")
@kinds
async def test_all_data_is_ecn_capable_and_nothing_else(ecn: str) -> None:
    async with transfer(Options(ecn=ecn, cc="reno")) as run:
        ours, theirs = run.watch.of(ours=True), run.watch.of(ours=False)
        assert {each.ecn for each in ours if each.payload} == {ECT_0}
        assert {each.ecn for each in ours if not each.payload} == {NOT_ECT}
        assert {each.ecn for each in theirs} == {NOT_ECT}


@pytest.mark.req("3168-1")
@pytest.mark.parametrize(
    ("client", "server"),
    [("passive", "passive"), ("on", "off"), ("off", "on"), ("accurate", "off")],
)
async def test_none_where_one_does_not_want_it(client: str, server: str) -> None:
    async with transfer(
        Options(ecn=client, cc="reno"), server=Options(ecn=server, cc="reno"), mark=0.1
    ) as run:
        assert run.link.counters["outbound_mark"] == 0
        flags = [each.flags for each in run.watch.of(ours=True)[1:]]
        flags += [each.flags for each in run.watch.of(ours=False)]
        assert not any(each & (ECE | CWR | tcp.AE) for each in flags)


@pytest.mark.req("3168-3", "3168-4")
async def test_ece_until_cwr_and_one_reduction() -> None:
    """One mark in the middle: a story of four words, each of which comes once."""
    watch = Watch()
    left, right = memory.pair(limit=100_000, checksums=True)
    link = MarksOne(
        left,
        outbound=Netem(delay=ONE_WAY_S, limit=10_000, filter=watch.outbound),
        inbound=Netem(delay=ONE_WAY_S, limit=10_000, filter=watch.inbound),
    )
    options = Options(ecn="on", cc="reno")
    async with (
        Stack(link, addresses=[CLIENT], options=options, seed=b"client") as client,
        Stack(right, addresses=[SERVER], options=options, seed=b"server") as stack,
    ):
        accepted: asyncio.Future[Reader] = asyncio.get_running_loop().create_future()
        stack.listen(Endpoint(SERVER, 80), lambda conn: accepted.set_result(Reader(stack, conn)))
        sender = Talker(client, client.connect(Endpoint(SERVER, 80)), SIZE, "data")
        receiver = await accepted
        windows: list[int] = []
        while not receiver.connection.eof:
            windows.append(sender.connection.cc.cwnd)
            await asyncio.sleep(0.001)
        receiver.close()
    told = [n for n, each in enumerate(watch.passed) if not each.ours and not
            each.segment.flags & SYN and each.segment.flags & ECE]  # fmt: skip
    answers = [n for n, each in enumerate(watch.passed) if each.ours and not
               each.segment.flags & SYN and each.segment.flags & CWR]  # fmt: skip
    assert len(answers) == 1
    answered_at = watch.passed[answers[0]].at
    assert watch.passed[told[0]].at <= answered_at
    # It takes a round trip for CWR to be heard and for the last ECE to arrive.
    assert watch.passed[told[-1]].at <= answered_at + 2 * ONE_WAY_S + 1e-6
    between = [
        each.segment.flags & ECE for each in watch.passed[told[0] : told[-1]] if not each.ours
    ]
    assert all(between)
    halved = [(a, b) for a, b in pairwise(windows) if b < a]
    assert len(halved) == 1
    assert halved[0][1] <= halved[0][0] // 2 + 2 * 1460


@pytest.mark.req("3168-3", "3168-4", "8311-1")
@kinds
@controls
async def test_a_bottleneck_that_marks_is_filled_and_loses_nothing(ecn: str, cc: str) -> None:
    """It marks above 130 packets, of which about 68 fill the path and the rest is queue."""
    async with transfer(Options(ecn=ecn, cc=cc), size=5_000_000, rate=RATE, mark_above=130) as run:
        assert run.link.counters["outbound_mark"] > 0
        assert run.link.counters["outbound_limit"] == 0
        assert run.repeated == 0
        elapsed = run.watch.passed[-1].at
        assert 5_000_000 * 8 / elapsed > 0.75 * RATE


@pytest.mark.req("8311-1")
@pytest.mark.parametrize("share", [0.001, 0.01, 0.1])
async def test_both_ends_count_the_same_marks(share: float) -> None:
    async with transfer(Options(ecn="accurate", cc="reno"), mark=share) as run:
        await asyncio.sleep(4 * ONE_WAY_S)  # what the last packets met is told
        ours, theirs = run.sender.connection.ecn, run.receiver.connection.ecn
        assert isinstance(ours, AccurateEcn)
        assert isinstance(theirs, AccurateEcn)
        marks = run.link.counters["outbound_mark"]
        assert marks
        assert theirs.received_cep - 5 == marks
        assert ours.delivered_ce == marks
        assert ours.delivered_ce_bytes == theirs.received_ce_bytes
        assert run.repeated == 0


@pytest.mark.req("3168-4", "SHLD-8")
@kinds
async def test_a_path_that_marks_everything(ecn: str) -> None:
    """It is found out and not believed. What it costs is where the window starts to grow from: with
    two segments in each round trip for ever it would be 8 s."""
    times = []
    for mark in (0.0, 1.0):
        async with transfer(Options(ecn=ecn, cc="reno"), mark=mark) as run:
            times.append(run.watch.passed[-1].at)
            last = [each for each in run.watch.of(ours=True) if each.payload][-1]
            assert last.ecn == (NOT_ECT if mark else ECT_0)
    assert times[0] < 1
    assert times[1] < 3


@pytest.mark.req("SHLD-8")
@kinds
async def test_a_path_that_drops_ect_or_setup_syns(ecn: str) -> None:
    """Firewalls of every kind: the bytes arrive nevertheless."""

    def without_ect(packet: bytes) -> bool:
        return not packet[1] & 3

    def without_flags(packet: bytes) -> bool:
        return not (packet[33] & SYN and packet[33] & (ECE | CWR))

    for passes in (without_ect, without_flags):
        left, right = memory.pair(limit=100_000)
        link = Impair(left, outbound=Netem(delay=ONE_WAY_S, filter=passes))
        options = Options(ecn=ecn, cc="reno")
        async with (
            Stack(link, addresses=[CLIENT], options=options, seed=b"client") as client,
            Stack(right, addresses=[SERVER], options=options, seed=b"server") as stack,
        ):
            server = await stack.start_server(echo, SERVER, 80)
            reader, writer = await client.open_connection(SERVER, 80)
            writer.write(bytes(100_000))
            writer.write_eof()
            assert len(await reader.read()) == 100_000
            writer.close()
            server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()
