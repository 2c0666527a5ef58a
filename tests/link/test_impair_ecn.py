"""Congestion marks of a bad network (RFC 3168 5): on what, how often, and in place of what."""

from __future__ import annotations

import asyncio

import pytest

from aiotcp.link.impair import Netem, congestion_experienced
from aiotcp.wire import ipv4, ipv6
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import ACK, HeaderTemplate
from tests.link.test_impair import LEFT, RIGHT, Bench, settle

NOT_ECT, ECT_1, ECT_0, CE = range(4)
LEFT_6, RIGHT_6 = b"\xfd" + bytes(14) + b"\1", b"\xfd" + bytes(14) + b"\2"


def data(codepoint: int, count: int = 1, *, version: int = 4) -> list[Frame]:
    left, right = (LEFT, RIGHT) if version == 4 else (LEFT_6, RIGHT_6)
    template = HeaderTemplate(left, 1, right, 2, traffic_class=46 << 2 | codepoint)
    return [
        template.frame(number, 0, ACK, 0, payload=[b"x" * 100], payload_length=100, offload=False)
        for number in range(count)
    ]


def codepoints(packets: list[bytes]) -> list[int]:
    return [p[1] & 3 if p[0] >> 4 == 4 else p[1] >> 4 & 3 for p in packets]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("codepoint", [ECT_1, ECT_0, CE])
async def test_a_mark_changes_two_bits_and_the_checksum(version: int, codepoint: int) -> None:
    (frame,) = data(codepoint, version=version)
    before = frame.to_bytes()
    after = congestion_experienced(before)
    assert codepoints([after]) == [CE]
    (ipv4 if version == 4 else ipv6).parse(memoryview(after))  # raises for a wrong checksum
    changed = [at for at in range(len(before)) if before[at] != after[at]]
    assert set(changed) <= ({1, 10, 11} if version == 4 else {1})


async def test_the_checksum_is_right_whatever_it_was() -> None:
    for identification in range(0, 0x10000, 7):
        packet = ipv4.header(LEFT, RIGHT, 6, 0, traffic_class=2, identification=identification)
        ipv4.parse(memoryview(congestion_experienced(packet)))


async def test_mark_is_for_packets_that_are_ecn_capable() -> None:
    bench = Bench(outbound=Netem(mark=1.0))
    for codepoint in (NOT_ECT, ECT_1, ECT_0, CE):
        for frame in data(codepoint):
            bench.left.send(frame)
    await settle()
    assert codepoints(bench.at_right.packets) == [NOT_ECT, CE, CE, CE]
    assert bench.faults() == {"outbound_mark": 3}


async def test_mark_comes_as_often_as_it_says() -> None:
    bench = Bench(outbound=Netem(mark=0.2))
    for frame in data(ECT_0, 10_000):
        bench.left.send(frame)
    await settle()
    assert len(bench.at_right.packets) == 10_000
    marks = codepoints(bench.at_right.packets).count(CE)
    assert 1800 < marks < 2200
    assert bench.faults() == {"outbound_mark": marks}


async def test_ecn_marks_what_loss_would_drop() -> None:
    bench = Bench(outbound=Netem(loss=0.3, ecn=True))
    for codepoint in (NOT_ECT, ECT_0):
        for frame in data(codepoint, 1000):
            bench.left.send(frame)
    await settle()
    arrived = codepoints(bench.at_right.packets)
    assert arrived.count(ECT_0) + arrived.count(CE) == 1000
    assert bench.faults() == {
        "outbound_mark": arrived.count(CE),
        "outbound_loss": 1000 - arrived.count(NOT_ECT),
    }
    assert 230 < arrived.count(CE) < 370


async def test_mark_above_looks_at_the_queue() -> None:
    """Ten packets at a line that takes one in 10 ms, of which the first three are no queue yet."""
    frames = data(ECT_0, 10)
    rate = 8 * frames[0].length / 0.010
    bench = Bench(outbound=Netem(rate=rate, mark_above=2))
    for frame in frames:
        bench.left.send(frame)
    await asyncio.sleep(0.2)
    for frame in data(ECT_0):
        bench.left.send(frame)
    await settle()
    assert codepoints(bench.at_right.packets) == [ECT_0] * 3 + [CE] * 7 + [ECT_0]
    assert bench.faults() == {"outbound_mark": 7}


async def test_packets_too_short_for_a_header_pass() -> None:
    bench = Bench(outbound=Netem(mark=1.0))
    bench.left.send(Frame(b"\x45\x02"))
    await settle()
    assert bench.at_right.packets == [b"\x45\x02"]


@pytest.mark.parametrize(
    "settings", [{"mark": -0.1}, {"mark": 1.1}, {"mark_above": -1}], ids=lambda s: str(s)
)
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Netem(**settings)  # type: ignore[arg-type]
