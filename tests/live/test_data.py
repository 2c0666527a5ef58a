"""Data and windows, against the kernel's TCP: SCENARIOS window-zero; streams in both directions."""

from __future__ import annotations

import asyncio

import pytest

import aiotcp
from aiotcp import Options
from aiotcp.reasons import Drop, Why
from aiotcp.tcp.tcb import State
from tests.live.world import (
    SERVICE,
    Passed,
    World,
    both_versions,
    connected,
    port_of,
    with_and_without_offload,
    world,
)
from tests.support.hosts import V4, Side
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]

TEXT = bytes(range(251)) * 2000


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


async def exchanged(kernel: asyncio.StreamWriter, answers: asyncio.StreamReader) -> bytes:
    """What comes back for TEXT, to the end of the stream."""

    async def send() -> None:
        kernel.write(TEXT)
        kernel.write_eof()
        await kernel.drain()

    received, _ = await asyncio.gather(answers.read(), send())
    kernel.close()
    await kernel.wait_closed()
    return received


@both_versions
@with_and_without_offload
async def test_a_kernel_client_and_our_server(side: Side, offload: bool) -> None:
    async with world(side, offload=offload) as w:
        await aiotcp.start_server(echo, side.stack, SERVICE)
        kernel = await w.kernel_connects(SERVICE)
        port = port_of(kernel)
        reader, writer = await asyncio.open_connection(sock=kernel)
        assert await exchanged(writer, reader) == TEXT
        await w.history.reached(State.CLOSED, port)
        assert w.history.path(port)[-3:] == ["CLOSE-WAIT", "LAST-ACK", "CLOSED"]
        assert not unwanted(w)
        assert not repeated(w.wire.passed)


@both_versions
@with_and_without_offload
async def test_our_client_and_a_kernel_server(side: Side, offload: bool) -> None:
    async with world(side, offload=offload, options=Options(time_wait_s=0.05)) as w:
        server = await asyncio.start_server(echo, side.host, 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await aiotcp.open_connection(side.host, port)
        assert await exchanged(writer, reader) == TEXT
        server.close()
        await w.history.reached(State.CLOSED, port)
        assert w.history.path(port)[-3:] == ["FIN-WAIT-2", "TIME-WAIT", "CLOSED"]
        assert not unwanted(w)
        assert not repeated(w.wire.passed)


def unwanted(w: World) -> set[Drop]:
    """What we received and could not use, except for the kernel's tail loss probes: it sends one
    when we are slow to acknowledge, as on a busy machine."""
    return {*w.stack.counters.dropped} - {Drop.DUPLICATE_DATA}


def repeated(passed: list[Passed]) -> list[Passed]:
    """What we sent again, except where the kernel had said nothing for long: as on a busy machine,
    too."""
    again = (each for each in passed if each.ours and "retransmit" in each.reason)
    return [each for each in again if each.reason != Why.RTO_RETRANSMIT]


# window-zero


async def test_window_zero_ours() -> None:
    """Our program stops reading: the kernel stops, and asks for the window until it opens."""

    def shut(each: Passed) -> bool:
        return each.ours and each.segment.window == 0

    def probes(each: Passed) -> bool:
        return not each.ours and not each.length and shut_at <= w.wire.passed.index(each)

    async with world(options=Options(receive_buffer=65536)) as w:
        c = await connected(w)
        c.writer.transport.pause_reading()  # type: ignore[attr-defined]
        sending = asyncio.create_task(c.loop.sock_sendall(c.kernel, TEXT))
        await w.wire.saw(shut)
        shut_at = w.wire.passed.index(next(filter(shut, w.wire.passed)))
        await w.wire.saw(probes, 2)
        assert all(map(shut, filter(lambda each: each.ours, w.wire.passed[shut_at:])))
        (info,) = w.stack.connections()
        assert (info.receive_queue, info.receive_window) == (65536, 0)
        assert not sending.done()
        c.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert await c.reader.readexactly(len(TEXT)) == TEXT
        await sending
        assert w.stack.counters.sent[Why.WINDOW_UPDATE]


async def test_window_zero_the_kernels() -> None:
    """The kernel's program does not read: we stop, and probe with back-off until it does."""
    async with world() as w:
        accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
        await w.stack.start_server(lambda _, writer: accepted.set_result(writer), V4.stack, SERVICE)
        kernel = await w.kernel_connects(SERVICE, receive_buffer=8192)
        writer = await accepted
        writer.write(TEXT)
        await w.wire.saw(lambda each: each.reason == Why.WINDOW_PROBE, 3)
        last = [each for each in w.wire.passed if not each.ours][-1]
        assert last.segment.window == 0
        probes = [each for each in w.wire.passed if each.reason == Why.WINDOW_PROBE]
        assert [each.length for each in probes] == [1, 1, 1]
        (info,) = w.stack.connections()
        assert info.send_window == 0
        assert info.send_queue > 0
        got = bytearray()
        while len(got) < len(TEXT):
            got += await asyncio.get_running_loop().sock_recv(kernel, 1 << 16)
        assert got == TEXT
        assert not repeated(w.wire.passed)
        writer.close()
