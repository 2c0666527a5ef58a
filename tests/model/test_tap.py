"""The tap itself: it sees when a stack breaks a rule."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from aiotcp.link import memory
from aiotcp.link.base import Link
from aiotcp.link.wrapper import Wrapper
from aiotcp.sim import run
from aiotcp.stack import Endpoint, PacketStack
from aiotcp.wire import tcp
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN
from tests.support.tap import Tap
from tests.support.transfer import Talker
from tests.support.wirecheck import with_checksum

Change = Callable[[bytearray], None]


class Forger(Wrapper):
    """Stands for a faulty stack: changes what passes on its way down."""

    def __init__(self, link: Link, change: Callable[[Frame], Frame | list[Frame]]) -> None:
        super().__init__(link)
        self.counters = {}
        self._change = change

    def send(self, frame: Frame) -> None:
        changed = self._change(frame)
        for each in changed if isinstance(changed, list) else [changed]:
            self.link.send(each)


def verdict(change: Callable[[Frame], Frame | list[Frame]], size: int = 5000) -> str:
    """What the tap says about a client whose packets are changed by `change`."""

    async def main() -> str:
        left, right = memory.pair()
        tap = Tap(left)
        client = PacketStack(Forger(tap, change), addresses=["192.0.2.1"], seed=b"client")
        server = PacketStack(right, addresses=["192.0.2.2"], seed=b"server")
        talkers: list[Talker] = []
        server.listen(
            Endpoint("192.0.2.2", 80),
            lambda conn: talkers.append(Talker(server, conn, size, "server")),
        )
        talkers.append(Talker(client, client.connect(Endpoint("192.0.2.2", 80)), size, "client"))
        talkers[0].start()
        await asyncio.sleep(1)
        await client.aclose(grace=0)
        await server.aclose(grace=0)
        try:
            tap.verify()
        except AssertionError as broken:
            return str(broken)
        return ""

    return run(main())


def edited(wanted: Callable[[tcp.Segment], bool], change: Change) -> Callable[[Frame], Frame]:
    """Change the bytes of the packets that are `wanted`, and complete the checksum."""

    def edit(frame: Frame) -> Frame:
        packet = bytearray(frame.to_bytes())
        if not wanted(tcp.parse(memoryview(packet), 20, len(packet))):
            return frame
        change(packet)
        return Frame(with_checksum(bytes(packet)), reason=frame.reason)

    return edit


def add(field: slice, amount: int) -> Change:
    def change(packet: bytearray) -> None:
        width = field.stop - field.start
        value = int.from_bytes(packet[field], "big") + amount
        packet[field] = (value % (1 << 8 * width)).to_bytes(width, "big")

    return change


def put(offset: int, value: bytes) -> Change:
    def change(packet: bytearray) -> None:
        packet[offset : offset + len(value)] = value

    return change


SEQ, ACKNOWLEDGMENT, WINDOW = slice(24, 28), slice(28, 32), slice(34, 36)
TSVAL, TSECR = slice(44, 48), slice(48, 52)


def after_syn(segment: tcp.Segment) -> bool:
    return not segment.flags & (SYN | RST)


def with_text(segment: tcp.Segment) -> bool:
    return len(segment.payload) > 0


def without_text(segment: tcp.Segment) -> bool:
    return after_syn(segment) and not segment.payload


def closing(segment: tcp.Segment) -> bool:
    return bool(segment.flags & FIN)


def test_nothing_to_say_about_an_honest_stack() -> None:
    assert verdict(lambda frame: frame) == ""


@pytest.mark.parametrize(
    ("wanted", "change", "complaint"),
    [
        (with_text, add(SEQ, 10), "sequence numbers were left out"),
        (after_syn, add(ACKNOWLEDGMENT, 1), "bytes that never arrived"),
        (with_text, put(34, b"\0\1"), "the window's edge went back"),
        (without_text, add(TSVAL, -100_000), "TSval went back"),
        (after_syn, add(TSECR, 1000), "not TS.Recent"),
        (after_syn, put(40, bytes((1,) * 12)), "no timestamps"),
        (closing, put(33, bytes((ACK | FIN,))), "without PSH"),
        (after_syn, put(33, b"\0"), "no ACK, SYN or RST"),
        (after_syn, put(40, bytes((2, 4, 5, 180))), "mss without SYN"),
        (after_syn, put(32, b"\x82"), "reserved bits"),
        (after_syn, put(32, b"\x81"), "not agreed on"),
        (with_text, add(SEQ, 1 << 21), "beyond the peer's window"),
    ],
)
def test_one_broken_rule(
    wanted: Callable[[tcp.Segment], bool], change: Change, complaint: str
) -> None:
    assert complaint in verdict(edited(wanted, change))


def test_a_wrong_checksum() -> None:
    def spoil(frame: Frame) -> Frame:
        packet = bytearray(frame.to_bytes())
        packet[37] ^= 1
        return Frame(bytes(packet), reason=frame.reason)

    assert "a wrong checksum" in verdict(spoil)


def test_too_many_answers() -> None:
    def many_times(frame: Frame) -> list[Frame]:
        return [frame] * 30

    assert "answers to" in verdict(many_times)


def test_other_bytes_the_second_time() -> None:
    def change(frame: Frame) -> list[Frame]:
        packet = bytearray(frame.to_bytes())
        if len(packet) < 100:
            return [frame]
        packet[-1] ^= 1
        return [frame, Frame(with_checksum(bytes(packet)), reason=frame.reason)]

    assert "other bytes than the first time" in verdict(change)


def test_a_second_fin_and_data_beyond_it() -> None:
    def change(frame: Frame) -> list[Frame]:
        packet = bytearray(frame.to_bytes())
        if not packet[33] & FIN:
            return [frame]
        add(SEQ, 1)(packet)
        return [frame, Frame(with_checksum(bytes(packet)), reason=frame.reason)]

    complaint = verdict(change)
    assert "a second FIN" in complaint
    assert "data beyond our FIN" in complaint


def test_a_segment_larger_than_the_mss() -> None:
    def change(frame: Frame) -> Frame:
        packet = bytearray(frame.to_bytes())
        if not packet[33] & PSH or len(packet) < 100:
            return frame
        longer = packet + bytes(1500 - len(packet) + 1)
        longer[2:4] = len(longer).to_bytes(2, "big")
        longer[10:12] = b"\0\0"
        whole = sum(int.from_bytes(longer[at : at + 2], "big") for at in range(0, 20, 2))
        longer[10:12] = (0xFFFF - (whole % 0xFFFF)).to_bytes(2, "big")
        return Frame(with_checksum(bytes(longer)), reason=frame.reason)

    assert "more than the peer's MSS" in verdict(change)
