"""A bad network: each fault alone, their order, their counters, and that a seed repeats them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from tempfile import TemporaryFile

import pytest

from aiotcp.link import memory
from aiotcp.link.impair import Impair, Netem
from aiotcp.link.memory import MemoryLink
from aiotcp.link.pcapng import Capture
from aiotcp.wire import ipv4, tcp
from aiotcp.wire.frame import Frame
from aiotcp.wire.segmentation import split
from aiotcp.wire.tcp import ACK, HeaderTemplate
from tests.support.recorder import Recorder

LEFT, RIGHT = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))


class Bench:
    """An impaired left end, a clear right end, and what hears each."""

    def __init__(
        self,
        outbound: Netem | None = None,
        inbound: Netem | None = None,
        *,
        seed: int = 1,
        offload: bool = False,
    ) -> None:
        loop = asyncio.get_running_loop()
        left, self.right = memory.pair(offload=offload, limit=10**6)
        self.left = Impair(
            left, outbound=outbound or Netem(), inbound=inbound or Netem(), seed=seed
        )
        self.at_left, self.at_right = Recorder(), Recorder()
        self.left.attach(self.at_left, loop)
        self.right.attach(self.at_right, loop)

    def faults(self) -> dict[str, int]:
        """The counters that are not zero, without those of packets."""
        counters = self.left.counters.items()
        return {name: n for name, n in counters if n and not name.endswith("_packets")}


def numbered(count: int) -> list[Frame]:
    return [Frame(number.to_bytes(4, "big") + bytes(96)) for number in range(count)]


def numbers(packets: list[bytes]) -> list[int]:
    return [int.from_bytes(packet[:4], "big") for packet in packets]


async def settle() -> None:
    """Let everything that is under way arrive."""
    await asyncio.sleep(1000)


async def test_without_faults_everything_passes_in_the_same_call() -> None:
    bench = Bench()
    for frame in numbered(3):
        bench.left.send(frame)
    bench.right.send(Frame(b"back"))
    await asyncio.sleep(0)
    assert numbers(bench.at_right.packets) == [0, 1, 2]
    assert bench.at_left.packets == [b"back"]
    assert bench.at_left.batches == [1]
    assert bench.faults() == {}


async def test_delay_holds_each_packet_for_that_time() -> None:
    bench = Bench(Netem(delay=0.25))
    loop = asyncio.get_running_loop()
    for frame in numbered(2):
        bench.left.send(frame)
    await asyncio.sleep(0.1)
    bench.left.send(Frame(b"last"))
    start = loop.time() - 0.1
    await settle()
    assert [a.at - start for a in bench.at_right.arrivals] == pytest.approx([0.25, 0.25, 0.35])


async def test_delay_inbound_delivers_in_batches_without_empty_ones() -> None:
    bench = Bench(inbound=Netem(delay=0.25))
    for frame in numbered(3):
        bench.right.send(frame)
    await settle()
    assert numbers(bench.at_left.packets) == [0, 1, 2]
    assert bench.at_left.batches == [3]


async def test_one_timer_serves_a_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    set_for: list[float] = []
    call_at = loop.call_at

    def watched(when: float, callback: Callable[..., object], *args: object) -> asyncio.TimerHandle:
        set_for.append(when)
        return call_at(when, callback, *args)

    bench = Bench(Netem(delay=0.25))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_at", watched)
        for frame in numbered(100):
            bench.left.send(frame)
    assert len(set_for) == 1
    await settle()
    assert len(bench.at_right.packets) == 100


async def test_a_packet_due_earlier_than_the_timer_is_not_late() -> None:
    bench = Bench(Netem(delay=5))
    start = asyncio.get_running_loop().time()
    bench.left.send(Frame(b"slow"))
    bench.left.outbound = Netem(delay=1)
    bench.left.send(Frame(b"fast"))
    await settle()
    got = {a.packet: a.at - start for a in bench.at_right.arrivals}
    assert got == {b"fast": pytest.approx(1), b"slow": pytest.approx(5)}


async def test_jitter_spreads_the_delay_and_reorders() -> None:
    bench = Bench(Netem(delay=0.2, jitter=0.1))
    start = asyncio.get_running_loop().time()
    for frame in numbered(500):
        bench.left.send(frame)
    await settle()
    delays = [a.at - start for a in bench.at_right.arrivals]
    assert 0.1 <= min(delays) < 0.11
    assert 0.29 < max(delays) <= 0.3
    got = numbers(bench.at_right.packets)
    assert got != sorted(got)
    assert sorted(got) == list(range(500))


async def test_jitter_larger_than_the_delay_never_travels_back_in_time() -> None:
    bench = Bench(Netem(jitter=0.1))
    for frame in numbered(200):
        bench.left.send(frame)
    await settle()
    assert len(bench.at_right.packets) == 200


async def test_with_a_rate_jitter_keeps_the_order() -> None:
    bench = Bench(Netem(delay=0.2, jitter=0.1, rate=1e6))
    for frame in numbered(500):
        bench.left.send(frame)
    await settle()
    assert numbers(bench.at_right.packets) == list(range(500))


async def test_rate_sends_one_packet_after_the_other() -> None:
    bench = Bench(Netem(rate=8000))  # a packet of 100 bytes takes 0.1 s
    start = asyncio.get_running_loop().time()
    for frame in numbered(3):
        bench.left.send(frame)
    await asyncio.sleep(10)
    bench.left.send(numbered(1)[0])
    await settle()
    times = [a.at - start for a in bench.at_right.arrivals]
    assert times == pytest.approx([0.1, 0.2, 0.3, 10.1])


async def test_delay_and_rate_add_up_for_the_first_packet_only() -> None:
    bench = Bench(Netem(rate=8000, delay=1))
    start = asyncio.get_running_loop().time()
    for frame in numbered(3):
        bench.left.send(frame)
    await settle()
    assert [a.at - start for a in bench.at_right.arrivals] == pytest.approx([1.1, 1.2, 1.3])


async def test_limit_drops_what_does_not_fit_into_the_queue() -> None:
    bench = Bench(Netem(rate=8000, limit=4))
    for frame in numbered(10):
        bench.left.send(frame)
    await settle()
    assert numbers(bench.at_right.packets) == [0, 1, 2, 3]
    assert bench.faults() == {"outbound_limit": 6}


async def test_loss_takes_its_share_and_a_loss_of_one_is_a_partition() -> None:
    bench = Bench(Netem(loss=0.3))
    for frame in numbered(1000):
        bench.left.send(frame)
    lost = bench.left.counters["outbound_loss"]
    assert 240 < lost < 360
    await settle()
    assert len(bench.at_right.packets) == 1000 - lost

    bench.left.outbound = Netem(loss=1.0)
    for frame in numbered(100):
        bench.left.send(frame)
    await settle()
    assert len(bench.at_right.packets) == 1000 - lost
    assert bench.left.counters["outbound_loss"] == lost + 100


async def test_duplicate_sends_twice() -> None:
    bench = Bench(Netem(duplicate=1.0))
    for frame in numbered(3):
        bench.left.send(frame)
    await settle()
    assert numbers(bench.at_right.packets) == [0, 0, 1, 1, 2, 2]
    assert bench.faults() == {"outbound_duplicate": 3}


async def test_reorder_lets_packets_overtake_those_that_are_held() -> None:
    bench = Bench(Netem(delay=0.1, reorder=0.25))
    for frame in numbered(400):
        bench.left.send(frame)
    await settle()
    early = bench.left.counters["outbound_reorder"]
    assert 60 < early < 140
    got = numbers(bench.at_right.packets)
    assert got[:early] == sorted(got[:early])
    assert got[early:] == sorted(got[early:])
    assert sorted(got) == list(range(400))


async def test_corrupt_flips_one_bit() -> None:
    bench = Bench(Netem(corrupt=1.0))
    sent = bytes(range(100))
    for _ in range(200):
        bench.left.send(Frame(sent))
    await settle()
    places = set()
    for packet in bench.at_right.packets:
        difference = int.from_bytes(packet, "big") ^ int.from_bytes(sent, "big")
        assert difference.bit_count() == 1
        places.add(difference)
    assert len(places) > 100
    assert bench.faults() == {"outbound_corrupt": 200}


async def test_each_copy_of_a_duplicate_meets_a_fate_of_its_own() -> None:
    bench = Bench(Netem(duplicate=1.0, loss=0.5))
    for frame in numbered(1000):
        bench.left.send(frame)
    await settle()
    counters = bench.left.counters
    assert len(bench.at_right.packets) == 2000 - counters["outbound_loss"]
    assert 900 < counters["outbound_loss"] < 1100
    bench.left.outbound = Netem(duplicate=1.0, loss=1.0)
    arrived = len(bench.at_right.packets)
    bench.left.send(Frame(b"nobody"))
    await settle()
    assert len(bench.at_right.packets) == arrived


async def test_what_is_larger_than_the_mtu_vanishes() -> None:
    bench = Bench(Netem(mtu=100, duplicate=1.0))
    for size in (99, 100, 101, 1500):
        bench.left.send(Frame(bytes(size)))
    await settle()
    assert [len(packet) for packet in bench.at_right.packets] == [99, 99, 100, 100]
    assert bench.left.counters["outbound_mtu"] == 2
    with pytest.raises(ValueError, match="mtu must be"):
        Netem(mtu=-1)


async def test_a_filter_scripts_a_fault() -> None:
    seen: list[bytes] = []

    def not_the_third(packet: bytes) -> bool:
        seen.append(packet)
        return len(seen) != 3

    bench = Bench(Netem(filter=not_the_third, duplicate=1.0))
    for frame in numbered(4):
        bench.left.send(frame)
    await settle()
    assert numbers(bench.at_right.packets) == [0, 0, 1, 1, 3, 3]
    assert len(seen) == 4
    assert bench.left.counters["outbound_filter"] == 1


async def test_directions_have_settings_and_counters_of_their_own() -> None:
    bench = Bench(Netem(loss=1.0), Netem(duplicate=1.0))
    bench.left.send(Frame(b"out"))
    bench.right.send(Frame(b"in"))
    await settle()
    assert bench.at_right.packets == []
    assert bench.at_left.packets == [b"in", b"in"]
    assert bench.faults() == {"outbound_loss": 1, "inbound_duplicate": 1}
    assert (bench.left.outbound.loss, bench.left.inbound.duplicate) == (1.0, 1.0)


WILD = Netem(delay=0.1, jitter=0.05, loss=0.1, duplicate=0.1, reorder=0.1, corrupt=0.1)


async def run_wild(seed: int) -> tuple[list[tuple[float, bytes]], dict[str, int]]:
    bench = Bench(WILD, WILD, seed=seed)
    start = asyncio.get_running_loop().time()
    for frame in numbered(300):
        bench.left.send(frame)
        bench.right.send(frame)
    await settle()
    arrivals = bench.at_left.arrivals + bench.at_right.arrivals
    return [(round(a.at - start, 9), a.packet) for a in arrivals], bench.left.counters


async def test_a_seed_repeats_every_fault_and_another_one_does_not() -> None:
    first, second, other = await run_wild(7), await run_wild(7), await run_wild(8)
    assert first == second
    assert first != other


async def test_the_two_directions_draw_different_numbers() -> None:
    bench = Bench(Netem(loss=0.5), Netem(loss=0.5))
    for frame in numbered(64):
        bench.left.send(frame)
        bench.right.send(frame)
    await settle()
    assert numbers(bench.at_left.packets) != numbers(bench.at_right.packets)


def large_segment(length: int) -> Frame:
    template = HeaderTemplate(LEFT, 1000, RIGHT, 2000)
    return template.frame(
        1, 1, ACK, 9, payload=[bytes(length)], payload_length=length, gso_size=1000, offload=True
    )


def small_segment() -> Frame:
    """With a partial checksum."""
    template = HeaderTemplate(LEFT, 1000, RIGHT, 2000)
    payload = bytes(range(100))
    return template.frame(
        1, 1, ACK, 9, payload=[payload], payload_length=len(payload), offload=True
    )


def complete(packet: bytes) -> bool:
    _, offset, end = ipv4.parse(memoryview(packet))
    return tcp.verify_checksum(packet, offset, end)


async def test_large_frames_from_below_become_packets_that_are_complete() -> None:
    bench = Bench(
        inbound=Netem(filter=lambda packet: tcp.parse(memoryview(packet), 20, 40).seq != 1001),
        offload=True,
    )
    bench.right.send(large_segment(5000))
    bench.right.send(large_segment(500))
    await settle()
    assert [len(packet) - 40 for packet in bench.at_left.packets] == [1000, 1000, 1000, 1000, 500]
    assert all(map(complete, bench.at_left.packets))
    assert {(a.vouched, a.gso_size) for a in bench.at_left.arrivals} == {(False, 0)}
    assert bench.left.counters["inbound_packets"] == 6
    assert bench.left.counters["inbound_filter"] == 1


async def test_the_stack_above_sees_no_segmentation_offload() -> None:
    bench = Bench(offload=True)
    assert (bench.left.mtu, bench.left.gso_max_bytes) == (1500, 0)
    bench.left.send(large_segment(2500))
    await settle()
    assert [len(packet) - 40 for packet in bench.at_right.packets] == [1000, 1000, 500]
    assert all(map(complete, bench.at_right.packets))


async def test_the_link_below_goes_on_answering_for_checksums() -> None:
    bench = Bench(Netem(loss=0.5, delay=0.1), Netem(duplicate=1.0))
    assert bench.left.checksum_offload
    partial = small_segment()
    for _ in range(20):
        bench.left.send(partial)
    bench.right.send(partial)
    await settle()
    assert 0 < len(bench.at_right.packets) < 20
    for arrival in (*bench.at_left.arrivals, *bench.at_right.arrivals):
        assert (arrival.packet, arrival.vouched) == (partial.to_bytes(), True)


async def test_a_link_below_that_takes_no_partial_checksums_gets_none() -> None:
    loop = asyncio.get_running_loop()
    left, right = memory.pair(checksums=True)
    assert not Impair(left).checksum_offload
    link, recorder = Impair(left, offload=True), Recorder()
    link.attach(Recorder(), loop)
    right.attach(recorder, loop)
    link.send(small_segment())
    await settle()
    (arrival,) = recorder.arrivals
    assert complete(arrival.packet)
    assert not arrival.vouched


@pytest.mark.parametrize("inbound", [True, False])
async def test_what_is_corrupted_is_found_out(inbound: bool) -> None:
    """Though its checksum was left to the link."""
    corrupts = Netem(corrupt=0.5)
    bench = Bench(inbound=corrupts) if inbound else Bench(corrupts)
    sender, recorder = (bench.right, bench.at_left) if inbound else (bench.left, bench.at_right)
    partial = small_segment()
    (whole,) = split(partial.to_bytes(), 0, True)
    for _ in range(100):
        sender.send(partial)
    await settle()
    damaged = [a for a in recorder.arrivals if not a.vouched]
    assert 30 < len(damaged) < 70
    for arrival in damaged:
        difference = int.from_bytes(arrival.packet, "big") ^ int.from_bytes(whole, "big")
        assert difference.bit_count() == 1
    assert {a.packet for a in recorder.arrivals if a.vouched} == {partial.to_bytes()}


async def test_a_filter_sees_checksums_complete() -> None:
    seen: list[bytes] = []

    def watch(packet: bytes) -> bool:
        seen.append(packet)
        return True

    bench = Bench(Netem(filter=watch))
    bench.left.send(small_segment())
    await settle()
    assert list(map(complete, seen)) == [True]
    assert bench.at_right.packets == seen


async def test_what_was_held_goes_to_a_link_that_can_not_be_handed_packets() -> None:
    loop = asyncio.get_running_loop()
    left, right = memory.pair()
    recorder = Recorder()
    with TemporaryFile() as file:
        link = Impair(Capture(left, file), outbound=Netem(delay=0.1))
        link.attach(Recorder(), loop)
        right.attach(recorder, loop)
        for frame in numbered(3):
            link.send(frame)
        await settle()
        link.close()
    assert numbers(recorder.packets) == [0, 1, 2]
    assert recorder.batches == [3]


@pytest.mark.parametrize("below", [True, False])
async def test_the_stack_above_may_leave_frames_to_be_cut(below: bool) -> None:
    left, right = memory.pair(offload=below)
    link = Impair(left, outbound=Netem(delay=0.1, loss=0.3), seed=4, offload=True)
    assert link.checksum_offload
    recorder, loop = Recorder(), asyncio.get_running_loop()
    link.attach(Recorder(), loop)
    right.attach(recorder, loop)
    largest = large_segment(link.gso_max_bytes - 40)
    link.send(largest)
    await settle()
    assert link.counters["outbound_packets"] == 66
    assert 0 < link.counters["outbound_loss"] == 66 - len(recorder.packets)
    assert {len(packet) for packet in recorder.packets} <= {1040, len(recorder.packets[-1])}
    assert all(map(complete, recorder.packets))


async def test_what_is_held_when_the_link_is_closed_is_lost() -> None:
    bench = Bench(Netem(delay=1), Netem(delay=1))
    bench.left.send(Frame(b"out"))
    bench.right.send(Frame(b"in"))
    await asyncio.sleep(0.5)
    bench.left.close()
    bench.left.close()
    bench.left.send(Frame(b"after"))
    await settle()
    assert bench.at_left.packets == bench.at_right.packets == []
    held = {"outbound_lost_held": 1, "inbound_lost_held": 1}
    assert bench.faults() == {**held, "outbound_closed": 1}


async def test_the_loss_of_the_link_below_is_passed_on() -> None:
    class Losing(MemoryLink):
        def attach(self, receiver: object, loop: asyncio.AbstractEventLoop) -> None:
            loop.call_soon(receiver.link_lost, OSError(19, "gone"))  # type: ignore[attr-defined]

    above = Recorder()
    Impair(Losing(1500, False, 10)).attach(above, asyncio.get_running_loop())
    assert (await above.until_lost()).errno == 19


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": 1.5},
        {"duplicate": -0.1},
        {"corrupt": float("nan")},
        {"reorder": 2.0, "delay": 1.0},
        {"reorder": 0.1},
        {"delay": -1.0},
        {"jitter": float("inf")},
        {"rate": -1.0},
        {"limit": 0},
    ],
)
def test_values_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Netem(**settings)  # type: ignore[arg-type]
