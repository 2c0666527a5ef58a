"""Two links joined in memory."""

from __future__ import annotations

import asyncio

import pytest

from aiotcp.link import memory
from aiotcp.link.memory import MemoryLink
from aiotcp.streams import Stack
from aiotcp.wire import ipv4, tcp
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import ACK, HeaderTemplate
from tests.support.recorder import Recorder

LEFT, RIGHT = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))


def joined(
    mtu: int = 1500, offload: bool = False, limit: int = 1000, *, checksums: bool = False
) -> tuple[MemoryLink, MemoryLink, Recorder, Recorder]:
    """A pair and what hears each end."""
    loop = asyncio.get_running_loop()
    left, right = memory.pair(mtu, offload, limit, checksums=checksums)
    at_left, at_right = Recorder(), Recorder()
    left.attach(at_left, loop)
    right.attach(at_right, loop)
    return left, right, at_left, at_right


def segment(payload: bytes, *, offload: bool = False, gso_size: int = 0) -> Frame:
    template = HeaderTemplate(LEFT, 1000, RIGHT, 2000)
    return template.frame(
        1,
        1,
        ACK,
        1000,
        payload=[payload],
        payload_length=len(payload),
        offload=offload,
        gso_size=gso_size,
    )


async def test_packets_arrive_on_the_next_turn_of_the_loop_in_order_and_as_one_batch() -> None:
    left, _, _, at_right = joined()
    left.send(Frame(b"one"))
    left.send(Frame(b"tw", [b"o"]))
    left.send(Frame(b"three"))
    assert at_right.packets == []
    await asyncio.sleep(0)
    assert at_right.packets == [b"one", b"two", b"three"]
    assert at_right.batches == [3]


async def test_both_directions_are_independent() -> None:
    left, right, at_left, at_right = joined()
    left.send(Frame(b"to the right"))
    right.send(Frame(b"to the left"))
    await asyncio.sleep(0)
    assert (at_left.packets, at_right.packets) == ([b"to the left"], [b"to the right"])


async def test_an_answer_sent_from_flush_is_a_batch_of_its_own() -> None:
    left, right = memory.pair()

    class Echo(Recorder):
        def flush(self) -> None:
            super().flush()
            assert at_left.packets == []
            right.send(Frame(self.packets[-1]))

    at_left = Recorder()
    left.attach(at_left, asyncio.get_running_loop())
    right.attach(Echo(), asyncio.get_running_loop())
    left.send(Frame(b"hello"))
    await at_left.until(lambda packet: packet == b"hello")
    assert at_left.batches == [1]


async def test_what_is_handed_over_arrives_at_once_and_behind_what_waits() -> None:
    left, _, _, at_right = joined()
    left.hand_over([Frame(b"one"), Frame(b"two")])
    assert (at_right.packets, at_right.batches) == ([b"one", b"two"], [2])
    left.send(Frame(b"three"))
    left.hand_over([Frame(b"four")])
    assert len(at_right.packets) == 2
    await asyncio.sleep(0)
    assert at_right.packets[2:] == [b"three", b"four"]
    assert at_right.batches == [2, 2]
    left.hand_over([Frame(bytes(1501))])
    left.hand_over([])
    assert at_right.batches == [2, 2]
    assert (left.counters["sent_packets"], left.counters["send_too_big"]) == (4, 1)


async def test_a_mistake_of_the_caller_does_not_stop_the_link() -> None:
    left, _, _, at_right = joined()
    with pytest.raises(ValueError, match="segment"):
        left.hand_over([Frame(b"before"), Frame(b"x", gso_size=1000)])
    left.send(Frame(b"after"))
    await asyncio.sleep(0)
    assert at_right.packets == [b"before", b"after"]


async def test_checksums_that_memory_can_not_damage_stay_partial_and_are_vouched_for() -> None:
    left, _, _, at_right = joined()
    assert (left.gso_max_bytes, left.checksum_offload) == (0, True)
    partial = segment(b"x" * 100, offload=True)
    left.send(partial)
    left.send(segment(b"complete"))
    await asyncio.sleep(0)
    first, second = at_right.arrivals
    assert (first.packet, first.vouched, first.gso_size) == (partial.to_bytes(), True, 0)
    assert (second.vouched, second.gso_size) == (False, 0)


async def test_with_checksums_a_packet_is_complete_and_not_vouched_for() -> None:
    left, _, _, at_right = joined(checksums=True)
    assert (left.gso_max_bytes, left.checksum_offload) == (0, False)
    left.send(segment(b"x" * 100))
    await asyncio.sleep(0)
    (arrival,) = at_right.arrivals
    assert (arrival.vouched, arrival.gso_size) == (False, 0)
    _, offset, end = ipv4.parse(memoryview(arrival.packet))
    assert tcp.verify_checksum(arrival.packet, offset, end)


async def test_with_offload_a_large_frame_passes_whole_and_vouched_for() -> None:
    left, _, _, at_right = joined(offload=True)
    frame = segment(bytes(60_000), offload=True, gso_size=1448)
    assert frame.length <= left.gso_max_bytes
    left.send(frame)
    left.send(segment(b"small and complete"))
    await asyncio.sleep(0)
    large, small = at_right.arrivals
    assert (large.packet, large.vouched, large.gso_size) == (frame.to_bytes(), True, 1448)
    assert (small.vouched, small.gso_size) == (False, 0)


async def test_a_frame_that_wants_an_offload_the_link_lacks_is_a_mistake_of_the_caller() -> None:
    left, *_ = joined(checksums=True)
    with pytest.raises(ValueError, match="partial checksum"):
        left.send(segment(b"x", offload=True))
    with pytest.raises(ValueError, match="segment"):
        left.send(Frame(b"x", gso_size=1000))


async def test_packets_beyond_the_limit_are_dropped_and_counted() -> None:
    left, _, _, at_right = joined(limit=2)
    for _ in range(5):
        left.send(Frame(b"x"))
    await asyncio.sleep(0)
    assert at_right.batches == [2]
    assert left.counters["send_queue_full"] == 3
    assert left.counters["sent_packets"] == 2
    left.send(Frame(b"y"))
    await asyncio.sleep(0)
    assert at_right.packets[-1] == b"y"


@pytest.mark.parametrize("offload", [False, True])
async def test_a_packet_larger_than_the_mtu_is_dropped_and_counted(offload: bool) -> None:
    left, _, _, at_right = joined(mtu=1280, offload=offload)
    left.send(Frame(bytes(1281)))
    left.send(Frame(bytes(1280)))
    await asyncio.sleep(0)
    assert [len(packet) for packet in at_right.packets] == [1280]
    assert left.counters["send_too_big"] == 1


async def test_nothing_reaches_or_leaves_a_closed_end() -> None:
    left, right, _, at_right = joined()
    left.send(Frame(b"on its way"))
    right.close()
    right.close()
    left.send(Frame(b"too late"))
    right.send(Frame(b"too late"))
    await asyncio.sleep(0)
    assert at_right.packets == []
    assert left.counters["send_no_peer"] == 1
    assert right.counters["send_closed"] == 1


async def test_a_receiver_that_closes_its_link_gets_nothing_more() -> None:
    left, right = memory.pair()

    class Closing(Recorder):
        def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
            super().receive(packet, vouched, gso_size)
            right.close()

    left.attach(Recorder(), asyncio.get_running_loop())
    closing = Closing()
    right.attach(closing, asyncio.get_running_loop())
    left.send(Frame(b"one"))
    left.send(Frame(b"two"))
    await asyncio.sleep(0)
    assert closing.packets == [b"one"]
    assert closing.batches == []


async def test_what_arrived_before_the_end_closed_counts_though_it_is_a_duplicate() -> None:
    left, right = memory.pair()

    class Closing(Recorder):
        def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
            super().receive(packet, vouched, gso_size)
            if len(self.packets) == 3:
                right.close()

    left.attach(Recorder(), asyncio.get_running_loop())
    right.attach(Closing(), asyncio.get_running_loop())
    frame = Frame(b"once")
    for each in (frame, Frame(b"between"), frame, frame, Frame(b"lost")):
        left.send(each)
    await asyncio.sleep(0)
    assert left.counters["sent_packets"] == 5
    assert right.counters["received_packets"] == 3
    assert right.counters["received_bytes"] == len(b"oncebetweenonce")


async def test_an_end_nobody_is_attached_to_drops() -> None:
    left, _ = memory.pair()
    left.attach(Recorder(), asyncio.get_running_loop())
    left.send(Frame(b"x"))
    assert left.counters["send_no_peer"] == 1


async def test_a_link_has_one_receiver_and_a_pair_one_loop() -> None:
    left, right = memory.pair()
    left.attach(Recorder(), asyncio.get_running_loop())
    with pytest.raises(RuntimeError, match="already has a receiver"):
        left.attach(Recorder(), asyncio.get_running_loop())
    other = asyncio.SelectorEventLoop()
    try:
        with pytest.raises(RuntimeError, match="one loop"):
            right.attach(Recorder(), other)
    finally:
        other.close()
    right.close()
    with pytest.raises(RuntimeError, match="closed"):
        right.attach(Recorder(), asyncio.get_running_loop())


@pytest.mark.parametrize(("mtu", "limit"), [(67, 1000), (1500, 0)])
def test_values_out_of_range_are_refused(mtu: int, limit: int) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        memory.pair(mtu, limit=limit)


def test_frames_to_be_segmented_have_no_checksums() -> None:
    with pytest.raises(ValueError, match="offload or checksums"):
        memory.pair(offload=True, checksums=True)


async def test_a_send_of_somebodys_own_sees_all_from_then_on() -> None:
    """As a test does that lets a link fail: frames of one run go through it, too."""
    left, right = memory.pair()
    seen: list[Frame] = []
    there = Stack(right, addresses=["192.0.2.2"])
    async with Stack(left, addresses=["192.0.2.1"]) as here, there:
        await there.start_server(lambda reader, writer: None, "192.0.2.2", 80)
        _, writer = await here.open_connection("192.0.2.2", 80)
        writer.write(bytes(100_000))
        await asyncio.sleep(0.05)
        before = here.counters.packets_sent
        left.send = seen.append  # type: ignore[method-assign, assignment]
        writer.write(bytes(10_000))
        await asyncio.sleep(0.1)
        assert len(seen) == here.counters.packets_sent - before >= 7
        del left.send
        writer.close()
