"""The sender against a peer that does as it likes with its window, checked step by step.

The peer opens, closes and shrinks its window at will (RFC 9293 3.8.6), loses what it likes, and
acknowledges when it likes, always truthfully. Whatever it does: what is sent are the bytes that
were written, nothing new leaves beyond the window but a probe of one byte, and when the peer has
room again everything arrives.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiotcp.options import Options
from aiotcp.sim import run
from aiotcp.wire.tcp import ACK, FIN
from tests.support.conversation import App, Peer, Seen

DATA = bytes(range(251)) * 400


class Whimsical:
    """The peer's side: what it has, what it offered, what it may see."""

    def __init__(self, peer: Peer, app: App, window: int) -> None:
        self.peer = peer
        self.app = app
        self.written = 0
        self.shut = False
        self.got: set[int] = set()
        self.edge = 1
        self.offered = 1 + window
        self.most_offered = self.offered
        self.highest = 1

    def write(self, size: int) -> None:
        if not self.shut:
            size = min(size, len(DATA) - self.written)
            self.written += self.app.write(DATA[self.written : self.written + size])

    def shutdown(self) -> None:
        if not self.shut:
            self.shut = True
            self.app.shutdown()

    async def takes(self, losing: int) -> None:
        """What was sent arrives, or some of it: bit n of `losing` is the fate of every eighth."""
        for n, seen in enumerate(await self.peer.sees_all()):
            self.checks(seen)
            if not losing >> n % 8 & 1:
                self.got.update(range(seen.seq, seen.end))
        while self.edge in self.got:
            self.edge += 1

    def checks(self, seen: Seen) -> None:
        length = len(seen.payload)
        assert seen.payload == DATA[seen.seq - 1 : seen.seq - 1 + length]
        assert seen.seq + length <= 1 + self.written
        if seen.flags & FIN:
            assert self.shut
            assert seen.seq + length == 1 + self.written
        if seen.end > self.highest:
            assert seen.seq <= self.highest
            if seen.end > self.most_offered:
                assert seen.end - seen.seq == 1
                assert seen.why in ("window_probe", "rto_retransmit")
            self.highest = seen.end

    def acknowledges(self, window: int) -> None:
        granule = 1 << self.peer.flow.peer_shift
        window -= window % granule
        self.peer.sends(ACK, ack=self.edge, window=window)
        self.offered = self.edge + window
        self.most_offered = max(self.most_offered, self.offered)

    async def is_kind(self) -> None:
        """From now on it takes everything. It speaks only when spoken to, as if all that it had
        said before about its window had been lost: so the sender has to ask."""
        for _ in range(2000):
            if self.edge == 1 + self.written + self.shut:
                break
            for _ in range(65):
                if self.peer.unseen:
                    break
                await self.peer.wait(1)
            assert self.peer.unseen, "the sender has fallen silent"
            await self.takes(0)
            self.acknowledges(64_000)
        self.acknowledges(64_000)
        await self.takes(0)
        assert self.edge == 1 + self.written + self.shut
        assert self.app.conn.unacked == 0


_SIZES = st.one_of(st.integers(1, 100), st.integers(1, 20_000))
_WINDOWS = st.one_of(st.just(0), st.integers(0, 3000), st.integers(0, 60_000))
_STEP = st.one_of(
    st.tuples(st.just("write"), _SIZES),
    st.tuples(st.just("take"), st.sampled_from([0, 0, 0xFF, 0x55, 0x01, 0x80])),
    st.tuples(st.just("ack"), _WINDOWS),
    st.tuples(st.just("take and ack"), _WINDOWS),
    st.tuples(st.just("again"), st.integers(1, 4)),
    st.tuples(st.just("wait"), st.sampled_from([1, 39, 41, 199, 500, 2000])),
    st.tuples(st.just("shutdown"), st.just(0)),
)


@pytest.mark.req("MUST-34", "SHLD-15", "SHLD-16", "SHLD-17", "MUST-35", "MUST-36", "X-3")
@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(_STEP, max_size=40),
    mss=st.sampled_from([64, 536, 1000, 1460]),
    wscale=st.sampled_from([None, 0, 3, 7]),
    ts=st.booleans(),
    nodelay=st.booleans(),
    offload=st.booleans(),
    window=st.sampled_from([0, 500, 4000, 60_000]),
)
def test_whatever_the_peer_does_with_its_window(
    steps: list[tuple[str, int]],
    mss: int,
    wscale: int | None,
    ts: bool,
    nodelay: bool,
    offload: bool,
    window: int,
) -> None:
    async def conversation() -> None:
        async with Peer(iss=2**32 - 5, offload=offload) as peer:
            window_now = window - window % (1 << (wscale or 0))
            options = Options(nodelay=nodelay)
            app = await peer.connects(
                mss=mss, wscale=wscale, ts=ts, window=window_now, options=options
            )
            other = Whimsical(peer, app, window)
            for step, number in steps:
                if step == "write":
                    other.write(number)
                elif step == "take":
                    await other.takes(number)
                elif step == "ack":
                    other.acknowledges(number)
                elif step == "take and ack":
                    await other.takes(0)
                    other.acknowledges(number)
                elif step == "again":
                    for _ in range(number):
                        peer.sends(ACK, ack=other.edge, window=max(other.offered - other.edge, 0))
                elif step == "wait":
                    await peer.wait(number / 1000)
                else:
                    other.shutdown()
            await other.is_kind()

    run(conversation())
