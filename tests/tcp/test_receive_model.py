"""The receiver against a peer that sends what it likes, checked step by step.

Segments in any order, twice, overlapping, before and beyond the window; a program that reads when
it likes. Whatever comes: the program gets the stream, an acknowledgment tells exactly what is
there, the window's edge moves right in steps that are not silly, and holes are reported as they
are.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiotcp.options import Options
from aiotcp.sim import run
from aiotcp.wire.tcp import ACK, FIN
from tests.support.conversation import App, Peer, Seen

DATA = bytes(range(253)) * 400
MSS = 1000


def _within(block: tuple[int, int], larger: tuple[int, int]) -> bool:
    return larger[0] <= block[0] and block[1] <= larger[1]


class Model:
    """What the stack must have, and what it has told."""

    def __init__(self, peer: Peer, app: App, buffer: int) -> None:
        self.peer = peer
        self.app = app
        self.buffer = buffer
        self.got: set[int] = set()
        self.nxt = 1
        self.edge = 1 + min(buffer, 65535)
        self.told = 1
        self.fin: int | None = None

    def sends(self, edge: int, offset: int, size: int, fin: bool) -> None:
        """A segment that begins `offset` bytes from `edge`."""
        start = max(edge + offset, 1)
        end = start + size
        if self.fin is not None:  # the stream has an end: nothing beyond it
            start, end = min(start, self.fin), min(end, self.fin)
            fin = fin and end == self.fin
        elif fin and any(seq >= end for seq in self.got):
            fin = False
        self.peer.sends(ACK | FIN * fin, seq=start, data=DATA[start - 1 : end - 1])
        if self.nxt >= self.edge and end > start:
            return  # nothing fits into a closed window
        if fin and end <= self.edge and start <= self.edge:
            self.fin = end
        self.got.update(range(max(start, self.nxt), min(end, self.edge)))
        while self.nxt in self.got:
            self.got.discard(self.nxt)
            self.nxt += 1

    @property
    def next(self) -> int:
        """What an acknowledgment is to say."""
        return self.nxt + (self.fin is not None and self.nxt == self.fin)

    async def looks(self, *, all_of_it: bool) -> None:
        for seen in await self.peer.sees_all():
            self.checks(seen)
        if all_of_it:
            assert self.told == self.next
            assert self.app.conn.readable + len(self.app.received) == self.nxt - 1

    def checks(self, seen: Seen) -> None:
        assert self.told <= seen.ack <= self.next
        self.told = seen.ack
        edge = seen.ack + seen.window
        assert edge >= self.edge
        ahead = edge - self.edge
        assert ahead <= 1 + (1 << self.peer.flow.shift) or ahead >= min(MSS, self.buffer // 2) - 16
        self.edge = edge
        sack = seen.sack
        if sack and (sack[0][0] < seen.ack or any(_within(sack[0], each) for each in sack[1:])):
            # RFC 2883: it repeats what is there.
            assert sack[0][1] <= self.next or self.got.issuperset(range(*sack[0]))
            sack = sack[1:]
        elif seen.ack == self.next:
            assert bool(sack) == (bool(self.got) and self.peer.flow.syn is not None)
        if seen.ack == self.next:
            for left, right in sack:
                assert set(range(left, right)) <= self.got
                assert left - 1 not in self.got
                assert right not in self.got

    def reads(self, size: int) -> None:
        self.app.read(size)
        assert self.app.received == DATA[: len(self.app.received)]


_STEP = st.one_of(
    st.tuples(
        st.just("send"),
        st.one_of(st.just(0), st.integers(-2000, 4000), st.integers(-100, 30_000)),
        st.integers(1, MSS),
        st.sampled_from([False] * 9 + [True]),
    ),
    st.tuples(st.just("beyond"), st.integers(-1500, 200), st.integers(1, MSS), st.booleans()),
    st.tuples(st.just("read"), st.integers(1, 8000), st.just(0), st.just(False)),
    st.tuples(st.just("wait"), st.sampled_from([1, 50, 1000]), st.just(0), st.just(False)),
)


@pytest.mark.req(
    "ST-7", "ST-19", "ST-20", "SHLD-14", "SHLD-31", "2018-2", "2018-7", "MUST-39", "X-3"
)
@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(_STEP, max_size=40),
    buffer=st.sampled_from([20_000, 65_535, 100_001]),
    scaled=st.booleans(),
)
def test_whatever_the_peer_sends(
    steps: list[tuple[str, int, int, bool]], buffer: int, scaled: bool
) -> None:
    async def conversation() -> None:
        async with Peer(iss=2**32 - 5) as peer:
            app = await peer.connects(
                wscale=0 if scaled else None,
                sack=True,
                options=Options(receive_buffer=buffer, mss=MSS),
                reading=False,
            )
            model = Model(peer, app, min(buffer, buffer if scaled else 65_535))
            for step, number, size, fin in steps:
                if step == "send":
                    model.sends(model.nxt, number, size, fin)
                elif step == "beyond":
                    model.sends(model.edge, number, size, fin)
                elif step == "read":
                    model.reads(number)
                else:
                    await peer.wait(number / 1000)
                await model.looks(all_of_it=step == "wait" and number >= 50)
            await peer.wait(0.1)
            await model.looks(all_of_it=True)
            model.reads(10**6)
            assert len(app.received) == model.nxt - 1
            assert app.eof == (model.fin == model.nxt)
            await peer.sees_all()

    run(conversation())
