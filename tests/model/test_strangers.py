"""Two ends of different connections, joined by mistake: they fall silent at any round-trip time."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from aiotcp.link.base import Receiver
from aiotcp.options import Options
from aiotcp.stack import Connection, Endpoint, PacketStack
from aiotcp.wire.frame import Frame
from tests.support.tap import Tap
from tests.support.transfer import Talker

CLIENT, SERVER = Endpoint("192.0.2.1", 5000), Endpoint("192.0.2.2", 80)

R2_S = 1000.0
"""What fifteen retransmissions take, about: 924.6 s and a few round trips."""


class Plug:
    """A link whose other end can be changed while packets flow."""

    mtu = 1500
    gso_max_bytes = 0
    checksum_offload = False

    def __init__(self, delay_s: float) -> None:
        self.counters: dict[str, int] = {}
        self.far: Plug | None = None
        self.last_sent_at = 0.0
        self._delay_s = delay_s
        self._receiver: Receiver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        self._receiver, self._loop = receiver, loop

    def send(self, frame: Frame) -> None:
        if self.far is not None and self._loop is not None:
            self.last_sent_at = self._loop.time()
            self._loop.call_later(self._delay_s, self.far.deliver, frame.to_bytes())

    def deliver(self, packet: bytes) -> None:
        if self._receiver is not None:
            self._receiver.receive(memoryview(packet))
            self._receiver.flush()

    def close(self) -> None:
        self.far = self._receiver = None


def join(one: Plug, other: Plug) -> None:
    one.far, other.far = other, one


class Strangers:
    """A client and a server, both established between the same addresses and ports, whose real
    partners are out of reach."""

    def __init__(self, delay_s: float, seed: int, *, timestamps: bool) -> None:
        self.delay_s = delay_s
        options = Options(timestamps=timestamps)
        self.plugs = [Plug(delay_s) for _ in range(4)]
        self.taps = [Tap(plug) for plug in self.plugs]
        self.stacks = [
            PacketStack(tap, addresses=[end.host], options=options, seed=f"{side} {seed}".encode())
            for side, (tap, end) in enumerate(
                zip(self.taps, (CLIENT, SERVER, CLIENT, SERVER), strict=True)
            )
        ]

    async def meet(self, between_s: float) -> tuple[Talker, Talker]:
        """The connection of the client, and the one of the server; `between_s` is how much later
        the server's was opened."""
        talkers: list[Talker] = []
        for client, server in ((0, 1), (2, 3)):
            join(self.plugs[client], self.plugs[server])
            self.stacks[server].listen(SERVER, partial(hold, self.stacks[server], talkers))
            conn = self.stacks[client].connect(SERVER, local=CLIENT)
            if client == 0:
                hold(self.stacks[0], talkers, conn)
                await asyncio.sleep(between_s)
        await asyncio.sleep(3 * self.delay_s + 1)
        join(self.plugs[0], self.plugs[3])
        self.packets_before = self._packets
        return talkers[0], talkers[2]

    @property
    def _packets(self) -> int:
        return self.taps[0].packets_sent + self.taps[3].packets_sent

    @property
    def packets(self) -> int:
        """Sent since they met."""
        return self._packets - self.packets_before


def hold(stack: PacketStack, talkers: list[Talker], connection: Connection) -> None:
    talkers.append(Talker(stack, connection, 0, "", then_close=False))


def act(talker: Talker, action: str) -> None:
    conn = talker.connection
    if conn.ended:
        return
    if action == "text":
        conn.send(bytes(3000))
    elif action == "close":
        conn.shutdown()
    elif action == "abort":
        conn.abort(discarded=True)
    talker.stack.push(conn)


@pytest.mark.req("X-1", "5961-4")
@pytest.mark.parametrize("delay_s", [0.001, 0.1, 0.249, 0.3, 0.6, 2.0, 10.0])
@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize(
    "actions",
    [("text", ""), ("", "text"), ("text", "text"), ("close", "close"), ("text", "abort")],
    ids=" ".join,
)
async def test_strangers_fall_silent(
    delay_s: float, timestamps: bool, actions: tuple[str, str]
) -> None:
    for seed in range(4):
        strangers = Strangers(delay_s, seed, timestamps=timestamps)
        began = asyncio.get_running_loop().time()
        pair = await strangers.meet(between_s=1.0 + 500 * seed)
        for talker, action in zip(pair, actions, strict=True):
            act(talker, action)
        await asyncio.sleep(R2_S + 60 * delay_s + 500)
        # Each side repeats its text fifteen times; few answers follow from each.
        assert strangers.packets <= 2 * 16 * 4
        last = max(strangers.plugs[0].last_sent_at, strangers.plugs[3].last_sent_at)
        assert last <= began + 1.0 + 500 * seed + R2_S + 60 * delay_s
        for tap in strangers.taps:
            tap.verify()
        for stack in strangers.stacks:
            await stack.aclose(grace=0)
