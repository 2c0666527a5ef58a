"""A device with several queues: a stack on each, all of them one host to the kernel."""

from __future__ import annotations

import array
import asyncio
import errno
import fcntl
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from aiotcp import Stack
from aiotcp.link import network
from aiotcp.link.base import owns, processes
from aiotcp.link.impair import Impair
from aiotcp.link.pcapng import Capture
from aiotcp.link.queues import open_queues
from aiotcp.link.steering import Steering
from aiotcp.link.tun import Tun
from aiotcp.reasons import Drop, Event
from aiotcp.stack import Endpoint
from tests.support import ebpf
from tests.support.hosts import V4, V6, Side
from tests.support.netns import has_ipv6
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]

GUARD_S = 60.0
QUEUES = 3
SYSCTL = Path("/proc/sys/net/ipv4")
ELSEWHERE = "203.0.113.9"  # TEST-NET-3

needs_ebpf = pytest.mark.skipif(bool(ebpf.obstacle()), reason=ebpf.obstacle() or "-")
both_versions = pytest.mark.parametrize("side", [V4, V6], ids=lambda side: side.name)


@asynccontextmanager
async def stacks(side: Side, *, offload: bool = True) -> AsyncIterator[list[Stack]]:
    """One on each queue, at the same address."""
    if side.version == 6 and not has_ipv6():
        pytest.skip("the kernel has no IPv6")
    queues, _ = await network.off_loop(
        network.open_tun_queues, QUEUES, host_addresses=[side.host_address], offload=offload
    )
    async with AsyncExitStack() as life:
        made = [
            await life.enter_async_context(Stack(tun, addresses=[side.stack], seed=b"one host"))
            for tun in queues.tuns
        ]
        yield made
        for stack in made:  # they are done: nothing to wait for
            stack.abort()


def astray(hosts: list[Stack]) -> int:
    """How many packets have come to a stack that had no connection for them."""
    return sum(stack.counters.dropped[Drop.TCP_NO_CONNECTION] for stack in hosts)


@pytest.mark.real_loop
@both_versions
@pytest.mark.parametrize("offload", [True, False], ids=["offload", "plain"])
async def test_a_connection_from_the_kernel_has_one_stack_and_keeps_it(
    side: Side, offload: bool
) -> None:
    async with asyncio.timeout(GUARD_S), stacks(side, offload=offload) as hosts:

        async def number(
            index: int, reader: asyncio.StreamReader, out: asyncio.StreamWriter
        ) -> None:
            while await reader.read(1):
                out.write(bytes([index]))
            out.close()

        for index, stack in enumerate(hosts):
            await stack.start_server(partial(number, index), side.stack, 7)
        calls = [await asyncio.open_connection(side.stack, 7) for _ in range(40)]
        rounds = []
        for _ in range(3):
            for _, out in calls:
                out.write(b"?")
            rounds.append([await reader.readexactly(1) for reader, _ in calls])
        assert rounds[0] == rounds[1] == rounds[2]
        assert len(set(rounds[0])) == QUEUES
        assert not astray(hosts)
        for reader, out in calls:
            out.write_eof()
            assert await reader.read() == b""
            out.close()


@needs_ebpf
@pytest.mark.real_loop
@both_versions
async def test_answers_to_connections_of_each_stack_come_to_it(side: Side) -> None:
    async with asyncio.timeout(GUARD_S), stacks(side) as hosts:

        async def echo(reader: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
            out.write(await reader.readline())
            out.close()

        server = await asyncio.start_server(echo, side.host, 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            for stack in hosts * 10:
                reader, out = await stack.open_connection(side.host, port)
                out.write(b"hello\n")
                assert await reader.read() == b"hello\n"
                out.close()
        assert not astray(hosts)


@needs_ebpf
@pytest.mark.real_loop
async def test_icmp_errors_come_to_the_stack_that_they_are_for() -> None:
    async with asyncio.timeout(GUARD_S), stacks(V4) as hosts:
        for setting, value in (("ip_forward", "1"), ("icmp_ratelimit", "0")):
            await network.off_loop((SYSCTL / setting).write_text, value)
        for stack in hosts:  # the kernel has no route there, and says so
            stack.connect(Endpoint(ELSEWHERE, 80))
        while not all(stack.counters.events[Event.ICMP_ERROR] for stack in hosts):  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert not any(stack.counters.dropped[Drop.ICMP_NO_CONNECTION] for stack in hosts)


@needs_ebpf
@pytest.mark.real_loop
async def test_a_local_port_whose_answers_come_elsewhere_is_refused() -> None:
    async with asyncio.timeout(GUARD_S), stacks(V4) as hosts:
        remote = Endpoint(V4.host, 9)
        for port in range(2000, 2010):
            local = Endpoint(V4.stack, port)
            refused = [refusal(stack, remote, local) for stack in hosts]
            assert sorted(refused) == ["", ANOTHER_QUEUE, ANOTHER_QUEUE]


ANOTHER_QUEUE = "answers come to another queue of the device"


def refusal(stack: Stack, remote: Endpoint, local: Endpoint) -> str:
    """Why the stack can't call from there; "" if it can."""
    try:
        stack.connect(remote, local=local).abort()
    except OSError as exc:
        return f"{exc}".rpartition(": ")[2] if exc.errno == errno.EADDRNOTAVAIL else repr(exc)
    return ""


@needs_ebpf
def test_links_that_wrap_a_queue_own_what_it_owns(tmp_path: Path) -> None:
    queues = open_queues(2, mtu=1500, key=7)
    assert [processes(Impair(tun)) for tun in queues.tuns] == [2, 2]
    try:
        flow = bytes(range(12))
        mine = Steering(2, 7).queue_of(flow)
        for index, tun in enumerate(queues.tuns):
            with (tmp_path / "capture").open("wb") as file:
                ours = owns(Capture(Impair(tun), file))
            assert ours is not None
            assert ours(flow) is (index == mine)
    finally:
        queues.close()


# Opening


def devices() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def test_the_device_lives_as_long_as_one_of_its_queues() -> None:
    queues = open_queues(3)
    assert {tun.name for tun in queues.tuns} == {queues.name}
    for tun in queues.tuns:
        assert queues.name in devices()
        tun.close()
    assert queues.name not in devices()


@pytest.mark.parametrize("count", [0, 257])
def test_a_count_that_can_not_be(count: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 256 queues, not {count}"):
        open_queues(count)


def persistent(*flags: str) -> str:
    command = ["ip", "tuntap", "add", "dev", "kept0", "mode", "tun", *flags]
    subprocess.run(command, check=True)
    return "kept0"


def test_a_device_made_for_one_queue_has_no_more() -> None:
    name = persistent()
    try:
        with pytest.raises(OSError, match=r"not a TUN device with several queues") as caught:
            open_queues(2, name)
        assert caught.value.errno == errno.EINVAL
    finally:
        network.delete(name)


def segments(name: str) -> bool:
    """Whether the kernel hands the device large segments: ETHTOOL_GTSO."""
    answer = array.array("I", (0x1E, 0))
    request = struct.pack("@16sP16x", name.encode(), answer.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, 0x8946, request)  # SIOCETHTOOL
    return bool(answer[1])


def test_a_device_made_for_several_queues_that_somebody_else_has() -> None:
    name = persistent("multi_queue")
    try:
        network.configure(name, host_addresses=[V4.host_address])
        queues = open_queues(2, name)
        assert segments(name)
        with pytest.raises(OSError, match="kept0 is in use by another process") as caught:
            open_queues(2, name, offload=False)
        assert caught.value.errno == errno.EBUSY
        assert segments(name)  # who has it keeps what he has asked for
        queues.close()
        open_queues(2, name).close()
        with pytest.raises(OSError, match="not a TUN device with a single queue"):
            Tun(name)
    finally:
        network.delete(name)


def test_an_interface_that_is_no_tun_device_is_refused() -> None:
    with pytest.raises(OSError, match="lo exists and is not a TUN device") as caught:
        open_queues(2, "lo")
    assert caught.value.errno == errno.EINVAL


def test_when_the_network_can_not_be_set_up_nothing_is_left() -> None:
    before = devices()
    other, _ = network.open_tun(host_addresses=[V4.host_address])
    try:
        with pytest.raises(network.PrefixInUse):
            network.open_tun_queues(2, host_addresses=[V4.host_address])
        assert devices() == before | {other.name}
    finally:
        other.close()


WITHOUT_EBPF = """
from aiotcp.link.queues import open_queues
queues = open_queues(2, "plain0")
print(queues.steering, queues.unsteered, [tun.owns for tun in queues.tuns])
"""


def test_without_the_right_to_load_ebpf_the_kernel_steers_and_that_is_said() -> None:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv (util-linux) is not installed")
    if Path("/proc/sys/kernel/unprivileged_bpf_disabled").read_text().strip() == "0":
        pytest.skip("here everybody may load eBPF programs")
    done = subprocess.run(
        [
            setpriv,
            "--bounding-set=-bpf,-sys_admin",
            "--inh-caps=-all",
            sys.executable,
            "-c",
            WITHOUT_EBPF,
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stderr == ""
    why = "the kernel does not take eBPF programs from this user (Operation not permitted)"
    assert done.stdout == f"None {why} [None, None]\n"
