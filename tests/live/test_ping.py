"""ICMP echo: the stack answers the machine's own ping."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from aiotcp.reasons import Why
from tests.live.world import both_versions, with_and_without_offload, world
from tests.support.hosts import Side
from tests.support.netns import netns as netns

pytestmark = [
    pytest.mark.tun,
    pytest.mark.usefixtures("netns"),
    pytest.mark.skipif(shutil.which("ping") is None, reason="ping is not installed"),
]


@both_versions
@with_and_without_offload
@pytest.mark.parametrize("size", [0, 56, 1400])
async def test_ping(side: Side, offload: bool, size: int) -> None:
    async with world(side, offload=offload) as w:
        for _ in range(3):  # with one answer ping waits for others two round trips long, not -W
            process = await asyncio.create_subprocess_exec(
                *("ping", "-c", "1", "-W", "20", "-s", str(size), side.stack),
                stdout=asyncio.subprocess.PIPE,
            )
            told, _ = await process.communicate()
            assert b"1 received, 0% packet loss" in told, (told, w.stack.counters)
        assert w.stack.counters.sent[Why.ICMP_ECHO_REPLY] == 3
        assert not w.stack.counters.dropped
