"""Whatever becomes of the first packets: short connections, and every pattern that is drawn.

Short ones, so that opening and closing meet as many accidents as the data in between.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from aiotcp.link import memory
from aiotcp.link.base import Link
from aiotcp.link.wrapper import Wrapper
from aiotcp.options import Options
from aiotcp.stack import Connection, Endpoint, PacketStack
from aiotcp.wire.frame import Frame
from tests.support.examples import examples
from tests.support.exchange import run_until_quiet
from tests.support.tap import Tap
from tests.support.transfer import Talker

LEFT, RIGHT = Endpoint("192.0.2.1", 5000), Endpoint("192.0.2.2", 6000)
WELL_S = 0.01
"""The delay of a packet that nothing happens to."""

DOCUMENTED = {errno.ECONNRESET, errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ECONNABORTED}


@dataclass(frozen=True)
class Fate:
    """What becomes of one packet: when its copies arrive, and which bit of them is flipped."""

    arrivals_s: tuple[float, ...] = (WELL_S,)
    flipped: int | None = None


fates = st.lists(
    st.one_of(
        st.just(Fate()),
        st.just(Fate(())),
        st.builds(
            Fate,
            st.lists(st.sampled_from((0.0, WELL_S, 0.05, 0.3, 1.5, 20.0)), max_size=3).map(tuple),
            st.none() | st.integers(0, 8 * 60),
        ),
    ),
    max_size=14,
)
"""Of the packets of one end: fewer than R2 (15), so that nobody gives up unheard on a peer that has
nothing to say, which would then wait for ever."""


class Fated(Wrapper):
    """A link whose packets meet their fates, one by one, until there are none left."""

    def __init__(self, link: Link, drawn: list[Fate]) -> None:
        super().__init__(link)
        self.gso_max_bytes = 0
        self.checksum_offload = False
        self.counters = {}
        self._fates: Iterator[Fate] = iter(drawn)

    def send(self, frame: Frame) -> None:
        fate = next(self._fates, Fate())
        packet = bytearray(frame.to_bytes())
        if fate.flipped is not None:
            packet[fate.flipped // 8 % len(packet)] ^= 1 << fate.flipped % 8
        for delay in fate.arrivals_s:
            self.loop.call_later(delay, self.link.send, Frame(bytes(packet)))


@dataclass(frozen=True)
class Plan:
    """What both ends do."""

    sizes: tuple[int, int]
    simultaneous: bool
    """Both connect to each other."""
    closes: tuple[float | None, float | None]
    """When, in seconds, an end is closed for good whatever it still has to do; None: never."""
    options: tuple[Options, Options]


odd_options = st.builds(
    Options,
    receive_buffer=st.sampled_from((600, 1 << 19)),
    mss=st.sampled_from((None, 100)),
    timestamps=st.booleans(),
    sack=st.booleans(),
    nodelay=st.booleans(),
)
plans = st.builds(
    Plan,
    sizes=st.tuples(*[st.sampled_from((0, 1, 999, 3000))] * 2),
    simultaneous=st.booleans(),
    closes=st.tuples(*[st.none() | st.sampled_from((0.0, 0.015, 0.05, 1.0))] * 2),
    options=st.tuples(odd_options, odd_options),
)


class Meeting:
    """The two stacks, and the connections that come to be."""

    def __init__(self, plan: Plan, drawn: tuple[list[Fate], list[Fate]]) -> None:
        self.plan = plan
        ends = memory.pair()
        self.taps = [Tap(Fated(end, each)) for end, each in zip(ends, drawn, strict=True)]
        self.stacks = [
            PacketStack(tap, addresses=[end.host], options=options, seed=end.host.encode())
            for tap, end, options in zip(self.taps, (LEFT, RIGHT), plan.options, strict=True)
        ]
        self.talkers: tuple[list[Talker], list[Talker]] = [], []

    def talk(self, side: int, connection: Connection) -> None:
        talker = Talker(self.stacks[side], connection, self.plan.sizes[side], f"{side}")
        self.talkers[side].append(talker)
        talker.start()

    async def take_place(self) -> None:
        left, right = self.stacks
        if self.plan.simultaneous:
            self.talk(0, left.connect(RIGHT, local=LEFT))
            self.talk(1, right.connect(LEFT, local=RIGHT))
        else:
            right.listen(RIGHT, lambda connection: self.talk(1, connection))
            self.talk(0, left.connect(RIGHT, local=LEFT))
        for side, when in enumerate(self.plan.closes):
            if when is not None:
                left.loop.call_later(when, self._close, side)

    def _close(self, side: int) -> None:
        for talker in self.talkers[side]:
            talker.close()


@pytest.mark.req("X-3", "MUST-10", "MUST-13", "SHLD-3")
@pytest.mark.parametrize("part", range(3))
def test_short_connections(part: int) -> None:
    @seed(part)
    @settings(database=None, deadline=None, max_examples=examples(500))
    @given(plan=plans, left=fates, right=fates)
    def check(plan: Plan, left: list[Fate], right: list[Fate]) -> None:
        async def main() -> Meeting:
            meeting = Meeting(plan, (left, right))
            await meeting.take_place()
            return meeting

        meeting, quiet_at = run_until_quiet(main())
        for tap in meeting.taps:
            tap.verify()
        for stack in meeting.stacks:
            assert stack.connections() == []
        assert quiet_at < 1000  # fourteen times backed off, and TIME-WAIT
        sent = [{talker.sent.digest() for talker in talkers} for talkers in meeting.talkers]
        for side, talkers in enumerate(meeting.talkers):
            for talker in talkers:
                connection = talker.connection
                assert connection.ended
                assert talker.bytes_received <= plan.sizes[1 - side]
                if connection.error is not None:
                    assert connection.error.errno in DOCUMENTED
                elif plan.closes == (None, None):
                    assert talker.bytes_received == plan.sizes[1 - side]
                    assert talker.received.digest() in sent[1 - side]

    check()
