"""Bulk transfers to and from the kernel's TCP, byte for byte: every kind of link, both directions.

AIOTCP_BULK_MIB says how much each of them carries (default 100). Run with `-rP` to see how fast.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from aiotcp import Stack
from aiotcp.link import network
from aiotcp.link.tun import Tun
from tests.live.kernel_peer import blocks
from tests.live.world import SERVICE, both_versions, with_and_without_offload
from tests.support.hosts import Side
from tests.support.netns import has_ipv6
from tests.support.netns import netns as netns

SIZE = int(os.environ.get("AIOTCP_BULK_MIB", "100")) << 20
GUARD_S = 300.0

pytestmark = [
    pytest.mark.tun,
    pytest.mark.usefixtures("netns"),
    pytest.mark.asyncio(loop_factories=["uvloop"]),
]


class Sender(asyncio.Protocol):
    """Writes pseudo-random bytes as fast as they go, then closes its half."""

    transport: asyncio.Transport

    def __init__(self, seed: str) -> None:
        self.digest = hashlib.sha256()
        self.blocks: Iterator[bytes] = blocks(SIZE, seed)
        self.writing = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.resume_writing()

    def pause_writing(self) -> None:
        self.writing = False

    def resume_writing(self) -> None:
        self.writing = True
        while self.writing:
            block = next(self.blocks, None)
            if block is None:
                self.transport.close()
                return
            self.digest.update(block)
            self.transport.write(block)


class Receiver(asyncio.Protocol):
    """Hashes what comes; asyncio closes at the end of the stream."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.octets = 0

    def data_received(self, data: bytes) -> None:
        self.digest.update(data)
        self.octets += len(data)


@asynccontextmanager
async def stack_on_tun(side: Side, mtu: int, offload: bool) -> AsyncIterator[tuple[Stack, Tun]]:
    if side.version == 6 and not has_ipv6():
        pytest.skip("the kernel has no IPv6")
    tun, _ = await network.off_loop(
        network.open_tun, host_addresses=[side.host_address], mtu=mtu, offload=offload
    )
    async with asyncio.timeout(GUARD_S), Stack(tun, addresses=[side.stack]) as stack:
        yield stack, tun


@pytest.mark.req("X-6")
@both_versions
@with_and_without_offload
@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("kernel", ["send", "receive"])
async def test_every_byte_arrives_once_and_in_order(
    side: Side, offload: bool, mtu: int, kernel: str
) -> None:
    seed = f"{side.name} {offload} {mtu} {kernel}"
    async with stack_on_tun(side, mtu, offload) as (stack, tun):
        ours = Receiver() if kernel == "send" else Sender(seed)
        await stack.create_server(lambda: ours, side.stack, SERVICE)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(Path(__file__).with_name("kernel_peer.py"))),
            *(kernel, side.stack, str(SERVICE), str(SIZE), seed),
            stdout=asyncio.subprocess.PIPE,
        )
        told = json.loads((await process.communicate())[0])
        if isinstance(ours, Receiver):
            assert ours.octets == SIZE
        assert told["sha256"] == ours.digest.hexdigest()
        assert (await network.off_loop(network.statistics, tun.name))["tx_dropped"] == 0
        # Nothing is lost here; a machine that stands still for some round trips makes a timer fire.
        again = {why: n for why, n in stack.counters.sent.items() if "retransmit" in why}
        assert sum(again.values()) < 10
        print(f"{SIZE * 8 / 1e9 / told['seconds']:.2f} Gbit/s; {told}; {stack.counters.as_dict()}")
