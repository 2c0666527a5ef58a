"""A device without offload holds so many packets for us; what does not fit the kernel drops."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from aiotcp import Stack
from aiotcp.link import network
from tests.live.world import GUARD_S, SERVICE, both_versions
from tests.support.hosts import Side
from tests.support.netns import has_ipv6
from tests.support.netns import netns as netns

pytestmark = [
    pytest.mark.tun,
    pytest.mark.usefixtures("netns"),
    pytest.mark.asyncio(loop_factories=["uvloop"]),
]

TOTAL = 24 << 20


class Sink(asyncio.Protocol):
    """Takes what comes, in no hurry: meanwhile the peers fill their windows."""

    octets = 0

    def data_received(self, data: bytes) -> None:
        Sink.octets += len(data)
        for _ in range(20):
            sum(data[:5000])


@both_versions
@pytest.mark.parametrize(("queue", "connections"), [(500, 1), (500, 4), (4096, 1), (4096, 16)])
async def test_bulk_transfers_overrun_no_queue(side: Side, connections: int, queue: int) -> None:
    if side.version == 6 and not has_ipv6():
        pytest.skip("the kernel has no IPv6")
    Sink.octets = 0
    tun, _ = await network.off_loop(
        network.open_tun, host_addresses=[side.host_address], offload=False, queue_length=queue
    )
    async with asyncio.timeout(GUARD_S), Stack(tun, addresses=[side.stack]) as stack:
        await stack.create_server(Sink, side.stack, SERVICE)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(Path(__file__).with_name("kernel_crowd.py"))),
            *(side.stack, str(SERVICE), str(connections), str(TOTAL // connections)),
            stdout=asyncio.subprocess.PIPE,
        )
        told = (await process.communicate())[0]
        assert process.returncode == 0
        assert Sink.octets == TOTAL
        statistics = await network.off_loop(network.statistics, tun.name)
        print(f"{told.decode().strip()}; {statistics['tx_packets']} packets")
        assert statistics["tx_dropped"] == 0
