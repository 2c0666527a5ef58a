"""As `test_prediction`, with what happens around the packets: two connections in one batch, ICMP
errors between them, frames acknowledged in part, options of all kinds, and programs that write,
close, abort and change options while data is delivered to them.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from typing import Any

import pytest

from aiotcp.addresses import pack
from aiotcp.sim import run
from aiotcp.wire import icmp, tcp
from aiotcp.wire.tcp import ACK, PSH, HeaderTemplate
from tests.model.test_prediction import (
    HOSTS,
    ODD,
    PATTERN,
    PORT,
    Packet,
    Peer,
    Program,
    Setting,
    Side,
)

SEEDS = range(40)
_TCP = socket.IPPROTO_TCP
OPTIONS: dict[str, tuple[int, int, int | bytes]] = {
    "quickack": (_TCP, socket.TCP_QUICKACK, 1),
    "nagle": (_TCP, socket.TCP_NODELAY, 0),
    "cork": (_TCP, socket.TCP_CORK, 1),
    "uncork": (_TCP, socket.TCP_CORK, 0),
    "buffer": (socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000),
    "linger": (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
}
LAST = ("eof", "close", "abort", "linger")
CALLS = (*[""] * 6, *["write"] * 5, *["write much"] * 4, "urgent", *sorted(OPTIONS.keys() - LAST))
STACKS: tuple[dict[str, Any], ...] = (
    *({}, {}, {"quickack": True}, {"nodelay": False}, {"delayed_ack_s": 0.0}, {"sack": False}),
    *({"cc": "reno"}, {"cc": "bbr"}, {"pacing": True}, {"mtu_probing": "on"}, {"uto": True}),
    *({"receive_buffer": 8192}, {"memory_limit": 1 << 16}, {"send_buffer": 20_000}),
    {"keepalive": True, "keepalive_idle_s": 1, "keepalive_interval_s": 1, "keepalive_probes": 2},
    {"user_timeout_s": 2.0},
)


class Caller(Program):
    """Does in `data_received()` what it was told to do, once."""

    def __init__(self) -> None:
        super().__init__()
        self.next_call = ""
        self.saw: list[object] = []

    def data_received(self, data: bytes) -> None:
        self.got.append(data)
        assert self.transport is not None
        self.saw.append(self.transport.get_extra_info("tcp_info"))
        call, self.next_call = self.next_call, ""
        self.does(call)

    def does(self, call: str) -> None:
        transport: Any = self.transport
        if not call or self.lost or transport is None or transport.is_closing():
            return
        try:
            if call in OPTIONS:
                transport.get_extra_info("socket").setsockopt(*OPTIONS[call])
            elif call.startswith("write"):
                transport.write(PATTERN[: 40_000 if call == "write much" else 300])
            elif call == "urgent":
                transport.write_urgent(b"!")
            elif call == "eof":
                transport.write_eof()
            else:
                getattr(transport, call)()
        except RuntimeError as exc:  # it has written its EOF
            self.saw.append(repr(exc))


class CalledSide(Side):
    programs: list[Program]

    def program(self) -> Program:
        self.programs.append(Caller())
        return self.programs[-1]

    def told(self) -> Any:
        infos = [each.transport and each.transport.get_extra_info("tcp_info") for each in self.all]
        return super().told(), infos, [each.saw for each in self.all], self.stack.connections()

    @property
    def all(self) -> list[Caller]:
        return [each for each in self.programs if isinstance(each, Caller)]


class OneOfTwo(Peer):
    def __init__(self, setting: Setting, port: int) -> None:
        super().__init__(setting)
        stack, peer = HOSTS[setting.version]
        self.port = port
        self.template = HeaderTemplate(pack(peer), port, pack(stack), PORT)
        self.seen: list[bytes] = []
        self._looked_at = 0

    def look(self, sent: list[tuple[bytes, str]]) -> None:
        for packet, why in sent[self._looked_at :]:
            start = self.header
            is_tcp = packet[9 if start == 20 else 6] == tcp.PROTOCOL
            if is_tcp and int.from_bytes(packet[start + 2 : start + 4], "big") == self.port:
                self.seen.append(packet)
                super().look([(packet, why)])
        self._looked_at = len(sent)

    def report(self, draw: random.Random) -> bytes:
        """An ICMP error about one of the latest packets."""
        about = draw.choice(self.seen[-5:])
        if self.setting.version == 4:
            kind, router = (3, draw.choice((1, 3, 4))), "192.0.2.254"
        else:
            kind, router = draw.choice(((1, 4), (2, 0), (3, 0))), "2001:db8::fe"
        mtu = draw.choice((1400, 1280))
        return icmp.error(about, *kind, source=pack(router), parameter=mtu).to_bytes()


def some_packet(draw: random.Random, setting: Setting, ack: int, window: int) -> Packet:
    packet = Packet(
        length=draw.choice((1448, 1448, 1448, 1448, 600, 1, 0, 0)),
        flags=draw.choice((ACK, ACK, ACK | PSH)),
        tsval=draw.choice((0, 0, 0, 1)),
        vouched=draw.random() < 0.5,
        ack=ack,
        window=window,
    )
    kind = draw.random()
    if kind < 0.15:
        length = draw.choice((14480, 1449, 4344, 10))
        packet = packet._replace(length=length, gso_size=1448, vouched=True)
    elif kind > 0.85:
        name = draw.choice(sorted(ODD.keys() - {"ack"}))
        change: dict[str, Any] = {name: draw.choice(ODD[name])}
        packet = packet._replace(**change)
    return packet if setting.timestamps else packet._replace(tsval=None)


async def both_ways(draw: random.Random) -> None:
    setting = Setting(
        version=draw.choice((4, 6)),
        timestamps=draw.random() < 0.85,
        ecn=int(draw.random() < 0.15),
        offload=draw.random() < 0.5,
        start=draw.choice((1000, (1 << 32) - 3000, (1 << 31) - 3000)),
        options=tuple(draw.choice(STACKS).items()),
    )
    sides = short, complete = CalledSide(setting, short=True), CalledSide(setting, short=False)
    servers = [
        await side.stack.create_server(side.program, HOSTS[setting.version][0], PORT)
        for side in sides
    ]
    peers = [OneOfTwo(setting, 50_000), OneOfTwo(setting, 50_001)]

    async def step(packets: list[tuple[bytes, bool, int]], wait: float) -> None:
        for side in sides:
            side.batch(packets)
        await asyncio.sleep(wait)
        assert short.told() == complete.told()
        for peer in peers:
            peer.look(short.link.sent)

    for peer in peers:
        await step([(peer.syn(), True, 0)], 0)
        await step([(peer.packet(Packet(length=0)), True, 0)], 0.01)
    for _ in range(draw.randint(5, 14)):
        for index in range(len(short.all)):
            now, later = (draw.choice((CALLS, LAST)[draw.random() < 0.03]) for _ in range(2))
            for side in sides:
                side.all[index].does(now)
                side.all[index].next_call = later
        # Of several acknowledgments the short way takes the last: here all of a batch are alike.
        acks = [-draw.choice((0, 0, 0, 0, 1, 700, 1448, 2896, 14480)) for _ in peers]
        windows = [draw.choice((1000, 1000, 1000, 1000, 0, 1, 3, 65535)) for _ in peers]
        packets: list[tuple[bytes, bool, int]] = []
        which = 0
        for _ in range(draw.randint(0, 8)):
            if draw.random() < 0.3:
                which = 1 - which
            each = some_packet(draw, setting, acks[which], windows[which])
            packets.append((peers[which].packet(each), each.vouched, each.gso_size))
            if draw.random() < 0.05:
                packets.append((peers[which].report(draw), False, 0))
        await step(packets, draw.choice((0, 0, 0.0005, 0.002, 0.05, 0.3, 1.1, 3.0)))
    for server in servers:
        server.close()
    for side in sides:
        await side.stack.aclose(grace=0)


@pytest.mark.parametrize("number", SEEDS)
def test_both_ways_leave_the_same_whatever_is_called(number: int) -> None:
    run(both_ways(random.Random(number)))
