"""Usual acknowledgments take a short way (`tcp.usualacks`): one by one they do what the complete
way does, and several of one batch what the last of them would do alone.

The same conversation is held with two stacks of the same seed, whose packets come in by
`receive` and by `receive_completely`. What they send and what `tcp_info` tells must not differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiotcp import Stack
from aiotcp.addresses import pack
from aiotcp.link.base import Receiver
from aiotcp.options import Options
from aiotcp.sim import run
from aiotcp.tcp.congestion import Ack, CongestionControl
from aiotcp.tcpinfo import TcpInfo
from aiotcp.wire import tcp
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import ACK, FIN, PSH, SYN, HeaderTemplate
from tests.support.conversation import Peer

STACK, PEER = "192.0.2.2", "192.0.2.1"
MSS = 1448
DATA = bytes(range(253)) * 3000


class Sink:
    """A link that keeps what is sent."""

    mtu = 1500

    def __init__(self, offload: bool) -> None:
        self.gso_max_bytes = 65535 if offload else 0
        self.checksum_offload = offload
        self.counters: dict[str, int] = {}
        self.sent: list[tuple[bytes, int, str]] = []

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        pass

    def send(self, frame: Frame) -> None:
        self.sent.append((frame.to_bytes(), frame.gso_size, frame.reason))

    def close(self) -> None:
        pass


class Program(asyncio.Protocol):
    """Writes what it is told to write."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)


class Talk:
    """One stack with one connection, and the peer's side of it, which knows only what was sent."""

    def __init__(self, offload: bool, options: dict[str, Any], *, complete: bool) -> None:
        self.link = Sink(offload)
        self.stack = Stack(self.link, addresses=[STACK], options=options, seed=b"usual")
        self.receive = self.stack.receive_completely if complete else self.stack.receive
        self.template = HeaderTemplate(pack(PEER), 4000, pack(STACK), 7)
        self.seq = 0xFFFF_F000
        self.una = self.nxt = 0
        self.seen: list[tuple[list[tuple[bytes, int, str]], TcpInfo]] = []

    def packet(self, flags: int, ack: int = 0, payload: bytes = b"", **options: Any) -> bytes:
        options.setdefault("timestamps", (self.tsval, self.tsecr))
        return self.template.frame(
            self.seq,
            ack,
            flags,
            self.window,
            options=tcp.pack_options(**options),
            payload=(payload,),
            payload_length=len(payload),
            offload=False,
        ).to_bytes()

    @property
    def tsval(self) -> int:
        return 5000 + int(self.stack.loop.time() * 1000)

    def gives(self, *packets: bytes) -> None:
        for packet in packets:
            self.receive(memoryview(packet))
        self.stack.flush()

    def note(self) -> None:
        """What was sent since the last time."""
        sent, self.link.sent = self.link.sent, []
        for packet, _, _ in sent:
            segment = tcp.parse(memoryview(packet), 20, len(packet))
            self.tsecr = segment.tsval or 0
            end = segment.seq + segment.length
            if (end - self.nxt) & 0xFFFF_FFFF < 1 << 31:
                self.nxt = end & 0xFFFF_FFFF
        info = self.program.transport.get_extra_info("tcp_info")
        self.seen.append((sent, info))

    async def begins(self) -> None:
        programs: list[Program] = []

        def factory() -> Program:
            programs.append(Program())
            return programs[0]

        await self.stack.create_server(factory, STACK, 7)
        self.window, self.tsecr = 60_000, 0
        self.gives(self.packet(SYN, mss=1460, wscale=7, sack_permitted=True))
        answer = tcp.parse(memoryview(self.link.sent[0][0]), 20, len(self.link.sent[0][0]))
        self.una = self.nxt = answer.seq + 1
        self.seq += 1
        self.gives(self.packet(ACK, self.una))
        await asyncio.sleep(0.001)
        self.program = programs[0]
        self.note()

    def acks(self, shares: list[int], merged: bool) -> None:
        """Acknowledges so many thousandths of what is outstanding, one after the other, or only the
        last of these numbers."""
        numbers = [self.una + self.outstanding * share // 1000 for share in sorted(shares)]
        self.una = numbers[-1] & 0xFFFF_FFFF
        packets = [self.packet(ACK, number & 0xFFFF_FFFF) for number in numbers]
        self.gives(*(packets[-1:] if merged else packets))

    @property
    def outstanding(self) -> int:
        return (self.nxt - self.una) & 0xFFFF_FFFF

    async def step(self, what: str, number: int, merged: bool) -> None:
        loop = self.stack.loop
        if what == "write":
            self.program.transport.write(DATA[: number * 300])
        elif what == "ack":
            self.acks([number], merged)
        elif what == "acks":
            self.acks([number // 3, number // 2, number], merged)
        elif what == "window":
            self.window = number * 10
        elif what == "text":
            self.gives(self.packet(ACK, self.una, DATA[:number]))
            self.seq += number
        elif what == "text and ack":
            self.una = (self.una + self.outstanding // 2) & 0xFFFF_FFFF
            self.gives(self.packet(ACK, self.una, DATA[:number]))
            self.seq += number
        elif what == "again":
            self.gives(*[self.packet(ACK, self.una)] * (number % 4 + 1))
        elif what == "hole":
            left = self.una + min(MSS, self.outstanding)
            right = self.una + self.outstanding * number // 1000
            if left < right:
                self.gives(self.packet(ACK, self.una, sack=[(left, right)]))
        elif what == "nonsense":
            self.gives(self.packet(ACK, (self.nxt + number) & 0xFFFF_FFFF))
        elif what == "ack and FIN":
            self.acks([number], merged)
            self.gives(self.packet(ACK | FIN, self.una))
            self.seq += 1
        elif what == "wait":
            await asyncio.sleep(number / 1000)
        # Beside the clock's ticks, so that a batch's time is not the timers'.
        await asyncio.sleep(0.0003 + loop.time() % 0.0001)


async def _talk(
    steps: list[tuple[str, int]],
    offload: bool,
    options: dict[str, Any],
    *,
    complete: bool,
    merged: bool,
) -> list[tuple[list[tuple[bytes, int, str]], TcpInfo]]:
    talk = Talk(offload, options, complete=complete)
    await talk.begins()
    for what, number in steps:
        if talk.program.transport.is_closing():
            break
        await talk.step(what, number, merged)
        talk.note()
    await talk.stack.aclose(grace=0)
    return talk.seen


def _both(
    steps: list[tuple[str, int]],
    offload: bool,
    options: dict[str, Any],
    merged: bool = False,
    but: Callable[[TcpInfo], TcpInfo] = lambda info: info,
) -> None:
    short = run(_talk(steps, offload, options, complete=False, merged=False))
    complete = run(_talk(steps, offload, options, complete=True, merged=merged))
    assert len(short) == len(complete)
    for step, (ours, theirs) in enumerate(zip(short, complete, strict=True)):
        assert ours[0] == theirs[0], step
        assert but(ours[1]) == but(theirs[1]), step


_NUMBERS = st.integers(1, 1000)
_USUAL = st.tuples(
    st.sampled_from(["write", "write", "ack", "ack", "wait", "text and ack"]), _NUMBERS
)
_WHATEVER = st.tuples(
    st.sampled_from(
        [
            *("write", "ack", "window", "text", "text and ack", "again", "hole", "nonsense"),
            *("wait", "ack and FIN"),
        ]
    ),
    _NUMBERS,
)
_STEPS = st.lists(st.one_of(_USUAL, _USUAL, _WHATEVER), min_size=5, max_size=40)
_OPTIONS = st.fixed_dictionaries(
    {"cc": st.sampled_from(["reno", "cubic", "bbr"]), "pacing": st.booleans()},
    optional={"send_buffer": st.just(100_000)},
)


@settings(max_examples=150, deadline=None)
@given(steps=_STEPS, offload=st.booleans(), options=_OPTIONS)
def test_one_by_one_as_by_the_complete_way(
    steps: list[tuple[str, int]], offload: bool, options: dict[str, Any]
) -> None:
    _both(steps, offload, options)


_REPAIR = [("write", 300), ("ack", 300), ("hole", 900), *[("ack", 1000)] * 3]
"""A loss at the beginning ends HyStart++, which counts the acknowledgments."""


_BATCHES = st.tuples(
    st.sampled_from(["write", "acks", "acks", "acks", "text", "text and ack", "window"]), _NUMBERS
)


def _but_segments_in(info: TcpInfo) -> TcpInfo:
    return replace(info, segs_in=0)


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(_BATCHES, min_size=5, max_size=30),
    offload=st.booleans(),
    cc=st.sampled_from(["reno", "cubic"]),
)
def test_several_of_a_batch_as_the_last_alone(
    steps: list[tuple[str, int]], offload: bool, cc: str
) -> None:
    steps = [*_REPAIR, *steps, ("ack and FIN", 1000)]
    _both(steps, offload, {"cc": cc}, merged=True, but=_but_segments_in)


@pytest.mark.parametrize("offload", [True, False])
def test_a_long_transfer(offload: bool) -> None:
    steps = [("write", 1000), ("ack", 500), ("acks", 700), ("wait", 20), ("ack", 1000)] * 40
    _both([step for step in steps if step[0] != "acks"], offload, {})
    _both([*_REPAIR, *steps], offload, {}, merged=True, but=lambda info: replace(info, segs_in=0))


async def test_a_control_that_raises_costs_the_others_nothing() -> None:
    class Broken(CongestionControl):
        def on_ack(self, ack: Ack) -> None:
            if ack.delivered == 4:
                raise ZeroDivisionError

    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    async with Peer() as peer:
        app = await peer.connects(wscale=7, ts=True, sack=True, options=Options(cc=Broken))
        other = peer.another()
        others = await other.connects(port=81, wscale=7, ts=True, sack=True)
        for end in (peer, other):
            end.sends(ACK, data=b"so that the timestamps are known")
        await peer.wait(0.1)
        await peer.sees_all()
        await other.sees_all()
        app.write(b"01")
        await peer.sees(ACK, data=b"01")
        peer.sends(ACK)
        app.write(b"ab")
        await peer.sees(ACK, data=b"ab")
        with peer.batch():
            peer.sends(ACK)
            other.sends(ACK, data=b"hello")
        assert [type(each["exception"]) for each in reports] == [ZeroDivisionError]
        assert others.received.endswith(b"hello")
        await other.sees(ACK, within=0.1)
        app.write(b"cd")
        await peer.sees(ACK, seq=5, data=b"cd")
        await peer.sees_nothing(for_s=0.1)
        peer.sends(ACK)


@pytest.mark.parametrize("offload", [True, False])
def test_the_answers_to_a_probe_of_new_data(offload: bool) -> None:
    """Those before it, at it and after it; then there may be another one."""
    steps = [("write", 1000), ("ack", 1000), ("ack", 500), ("wait", 40), ("ack", 300)] * 5
    seen = run(_talk(steps, offload, {}, complete=False, merged=False))
    reasons = [reason for sent, _ in seen for _, _, reason in sent]
    assert reasons.count("tail_loss_probe") > 1
    _both(steps, offload, {})


async def test_the_window_of_the_last_of_a_batch_holds() -> None:
    async with Peer() as peer:
        app = await peer.connects(ts=True, sack=True)
        assert app.conn is not None
        app.write(bytes(6 * MSS))
        for number in range(6):
            await peer.sees(ACK | PSH if number == 5 else ACK, length=MSS)
        before = app.conn.segs_in
        with peer.batch():
            for number, window in enumerate((60_000, 50_000, 60_000, 2 * MSS), 1):
                peer.sends(ACK, ack=1 + number * MSS, window=window)
        assert app.conn.segs_in == before + 4
        assert (app.conn.snd_wnd, app.conn.snd_wl2) == (2 * MSS, app.conn.snd_una)
        app.write(bytes(MSS))  # two are in flight already
        await peer.sees_nothing(for_s=0.005)
        peer.sends(ACK, ack=1 + 6 * MSS, window=60_000)
        await peer.sees(ACK | PSH, length=MSS)
        peer.sends(ACK)
