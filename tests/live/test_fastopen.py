"""TCP Fast Open (RFC 7413) with the kernel's TCP, in both roles."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import pytest

from aiotcp import Options
from aiotcp.reasons import Why
from aiotcp.stack import Connection, Endpoint
from aiotcp.tcp import fastopen_setup
from aiotcp.wire.tcp import SYN
from tests.live.world import (
    SERVICE,
    Passed,
    World,
    both_versions,
    port_of,
    with_and_without_offload,
    world,
)
from tests.support.hosts import Side
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns", "kernel_does_it")]

SYSCTL = Path("/proc/sys/net/ipv4/tcp_fastopen")
TCPI_OPT_SYN_DATA = 32
"""linux/tcp.h: the server has acknowledged the data of our SYN."""

OURS = Options(tfo="on")


@pytest.fixture
def kernel_does_it(netns: None) -> None:
    try:
        SYSCTL.write_text("3")
    except OSError as exc:
        pytest.skip(f"the kernel's Fast Open can't be switched on: {exc}")


@pytest.fixture
def syn_waits_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """For its data: a busy machine may stand still for longer than 10 ms."""
    monkeypatch.setattr(fastopen_setup, "HOLD_S", 10.0)


def syns(w: World, port: int) -> list[Passed]:
    return [each for each in w.wire.of(port) if each.segment.flags & SYN]


def took_syn_data(kernel: socket.socket) -> bool:
    info = kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
    return bool(info[5] & TCPI_OPT_SYN_DATA)


async def serve(w: World) -> list[bytes]:
    """A server of ours that answers what it is told, and what it was told."""
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        heard.append(line)
        writer.write(b"re: " + line)
        writer.close()

    await w.stack.start_server(answer, w.side.stack, SERVICE)
    return heard


async def kernel_asks(w: World, request: bytes) -> tuple[socket.socket, bytes]:
    """The kernel's client sends its request with connecting, and reads the answer."""
    made = w.kernel_socket()
    try:
        made.sendto(request, socket.MSG_FASTOPEN, (w.side.stack, SERVICE))
    except BlockingIOError:  # no cookie: an ordinary SYN is under way, without data
        await asyncio.get_running_loop().sock_connect(made, (w.side.stack, SERVICE))
        made.send(request)
    reply = b""
    while piece := await asyncio.get_running_loop().sock_recv(made, 4096):
        reply += piece
    return made, reply


@pytest.mark.req("7413-1", "7413-3")
@both_versions
@with_and_without_offload
async def test_the_kernel_s_client_and_our_server(side: Side, offload: bool) -> None:
    async with world(side, offload=offload, options=OURS) as w:
        heard = await serve(w)
        first, reply = await kernel_asks(w, b"one\n")
        assert reply == b"re: one\n"
        request, answer = syns(w, port_of(first))
        # It asks, unless it has the cookie of a stack that was there before.
        assert request.segment.fast_open is not None
        assert answer.segment.ack == request.segment.seq + 1 & 0xFFFF_FFFF
        cookie = answer.segment.fast_open
        assert cookie
        for line in (b"two\n", b"three\n"):
            kernel, reply = await kernel_asks(w, line)
            assert reply == b"re: " + line
            assert took_syn_data(kernel)
            port = port_of(kernel)
            request, answer = syns(w, port)
            assert (request.segment.fast_open, request.length) == (cookie, len(line))
            assert answer.segment.ack == request.segment.seq + 1 + len(line) & 0xFFFF_FFFF
            assert answer.segment.fast_open is None
            assert w.history.path(port)[:2] == ["LISTEN", "SYN-RECEIVED"]
        assert heard == [b"one\n", b"two\n", b"three\n"]
        assert w.stack.counters.fast_opens_accepted == 2


@pytest.mark.req("7413-3")
async def test_the_kernel_s_client_sends_again_what_our_server_does_not_take() -> None:
    async with world(options=Options(tfo="server", tfo_key="00" * 16)) as w:
        heard: list[bytes] = []

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.readline())
            writer.close()

        server = await w.stack.start_server(listen, w.side.stack, SERVICE)
        await kernel_asks(w, b"one\n")
        server.sockets[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 0)
        kernel, _ = await kernel_asks(w, b"two\n")
        assert not took_syn_data(kernel)
        request, answer = syns(w, port_of(kernel))
        assert request.length == 4
        assert answer.segment.ack == request.segment.seq + 1 & 0xFFFF_FFFF
        assert heard == [b"one\n", b"two\n"]


@pytest.mark.usefixtures("syn_waits_long")
@pytest.mark.req("7413-2")
@both_versions
@with_and_without_offload
async def test_our_client_and_the_kernel_s_server(side: Side, offload: bool) -> None:
    loop = asyncio.get_running_loop()
    async with world(side, offload=offload, options=OURS) as w:
        listener, port = w.kernel_listens()
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
        before = 0
        for number, line in enumerate((b"one\n", b"two\n", b"three\n" * 500)):
            reader, writer = await w.stack.open_connection(side.host, port)
            writer.write(line)
            kernel = await w.kernel_accepts(listener)
            got = b""
            while len(got) < len(line):
                got += await loop.sock_recv(kernel, 65536)
            assert got == line
            await loop.sock_sendall(kernel, b"re: " + line)
            kernel.close()
            assert await reader.read() == b"re: " + line
            writer.close()
            request, answer = syns(w, port)[before:]
            before += 2
            conn = writer.get_extra_info("connection")
            assert conn.fast_open_data == (number > 0)
            if number == 0:
                assert request.segment.fast_open == b""
                cookie = answer.segment.fast_open
                assert cookie
            else:
                assert request.segment.fast_open == cookie
                # An MSS of 1460 or 1440, less the options.
                assert request.length == min(len(line), request.length)
                assert request.length == len(line) or request.length > 1390
                acked = answer.segment.ack - request.segment.seq - 1 & 0xFFFF_FFFF
                assert acked == request.length


@pytest.mark.usefixtures("syn_waits_long")
@pytest.mark.req("7413-2", "7413-4")
async def test_our_client_sends_again_what_the_kernel_s_server_does_not_take() -> None:
    """With another key the kernel takes the cookie for a forged one, and sends a new one."""
    loop = asyncio.get_running_loop()
    async with world(options=OURS) as w:
        listener, port = w.kernel_listens()
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
        taken = []
        for number in range(4):
            if number == 2:
                key = struct.pack("16s", b"another key")
                listener.setsockopt(socket.IPPROTO_TCP, 33, key)  # TCP_FASTOPEN_KEY
            reader, writer = await w.stack.open_connection(w.side.host, port)
            writer.write(b"hello")
            kernel = await w.kernel_accepts(listener)
            assert await loop.sock_recv(kernel, 100) == b"hello"
            kernel.close()
            assert await reader.read() == b""
            taken.append(writer.get_extra_info("connection").fast_open_data)
            writer.close()
        assert taken == [False, True, False, True]


@pytest.mark.req("7413-6")
@both_versions
async def test_the_kernel_s_client_hears_of_unread_data(side: Side) -> None:
    """Our program closes without reading what came with the SYN."""
    async with world(side, options=OURS) as w:
        await serve(w)
        await kernel_asks(w, b"one\n")  # for the cookie

        def refuse(conn: Connection) -> None:
            conn.close()

        listener = w.stack.listen(Endpoint(side.stack, SERVICE + 1), refuse)
        made = w.kernel_socket()
        made.sendto(b"hello", socket.MSG_FASTOPEN, (side.stack, SERVICE + 1))
        with pytest.raises((ConnectionResetError, ConnectionRefusedError)):
            await asyncio.get_running_loop().sock_recv(made, 100)
        assert w.stack.counters.sent[Why.RST_UNREAD_DATA] == 1
        assert w.stack.counters.fast_opens_accepted == 1
        listener.close()
