"""Congestion marks between us and the kernel's TCP: RFC 3168, and RFC 9768 where the kernel has it.

The marks are made by our own impairment link between stack and device, in either direction.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aiotcp import Options, Stack
from aiotcp.link import network
from aiotcp.link.impair import CLEAR, Impair, Netem
from aiotcp.wire.tcp import ACK, AE, CWR, ECE, SYN, flags_text
from tests.live.world import GUARD_S, SERVICE, Passed, Wire, both_versions, port_of
from tests.support.hosts import Side
from tests.support.netns import has_ipv6
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]

SIZE = 1 << 20
TEXT = bytes(range(251)) * (SIZE // 251)
NOT_ECT, ECT_1, ECT_0, CE = range(4)
CLASSIC, ACCURATE = 1, 3
_ECN = "/proc/sys/net/ipv4/tcp_ecn"


def kernel_asks_for(mode: int) -> None:
    """In the namespace that we are in."""
    try:
        Path(_ECN).write_text(str(mode))
    except OSError:
        pytest.skip(f"the kernel has no tcp_ecn={mode}")


@asynccontextmanager
async def stack_and_wire(
    side: Side, ecn: str, *, outbound: Netem = CLEAR, inbound: Netem = CLEAR
) -> AsyncIterator[tuple[Stack, Wire, Impair]]:
    """What the wire notes is what the kernel sees: marks of `outbound` included."""
    if side.version == 6 and not has_ipv6():
        pytest.skip("the kernel has no IPv6")
    async with asyncio.timeout(GUARD_S):
        tun, _ = await network.off_loop(network.open_tun, host_addresses=[side.host_address])
        wire = Wire(tun)
        link = Impair(wire, outbound=outbound, inbound=inbound, seed=1)
        async with Stack(link, addresses=[side.stack], options=Options(ecn=ecn)) as stack:
            yield stack, wire, link


async def kernel_connects(side: Side) -> socket.socket:
    made = socket.socket(socket.AF_INET if side.version == 4 else socket.AF_INET6)
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    await asyncio.get_running_loop().sock_connect(made, (side.stack, SERVICE))
    return made


def ecn_of(kernel: socket.socket) -> int:
    """TCPI_OPT_ECN (8) of TCP_INFO's options, and TCPI_OPT_ECN_SEEN (16)."""
    return kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[5] & 24


def info(kernel: socket.socket, offset: int) -> int:
    """A number of TCP_INFO, or 0 where the kernel's is shorter."""
    data = kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 512)
    return struct.unpack_from("=I", data, offset)[0] if len(data) >= offset + 4 else 0


_DELIVERED_CE = 196
"""Where tcp_info has `tcpi_delivered_ce`."""


async def transfer(stack: Stack, side: Side, *, ours: bool) -> socket.socket:
    """TEXT, from us (`ours`) or from the kernel, which has opened the connection."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if ours:
            writer.write(TEXT)
            await writer.drain()
        done.set_result(b"" if ours else await reader.readexactly(len(TEXT)))
        await reader.read()
        writer.close()

    await stack.start_server(serve, side.stack, SERVICE)
    kernel = await kernel_connects(side)
    if ours:
        got = bytearray()
        while len(got) < len(TEXT):
            got += await loop.sock_recv(kernel, 1 << 16)
        assert bytes(got) == TEXT
    else:
        await loop.sock_sendall(kernel, TEXT)
        assert await done == TEXT
    return kernel


def flags(passed: list[Passed], *, ours: bool) -> list[str]:
    return [flags_text(each.segment.flags) for each in passed if each.ours is ours]


@both_versions
@pytest.mark.req("3168-1", "SHLD-8")
async def test_the_kernel_asks_and_we_agree(side: Side) -> None:
    kernel_asks_for(CLASSIC)
    async with stack_and_wire(side, "passive") as (stack, wire, _):
        with await transfer(stack, side, ours=False) as kernel:
            passed = wire.of(port_of(kernel))
            assert [each.segment.flags for each in passed[:3]] == [
                SYN | ECE | CWR,
                SYN | ACK | ECE,
                ACK,
            ]
            assert ecn_of(kernel) & 8


@both_versions
@pytest.mark.req("3168-1", "SHLD-8")
async def test_we_ask_and_the_kernel_agrees(side: Side) -> None:
    kernel_asks_for(2)  # if asked, the default
    async with stack_and_wire(side, "on") as (stack, wire, _):
        loop = asyncio.get_running_loop()
        with socket.create_server((side.host, 0), family=family(side)) as listener:
            listener.setblocking(False)
            port = listener.getsockname()[1]
            _, writer = await stack.open_connection(side.host, port)
            kernel, _ = await loop.sock_accept(listener)
            with kernel:
                writer.write(b"hello")
                assert await loop.sock_recv(kernel, 100) == b"hello"
                assert ecn_of(kernel) == 8 | 16  # agreed, and ECT seen
                assert flags(wire.of(port), ours=True)[0] == "SYN,ECE,CWR"
                writer.close()


def family(side: Side) -> socket.AddressFamily:
    return socket.AF_INET if side.version == 4 else socket.AF_INET6


@both_versions
@pytest.mark.req("3168-3")
async def test_marks_on_the_kernels_data_slow_it_down(side: Side) -> None:
    """ECE in what we send until the kernel's CWR, as often as it slows down; nothing is lost."""
    kernel_asks_for(CLASSIC)
    async with stack_and_wire(side, "passive", inbound=Netem(mark=0.05)) as (stack, wire, link):
        with await transfer(stack, side, ours=False) as kernel:
            assert link.counters["inbound_mark"] > 5
            passed = wire.of(port_of(kernel))
            assert any(each.ours and each.segment.flags & ECE for each in passed[3:])
            assert any(not each.ours and each.segment.flags & CWR for each in passed[3:])
            assert info(kernel, _DELIVERED_CE) > 0
            assert not any("retransmit" in why for why in stack.counters.sent)


@both_versions
@pytest.mark.req("3168-4", "3168-2")
async def test_marks_on_our_data_slow_us_down(side: Side) -> None:
    """The kernel's ECE ends with our CWR; what it has to see as ECN-capable is all but
    acknowledgments."""
    kernel_asks_for(CLASSIC)
    async with stack_and_wire(side, "passive", outbound=Netem(mark=0.05)) as (stack, wire, link):
        with await transfer(stack, side, ours=True) as kernel:
            assert link.counters["outbound_mark"] > 5
            passed = wire.of(port_of(kernel))
            echoed = [n for n, each in enumerate(passed) if not each.ours and n > 2
                      and each.segment.flags & ECE]  # fmt: skip
            reduced = [n for n, each in enumerate(passed) if each.ours and n > 2
                       and each.segment.flags & CWR]  # fmt: skip
            assert echoed
            assert reduced
            assert reduced[0] > echoed[0]
            assert not any("retransmit" in why for why in stack.counters.sent)


@both_versions
@pytest.mark.req("8311-1")
@pytest.mark.parametrize("ours", [True, False], ids=["we-send", "kernel-sends"])
async def test_accurate_ecn(side: Side, ours: bool) -> None:
    """Table 2's top row, and the kernel's count of the marks is ours."""
    kernel_asks_for(ACCURATE)
    fault = Netem(mark=0.05)
    outbound, inbound = (fault, CLEAR) if ours else (CLEAR, fault)
    async with stack_and_wire(side, "accurate", outbound=outbound, inbound=inbound) as (
        stack,
        wire,
        link,
    ):
        with await transfer(stack, side, ours=ours) as kernel:
            passed = wire.of(port_of(kernel))
            start = [each.segment.flags for each in passed[:3]]
            if start[0] != SYN | AE | CWR | ECE:
                pytest.skip("the kernel has no accurate ECN")
            assert start[1] == SYN | ACK | CWR
            assert start[2] == ACK | CWR  # 0b010: our SYN+ACK arrived as it left
            marks = link.counters["outbound_mark" if ours else "inbound_mark"]
            assert marks > 5
            if not ours:
                assert marks - 3 <= info(kernel, _DELIVERED_CE) <= marks
            else:
                # The counter in the kernel's last acknowledgment, modulo 8.
                last = [each.segment for each in passed if not each.ours][-1]
                assert (last.flags >> 6 & 7) == (5 + marks) & 7
                assert last.accecn is not None
            assert any(each.segment.accecn is not None for each in passed if each.ours)
            assert not any("retransmit" in why for why in stack.counters.sent)
