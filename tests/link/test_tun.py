"""A real TUN device, against the kernel that owns it: packets, batches, offload, trouble."""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import struct
from collections.abc import Iterator

import pytest

from aiotcp.link import network
from aiotcp.link.tun import BATCH_FRAMES, Tun
from aiotcp.wire import checksum, ipv4, tcp
from aiotcp.wire.frame import Buffer, Frame
from aiotcp.wire.segmentation import split
from aiotcp.wire.tcp import ACK, FIN, PSH, SYN, HeaderTemplate
from tests.support.handtcp import HandTcp, segment_in
from tests.support.hosts import (
    V4,
    V6,
    Side,
    attached,
    device,
    is_datagram,
    kernel_socket,
    opened,
    transport,
)
from tests.support.netns import netns as netns
from tests.support.recorder import Recorder

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns"), pytest.mark.real_loop]

both_versions = pytest.mark.parametrize("side", [V4, V6], ids=lambda side: side.name)
with_and_without_offload = pytest.mark.parametrize(
    "offload", [True, False], ids=["offload", "plain"]
)


@pytest.fixture
def tun() -> Iterator[Tun]:
    tun = opened()
    yield tun
    tun.close()


# Packets


@both_versions
@with_and_without_offload
async def test_packets_travel_both_ways(side: Side, offload: bool) -> None:
    async with device(side, offload=offload) as tun:
        with kernel_socket(side, socket.SOCK_DGRAM) as udp:
            recorder = attached(tun)
            udp.sendto(b"from the kernel", (side.stack, 9))
            arrival = await recorder.until(lambda p: is_datagram(p, b"from the kernel"))
            assert arrival.vouched is offload
            assert arrival.gso_size == 0
            udp.connect((side.stack, 7))
            tun.send(side.datagram(7, udp.getsockname()[1], b"from us"))
            assert await asyncio.get_running_loop().sock_recv(udp, 100) == b"from us"
            assert tun.counters["sent_packets"] == 1
            assert tun.counters["sent_bytes"] == (28 if side.version == 4 else 48) + len("from us")
            assert tun.counters["received_packets"] == len(recorder.packets)
            assert tun.counters["received_bytes"] == sum(map(len, recorder.packets))


async def test_the_kernel_answers_a_ping(tun: Tun) -> None:
    recorder = attached(tun)
    body = b"\x12\x34\x00\x01ping!!"
    total = checksum.sum_buffers([b"\x08\x00", body])
    request = b"\x08\x00" + struct.pack("!H", checksum.finish(total))
    header = ipv4.header(V4.stack_bytes, V4.host_bytes, 1, len(request) + len(body))
    tun.send(Frame(header, [request, body]))
    arrival = await recorder.until(lambda packet: transport(packet)[0] == 1)
    reply = bytes(transport(arrival.packet)[1])
    assert (reply[0], reply[4:]) == (0, body)


async def test_a_frame_of_more_pieces_than_one_writev_takes(tun: Tun) -> None:
    attached(tun)
    with kernel_socket(V4, socket.SOCK_DGRAM) as udp:
        whole = V4.datagram(7, udp.getsockname()[1], bytes(range(200)) * 7).to_bytes()
        pieces: list[Buffer] = [memoryview(whole)[i : i + 1] for i in range(28, len(whole))]
        assert len(pieces) > 1024
        tun.send(Frame(whole[:28], pieces))
        assert await asyncio.get_running_loop().sock_recv(udp, 2000) == whole[28:]


# Batches


async def test_packets_that_wait_arrive_in_few_batches_with_memory_of_their_own(tun: Tun) -> None:
    class Keeping(Recorder):
        """Looks at the packets of a batch when it is over, as a stack may."""

        def __init__(self) -> None:
            super().__init__()
            self.views: list[memoryview] = []
            self.kept: list[bytes] = []

        def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
            super().receive(packet, vouched, gso_size)
            self.views.append(packet)

        def flush(self) -> None:
            self.kept += map(bytes, self.views)
            self.views.clear()
            super().flush()

    recorder = Keeping()
    with kernel_socket(V4, socket.SOCK_DGRAM) as udp:
        for number in range(3 * BATCH_FRAMES):
            udp.sendto(b"%d" % number, (V4.stack, 9))
        udp.sendto(b"end", (V4.stack, 9))
    tun.attach(recorder, asyncio.get_running_loop())
    await recorder.until(lambda packet: is_datagram(packet, b"end"))
    datagrams = [bytes(transport(packet)[1][8:]) for packet in recorder.kept if packet[9] == 17]
    assert datagrams == [b"%d" % number for number in range(3 * BATCH_FRAMES)] + [b"end"]
    assert max(recorder.batches) == BATCH_FRAMES
    assert len(recorder.batches) == tun.counters["received_batches"]


async def test_batches_are_smaller_while_nobody_takes_them() -> None:
    class Slow(Recorder):
        takes = False
        sizes: list[int]  # how many large packets each batch had: the kernel says things, too

        def flush(self) -> int:  # type: ignore[override]
            super().flush()
            octets = sum(map(len, self.packets))
            self.sizes += [octets // 60_000] if octets > 60_000 else []
            self.arrivals.clear()
            return 0 if self.takes else octets

    recorder = Slow()
    async with device(V4, mtu=65_535) as tun:
        tun.attach(recorder, asyncio.get_running_loop())

        def batches(datagrams: int) -> list[int]:
            """So many large packets come: in batches of how many?"""
            recorder.sizes = []
            with kernel_socket(V4, socket.SOCK_DGRAM) as udp:
                for _ in range(datagrams):
                    udp.sendto(bytes(60_000), (V4.stack, 9))
            while tun.receive_waiting():
                pass
            return recorder.sizes

        assert batches(43) == [18, 9, 5, 4, 4, 3]
        recorder.takes = True
        sizes = batches(430)
        assert sizes[0] == 4
        assert 8 <= sizes[-2] <= 18
        assert sizes[:-1] == sorted(sizes[:-1])


async def test_what_waits_can_be_asked_for(tun: Tun) -> None:
    recorder = attached(tun)
    await asyncio.sleep(0)
    while tun.receive_waiting():
        pass
    recorder.batches.clear()
    with kernel_socket(V4, socket.SOCK_DGRAM) as udp:
        for _ in range(BATCH_FRAMES + 1):
            udp.sendto(b"unread", (V4.stack, 9))
    assert tun.receive_waiting()
    assert not tun.receive_waiting()
    assert not tun.receive_waiting()
    assert recorder.batches == [BATCH_FRAMES, 1]


async def test_in_a_conversation_a_packet_is_processed_before_others_are_looked_for(
    tun: Tun,
) -> None:
    recorder = attached(tun)
    await asyncio.sleep(0)
    while tun.receive_waiting():
        pass
    recorder.batches.clear()
    with kernel_socket(V4, socket.SOCK_DGRAM) as udp:
        for _ in range(20):
            udp.sendto(b"a step", (V4.stack, 9))
            tun.receive_waiting()
        for _ in range(30):
            udp.sendto(b"many at once", (V4.stack, 9))
        while tun.receive_waiting():
            pass
        assert not tun.receive_waiting()
    alone = recorder.batches[:-1]
    assert alone == [1] * len(alone)
    assert 20 < len(alone) <= 40, "what comes in large numbers is found out after a few"
    assert recorder.batches[-1] == 50 - len(alone)


async def test_in_a_conversation_the_next_step_is_taken_as_soon_as_it_is_there(tun: Tun) -> None:
    steps = 0

    class Eager(Recorder):
        def flush(self) -> None:
            nonlocal steps
            super().flush()
            if steps:
                steps -= 1
                udp.sendto(b"the next step", (V4.stack, 9))

    recorder = Eager()
    tun.attach(recorder, asyncio.get_running_loop())
    with kernel_socket(V4, socket.SOCK_DGRAM) as udp:
        await asyncio.sleep(0)
        while tun.receive_waiting():
            pass
        for _ in range(4):
            udp.sendto(b"a step", (V4.stack, 9))
            tun.receive_waiting()
        recorder.batches.clear()
        steps = 100
        udp.sendto(b"a step", (V4.stack, 9))
        tun.receive_waiting()
        first = len(recorder.batches)
        assert 1 < first < 50, "several, but the loop has other work as well"
        for _ in range(101):
            tun.receive_waiting()
    assert recorder.batches == [1] * 101


# Offload


@both_versions
async def test_the_kernel_takes_segments_of_64_kib(side: Side) -> None:
    loop = asyncio.get_running_loop()
    async with device(side) as tun:
        with kernel_socket(side, socket.SOCK_STREAM) as listener:
            # Room for it all, as nobody reads before the end; a user may have this much as well.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200 * 1024)
            listener.listen()
            hand = HandTcp(tun, attached(tun), side, listener.getsockname()[1])
            await hand.open()
            accepted, _ = await loop.sock_accept(listener)
            with accepted:
                largest = tun.gso_max_bytes - (40 if side.version == 4 else 60)
                sent = b""
                for size in (1, 10_000, 20_000, 30_000, largest):  # the window opens as data comes
                    text = random.Random(size).randbytes(size)
                    hand.send(ACK | PSH, text[: size // 3], text[size // 3 :])
                    sent += text
                    await hand.acknowledged()
                hand.send(FIN | ACK)
                got = b""
                while data := await loop.sock_recv(accepted, 1 << 20):
                    got += data
                assert got == sent
            assert tun.counters["sent_packets"] == 8


@both_versions
async def test_the_kernel_sends_large_segments_that_are_vouched_for(side: Side) -> None:
    loop = asyncio.get_running_loop()
    async with device(side) as tun:
        with kernel_socket(side, socket.SOCK_STREAM) as listener:
            listener.listen()
            recorder = attached(tun)
            hand = HandTcp(tun, recorder, side, listener.getsockname()[1])
            await hand.open()
            accepted, _ = await loop.sock_accept(listener)
            with accepted:
                text = random.Random(1).randbytes(5 * hand.mss)
                await loop.sock_sendall(accepted, text)
                arrival = await recorder.until(
                    lambda packet: len(packet) > 1500 and hand.concerns(packet)
                )
            assert arrival.vouched
            assert arrival.gso_size == hand.mss
            # All of it, unless the kernel was held up in the midst of it.
            payload = segment_in(arrival).payload
            assert payload in text
            assert len(payload) > hand.mss


@both_versions
@with_and_without_offload
async def test_a_syn_of_the_kernel_has_a_partial_checksum_only_with_offload(
    side: Side, offload: bool
) -> None:
    async with device(side, offload=offload) as tun:
        with kernel_socket(side, socket.SOCK_STREAM) as client:
            recorder = attached(tun)
            with pytest.raises(BlockingIOError):
                client.connect((side.stack, 80))
            port = struct.pack("!H", client.getsockname()[1])
            syn = await recorder.until(
                # Connections of earlier tests may still say goodbye.
                lambda packet: (
                    transport(packet)[0] == tcp.PROTOCOL and transport(packet)[1][:2] == port
                )
            )
            assert segment_in(syn).flags == SYN
            assert syn.vouched is offload
            start = 20 if side.version == 4 else 40
            assert tcp.verify_checksum(syn.packet, start, len(syn.packet)) is not offload
            (completed,) = split(syn.packet, 0, syn.vouched)
            assert tcp.verify_checksum(completed, start, len(completed))


def enable(setting: str) -> None:
    with open(f"/proc/sys/{setting}", "w") as file:
        file.write("1")


FAR = {
    V4: Side("far IPv4", 24, "198.51.100.1", "198.51.100.2"),
    V6: Side("far IPv6", 64, "fd61:696f:7463:71::1", "fd61:696f:7463:71::2"),
}


@both_versions
@with_and_without_offload
async def test_a_large_segment_that_the_kernel_forwards_has_right_checksums(
    side: Side, offload: bool
) -> None:
    """Delivered locally, a partial checksum is never looked at. Forwarded to a device without
    offload, the kernel has to cut the segment and to complete the checksums from what we gave."""
    far = FAR[side]
    setting = "ipv4/ip_forward" if side.version == 4 else "ipv6/conf/all/forwarding"
    enable(f"net/{setting}")
    async with device(side) as near_tun, device(far, offload=offload) as far_tun:
        attached(near_tun)
        recorder = attached(far_tun)
        template = HeaderTemplate(side.stack_bytes, 5000, far.stack_bytes, 80)
        text = random.Random(1).randbytes(50_001)
        mss = 1401
        frame = template.frame(
            2**32 - 5000,
            77,
            ACK | PSH | FIN,
            100,
            options=tcp.pack_options(timestamps=(1, 2)),
            payload=[text[:777], memoryview(text)[777:]],
            payload_length=len(text),
            gso_size=mss,
            offload=True,
            identification=9,
        )
        near_tun.send(frame)

        def last(packet: bytes) -> bool:
            protocol, body = transport(packet)
            return protocol == tcp.PROTOCOL and bool(tcp.parse(body, 0, len(body)).flags & FIN)

        await recorder.until(last)
        arrived = [a for a in recorder.arrivals if transport(a.packet)[0] == tcp.PROTOCOL]
        if offload:
            (whole,) = arrived
            assert (whole.vouched, whole.gso_size) == (True, mss)
            packets = split(whole.packet, whole.gso_size, whole.vouched)
        else:
            assert len(arrived) == -(-len(text) // mss)
            packets = [arrival.packet for arrival in arrived]
        start = 20 if side.version == 4 else 40
        assert all(tcp.verify_checksum(packet, start, len(packet)) for packet in packets)
        assert b"".join(packet[start + 32 :] for packet in packets) == text
        # The kernel's cutting and ours agree on all that follows the IP header.
        ours = split(frame.to_bytes(), mss, True)
        assert [packet[start:] for packet in packets] == [packet[start:] for packet in ours]


# Trouble


async def test_a_deleted_device_is_reported_once_and_frames_are_drops(tun: Tun) -> None:
    recorder = attached(tun)
    await network.off_loop(network.delete, tun.name)
    for _ in range(2):
        tun.send(V4.datagram(1, 2, b"nobody"))
    lost = await recorder.until_lost()
    assert lost.errno in (errno.EBADFD, errno.ENODEV)
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(recorder.lost) == 1
    assert tun.counters["send_device_gone"] == 2
    tun.close()


async def test_frames_are_drops_while_the_link_is_down() -> None:
    opened = Tun()
    try:
        attached(opened)
        opened.send(V4.datagram(1, 2, b"nobody"))
        assert opened.counters["send_link_down"] == 1
        opened.send_run([V4.datagram(1, 2, b"nobody")] * 4)
        assert opened.counters["send_link_down"] == 5
        assert opened.counters["sent_packets"] == 0
    finally:
        opened.close()


async def test_a_frame_the_kernel_refuses_is_a_drop(tun: Tun) -> None:
    tun.send(Frame(b"\x00" * 40))
    tun.send(Frame(b"\x45" * 40, checksum_start=1000))
    assert tun.counters["send_invalid"] == 2
    assert tun.counters["sent_packets"] == 0


async def test_closing_removes_the_device_and_makes_frames_drops(tun: Tun) -> None:
    attached(tun)
    assert tun.name in [name for _, name in socket.if_nameindex()]
    tun.close()
    tun.close()
    assert tun.name not in [name for _, name in socket.if_nameindex()]
    tun.send(V4.datagram(1, 2, b"nobody"))
    assert tun.counters["send_closed"] == 1
    assert tun.fileno() == -1
    with pytest.raises(RuntimeError, match="closed"):
        attached(tun)


async def test_a_receiver_may_close_the_link(tun: Tun) -> None:
    class Closing(Recorder):
        def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
            super().receive(packet, vouched, gso_size)
            tun.close()
            self.flush()

    with kernel_socket(V4, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"one", (V4.stack, 9))
        udp.sendto(b"two", (V4.stack, 9))
    recorder = Closing()
    tun.attach(recorder, asyncio.get_running_loop())
    await recorder.until(lambda packet: True)
    assert len(recorder.packets) == 1


async def test_a_link_has_one_receiver(tun: Tun) -> None:
    attached(tun)
    with pytest.raises(RuntimeError, match="already has a receiver"):
        attached(tun)
