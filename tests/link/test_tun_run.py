"""Several frames that differ in little, handed to a TUN device at once."""

from __future__ import annotations

import asyncio
import random
import socket

import pytest

from aiotcp.wire.frame import Buffer, Frame
from aiotcp.wire.tcp import ACK, FIN, PSH
from tests.support.handtcp import HandTcp
from tests.support.hosts import V4, V6, Side, attached, device, kernel_socket
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns"), pytest.mark.real_loop]


@pytest.mark.parametrize("offload", [True, False], ids=["offload", "plain"])
async def test_a_run_of_frames_arrives_in_order(offload: bool) -> None:
    async with device(V4, offload=offload) as tun:
        attached(tun)
        with kernel_socket(V4, socket.SOCK_DGRAM) as udp:
            texts = [bytes([number]) * 1400 for number in range(5)] + [b"the last"]
            run = [V4.datagram(7, udp.getsockname()[1], text) for text in texts]
            whole = run[1].to_bytes()
            pieces: list[Buffer] = [memoryview(whole)[i : i + 1] for i in range(28, len(whole))]
            run[1] = Frame(whole[:28], pieces)  # more than one writev takes
            tun.send_run(run)
            assert [await asyncio.get_running_loop().sock_recv(udp, 2000) for _ in run] == texts
        assert tun.counters["sent_packets"] == len(run)
        assert tun.counters["sent_bytes"] == sum(28 + len(text) for text in texts)


@pytest.mark.parametrize("side", [V4, V6], ids=lambda side: side.name)
async def test_the_kernel_takes_a_run_of_large_segments(side: Side) -> None:
    loop = asyncio.get_running_loop()
    async with device(side) as tun:
        with kernel_socket(side, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200 * 1024)
            listener.listen()
            hand = HandTcp(tun, attached(tun), side, listener.getsockname()[1])
            await hand.open()
            accepted, _ = await loop.sock_accept(listener)
            with accepted:
                texts = [random.Random(n).randbytes(8 * hand.mss) for n in range(4)] + [b"the last"]
                tun.send_run([hand.next(ACK | PSH, text[:99], text[99:]) for text in texts])
                await hand.acknowledged()
                hand.send(FIN | ACK)
                got = b""
                while data := await loop.sock_recv(accepted, 1 << 20):
                    got += data
                assert got == b"".join(texts)
