"""Keep-alive, urgent data and DSCP, against the kernel's TCP."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct

import pytest

from aiotcp import Options
from aiotcp.reasons import Why
from tests.live.world import (
    SERVICE,
    Passed,
    both_versions,
    connected,
    vanish,
    with_and_without_offload,
    world,
)
from tests.support.hosts import Side
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]

SIOCATMARK = 0x8905
TCP_SAVE_SYN, TCP_SAVED_SYN = 27, 28
"""linux/tcp.h"""

WATCHFUL = Options(keepalive=True, keepalive_idle_s=1, keepalive_interval_s=1)


def is_probe(each: Passed) -> bool:
    return each.reason == Why.KEEPALIVE


# -- keep-alive --------------------------------------------------------------------------------


@pytest.mark.req("MAY-5", "SHLD-12")
async def test_the_kernel_answers_our_probes() -> None:
    async with world(options=WATCHFUL) as w:
        c = await connected(w)
        await w.wire.saw(is_probe, 2)
        probes = [at for at, each in enumerate(w.wire.passed) if is_probe(each)]
        assert not w.wire.passed[probes[0] + 1].ours  # or the second would have come earlier
        c.writer.write(b"still here")
        assert await c.kernel_reads() == b"still here"


@pytest.mark.req("MAY-5")
async def test_we_answer_the_kernel_s_probes() -> None:
    async with world() as w:
        c = await connected(w)
        for level, name in (
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
        ):
            c.kernel.setsockopt(level, name, 1)
        # Of one probe without an answer the connection would be dead before the third.
        await w.wire.saw(lambda each: each.reason == Why.ACK_UNACCEPTABLE, 3)
        await c.loop.sock_sendall(c.kernel, b"still here")
        assert await c.reader.readexactly(10) == b"still here"


@pytest.mark.req("MAY-5", "MUST-12")
async def test_a_probe_finds_out_that_the_kernel_has_forgotten_us() -> None:
    async with world(options=WATCHFUL) as w:
        c = await connected(w)
        vanish(c.kernel)
        with pytest.raises(ConnectionResetError):
            await c.reader.read()
        assert is_probe([each for each in w.wire.passed if each.ours][-1])


# -- urgent data -------------------------------------------------------------------------------


class Listening(asyncio.Protocol):
    """Notes the end of urgent data as an offset in the stream."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.marks: list[int] = []
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.data += data

    def urgent_received(self, nbytes: int) -> None:
        self.marks.append(len(self.data) + nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set_result(None)


@pytest.mark.req("MUST-30", "MUST-31", "MUST-32", "MUST-62")
@both_versions
@with_and_without_offload
async def test_urgent_data_of_the_kernel(side: Side, offload: bool) -> None:
    """Its sockets mark the last byte of each send(MSG_OOB); all of it comes in its place."""
    async with world(side, offload=offload) as w:
        protocol = Listening()
        await w.stack.create_server(lambda: protocol, side.stack, SERVICE)
        kernel = await w.kernel_connects(SERVICE)
        for before, urgent in ((b"a" * 100_000, b"!"), (b"", b"b?"), (b"c", b"#")):
            await asyncio.get_running_loop().sock_sendall(kernel, before)
            assert kernel.send(urgent, socket.MSG_OOB) == len(urgent)
        kernel.shutdown(socket.SHUT_WR)
        await protocol.over
        assert protocol.data == b"a" * 100_000 + b"!b?c#"
        assert protocol.marks[-1] == 100_005
        assert set(protocol.marks) <= {100_001, 100_003, 100_005}
        assert protocol.marks == sorted(set(protocol.marks))


@pytest.mark.req("MUST-30", "MUST-31", "MUST-62")
@both_versions
@with_and_without_offload
async def test_urgent_data_of_ours(side: Side, offload: bool) -> None:
    """The kernel takes the last byte of it for the urgent one, be there much before it or not."""
    async with world(side, offload=offload) as w:
        c = await connected(w)
        c.kernel.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        c.writer.write(b"a" * 100_000)
        c.writer.transport.write_urgent(b"bcd!")  # type: ignore[attr-defined]
        c.writer.write(b"more")
        c.writer.close()
        got = bytearray()
        marks = []
        while data := await c.kernel_reads(1 << 20):  # a read ends before the mark
            got += data
            answer = fcntl.ioctl(c.kernel, SIOCATMARK, struct.pack("@i", 0))
            if struct.unpack("@i", answer)[0]:
                marks.append(len(got))
        assert got == b"a" * 100_000 + b"bcd!more"
        assert marks == [100_003]


# -- DSCP and hop limit ------------------------------------------------------------------------


@pytest.mark.req("MUST-48", "MUST-49", "SHLD-22")
async def test_the_kernel_receives_our_dscp_and_hop_limit() -> None:
    async with world(options=Options(traffic_class=46 << 2, hop_limit=9)) as w:
        listener, port = w.kernel_listens()
        listener.setsockopt(socket.IPPROTO_TCP, TCP_SAVE_SYN, 1)
        _, writer = await w.stack.open_connection(w.side.host, port)
        kernel = await w.kernel_accepts(listener)
        header = kernel.getsockopt(socket.IPPROTO_TCP, TCP_SAVED_SYN, 100)  # from IP's on
        assert (header[0], header[1] & 0xFC, header[8]) == (0x45, 46 << 2, 9)
        listener.close()
        writer.close()
