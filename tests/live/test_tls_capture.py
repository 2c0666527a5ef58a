"""A capture on a TUN device with the secrets of our clients opens decrypted; the kernel serves."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path

import pytest

from aiotcp import Stack
from aiotcp.link import network
from aiotcp.link.pcapng import Capture
from tests.live.world import with_and_without_offload
from tests.support.netns import netns as netns
from tests.test_tls_capture import ANSWER, V1_2, V1_3, answer, contexts, fetch, in_clear

pytestmark = [
    pytest.mark.tun,
    pytest.mark.usefixtures("netns"),
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]


@with_and_without_offload
@pytest.mark.parametrize("version", [V1_2, V1_3])
async def test_a_client_of_the_kernels_server(
    tmp_path: Path, version: ssl.TLSVersion, offload: bool
) -> None:
    keylog, path = tmp_path / "keys", tmp_path / "trace.pcapng"
    server_context, client_context = contexts(version)
    client_context.keylog_filename = str(keylog)
    tun, _ = await network.off_loop(network.open_tun, offload=offload)
    capture = Capture(tun, path, keylog=keylog)
    server = await asyncio.start_server(answer, "192.0.2.1", 443, ssl=server_context)
    async with Stack(capture) as stack:
        await asyncio.gather(*(fetch(stack, client_context, False, "192.0.2.1") for _ in range(4)))
    server.close()
    await server.wait_closed()
    assert capture.counters["keylog_failed"] == capture.counters["captured_early"] == 0
    assert path.stat().st_size > 8 * len(ANSWER)
    seen = in_clear(path)
    assert (seen["/first"], seen["/second"], seen["200"]) == (4, 4, 8)
    assert seen["20"] == 8
