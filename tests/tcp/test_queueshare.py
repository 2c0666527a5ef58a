"""Windows fit into the queue of a link without offload."""

from __future__ import annotations

import random

import pytest

from aiotcp.link import Wrapper, memory
from aiotcp.link.base import receive_queue_packets
from aiotcp.link.impair import Impair
from aiotcp.options import Options
from aiotcp.tcp.queueshare import QueueShare, ReceiveQueue
from aiotcp.wire.tcp import ACK
from tests.support.conversation import Peer

MSS = 1000


class Carried:
    """A connection whose peer sends as slow start does, as far as the window lets it."""

    def __init__(self, queue: ReceiveQueue) -> None:
        self.share = QueueShare(queue)
        self.received = 0
        self.edge = 45 * MSS  # of a SYN
        self.sent = 0
        self.cwnd = 10 * MSS

    def sends(self) -> int:
        """Packets."""
        before = self.sent
        self.sent = max(self.sent, min(self.received + self.cwnd, self.edge))
        return (self.sent - before) // MSS

    def receives(self, packets: int, now: float) -> None:
        self.received += packets * MSS
        self.cwnd += packets * MSS
        window = self.share.window(self.received, MSS, now)
        self.edge = max(self.edge, self.received + window)


@pytest.mark.parametrize(("packets", "count"), [(500, 1), (500, 4), (4096, 1), (4096, 16)])
@pytest.mark.parametrize("rate", [3000, 30_000, 300_000])
def test_windows_together_fit_into_the_queue(packets: int, count: int, rate: int) -> None:
    """Whatever the rate at which we empty it, and though the peers send as fast as they may."""
    draw = random.Random(f"{packets} {count}")
    queue = ReceiveQueue(packets)
    everybody = [Carried(queue) for _ in range(count)]
    waiting: list[Carried] = []
    for number in range(100_000 // 64):
        for each in draw.sample(everybody, count):
            waiting += [each] * each.sends()
        assert len(waiting) <= packets
        batch, waiting = waiting[:64], waiting[64:]
        for each in everybody:
            if each in batch:
                each.receives(batch.count(each), number * 64 / rate)
    offered = sum(each.edge - each.received for each in everybody) / MSS
    assert packets / 2 < offered <= packets


def test_who_is_alone_again_has_it_all_again() -> None:
    queue = ReceiveQueue(4000)
    first, second = QueueShare(queue), QueueShare(queue)
    received = 0
    windows = []
    for number in range(400):
        received += 20 * MSS
        now = number / 10
        windows.append(first.window(received, MSS, now))
        if number < 100:
            second.window(received, MSS, now)
    assert windows[90] == 1500 * MSS
    assert windows[-1] == 3000 * MSS


def test_connections_that_carry_little_take_nothing_from_it() -> None:
    queue = ReceiveQueue(4000)
    bulk = QueueShare(queue)
    window = 0
    for number in range(200):
        window = bulk.window(number * 100 * MSS, MSS, number / 10)
        for _ in range(10):
            QueueShare(queue).window(5 * MSS, MSS, number / 10)
    assert window == 3000 * MSS


@pytest.mark.req("SHLD-14")
async def test_what_connections_offer() -> None:
    """The edge is not taken back (`wirecheck` watches it): it waits until the share is used up."""
    peer = Peer(options=Options(mss=MSS))
    peer.wire.receive_queue_packets = 80  # type: ignore[attr-defined]
    async with peer:
        other = peer.another()
        await peer.connects(wscale=7)
        await other.connects(wscale=7)
        windows: dict[Peer, int] = {}
        for step in range(80):
            for each in (peer, other) if step >= 20 else (peer,):
                each.sends(ACK, data=bytes(MSS))
                each.sends(ACK, data=bytes(MSS))
                windows[each] = (await each.sees_all())[-1].window
            if step == 19:
                assert 59 * MSS <= windows[peer] <= 61 * MSS
            await peer.wait(0.02)
        assert 29 * MSS <= windows[peer] <= 32 * MSS
        assert 29 * MSS <= windows[other] <= 32 * MSS


async def test_reading_later_opens_no_more_than_the_share() -> None:
    peer = Peer(options=Options(mss=MSS))
    peer.wire.receive_queue_packets = 80  # type: ignore[attr-defined]
    async with peer:
        app = await peer.connects(wscale=7, reading=False)
        for _ in range(50):
            peer.sends(ACK, data=bytes(MSS))
            peer.sends(ACK, data=bytes(MSS))
            seen = (await peer.sees_all())[-1]
            assert seen.window <= 66 * MSS
        app.read()
        await peer.sees_nothing()  # it was open as far as it goes


class Short(Wrapper):
    @property
    def receive_queue_packets(self) -> int:
        return 7


def test_links_tell_it() -> None:
    left, _ = memory.pair()
    assert receive_queue_packets(left) is None
    assert receive_queue_packets(Impair(Short(left))) == 7
