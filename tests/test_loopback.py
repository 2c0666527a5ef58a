"""A stack that talks to itself. The contract tests do so as well: it is one of their substrates.

Nothing may get onto the link, which here has nobody at its other end.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from aiotcp import loopback
from aiotcp.addresses import pack
from aiotcp.link import memory
from aiotcp.options import Options
from aiotcp.reasons import Drop, Why
from aiotcp.stack import Connection, Endpoint
from aiotcp.streams import Stack
from aiotcp.transition import Transition
from aiotcp.wire.tcp import ACK, FIN, RST, SYN, HeaderTemplate
from tests.support.app import App
from tests.support.conversation import Peer

HERE, ALSO, HERE6 = "192.0.2.2", "192.0.2.3", "fd61:696f:7463:70::2"


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[Stack]:
    link, _ = memory.pair()
    async with Stack(link, addresses=[HERE, ALSO, HERE6], seed=b"alone") as alone:
        yield alone
    assert sum(link.counters.values()) == 0


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 20):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


def states(stack: Stack) -> list[str]:
    return sorted(row.state for row in stack.connections())


@pytest.mark.parametrize("host", [HERE, ALSO, HERE6])
async def test_a_server_and_its_client_on_one_address(stack: Stack, host: str) -> None:
    async with await stack.start_server(echo, None, 80):
        reader, writer = await stack.open_connection(host, 80)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        # As on Linux, the source is the destination.
        assert writer.get_extra_info("sockname")[0] == host
        assert writer.get_extra_info("peername")[:2] == (host, 80)
        writer.close()
        await writer.wait_closed()
    await turns()
    assert stack.loop.time() == 0  # nothing had to wait for a timer
    assert states(stack) == ["TIME-WAIT"]


async def test_from_one_address_to_another(stack: Stack) -> None:
    callers = []

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(writer.get_extra_info("peername"))
        writer.close()

    async with await stack.start_server(tell, ALSO, 80):
        reader, writer = await stack.open_connection(ALSO, 80, local_addr=(HERE, 5000))
        assert await reader.read() == b""
        writer.close()
    assert callers == [(HERE, 5000)]


@pytest.mark.parametrize("ipv6", [False, True])
async def test_megabytes_both_ways(stack: Stack, ipv6: bool) -> None:
    """In segments as large as packets can be, none lost, and no timer is ever waited for."""
    data = random.Random(1).randbytes(20_000_000)
    async with await stack.start_server(echo, None, 80):
        reader, writer = await stack.open_connection(HERE6 if ipv6 else HERE, 80)
        digest = hashlib.sha256()

        async def read() -> None:
            while piece := await reader.read(1 << 20):
                digest.update(piece)

        reading = asyncio.create_task(read())
        for begin in range(0, len(data), 300_000):
            writer.write(data[begin : begin + 300_000])
            await writer.drain()
        writer.write_eof()
        await reading
        assert digest.digest() == hashlib.sha256(data).digest()
        writer.close()
        await writer.wait_closed()
    assert stack.loop.time() < 0.1
    assert not stack.counters.dropped
    assert stack.counters.sent[Why.NEW_DATA] < 2.5 * len(data) / loopback.MTU
    assert stack.counters.packets_sent == stack.counters.packets_received


@pytest.mark.parametrize("size", [1, 100, 4096, 70_000])
async def test_small_writes_wait_for_no_timer(stack: Stack, size: int) -> None:
    count = 4_000_000 // max(size, 4000)
    async with await stack.start_server(echo, None, 80):
        reader, writer = await stack.open_connection(HERE, 80)
        reading = asyncio.create_task(reader.read(-1))
        for _ in range(count):
            writer.write(bytes(size))
            await writer.drain()
        writer.write_eof()
        assert len(await reading) == count * size
        writer.close()
    assert stack.loop.time() < 0.1


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def connected(
    stack: Stack, *, local_port: int = 5000, options: Options | None = None
) -> tuple[App, App]:
    """The two ends of a connection of `stack` with itself: the caller's, and the other one."""
    accepted: list[App] = []

    def accept(conn: Connection) -> None:
        app = App(stack)
        app.conn, conn.user = conn, app
        accepted.append(app)

    listener = stack.listen(Endpoint(HERE, 80), accept, options=options)
    client = App(stack)
    client.conn = stack.connect(Endpoint(HERE, 80), local=Endpoint(HERE, local_port), user=client)
    await turns()
    listener.close()
    (server,) = accepted
    assert client.state == server.state == "ESTABLISHED"
    return client, server


async def test_segments_never_arrive_in_the_call_that_sends_them(stack: Stack) -> None:
    client, server = await connected(stack)
    client.write(b"hello")
    assert server.conn.readable == 0
    assert server.received == b""
    await turns(2)
    assert server.received == b"hello"


async def test_what_is_sent_in_one_turn_is_one_batch(stack: Stack) -> None:
    client, server = await connected(stack)
    sent = stack.counters.packets_sent
    for _ in range(10):
        client.write(b"piece")
    await turns()
    await asyncio.sleep(1)
    assert server.received == b"piece" * 10
    assert stack.counters.packets_sent - sent == 11  # and one acknowledgment


@pytest.mark.parametrize("first", ["client", "server"])
async def test_one_side_closes_first(stack: Stack, first: str) -> None:
    ends = await connected(stack)
    one, other = ends if first == "client" else reversed(ends)
    one.write(b"last words")
    one.close()
    await turns()
    assert other.received == b"last words"
    assert (other.eof, other.state) == (True, "CLOSE-WAIT")
    other.close()
    await turns()
    assert states(stack) == ["TIME-WAIT"]
    assert (one.error, other.error) == (None, None)
    await asyncio.sleep(stack.options.time_wait_s + 1)
    assert states(stack) == []


async def test_half_closed_the_other_way_stays_open(stack: Stack) -> None:
    client, server = await connected(stack)
    client.shutdown()
    await turns()
    assert server.eof
    server.write(b"answer")
    await turns()
    assert client.received == b"answer"
    server.shutdown()
    await turns()
    assert client.eof
    assert states(stack) == ["TIME-WAIT"]


async def test_both_sides_close_at_once(stack: Stack) -> None:
    client, server = await connected(stack)
    client.close()
    server.close()
    await turns()
    assert states(stack) == ["TIME-WAIT", "TIME-WAIT"]
    assert (client.error, server.error) == (None, None)


async def test_a_reset(stack: Stack) -> None:
    client, server = await connected(stack)
    client.write(b"never mind")
    client.abort()
    await turns()
    assert isinstance(server.error, ConnectionResetError)
    assert states(stack) == []
    assert not stack.counters.dropped


@pytest.mark.parametrize("host", [HERE, ALSO, HERE6])
async def test_where_nobody_listens(host: str) -> None:
    """However often: the limit on resets is for strangers."""
    link, _ = memory.pair()
    async with Stack(link, addresses=[HERE, ALSO, HERE6], options=Options(rst_rate=1)) as stack:
        for _ in range(20):
            with pytest.raises(ConnectionRefusedError) as caught:
                await stack.open_connection(host, 80)
            assert caught.value.errno == errno.ECONNREFUSED
        assert stack.loop.time() == 0
        assert stack.counters.sent[Why.RST_NO_CONNECTION] == 20


async def test_a_connection_that_is_its_own_other_end() -> None:
    """From a port to the same port: a simultaneous open, as on Linux."""
    seen: list[Transition] = []
    stack = Stack(memory.pair()[0], observer=seen.append)
    app = App(stack)
    app.conn = stack.connect(Endpoint(HERE, 5000), local=Endpoint(HERE, 5000), user=app)
    await turns()
    assert app.state == "ESTABLISHED"
    app.write(b"talking to myself")
    await turns()
    assert app.received == b"talking to myself"
    app.close()
    await turns()
    assert states(stack) == ["TIME-WAIT"]
    assert app.error is None
    await asyncio.sleep(stack.options.time_wait_s + 1)
    assert states(stack) == []
    told = [str(change.new) for change in seen]
    assert told == [
        *("SYN-SENT", "SYN-RECEIVED", "ESTABLISHED"),
        *("FIN-WAIT-1", "CLOSING", "TIME-WAIT", "CLOSED"),
    ]
    await stack.aclose()


async def test_a_call_to_a_port_of_ours_never_answers_itself(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody listens, not even if the port that is called is the next that is free."""
    monkeypatch.setattr("aiotcp.ports.FIRST", 60000)
    monkeypatch.setattr("aiotcp.ports.LAST", 60001)
    for _ in range(4):
        with pytest.raises(ConnectionRefusedError):
            await stack.open_connection(HERE, 60000)


async def test_a_port_in_time_wait_is_called_again(stack: Stack) -> None:
    client, server = await connected(stack)
    server.close()
    client.close()
    await turns()
    # The client closed in the same turn, before it knew: both wait. Its own port is taken.
    with pytest.raises(OSError, match="in use"):
        stack.connect(Endpoint(HERE, 80), local=Endpoint(HERE, 5000))
    await asyncio.sleep(stack.options.time_wait_s + 1)
    client, server = await connected(stack)
    server.close()
    await turns()
    client.close()
    await turns()
    assert states(stack) == ["TIME-WAIT"]
    await asyncio.sleep(1)
    client, server = await connected(stack)  # RFC 6191: the record at the server gives way
    client.abort()


async def test_beyond_the_backlog_cookies_work() -> None:
    link, _ = memory.pair()
    async with Stack(link, options=Options(syn_cookies="always")) as stack:
        async with await stack.start_server(echo, HERE, 80):
            reader, writer = await stack.open_connection(HERE, 80)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()
        assert stack.counters.syn_cookies_accepted == 1


async def test_fast_open() -> None:
    link, _ = memory.pair()
    async with Stack(link, options=Options(tfo="on")) as stack:
        async with await stack.start_server(echo, HERE, 80):
            for _ in range(2):  # for the cookie, and with it
                reader, writer = await stack.open_connection(HERE, 80)
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"
                writer.close()
                await writer.wait_closed()
        assert stack.counters.fast_opens_accepted == 1
    assert sum(link.counters.values()) == 0


async def test_the_queue_is_bounded(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much for one turn is dropped, counted, and sent again."""
    monkeypatch.setattr(loopback, "LIMIT_PACKETS", 4)
    client, server = await connected(stack)
    for number in range(50):
        client.write(bytes((number,)) * 100)
    await asyncio.sleep(60)
    assert server.received == b"".join(bytes((number,)) * 100 for number in range(50))
    assert stack.counters.dropped[Drop.LOOPBACK_FULL] >= 46
    assert stack.counters.packets_sent == stack.counters.packets_received


@pytest.mark.parametrize("grace", [0.0, 1.0])
async def test_the_stack_closes(grace: float) -> None:
    link, _ = memory.pair()
    stack = Stack(link)
    client, server = await connected(stack)
    await stack.aclose(grace)
    assert client.conn.ended
    assert server.conn.ended
    assert stack.connections() == []
    assert stack.loop.time() == 0
    assert sum(link.counters.values()) == 0


async def test_the_link_is_lost(stack: Stack) -> None:
    client, server = await connected(stack)
    client.write(b"on its way")
    stack.link_lost(OSError(errno.ENODEV, "gone"))
    await turns()
    for app in (client, server):
        assert app.error is not None
        assert app.error.errno == errno.ENODEV
    assert Why.RST_NO_CONNECTION not in stack.counters.sent  # what was on its way is gone
    assert server.received == b""


async def test_it_runs_the_same_way_each_time() -> None:
    runs = []
    for _ in range(2):
        seen: list[Transition] = []
        stack = Stack(memory.pair()[0], seed=b"again", observer=seen.append)
        async with stack, await stack.start_server(echo, HERE, 80):
            for _ in range(3):
                reader, writer = await stack.open_connection(HERE, 80)
                writer.write(bytes(1_000_000))
                writer.write_eof()
                await reader.read(-1)
                writer.close()
            counters = stack.counters.as_dict()
        told = [(str(s.local), str(s.remote), str(s.old), str(s.new)) for s in seen]
        runs.append((counters, told))
    assert runs[0] == runs[1]


# -- strangers ----------------------------------------------------------------------------------


async def test_who_pretends_to_be_us_reaches_no_connection() -> None:
    """From the link, a source of our own is none (MUST-63), whatever connections there are."""
    async with Peer(host=HERE, port=80) as stranger:
        client, server = await connected(stranger.stack)
        stranger.stack_port = 5000
        for flags in (RST, RST | ACK, SYN, FIN | ACK, ACK):
            for app, source, port in ((client, 80, 5000), (server, 5000, 80)):
                template = HeaderTemplate(pack(HERE), source, pack(HERE), port)
                frame = template.frame(
                    app.conn.rcv_nxt, app.conn.snd_nxt, flags, 1000, offload=False
                )
                stranger.stack.receive(memoryview(frame.to_bytes()))
                stranger.stack.flush()
        await turns()
        assert stranger.stack.counters.dropped == {Drop.IP_BAD_SOURCE: 10}
        assert client.state == server.state == "ESTABLISHED"
        client.abort()


@pytest.mark.parametrize("code", [2, 4])
async def test_routers_know_nothing_of_such_connections(code: int) -> None:
    """Protocol unreachable, and Packet Too Big."""
    async with Peer() as peer:
        client, _ = await connected(peer.stack)
        client.write(b"hello")
        about = client.conn.template.frame(
            client.conn.snd_una, 0, ACK, 0, payload=[bytes(900)], payload_length=900, offload=False
        )
        peer.reports(3, code, about.to_bytes(), mtu=600, router="192.0.2.254")
        await turns()
        assert peer.stack.counters.dropped == {Drop.ICMP_NO_CONNECTION: 1}
        assert client.conn.soft_error is None
        client.abort()
