"""Opening, against the kernel's TCP: SCENARIOS open-passive, open-active, open-refused."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from aiotcp.reasons import Why
from aiotcp.tcp.tcb import State
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import ACK, RST, SYN, HeaderTemplate
from tests.live.world import both_versions, kernel_state, port_of, world
from tests.support.hosts import V4, Side
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]


async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


@pytest.mark.req("X-6")
@both_versions
async def test_open_passive(side: Side) -> None:
    async with world(side) as w:
        await w.stack.start_server(ignore, side.stack, 7)
        kernel = await w.kernel_connects(7)
        port = port_of(kernel)
        await w.history.reached(State.ESTABLISHED, port)
        assert w.history.path(port) == ["LISTEN", "SYN-RECEIVED", "ESTABLISHED"]
        assert w.wire.ladder(port) == [
            "< SYN seq=0",
            "> SYN,ACK seq=0 ack=1",
            "< ACK seq=1 ack=1",
        ]
        assert kernel_state(kernel) == "ESTABLISHED"
        (info,) = w.stack.connections()
        assert info.state == "ESTABLISHED"
        assert (info.remote.host, info.remote.port) == (side.host, port)
        assert (info.local.host, info.local.port) == (side.stack, 7)


@pytest.mark.req("X-6")
@both_versions
async def test_open_active(side: Side) -> None:
    async with world(side) as w:
        listener, listening = w.kernel_listens()
        reader, writer = await w.stack.open_connection(side.host, listening)
        kernel = await w.kernel_accepts(listener)
        assert w.history.path(listening) == ["CLOSED", "SYN-SENT", "ESTABLISHED"]
        assert w.wire.ladder(listening) == [
            "> SYN seq=0",
            "< SYN,ACK seq=0 ack=1",
            "> ACK seq=1 ack=1",
        ]
        assert kernel_state(kernel) == "ESTABLISHED"
        assert kernel.getpeername()[:2] == writer.get_extra_info("sockname")[:2]
        assert kernel.getsockname()[:2] == writer.get_extra_info("peername")[:2]
        writer.close()
        kernel.close()
        assert await reader.read() == b""
        await writer.wait_closed()


async def test_open_active_a_wrong_ack_is_reset_and_the_attempt_goes_on() -> None:
    """The peer is an address that nobody has; what it answers is written by hand."""
    async with world() as w:
        peer, port = "192.0.2.77", 7
        attempt = asyncio.create_task(w.stack.open_connection(peer, port))
        await w.wire.saw(lambda each: each.ours and each.segment.flags == SYN)
        (syn,) = w.wire.of(port)
        (connection,) = w.stack.connections()
        answer = HeaderTemplate(socket.inet_aton(peer), port, V4.stack_bytes, connection.local.port)

        def inject(frame: Frame) -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
                raw.sendto(frame.to_bytes(), (V4.stack, 0))

        wrong = syn.segment.seq + 1000
        inject(answer.frame(5000, wrong, SYN | ACK, 1000, offload=False))
        await w.wire.saw(lambda each: each.ours and each.segment.flags == RST)
        reset = w.wire.of(port)[-1]
        assert reset.segment.seq == wrong & 0xFFFF_FFFF
        assert reset.reason == Why.RST_BAD_ACK
        assert w.history.path(port) == ["CLOSED", "SYN-SENT"]
        inject(answer.frame(5000, syn.segment.seq + 1, SYN | ACK, 1000, offload=False))
        _, writer = await attempt
        assert w.history.path(port) == ["CLOSED", "SYN-SENT", "ESTABLISHED"]
        writer.transport.abort()


@both_versions
async def test_open_refused_by_the_kernel(side: Side) -> None:
    async with world(side) as w:
        listener, closed = w.kernel_listens()
        listener.close()
        with pytest.raises(ConnectionRefusedError) as caught:
            await w.stack.open_connection(side.host, closed)
        assert caught.value.errno == errno.ECONNREFUSED
        assert w.history.path(closed) == ["CLOSED", "SYN-SENT", "CLOSED"]
        assert w.wire.ladder(closed) == ["> SYN seq=0", "< RST,ACK seq=0 ack=1"]
        assert not w.stack.connections()


@both_versions
async def test_open_refused_by_us(side: Side) -> None:
    async with world(side) as w:
        with pytest.raises(ConnectionRefusedError):
            await w.kernel_connects(7)
        assert w.stack.counters.sent[Why.RST_NO_CONNECTION] == 1
        (port,) = {each.kernel_port for each in w.wire.passed}
        assert w.wire.ladder(port) == ["< SYN seq=0", "> RST,ACK seq=0 ack=1"]
        assert not w.stack.connections()
