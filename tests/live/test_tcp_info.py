"""TCP_INFO of ours and the kernel's, of one connection: they agree on what both of them tell."""

from __future__ import annotations

import asyncio
import socket

import pytest

from aiotcp.tcpinfo import TcpInfo, TcpState
from tests.live.world import both_versions, connected, with_and_without_offload, world
from tests.support.hosts import Side
from tests.support.kernelinfo import SIZE, unpacked
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]

TCP = socket.IPPROTO_TCP
DOWN, UP = 100_000, 5000


@both_versions
@with_and_without_offload
async def test_both_ends_tell_the_same(side: Side, offload: bool) -> None:
    async with world(side, offload=offload) as w:
        c = await connected(w)
        c.writer.write(bytes(DOWN))
        got = 0
        while got < DOWN:
            got += len(await c.kernel_reads())
        await c.loop.sock_sendall(c.kernel, bytes(UP))
        await c.reader.readexactly(UP)
        theirs = unpacked(c.kernel.getsockopt(TCP, socket.TCP_INFO, SIZE))
        while theirs["unacked"]:  # our acknowledgment is on its way
            await asyncio.sleep(0.001)
            theirs = unpacked(c.kernel.getsockopt(TCP, socket.TCP_INFO, SIZE))
        info: TcpInfo = c.writer.get_extra_info("tcp_info")
        ours = unpacked(c.writer.get_extra_info("socket").getsockopt(TCP, socket.TCP_INFO, SIZE))

        assert info.state == ours["state"] == theirs["state"] == TcpState.ESTABLISHED
        for name in ("ca_state", "snd_mss", "retransmits", "backoff", "pmtu"):
            assert ours[name] == theirs[name], name
        assert (ours["unacked"], ours["lost"], ours["sacked"]) == (0, 0, 0)
        assert ours["options"] & 7 == theirs["options"] & 7 == 7
        assert ours["snd_wscale"] == theirs["rcv_wscale"]
        assert ours["rcv_wscale"] == theirs["snd_wscale"]
        assert ours["bytes_acked"] == theirs["bytes_received"] == DOWN
        # A busy machine's kernel doesn't wait for ever for our acknowledgment.
        assert ours["bytes_received"] == theirs["bytes_sent"] - theirs["bytes_retrans"] == UP
        least = -(-DOWN // ours["snd_mss"])
        assert least <= ours["data_segs_out"] - ours["total_retrans"] <= least + 3
        assert ours["data_segs_in"] >= theirs["data_segs_out"] - theirs["total_retrans"]
        if not offload:  # the kernel counts a frame of many segments from a TUN as one
            assert ours["data_segs_out"] == theirs["data_segs_in"]
        assert 0 < ours["min_rtt"] <= ours["rtt"]
        assert info.cc == "cubic"
        for name in ("bytes_acked", "rtt", "segs_in", "rcv_wnd", "delivered", "snd_cwnd"):
            assert getattr(info, name) == ours[name], name
