"""A real TUN device, against the kernel that owns it."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aiotcp.link import network
from aiotcp.link.tun import BATCH_FRAMES, Tun
from aiotcp.wire import checksum, ipv4, tcp
from aiotcp.wire.frame import Buffer, Frame
from aiotcp.wire.segmentation import split
from aiotcp.wire.tcp import ACK, FIN, PSH, SYN, HeaderTemplate, Segment
from tests.support.hosts import V4, V6, Side, is_datagram, transport
from tests.support.netns import has_ipv6
from tests.support.netns import netns as netns
from tests.support.recorder import Arrival, Recorder

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns"), pytest.mark.real_loop]

both_versions = pytest.mark.parametrize("side", [V4, V6], ids=lambda side: side.name)
with_and_without_offload = pytest.mark.parametrize(
    "offload", [True, False], ids=["offload", "plain"]
)

TUNSETIFF, TUNSETPERSIST, TUNSETOWNER = 0x400454CA, 0x400454CB, 0x400454CC
SO_RCVBUFFORCE = 33  # not limited by net.core.rmem_max
IFF_TUN, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x0002, 0x1000, 0x4000


def opened(side: Side = V4, offload: bool = True) -> Tun:
    """A device with the host's address, up."""
    if side.version == 6 and not has_ipv6():
        pytest.skip("the kernel has no IPv6")
    return network.open_tun(host_addresses=[side.host_address], offload=offload)[0]


@asynccontextmanager
async def device(side: Side, *, offload: bool = True) -> AsyncIterator[Tun]:
    tun = await network.off_loop(opened, side, offload)
    try:
        yield tun
    finally:
        tun.close()


@pytest.fixture
def tun() -> Iterator[Tun]:
    tun = opened()
    yield tun
    tun.close()


def open_by_hand(name: str, flags: int) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("=16sH22x", name.encode(), flags))
    return fd


def kernel_socket(side: Side, kind: socket.SocketKind) -> socket.socket:
    """A socket of the kernel's, bound to the host's address and any port."""
    made = socket.socket(socket.AF_INET if side.version == 4 else socket.AF_INET6, kind)
    made.setblocking(False)
    made.bind((side.host, 0))
    return made


def attached(tun: Tun) -> Recorder:
    recorder = Recorder()
    tun.attach(recorder, asyncio.get_running_loop())
    return recorder


def segment_in(arrival: Arrival) -> Segment:
    return tcp.parse(transport(arrival.packet)[1], 0, len(transport(arrival.packet)[1]))


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


# Offload


class HandTcp:
    """A TCP connection from us to a listening kernel socket, driven by hand."""

    def __init__(self, tun: Tun, recorder: Recorder, side: Side, port: int) -> None:
        self.tun = tun
        self.recorder = recorder
        self.template = HeaderTemplate(side.stack_bytes, 5000, side.host_bytes, port)
        self.seq = 2**32 - 1000
        self.ack = 0
        self.mss = 1500 - (40 if side.version == 4 else 60)

    def send(self, flags: int, *payload: bytes, options: bytes = b"") -> None:
        length = sum(map(len, payload))
        frame = self.template.frame(
            self.seq,
            self.ack,
            flags,
            0xFFFF,
            options=options,
            payload=payload,
            payload_length=length,
            gso_size=self.mss if length > self.mss else 0,
            offload=self.tun.checksum_offload,
        )
        self.tun.send(frame)
        self.seq += length + bool(flags & SYN) + bool(flags & FIN)

    async def acknowledged(self) -> Segment:
        """Wait until the kernel has acknowledged all."""

        def acknowledges(packet: bytes) -> bool:
            protocol, body = transport(packet)
            return protocol == tcp.PROTOCOL and (
                tcp.parse(body, 0, len(body)).ack == self.seq & 0xFFFFFFFF
            )

        return segment_in(await self.recorder.until(acknowledges))

    async def open(self) -> None:
        self.send(SYN, options=tcp.pack_options(mss=self.mss, wscale=7))
        answer = await self.acknowledged()
        assert answer.flags == SYN | ACK
        self.ack = answer.seq + 1
        self.send(ACK)


@both_versions
async def test_the_kernel_takes_segments_of_64_kib(side: Side) -> None:
    loop = asyncio.get_running_loop()
    async with device(side) as tun:
        with kernel_socket(side, socket.SOCK_STREAM) as listener:
            # Room for it all: nobody reads before the end.
            listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 20)
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
                arrival = await recorder.until(lambda packet: len(packet) > 1500)
            assert arrival.vouched
            assert arrival.gso_size == hand.mss
            assert segment_in(arrival).payload == text


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
            syn = await recorder.until(lambda packet: transport(packet)[0] == tcp.PROTOCOL)
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


# Opening


def test_the_kernel_chooses_a_number_and_the_device_says_its_mtu() -> None:
    first, second = Tun(), Tun(offload=False)
    try:
        assert first.name.startswith("aiotcp")
        assert first.name != second.name
        assert (first.mtu, first.gso_max_bytes, first.checksum_offload) == (1500, 65535, True)
        assert (second.mtu, second.gso_max_bytes, second.checksum_offload) == (1500, 0, False)
        network.configure(first.name, host_addresses=[], mtu=9000)
        assert repr(first) == f"<Tun {first.name} open mtu=1500 offload=True>"
    finally:
        first.close()
        second.close()


def test_a_device_in_use_is_busy() -> None:
    tun = Tun("tun7")
    try:
        with pytest.raises(OSError, match="tun7 is in use by another process") as caught:
            Tun("tun7")
        assert caught.value.errno == errno.EBUSY
    finally:
        tun.close()


def test_an_interface_that_is_no_tun_device_is_refused() -> None:
    with pytest.raises(OSError, match="lo exists and is not a TUN device") as caught:
        Tun("lo")
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("name", ["", "sixteen-letters!", "a/b", "nul\0"])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="device name"):
        Tun(name)


@pytest.mark.parametrize("vnet", [IFF_VNET_HDR, 0], ids=["with header", "without"])
async def test_a_descriptor_can_be_handed_over(vnet: int) -> None:
    fd = open_by_hand("handed", IFF_TUN | IFF_NO_PI | vnet)
    await network.off_loop(network.configure, "handed", host_addresses=[V4.host_address], mtu=1400)
    tun = Tun(fd=fd)
    assert (tun.name, tun.mtu, tun.fileno()) == ("handed", 1400, fd)
    assert tun.checksum_offload is bool(vnet)
    recorder = attached(tun)
    with kernel_socket(V4, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"hello", (V4.stack, 9))
        await recorder.until(lambda packet: is_datagram(packet, b"hello"))
        tun.send(V4.datagram(7, udp.getsockname()[1], b"answer"))
        assert await asyncio.get_running_loop().sock_recv(udp, 100) == b"answer"
    tun.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


async def test_offload_can_be_declined_on_a_descriptor_that_has_the_header() -> None:
    tun = Tun(fd=open_by_hand("handed", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR), offload=False)
    try:
        await network.off_loop(network.configure, "handed", host_addresses=[V4.host_address])
        assert (tun.gso_max_bytes, tun.checksum_offload) == (0, False)
        recorder = attached(tun)
        with kernel_socket(V4, socket.SOCK_STREAM) as client:
            with pytest.raises(BlockingIOError):
                client.connect((V4.stack, 80))
            syn = await recorder.until(lambda packet: transport(packet)[0] == tcp.PROTOCOL)
        assert tcp.verify_checksum(syn.packet, 20, len(syn.packet))
    finally:
        tun.close()


def test_a_tap_device_is_refused_and_its_descriptor_not_closed() -> None:
    fd = open_by_hand("other", IFF_TAP | IFF_NO_PI)
    with pytest.raises(ValueError, match="TAP"):
        Tun(fd=fd)
    os.close(fd)


def test_a_descriptor_that_is_no_tun_device_is_refused() -> None:
    with open("/dev/null") as null, pytest.raises(ValueError, match="not attached to a TUN"):
        Tun(fd=null.fileno())
    with open("/dev/net/tun") as fresh, pytest.raises(ValueError, match="not attached to a TUN"):
        Tun(fd=fresh.fileno())


UNPRIVILEGED = """
import sys
from aiotcp.link.tun import Tun
try:
    print(Tun(sys.argv[1]))
except OSError as exc:
    print(type(exc).__name__, exc.strerror)
"""


def without_privilege(*arguments: str) -> str:
    """What a Python without CAP_NET_ADMIN prints, in this namespace."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv (util-linux) is not installed")
    command = [setpriv, "--bounding-set=-net_admin", "--inh-caps=-all", sys.executable, *arguments]
    root = Path(__file__).parents[2]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout


def test_the_owner_of_a_persistent_device_needs_no_privilege() -> None:
    fd = open_by_hand("mine", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)
    fcntl.ioctl(fd, TUNSETOWNER, os.geteuid())
    fcntl.ioctl(fd, TUNSETPERSIST, 1)
    os.close(fd)
    network.configure("mine", host_addresses=[V4.host_address], mtu=1300)
    try:
        shown = without_privilege("-c", UNPRIVILEGED, "mine")
        assert shown == "<Tun mine open mtu=1300 offload=True>\n"
    finally:
        network.delete("mine")


def test_creating_a_device_without_privilege_says_the_way_out() -> None:
    shown = without_privilege("-c", UNPRIVILEGED, "aiotcp%d")
    assert shown.startswith("PermissionError ")
    assert "CAP_NET_ADMIN" in shown
    assert "ip tuntap add" in shown


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.ENOENT, FileNotFoundError, "modprobe tun"),
        (errno.ENODEV, FileNotFoundError, "--device /dev/net/tun"),
        (errno.EACCES, PermissionError, "may not be opened"),
    ],
)
def test_without_a_usable_device_node_the_error_says_the_way_out(
    number: int, kind: type[OSError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(kind, match=message):
        Tun()
