"""Failures, against the kernel's TCP: SCENARIOS crash-reboot, port-closed."""

from __future__ import annotations

import asyncio
import errno
import os

import pytest

from aiotcp import Stack
from aiotcp.link.tun import Tun
from aiotcp.reasons import Why
from aiotcp.tcp.tcb import State
from tests.live.world import (
    SERVICE,
    both_versions,
    connected,
    connected_actively,
    kernel_state,
    vanish,
    world,
)
from tests.support.hosts import Side
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]


@both_versions
async def test_crash_reboot_of_ours(side: Side) -> None:
    """Our host vanishes without a word and comes up again; then the kernel's client sends."""
    async with world(side) as w:
        c = await connected(w)
        device = os.dup(w.wire.tun.fileno())
        w.wire.tun.close()  # nothing that the stack still says is heard
        await w.stack.aclose(grace=0)
        async with Stack(Tun(fd=device), addresses=[side.stack]) as rebooted:
            assert kernel_state(c.kernel) == "ESTABLISHED"
            await c.loop.sock_sendall(c.kernel, b"still there?")
            with pytest.raises(ConnectionResetError) as caught:
                await c.kernel_reads()
            assert caught.value.errno == errno.ECONNRESET
            assert rebooted.counters.sent[Why.RST_NO_CONNECTION] == 1
            assert c.port not in w.kernel_table()


@both_versions
async def test_crash_reboot_of_the_kernel(side: Side) -> None:
    """The kernel's end vanishes without a word; then we send."""
    async with world(side) as w:
        c = await connected_actively(w)
        vanish(c.kernel)
        c.writer.write(b"still there?")
        with pytest.raises(ConnectionResetError) as caught:
            await c.reader.read()
        assert caught.value.errno == errno.ECONNRESET
        assert w.history.path(c.port)[2:] == ["ESTABLISHED", "CLOSED"]
        closed = await w.history.reached(State.CLOSED, c.port)
        assert isinstance(closed.error, ConnectionResetError)
        assert w.wire.ladder(c.port)[3:] == ["> PSH,ACK seq=1 ack=1 len=12", "< RST seq=1"]
        assert not w.stack.connections()
        with pytest.raises(ConnectionResetError):
            await c.writer.wait_closed()


@both_versions
async def test_port_closed_by_us(side: Side) -> None:
    """We shut the service down hard: the client's next segment gets RST, and so does a SYN."""
    async with world(side) as w:
        accepted = asyncio.get_running_loop().create_future()
        server = await w.stack.start_server(
            lambda _, writer: accepted.set_result(writer), side.stack, SERVICE
        )
        kernel = await w.kernel_connects(SERVICE)
        port = kernel.getsockname()[1]
        await accepted
        server.close()
        server.abort_clients()
        await w.history.reached(State.FIN_WAIT_2, port)
        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(kernel, 1) == b""
        await loop.sock_sendall(kernel, b"anybody?")
        await w.history.reached(State.CLOSED, port)
        assert w.stack.counters.sent[Why.RST_DATA_AFTER_CLOSE] == 1
        assert w.wire.ladder(port)[-2:] == ["< PSH,ACK seq=1 ack=2 len=8", "> RST,ACK seq=2 ack=1"]
        with pytest.raises(BrokenPipeError):
            await loop.sock_sendall(kernel, b"anybody?")
        assert port not in w.kernel_table()
        with pytest.raises(ConnectionRefusedError):
            await w.kernel_connects(SERVICE)


@both_versions
async def test_port_closed_by_the_kernel(side: Side) -> None:
    """The kernel's program closes everything: our next segment gets RST."""
    async with world(side) as w:
        c = await connected_actively(w)
        c.kernel.close()
        assert await c.reader.read() == b""
        c.writer.write(b"anybody?")
        closed = await w.history.reached(State.CLOSED, c.port)
        assert isinstance(closed.error, ConnectionResetError)
        assert w.wire.ladder(c.port)[-2:] == ["> PSH,ACK seq=1 ack=2 len=8", "< RST seq=2"]
        c.writer.write(b"anybody?")
        with pytest.raises(BrokenPipeError) as caught:
            await c.writer.wait_closed()
        assert caught.value.errno == errno.EPIPE
        with pytest.raises(ConnectionRefusedError):
            await w.stack.open_connection(side.host, c.port)


@both_versions
async def test_unread_data_makes_the_kernels_close_a_reset(side: Side) -> None:
    async with world(side) as w:
        c = await connected_actively(w)
        c.writer.write(b"never read")
        await w.wire.saw(lambda each: not each.ours and each.segment.ack != 0, 2)
        c.kernel.close()
        with pytest.raises(ConnectionResetError):
            await c.reader.read()
        assert w.history.path(c.port)[2:] == ["ESTABLISHED", "CLOSED"]


@both_versions
async def test_unread_data_makes_our_close_a_reset(side: Side) -> None:
    async with world(side) as w:
        c = await connected(w)
        c.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await c.loop.sock_sendall(c.kernel, b"never read")
        await w.wire.saw(lambda each: each.length > 0)
        c.writer.close()
        with pytest.raises(ConnectionResetError):
            await c.kernel_reads()
        assert w.stack.counters.sent[Why.RST_UNREAD_DATA] == 1
        assert w.history.path(c.port)[2:] == ["ESTABLISHED", "CLOSED"]
