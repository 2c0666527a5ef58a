"""The short way of a packet in (`wire.usual`, `tcp.prediction`) and the complete one, side by side:
two stacks get the same packets at the same times, each by one of them, and must not differ in what
they send, count, deliver and remember.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import given, seed
from hypothesis import strategies as st

import aiotcp
from aiotcp import Stack
from aiotcp.addresses import pack
from aiotcp.link.base import Receiver
from aiotcp.reasons import Drop
from aiotcp.sim import run
from aiotcp.tcp.connection import Connection
from aiotcp.wire import tcp
from aiotcp.wire.alike import Run
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG, HeaderTemplate
from tests.model.test_fuzz import many

HOSTS = {4: ("192.0.2.2", "198.51.100.7"), 6: ("fd61:696f:7463:70::2", "2001:db8::7")}
PORT, PEER_PORT = 80, 49152
PATTERN = bytes(range(256)) * 300


class Recorder:
    """A link that keeps what was sent."""

    mtu = 1500

    def __init__(self, *, offload: bool) -> None:
        self.counters: dict[str, int] = {}
        self.gso_max_bytes = 65535 if offload else 0
        self.checksum_offload = offload
        self.sent: list[tuple[bytes, str]] = []

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        pass

    def send(self, frame: Frame) -> None:
        self.sent.append((frame.to_bytes(), frame.reason))

    def close(self) -> None:
        pass


class Program(asyncio.Protocol):
    """Keeps what it got, and answers some of it."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.answer = 0
        self.ended = False
        self.lost: list[str] = []
        self.transport: asyncio.Transport | None = None
        self.connection: Connection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.connection = transport.get_extra_info("connection")

    def data_received(self, data: bytes) -> None:
        self.got.append(data)
        if self.answer and self.transport is not None and not self.ended:
            self.transport.write(PATTERN[: self.answer])

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(repr(exc))


class Packet(NamedTuple):
    length: int = 1448
    seq: int = 0
    """Bytes from the next in turn."""
    ack: int = 0
    """Bytes from the last that the stack has sent."""
    flags: int = ACK
    window: int = 1000
    tsval: int | None = 0
    """Ticks from the last one."""
    gso_size: int = 0
    vouched: bool = True
    damage: int | None = None
    """The octet that is changed."""
    traffic_class: int = 0
    sack: bool = False
    block: tuple[int, int] | None = None
    """Arrived, so many bytes beyond the acknowledgment."""
    trailer: int = 0


class Setting(NamedTuple):
    version: int = 4
    timestamps: bool = True
    ecn: int = 0
    offload: bool = True
    start: int = 1000
    options: tuple[tuple[str, object], ...] = ()


class Peer:
    """The other end of the one connection of both stacks."""

    def __init__(self, setting: Setting) -> None:
        stack, peer = HOSTS[setting.version]
        self.setting = setting
        self.header = 20 if setting.version == 4 else 40
        self.template = HeaderTemplate(pack(peer), PEER_PORT, pack(stack), PORT)
        self.seq = setting.start
        self.ack = 0
        self.tsval = 5
        self.tsecr = 0

    def syn(self) -> bytes:
        setting = self.setting
        options = tcp.pack_options(
            mss=1460,
            wscale=7,
            sack_permitted=True,
            timestamps=(self.tsval, 0) if setting.timestamps else None,
        )
        flags = SYN | (0, ECE | CWR)[setting.ecn]
        return self._frame(self.seq - 1, flags, 64000, options, b"").to_bytes()

    def look(self, sent: list[tuple[bytes, str]]) -> None:
        """What the stack has sent last."""
        packet = memoryview(sent[-1][0])
        segment = tcp.parse(packet, self.header, len(packet))
        end = segment.seq + segment.length
        if (end - self.ack) & 0xFFFFFFFF < 1 << 31 or not self.ack:
            self.ack = end & 0xFFFFFFFF
        self.tsecr = segment.tsval or 0
        if segment.flags & ACK and 0 < (segment.ack - self.seq) & 0xFFFFFFFF < 1 << 31:
            self.seq = segment.ack  # a hole was filled

    def _frame(self, seq: int, flags: int, window: int, options: bytes, payload: bytes) -> Frame:
        return self.template.frame(
            seq,
            self.ack,
            flags,
            window,
            options=options,
            payload=(payload,) if payload else (),
            payload_length=len(payload),
            offload=False,
        )

    def packet(self, wanted: Packet) -> bytes:
        payload = PATTERN[: wanted.length]
        stamps = None
        if wanted.tsval is not None:
            stamps = (self.tsval + wanted.tsval, self.tsecr)
            self.tsval = max(self.tsval, self.tsval + wanted.tsval)
        blocks = [(self.ack + 10, self.ack + 20)] if wanted.sack else []
        if wanted.block is not None:
            una = self.ack + wanted.ack
            blocks = [(una + wanted.block[0], una + wanted.block[1])]
        options = tcp.pack_options(timestamps=stamps, sack=blocks)
        seq = self.seq + wanted.seq
        known, self.ack = self.ack, self.ack + wanted.ack
        frame = self._frame(seq, wanted.flags, wanted.window, options, payload)
        self.ack = known
        end = seq + wanted.length + bool(wanted.flags & FIN)
        if wanted.damage is None and seq <= self.seq < end:
            self.seq = end
        packet = bytearray(frame.to_bytes() + bytes(wanted.trailer))
        if self.header == 20:
            packet[1] = wanted.traffic_class
            packet[10:12] = bytes(2)
            sum_ = int.from_bytes(packet[:20], "big") % 0xFFFF
            packet[10:12] = (0xFFFF - sum_).to_bytes(2, "big")
        else:
            packet[1] = wanted.traffic_class << 4 & 0xF0
        if wanted.damage is not None:
            packet[wanted.damage % len(packet)] ^= 0x10
        return bytes(packet)


def state_of(thing: Any, seen: set[int]) -> Any:
    """All that an object of the core remembers, as far as it is numbers and bytes."""
    if isinstance(thing, (bytes, bytearray, memoryview)):
        return bytes(thing)
    if thing is None or isinstance(thing, (int, float, str)):
        return thing
    if isinstance(thing, (list, tuple, set, frozenset)) or type(thing).__name__ == "deque":
        return [state_of(each, seen) for each in thing]
    if isinstance(thing, dict):
        return [(repr(key), state_of(value, seen)) for key, value in thing.items()]
    if not type(thing).__module__.startswith("aiotcp.") or id(thing) in seen:
        return None
    seen.add(id(thing))
    names = {name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())}
    names |= set(getattr(thing, "__dict__", ()))
    return {
        name: state_of(getattr(thing, name, None), seen)
        for name in sorted(names)
        if name not in ("user", "on_state", "events", "calm", "_timeline")  # made when needed
    }


def run_of(packets: list[bytes]) -> Run:
    ip_header = 20 if packets[0][0] >> 4 == 4 else 40
    start = ip_header + (packets[0][ip_header + 12] >> 4) * 4
    first, last = (
        Frame(packet[:start], [packet[start:]], checksum_start=ip_header)
        for packet in (packets[0], packets[-1])
    )
    return Run(first, b"".join(packet[start:] for packet in packets[1:-1]), last)


class Side:
    """One of the two stacks. `runs`: the packets of each batch are a run, and come as one."""

    def __init__(self, setting: Setting, *, short: bool, runs: bool = False) -> None:
        self.runs = runs
        self.link = Recorder(offload=setting.offload)
        self.stack = Stack(
            self.link,
            addresses=[HOSTS[setting.version][0]],
            options=dict(setting.options),
            seed=b"alike",
        )
        self.receive = self.stack.receive if short else self.stack.receive_completely
        self.programs: list[Program] = []

    def program(self) -> Program:
        self.programs.append(Program())
        return self.programs[-1]

    def program_does(self, action: str) -> None:
        for each in self.programs:
            if each.lost or not each.transport:
                continue
            if action == "write" and not each.ended:
                each.transport.write(PATTERN[:5000])
            elif action in ("answer", "silent"):
                each.answer = 100 * (action == "answer")
            elif action == "pause":
                each.transport.pause_reading()
            elif action == "resume":
                each.transport.resume_reading()
            elif action == "eof":
                each.ended = True
                each.transport.write_eof()
            elif action == "close":
                each.transport.close()

    def batch(self, packets: list[tuple[bytes, bool, int]]) -> None:
        if self.runs and len(packets) > 1 and not packets[0][2]:
            self.stack.receive_run(run_of([packet for packet, _, _ in packets]))
        else:
            for packet, vouched, gso_size in packets:
                self.receive(memoryview(packet), vouched, gso_size)
        self.stack.flush()

    def told(self) -> Any:
        """Everything that must be the same on both sides."""
        return {
            "sent": self.link.sent,
            "counters": self.stack.counters.as_dict(),
            "got": [(each.got, each.lost) for each in self.programs],
            "connections": [state_of(each.connection, set()) for each in self.programs],
        }


Batch = tuple[list[Packet], str, float]
"""Packets, what the programs do before they come, and how long nothing happens afterwards."""


async def both_ways(setting: Setting, batches: list[Batch], *, runs: bool = False) -> Side:
    """Play it to both, and compare after each step."""
    sides = short, complete = Side(setting, short=True, runs=runs), Side(setting, short=False)
    for side in sides:
        await side.stack.create_server(side.program, HOSTS[setting.version][0], PORT)
    peer = Peer(setting)

    async def step(packets: list[tuple[bytes, bool, int]], wait: float) -> None:
        for side in sides:
            side.batch(packets)
        await asyncio.sleep(wait)
        assert short.told() == complete.told()
        peer.look(short.link.sent)

    await step([(peer.syn(), True, 0)], 0)
    await step([(peer.packet(Packet(length=0)), True, 0)], 0.01)
    for packets, action, wait in batches:
        for side in sides:
            side.program_does(action)
        made = [(peer.packet(each), each.vouched, each.gso_size) for each in packets]
        await step(made, wait)
    for side in sides:
        await side.stack.aclose(grace=0)
    return short


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Packet]:
    """Packets with these fields drawn, and the others as usual."""
    return st.fixed_dictionaries(fields).map(lambda drawn: Packet(**drawn))


usual = some(
    length=st.sampled_from((1448, 1448, 1448, 1448, 600, 1, 0)),
    flags=st.sampled_from((ACK, ACK, ACK | PSH)),
    tsval=st.sampled_from((0, 0, 0, 1)),
    vouched=st.booleans(),
)
large = some(
    length=st.sampled_from((65160, 65160, 14480, 1449, 1448, 10)),
    flags=st.sampled_from((ACK, ACK | PSH)),
    tsval=st.sampled_from((0, 0, 1)),
    gso_size=st.sampled_from((1448, 1448, 1448, 1000)),
)
ODD: dict[str, tuple[object, ...]] = {
    "length": (0, 1, 2896),
    "seq": (1448, 1448, 2896, -1448, -1, 100_000, -100_000, 1 << 31),
    "ack": (-1, -100, 1, 5000, -(1 << 31)),
    "flags": (
        *(0, ACK | FIN, ACK | FIN, ACK | URG, ACK | ECE, ACK | CWR, ACK | RST, ACK | SYN),
        ACK | 1 << 9,
    ),
    "window": (0, 1, 65535),
    "tsval": (-1, -3, 1 << 31, None),
    "damage": (3, 6, 9, 11, 17, 21, 25, 33, 34, 37, 41, 45, 60),
    "traffic_class": (1, 2, 3, 3, 0x10),
    "sack": (True,),
    "trailer": (4,),
}
"""What is out of the ordinary: mostly one thing at a time."""
one_thing = st.sampled_from(sorted(ODD)).flatmap(
    lambda name: some(**{name: st.sampled_from(ODD[name]), "vouched": st.booleans()})
)
two_things = st.tuples(one_thing, one_thing).map(
    lambda both: both[0]._replace(
        **{
            name: value
            for name, value in both[1]._asdict().items()
            if value != Packet._field_defaults[name]
        }
    )
)
odd = st.one_of(one_thing, one_thing, two_things)
packets = st.one_of(usual, usual, usual, large, odd, odd)
actions = st.sampled_from(
    (*[""] * 8, "write", "write", "answer", "silent", "pause", "resume", "eof", "close")
)
waits = st.sampled_from((0.0, 0.0, 0.0005, 0.002, 0.05, 0.3))
settings_ = st.builds(
    Setting,
    version=st.sampled_from((4, 6)),
    timestamps=st.sampled_from((True, True, True, False)),
    ecn=st.sampled_from((0, 0, 0, 1)),
    offload=st.booleans(),
    start=st.sampled_from((1000, (1 << 32) - 3000, (1 << 31) - 3000)),
    options=st.sampled_from(
        (
            *[()] * 3,
            (("quickack", True),),
            (("receive_buffer", 8192),),
            (("memory_limit", 1 << 16),),
        )
    ),
)


@seed(1)
@many(150)
@given(
    settings_,
    st.lists(st.tuples(st.lists(packets, max_size=6), actions, waits), min_size=1, max_size=12),
)
def test_both_ways_leave_the_same(setting: Setting, batches: list[Batch]) -> None:
    run(both_ways(setting, batches))


@seed(1)
@many(100)
@given(settings_, st.lists(st.tuples(st.lists(usual, max_size=20), actions, waits), max_size=12))
def test_both_ways_leave_the_same_of_what_is_usual(setting: Setting, batches: list[Batch]) -> None:
    run(both_ways(setting, batches))


def a_run(packet: Packet, count: int, last: int) -> list[Packet]:
    """`packet` so many times, each behind the one before, and a last one that may be shorter."""
    packet = packet._replace(length=packet.length or 100, vouched=True)
    step = packet.length if packet.seq else 0  # what is in turn moves the turn
    tsval = 0 if packet.tsval == 1 else packet.tsval
    rest = [packet._replace(seq=packet.seq + n * step, tsval=tsval) for n in range(count)]
    end = rest[-1]._replace(length=min(last, packet.length), flags=packet.flags | PSH)
    return [packet, *rest[1:-1], end]


a_packet = st.one_of(
    usual,
    usual,
    some(seq=st.sampled_from((1448, 100_000))),
    some(ack=st.sampled_from((-1, -100, 1, 5000))),
    some(flags=st.sampled_from((0, ACK | URG, ACK | ECE, ACK | CWR, ACK | RST))),
    some(window=st.sampled_from((0, 1, 65535))),
    some(tsval=st.sampled_from((-3, None))),
)
some_runs = st.builds(a_run, a_packet, st.integers(2, 9), st.sampled_from((1448, 1448, 916, 1)))


@seed(1)
@many(150)
@given(settings_, st.lists(st.tuples(some_runs, actions, waits), min_size=1, max_size=12))
def test_runs_leave_the_same_as_their_packets(setting: Setting, batches: list[Batch]) -> None:
    run(both_ways(setting, batches, runs=True))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("gso_size", [0, 1448])
def test_bulk_is_delivered_and_acknowledged_once_for_each_batch(
    version: int, gso_size: int
) -> None:
    batch = [Packet(length=4344 if gso_size else 1448, gso_size=gso_size)] * 10
    side = run(both_ways(Setting(version=version), [(batch, "", 0.0)] * 5))
    assert len(side.programs[0].got) == 5
    assert [why for _, why in side.link.sent[1:6]] == ["ack_second_segment"] * 5


def test_a_frame_that_arrived_in_part_has_its_round_trip() -> None:
    bare = Packet(length=0)
    steps: list[Batch] = [([], "write", 0.005), ([bare], "write", 0.009)]
    run(both_ways(Setting(), [*steps, ([bare._replace(ack=-700)], "", 0.0)]))


@pytest.mark.skipif(aiotcp.COMPILED, reason="compiled code calls arrive() where nobody can count")
@pytest.mark.parametrize("missing", [False, True])
def test_text_that_acknowledges_nothing_new_while_ours_is_on_its_way(
    monkeypatch: pytest.MonkeyPatch, missing: bool
) -> None:
    """It takes the short way, but not while something of ours is missing."""
    completely: list[tcp.Segment] = []
    arrive = Connection.arrive

    def counted(self: Connection, segment: tcp.Segment, now: float) -> Drop | None:
        completely.append(segment)
        return arrive(self, segment, now)

    monkeypatch.setattr(Connection, "arrive", counted)
    text = [Packet(ack=-5000)] * 3
    tells = [Packet(length=0, ack=-5000, block=(1448, 2896))] * missing
    run(both_ways(Setting(), [([], "write", 0.002), (tells, "", 0), (text, "", 0), (text, "", 0)]))
    by_one, by_both = 6, 12
    taken = sum(len(segment.payload) == 1448 for segment in completely)
    assert taken == (by_both if missing else by_one)


@pytest.mark.req("ST-7", "ST-19")
@pytest.mark.parametrize("runs", [False, True])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("buffer", "packet", "fit"),
    [(30_000, Packet(), 19), (400_000, Packet(length=60_000, gso_size=1448), 5)],
)
@pytest.mark.parametrize("beyond", [0, 1, 2, 20])
def test_a_train_goes_as_far_as_the_window(
    buffer: int, packet: Packet, fit: int, beyond: int, version: int, runs: bool
) -> None:
    """Of a peer that sends `beyond` packets more than have room, in one batch, to a program that
    does not read: all that fits is taken, of the packet that does not fit its beginning."""
    setting = Setting(version=version, options=(("receive_buffer", buffer),))
    train = [packet] * (fit + beyond)
    side = run(both_ways(setting, [([packet], "pause", 0.1), (train, "", 0.1)], runs=runs))
    header = {4: 20, 6: 40}[version]
    sent = [tcp.parse(memoryview(frame), header, len(frame)) for frame, _ in side.link.sent]
    opened, told, answer, _reset = sent
    room = told.window << (opened.wscale or 0)
    assert room // packet.length == fit
    assert answer.ack - told.ack == min(room, len(train) * packet.length)
    dropped = {Drop.OUT_OF_WINDOW: beyond - 1} if beyond > 1 else {}
    assert side.stack.counters.dropped == dropped
