"""Opening a TUN device: by name, by descriptor, without privilege; and what is said if it fails."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from aiotcp.link import network
from aiotcp.link.tun import Tun
from aiotcp.wire import tcp
from tests.support.hosts import V4, attached, is_datagram, kernel_socket, transport
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]

TUNSETIFF, TUNSETPERSIST, TUNSETOWNER = 0x400454CA, 0x400454CB, 0x400454CC
IFF_TUN, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x0002, 0x1000, 0x4000


def open_by_hand(name: str, flags: int) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("=16sH22x", name.encode(), flags))
    return fd


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


@pytest.mark.real_loop
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


@pytest.mark.real_loop
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
