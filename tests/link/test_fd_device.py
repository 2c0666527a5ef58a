"""A real tunnel device through its bare descriptor, with the prefix that it puts before packets."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import socket
import struct

import pytest

from aiotcp.link import network
from aiotcp.link.fd import Fd, Prefix
from aiotcp.streams import Stack
from tests.link.test_descriptor import until
from tests.support.hosts import V4, V6, Side, kernel_socket
from tests.support.netns import has_ipv6
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns"), pytest.mark.real_loop]

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
NAME = "bare0"


def opened(prefix: Prefix) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    flags = IFF_TUN | (IFF_NO_PI if prefix == "none" else 0)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("=16sH22x", NAME.encode(), flags))
    network.configure(
        NAME, host_addresses=[V4.host_address, *([V6.host_address] if has_ipv6() else [])]
    )
    return fd


@pytest.mark.parametrize("side", [V4, V6], ids=lambda side: side.name)
@pytest.mark.parametrize("prefix", ["none", "ethertype"])
async def test_the_kernels_tcp_is_at_the_other_end(side: Side, prefix: Prefix) -> None:
    if side is V6 and not has_ipv6():
        pytest.skip("the kernel has no IPv6")
    loop = asyncio.get_running_loop()
    link = Fd(await network.off_loop(opened, prefix), prefix=prefix)
    data = random.Random(3).randbytes(1_000_000)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(1 << 16):
            writer.write(block)
            await writer.drain()
        writer.close()

    async with Stack(link, addresses=[side.stack]) as stack:
        await stack.start_server(echo, side.stack, 7)
        with kernel_socket(side, socket.SOCK_STREAM) as client:
            await loop.sock_connect(client, (side.stack, 7))
            sending = loop.create_task(loop.sock_sendall(client, data))
            received = b""
            while len(received) < len(data):
                block = await loop.sock_recv(client, 1 << 16)
                assert block
                received += block
            await sending
            assert received == data
    assert link.counters["received_too_big"] == link.counters["send_invalid"] == 0


async def test_a_device_that_is_deleted_is_a_link_that_is_lost() -> None:
    link = Fd(await network.off_loop(opened, "none"))
    async with Stack(link, addresses=[V4.stack]) as stack:
        with pytest.raises(ConnectionRefusedError):
            await stack.open_connection(V4.host, 9)
        await network.off_loop(network.delete, NAME)
        await until(lambda: stack.lost is not None)
        with pytest.raises(OSError, match="down"):
            await stack.open_connection(V4.host, 9)
