"""One transfer both ways between two stacks over a bad network, in virtual time, from a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar

from aiotcp.link import memory
from aiotcp.link.base import Link
from aiotcp.link.impair import Impair, Netem
from aiotcp.link.pcapng import Capture
from aiotcp.link.wrapper import Wrapper
from aiotcp.options import Options
from aiotcp.sim import Deadlock, run
from aiotcp.stack import Connection, Endpoint, PacketStack
from aiotcp.wire.frame import Frame
from tests.support.tap import Tap
from tests.support.transfer import EAGER, Pace, Talker

_T = TypeVar("_T")

PORT = 4000
HOSTS = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}


@dataclass(frozen=True)
class Network:
    """What lies between two stacks, and what they are like; of two, the client's comes first."""

    netem: Netem = field(default_factory=Netem)
    mtu: int = 1500
    version: int = 4
    options: tuple[Options, Options] = (Options(), Options())
    paces: tuple[Pace, Pace] = (EAGER, EAGER)
    queue: int = 1000
    offload: bool = False
    """Frames of up to 64 KiB pass whole; of `netem` only delay, loss and duplicate count, each for
    whole frames."""


class Carrier(Wrapper):
    """A link with offload that delays, loses and doubles whole frames: what `Impair`, which cuts
    them, can't do."""

    def __init__(self, link: Link, netem: Netem, seed: int) -> None:
        super().__init__(link)
        self.outbound = netem
        self.counters = {"outbound_loss": 0, "outbound_duplicate": 0}
        self._random = random.Random(f"carrier {seed}")

    def send(self, frame: Frame) -> None:
        copies = 1
        if self._random.random() < self.outbound.duplicate:
            self.counters["outbound_duplicate"] += 1
            copies = 2
        for _ in range(copies):
            if self._random.random() < self.outbound.loss:
                self.counters["outbound_loss"] += 1
            else:
                self.loop.call_later(self.outbound.delay, self.link.send, frame)


LOSSY = Network(Netem(delay=0.02, jitter=0.001, loss=0.05, reorder=0.03, duplicate=0.02))
"""Every twentieth packet lost in each direction, others overtaking and doubled."""


def lossy(seed: int) -> Network:
    return LOSSY if seed % 2 else Network(LOSSY.netem, version=6)


def hostile(seed: int) -> Network:
    """A network that has something against every packet, and two odd stacks: drawn from `seed`."""
    draw = random.Random(f"hostile {seed}")
    version = draw.choice((4, 6))
    netem = Netem(
        delay=draw.choice((0.0005, 0.005, 0.05)),
        jitter=draw.choice((0.0, 0.0003, 0.02)),
        loss=draw.choice((0.0, 0.01, 0.05)),
        duplicate=draw.choice((0.0, 0.05)),
        reorder=draw.choice((0.0, 0.02, 0.2)),
        corrupt=draw.choice((0.0, 0.01, 0.05)),
        rate=draw.choice((0.0, 1e6, 2e7)),
        limit=draw.choice((5, 30, 1000)),
    )
    mtu = draw.choice((576, 1006, 1500) if version == 4 else (1280, 1500, 9000))
    return Network(
        netem,
        mtu=mtu,
        version=version,
        options=(_odd_options(draw), _odd_options(draw)),
        paces=(_odd_pace(draw), _odd_pace(draw)),
    )


def large_frames(seed: int) -> Network:
    """Links with segmentation offload, and odd stacks: drawn from `seed`."""
    draw = random.Random(f"large frames {seed}")
    version = draw.choice((4, 6))
    netem = Netem(
        delay=draw.choice((0.0, 0.0005, 0.02)),
        loss=draw.choice((0.0, 0.01, 0.1)),
        duplicate=draw.choice((0.0, 0.05)),
    )
    return Network(
        netem,
        mtu=draw.choice((1280, 1500, 9000)),
        version=version,
        options=(_odd_options(draw), _odd_options(draw)),
        paces=(_odd_pace(draw), _odd_pace(draw)),
        offload=True,
    )


def _odd_options(draw: random.Random) -> Options:
    return Options(
        receive_buffer=draw.choice((700, 3000, 20_000, 100_000, 1 << 20)),
        send_buffer=draw.choice((500, 5000, 100_000, 1 << 20)),
        mss=draw.choice((None, None, 88, 400)),
        window_scaling=draw.random() < 0.7,
        timestamps=draw.random() < 0.7,
        sack=draw.random() < 0.7,
        nodelay=draw.random() < 0.5,
        delayed_ack_s=draw.choice((0.0, 0.04, 0.2)),
        initial_window_segments=draw.choice((1, 3, 10)),
    )


def _odd_pace(draw: random.Random) -> Pace:
    return draw.choice((EAGER, EAGER, Pace(3000, 0.005), Pace(50_000, 0.1)))


class Exchange:
    """Two stacks on one network. To be made in a running loop.

    `captures`: files for what the client's and the server's link carry. `then_close`: each side
    closes when it has sent all.
    """

    def __init__(
        self,
        network: Network,
        seed: int,
        *,
        captures: tuple[BinaryIO, BinaryIO] | None = None,
        then_close: bool = True,
    ) -> None:
        self.network = network
        self.seed = seed
        self.hosts = HOSTS[network.version]
        ends = memory.pair(mtu=network.mtu, limit=network.queue, offload=network.offload)
        self.impairments: tuple[Impair | Carrier, ...] = tuple(
            Carrier(end, network.netem, 2 * seed + side)
            if network.offload
            else Impair(end, outbound=network.netem, seed=2 * seed + side)
            for side, end in enumerate(ends)
        )
        self.taps = tuple(Tap(link) for link in self.impairments)
        links: list[Link] = list(self.taps)
        if captures is not None:
            links = [
                Capture(link, file, epoch_s=0.0) for link, file in zip(links, captures, strict=True)
            ]
        self.stacks = tuple(
            PacketStack(link, addresses=[host], options=options, seed=f"{side} {seed}".encode())
            for side, (link, host, options) in enumerate(
                zip(links, self.hosts, network.options, strict=True)
            )
        )
        self.accepted: asyncio.Queue[Talker] = asyncio.Queue()
        self._size = 0
        self._then_close = then_close

    def listen(self, size: int) -> None:
        """The server's end: to everyone who connects it sends `size` bytes."""
        self._size = size
        self.stacks[1].listen(Endpoint(self.hosts[1], PORT), self._accept)

    def _accept(self, connection: Connection) -> None:
        talker = self._talker(1, connection, self._size)
        self.accepted.put_nowait(talker)
        talker.progress()

    def connect(self, size: int) -> Talker:
        talker = self._talker(0, self.stacks[0].connect(Endpoint(self.hosts[1], PORT)), size)
        talker.start()
        return talker

    def _talker(self, side: int, connection: Connection, size: int) -> Talker:
        return Talker(
            self.stacks[side],
            connection,
            size,
            f"{self.seed} {'server' if side else 'client'}",
            self.network.paces[side],
            then_close=self._then_close,
        )

    async def transfer(self, size: int) -> tuple[Talker, Talker]:
        """`size` bytes each way; returns when both connections have ended, however they did."""
        self.listen(size)
        client = self.connect(size)
        await client.done.wait()
        server = await self.accepted.get()
        await server.done.wait()
        return client, server

    @property
    def digest(self) -> str:
        """Of all packets on both links, with their times."""
        return self.taps[0].digest[:32] + self.taps[1].digest[:32]

    def verify(self) -> None:
        """No rule was broken on either link."""
        for tap in self.taps:
            tap.verify()


def run_until_quiet(main: Coroutine[Any, Any, _T]) -> tuple[_T, float]:
    """Run `main` on virtual time, and on until nothing can happen any more: no timer is left.

    Returns what `main` does, and the virtual time at which all was quiet.
    """
    results: list[_T] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def wait_for_ever() -> None:
        loop = asyncio.get_running_loop()
        loops.append(loop)
        results.append(await main)
        await loop.create_future()

    try:
        run(wait_for_ever())
    except Deadlock:
        if not results:
            raise
    return results[0], loops[0].time()


def intact(client: Talker, server: Talker, size: int) -> None:
    """Both sides got what the other one sent, all of it, and closed without an error."""
    for talker in (client, server):
        assert talker.connection.error is None
        assert talker.bytes_received == size
    assert client.sent.digest() == server.received.digest()
    assert server.sent.digest() == client.received.digest()
