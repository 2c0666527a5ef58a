"""The host's side of a device: addresses, MTU, link state, and clashes with what is there."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotcp.link import network
from aiotcp.link.network import PrefixInUse
from aiotcp.link.tun import Tun
from tests.support.hosts import V4, is_datagram
from tests.support.netns import has_ipv6, private_network
from tests.support.netns import netns as netns
from tests.support.recorder import Recorder

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]

ROOT = Path(__file__).parents[2]
SIOCGIFFLAGS, SIOCGIFMTU, SIOCGIFTXQLEN = 0x8913, 0x8921, 0x8942
IFF_UP = 1

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="the kernel has no IPv6")


def ask(name: str, what: int) -> int:
    """One number about an interface, from the kernel by ioctl."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, what, struct.pack("=16si20x", name.encode(), 0))
    number: int = struct.unpack("=16si20x", answer)[1]
    return number


def is_usable(address: str) -> bool:
    """Whether a socket can be bound to the address now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


@pytest.fixture
def tun() -> Iterator[Tun]:
    tun = Tun()
    yield tun
    tun.close()


@pytest.fixture
def other() -> Iterator[Tun]:
    """Another device, with addresses that are in use there."""
    with_addresses, _ = network.open_tun("other", host_addresses=[V4.host_address])
    yield with_addresses
    with_addresses.close()


@needs_ipv6
def test_the_defaults_make_both_addresses_usable_at_once(tun: Tun) -> None:
    done = network.configure(tun.name)
    assert done.addresses == ("192.0.2.1/24", "fd61:696f:7463:70::1/64")
    assert done.missing == {}
    assert is_usable("192.0.2.1")
    assert is_usable("fd61:696f:7463:70::1")
    assert ask(tun.name, SIOCGIFMTU) == 1500
    assert ask(tun.name, SIOCGIFTXQLEN) == network.QUEUE_LENGTH
    assert ask(tun.name, SIOCGIFFLAGS) & IFF_UP


def test_what_is_asked_for_is_set_and_what_is_none_is_left(tun: Tun) -> None:
    network.configure(tun.name, host_addresses=[], mtu=9000, queue_length=77, up=False)
    network.configure(tun.name, host_addresses=[], mtu=None, queue_length=None, up=False)
    assert ask(tun.name, SIOCGIFMTU) == 9000
    assert ask(tun.name, SIOCGIFTXQLEN) == 77
    assert not ask(tun.name, SIOCGIFFLAGS) & IFF_UP


def test_configuring_twice_is_harmless(tun: Tun) -> None:
    assert network.configure(tun.name) == network.configure(tun.name)


def test_open_tun_opens_and_configures() -> None:
    tun, done = network.open_tun(
        "both%d", host_addresses=[V4.host_address], mtu=1400, queue_length=50, offload=False
    )
    try:
        assert (tun.name, done.name) == ("both0", "both0")
        assert (tun.mtu, tun.checksum_offload) == (1400, False)
        assert done.addresses == (V4.host_address,)
        assert ask("both0", SIOCGIFMTU) == 1400
        assert ask("both0", SIOCGIFTXQLEN) == 50
    finally:
        tun.close()


@needs_ipv6
def test_the_device_has_no_link_local_address_and_solicits_nothing(tun: Tun) -> None:
    network.configure(tun.name)
    with open("/proc/net/if_inet6") as table:
        addresses = [line.split()[0] for line in table if line.split()[-1] == tun.name]
    assert addresses == ["fd61696f746300700000000000000001"]


def test_a_prefix_with_an_address_on_another_interface_is_a_clash(tun: Tun, other: Tun) -> None:
    with pytest.raises(PrefixInUse, match=r"192\.0\.2\.0/24 .* on other") as caught:
        network.configure(tun.name, host_addresses=["192.0.2.99/24"])
    assert (caught.value.prefix, caught.value.interface) == ("192.0.2.0/24", "other")
    assert caught.value.errno == errno.EADDRINUSE
    assert not ask(tun.name, SIOCGIFFLAGS) & IFF_UP


@needs_ipv6
def test_ipv6_clashes_too(tun: Tun) -> None:
    second, _ = network.open_tun("second", host_addresses=["fd61:696f:7463:70::5/128"])
    try:
        with pytest.raises(PrefixInUse, match="on second"):
            network.configure(tun.name)
    finally:
        second.close()


def add_route(device: Tun, destination: str) -> None:
    from pyroute2 import IPRoute

    with IPRoute() as netlink:
        (index,) = netlink.link_lookup(ifname=device.name)
        netlink.route("add", dst=destination, oif=index)


def test_a_prefix_routed_elsewhere_is_a_clash(tun: Tun) -> None:
    second, _ = network.open_tun("second", host_addresses=["198.51.100.1/24"])
    try:
        add_route(second, "192.0.2.128/25")
        with pytest.raises(PrefixInUse, match=r"192\.0\.2\.0/24 is already routed through second"):
            network.configure(tun.name)
    finally:
        second.close()


def test_a_default_route_and_a_wider_one_are_no_clash(tun: Tun) -> None:
    second, _ = network.open_tun("second", host_addresses=["198.51.100.1/24"])
    try:
        add_route(second, "0.0.0.0/0")
        add_route(second, "192.0.0.0/8")
        network.check_free(["192.0.2.1/24"])
        assert network.configure(tun.name).addresses[0] == "192.0.2.1/24"
    finally:
        second.close()


def test_check_free_ignores_the_interface_itself(other: Tun) -> None:
    network.check_free([V4.host_address], name="other")
    with pytest.raises(PrefixInUse):
        network.check_free([V4.host_address])
    with pytest.raises(PrefixInUse):
        network.check_free([V4.host_address], name="absent")


def test_open_tun_closes_the_device_when_it_cannot_be_configured(other: Tun) -> None:
    with pytest.raises(PrefixInUse):
        network.open_tun("third", host_addresses=[V4.host_address])
    assert [name for _, name in socket.if_nameindex()] == ["lo", "other"]


def test_ipv6_switched_off_in_the_kernel_is_reported_and_ipv4_works() -> None:
    with private_network():
        try:
            with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w") as setting:
                setting.write("1")
            with open("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w") as setting:
                setting.write("1")
        except FileNotFoundError:
            pass
        tun, done = network.open_tun()
        try:
            assert done.addresses == ("192.0.2.1/24",)
            assert list(done.missing) == ["fd61:696f:7463:70::1/64"]
            assert "IPv6" in done.missing["fd61:696f:7463:70::1/64"]
            assert is_usable("192.0.2.1")
        finally:
            tun.close()


def test_ipv6_needs_its_least_mtu(tun: Tun) -> None:
    done = network.configure(tun.name, mtu=1279)
    assert done.addresses == ("192.0.2.1/24",)
    assert "1280" in done.missing["fd61:696f:7463:70::1/64"]


def test_an_interface_that_does_not_exist_is_named() -> None:
    for attempt in (network.configure, network.delete, network.statistics):
        with pytest.raises(OSError, match="there is no interface absent") as caught:
            attempt("absent")
        assert caught.value.errno == errno.ENODEV


@pytest.mark.parametrize("address", ["192.0.2.300/24", "192.0.2.1/33", "example.org", ""])
def test_what_is_no_address_is_refused(tun: Tun, address: str) -> None:
    with pytest.raises(ValueError, match="IPv4 or IPv6"):
        network.configure(tun.name, host_addresses=[address])


def test_delete_removes_the_interface(tun: Tun) -> None:
    network.delete(tun.name)
    assert tun.name not in [name for _, name in socket.if_nameindex()]


def test_statistics_are_the_kernels_counters(tun: Tun) -> None:
    network.configure(tun.name, host_addresses=[V4.host_address])
    tun.send(V4.datagram(1, 2, b"x"))
    counted = network.statistics(tun.name)
    assert (counted["rx_packets"], counted["rx_bytes"]) == (1, 29)
    assert counted["tx_dropped"] == 0


def test_inside_a_running_loop_the_error_says_what_to_do(tun: Tun) -> None:
    async def mistaken() -> None:
        network.configure(tun.name)

    with pytest.raises(RuntimeError, match="off_loop"):
        asyncio.run(mistaken())


@pytest.mark.real_loop
async def test_off_loop_acts_in_the_namespace_of_the_loop() -> None:
    # A worker made earlier, and a loop in a namespace that is newer than the worker.
    loop = asyncio.get_running_loop()
    outside = await loop.run_in_executor(None, socket.if_nameindex)
    with private_network():
        tun, done = await network.off_loop(network.open_tun, host_addresses=[V4.host_address])
        try:
            assert done.addresses == (V4.host_address,)
            assert [name for _, name in socket.if_nameindex()] == ["lo", tun.name]
            assert (await network.off_loop(network.statistics, tun.name))["rx_packets"] == 0
            recorder = Recorder()
            tun.attach(recorder, loop)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.sendto(b"hello", (V4.stack, 9))
            await recorder.until(lambda packet: is_datagram(packet, b"hello"))
        finally:
            tun.close()
    assert await loop.run_in_executor(None, socket.if_nameindex) == outside


@pytest.mark.real_loop
async def test_off_loop_passes_errors_on() -> None:
    with pytest.raises(OSError, match="there is no interface absent"):
        await network.off_loop(network.delete, "absent")


ATTEMPT = """
from aiotcp.link import network
try:
    network.configure("other", host_addresses=[])
except OSError as exc:
    print(type(exc).__name__, exc.strerror)
"""


def test_without_privilege_the_error_says_what_is_missing(other: Tun) -> None:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv (util-linux) is not installed")
    command = [setpriv, "--bounding-set=-net_admin", "--inh-caps=-all", sys.executable]
    shown = subprocess.run(
        [*command, "-c", ATTEMPT], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert shown.stdout == "PermissionError configuring other needs CAP_NET_ADMIN\n"


def test_pyroute2_is_imported_only_where_it_is_used() -> None:
    check = "import sys, aiotcp.link.network; sys.exit('pyroute2' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)
