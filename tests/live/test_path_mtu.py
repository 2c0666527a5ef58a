"""The kernel as a router between two stacks, over a hop that carries less than their devices."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from aiotcp import Stack
from aiotcp.link import network
from aiotcp.link.tun import Tun
from aiotcp.reasons import Why
from tests.live.world import with_and_without_offload
from tests.support.netns import has_ipv6
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]

SIZE = 2_000_000
PATH = 1300
NETS = {
    4: (("192.0.2.1/24", "192.0.2.2"), ("198.51.100.1/24", "198.51.100.2")),
    6: (("2001:db8:1::1/64", "2001:db8:1::2"), ("2001:db8:2::1/64", "2001:db8:2::2")),
}
_LOCK_MTU = 1 << 2  # RTAX_LOCK's bit for RTAX_MTU: forwarding heeds it


def routed(version: int, offload: bool) -> list[Tun]:
    """Two devices with a router between them, which sends no more than PATH bytes to the second."""
    devices = [
        network.open_tun(host_addresses=[host], offload=offload)[0] for host, _ in NETS[version]
    ]
    forwarding = "ipv4/ip_forward" if version == 4 else "ipv6/conf/all/forwarding"
    Path(f"/proc/sys/net/{forwarding}").write_text("1")
    length = 32 if version == 4 else 128
    with IPRoute() as netlink:
        netlink.route(
            "add",
            dst=f"{NETS[version][1][1]}/{length}",
            oif=netlink.link_lookup(ifname=devices[1].name)[0],
            metrics={"lock": _LOCK_MTU, "mtu": PATH},
        )
    return devices


@pytest.mark.req("1191-1")
@with_and_without_offload
@pytest.mark.parametrize("version", [4, 6])
async def test_a_router_in_between_reports_its_mtu(version: int, offload: bool) -> None:
    """The kernel's own ICMP errors, about single packets and about frames of many."""
    if version == 6 and not has_ipv6():
        pytest.skip("the kernel has no IPv6")
    devices = await network.off_loop(routed, version, offload)
    (_, near), (_, far) = NETS[version]
    received: asyncio.Queue[int] = asyncio.Queue()

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.put_nowait(len(await reader.read()))
        writer.close()

    async with (
        asyncio.timeout(30),
        Stack(devices[0], addresses=[near]) as sender,
        Stack(devices[1], addresses=[far]) as receiver,
        await receiver.start_server(count, far, 80, limit=SIZE),
    ):
        _, writer = await sender.open_connection(far, 80)
        writer.write(bytes(SIZE))
        writer.write_eof()
        assert await received.get() == SIZE
        writer.close()
        assert sender.counters.sent[Why.PATH_MTU_RETRANSMIT] > 0
        assert sender.counters.sent[Why.RTO_RETRANSMIT] == 0
        _, writer = await sender.open_connection(far, 80)
        (row,) = [row for row in sender.connections() if row.state == "ESTABLISHED"]
        assert row.mss <= PATH - 40
        writer.close()
        assert await received.get() == 0
