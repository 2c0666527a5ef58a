"""Listening at every address that the link delivers: `host="*"`."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from aiotcp.addresses import pack
from aiotcp.link import memory
from aiotcp.options import Options
from aiotcp.reasons import Drop, Why
from aiotcp.server import Server
from aiotcp.stack import Connection, Endpoint
from aiotcp.streams import Stack
from aiotcp.wire import icmp, ipv4
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN
from tests.support.conversation import App, Peer

CLIENT, CLIENT6 = "192.0.2.1", "fd61:696f:7463:70::1"
SERVER, SERVER6 = "192.0.2.2", "fd61:696f:7463:70::2"
FAR, FAR6 = "198.51.100.7", "2001:db8::7"
FARS = pytest.mark.parametrize("far", [FAR, FAR6])
WILDCARD = {False: "0.0.0.0", True: "::"}


@pytest_asyncio.fixture
async def stacks() -> AsyncIterator[tuple[Stack, Stack]]:
    left, right = memory.pair()
    async with (
        Stack(left, addresses=[CLIENT, CLIENT6], seed=b"client") as client,
        Stack(right, addresses=[SERVER, SERVER6], seed=b"server") as server,
    ):
        yield client, server


async def serving(stack: Stack, name: str, host: str | None, port: int | None) -> Server:
    """A server that tells its name and the original destination, and closes."""

    def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sockname = writer.get_extra_info("sockname")
        assert writer.get_extra_info("socket").getsockname() == sockname
        writer.write(f"{name} {sockname[0]} {sockname[1]}".encode())
        writer.close()

    return await stack.start_server(tell, host, port)


async def told(stack: Stack, host: str, port: int) -> str:
    reader, writer = await stack.open_connection(host, port)
    words = await reader.read(-1)
    writer.close()
    return words.decode()


def transparent(
    peer: Peer, far: str, port: int = 0, *, options: Options | None = None, backlog: int = 100
) -> list[App]:
    """The peer talks to `far`, where a transparent listener of the stack takes what it is sent."""
    peer.stack_host = far
    accepted: list[App] = []

    def accept(conn: Connection) -> None:
        app = App(peer.stack)
        app.conn, conn.user = conn, app
        accepted.append(app)

    local = Endpoint(WILDCARD[":" in far], port)
    peer.stack.listen(local, accept, options=options, backlog=backlog, transparent=True)
    return accepted


# -- servers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "port"), [(FAR, 80), (FAR, 65535), ("10.1.2.3", 1), (FAR6, 443), (SERVER, 7)]
)
async def test_every_address_and_every_port(
    stacks: tuple[Stack, Stack], host: str, port: int
) -> None:
    client, server = stacks
    async with await serving(server, "any", "*", None):
        assert await told(client, host, port) == f"any {host} {port}"


@FARS
async def test_one_port_at_every_address(stacks: tuple[Stack, Stack], far: str) -> None:
    client, server = stacks
    async with await serving(server, "any", "*", 80) as serves:
        assert await told(client, far, 80) == f"any {far} 80"
        with pytest.raises(TimeoutError):
            await client.open_connection(far, 81, options={"syn_retries": 1})
        assert server.counters.dropped == {Drop.IP_NOT_FOR_US: 2}
        with pytest.raises(ConnectionRefusedError):
            await client.open_connection(SERVER, 81)
        names = [sock.getsockname() for sock in serves.sockets]
        assert names == [("0.0.0.0", 80), ("::", 80, 0, 0)]


@pytest.mark.parametrize("own_host", [SERVER, None])
async def test_who_comes_first(stacks: tuple[Stack, Stack], own_host: str | None) -> None:
    """At one address of the stack or at all it has, then at the port everywhere, then everywhere;
    in whatever order they began to listen."""
    client, server = stacks
    everything = await serving(server, "everything", "*", None)
    own = await serving(server, "own", own_host, 80)
    port = await serving(server, "port", "*", 80)
    for closing, name in ((own, "own"), (port, "port"), (everything, "everything")):
        assert await told(client, SERVER, 80) == f"{name} {SERVER} 80"
        far = "port" if port.is_serving() else "everything"
        assert await told(client, FAR, 80) == f"{far} {FAR} 80"
        assert await told(client, FAR, 81) == f"everything {FAR} 81"
        closing.close()
    with pytest.raises(ConnectionRefusedError):
        await client.open_connection(SERVER, 80)


async def test_one_family(stacks: tuple[Stack, Stack]) -> None:
    client, server = stacks

    def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await server.start_server(tell, "*", family=socket.AF_INET) as serves:
        assert [sock.family for sock in serves.sockets] == [socket.AF_INET]
        assert await told(client, FAR, 80) == ""
        with pytest.raises(TimeoutError):
            await client.open_connection(FAR6, 80, options={"syn_retries": 1})


async def test_a_stack_of_one_family_serves_the_other_as_well() -> None:
    left, right = memory.pair()
    async with (
        Stack(left, addresses=[CLIENT6]) as client,
        Stack(right, addresses=[SERVER]) as server,
        await serving(server, "any", "*", None),
    ):
        assert await told(client, FAR6, 80) == f"any {FAR6} 80"


async def test_the_life_of_a_server(stacks: tuple[Stack, Stack]) -> None:
    client, server = stacks
    accepted: asyncio.Future[asyncio.StreamWriter] = server.loop.create_future()

    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set_result(writer)

    serves = await server.start_server(accept, "*", start_serving=False)
    assert not serves.is_serving()
    with pytest.raises(TimeoutError):
        await client.open_connection(FAR, 80, options={"syn_retries": 1})
    await serves.start_serving()
    assert serves.is_serving()
    assert [sock.getsockname()[:2] for sock in serves.sockets] == [("0.0.0.0", 0), ("::", 0)]
    reader, writer = await client.open_connection(FAR, 80)
    theirs = await accepted
    serves.close()
    assert not serves.is_serving()
    assert serves.sockets == ()
    dropped = server.counters.dropped[Drop.IP_NOT_FOR_US]
    assert dropped == 2
    with pytest.raises(TimeoutError):
        await client.open_connection(FAR, 81, options={"syn_retries": 1})
    assert server.counters.dropped[Drop.IP_NOT_FOR_US] == dropped + 2
    theirs.write(b"connections live on")
    assert await reader.readexactly(19) == b"connections live on"
    theirs.close()
    writer.close()
    await serves.wait_closed()


async def test_a_second_one(stacks: tuple[Stack, Stack]) -> None:
    _, server = stacks
    for port in (None, 80):
        first = await serving(server, "any", "*", port)
        with pytest.raises(OSError, match="address already in use") as caught:
            await serving(server, "any", "*", port)
        assert caught.value.errno == errno.EADDRINUSE
        assert first.is_serving()
    await serving(server, "any", "*", 81)  # other ports are others, and so are own addresses
    await serving(server, "own", None, 80)
    first.close()
    await serving(server, "any", "*", 80)


async def test_several_share_it_if_all_say_so(stacks: tuple[Stack, Stack]) -> None:
    client, server = stacks
    counts = [0, 0]

    def count(index: int) -> None:
        counts[index] += 1

    for index in range(2):
        local = Endpoint("0.0.0.0", 0)
        server.listen(local, lambda _, index=index: count(index), reuse_port=True, transparent=True)  # type: ignore[misc]
    for number in range(20):
        client.connect(Endpoint(FAR, 1000 + number))
    await asyncio.sleep(1)
    assert sum(counts) == 20
    assert min(counts) > 2


@pytest.mark.parametrize(
    ("host", "port"),
    [(["*", SERVER], 80), ([SERVER, "*"], None), (["*", "*"], 80), ("*", 0), ("*", "0")],
)
async def test_what_goes_not_together(
    stacks: tuple[Stack, Stack], host: str | list[str | None], port: int | None
) -> None:
    _, server = stacks
    with pytest.raises(ValueError, match=r"host '\*'"):
        await server.start_server(lambda *_: None, host, port)


async def test_a_transparent_listener_is_at_no_one_address(stacks: tuple[Stack, Stack]) -> None:
    _, server = stacks
    with pytest.raises(ValueError, match=FAR):
        server.listen(Endpoint(FAR, 80), lambda _: None, transparent=True)
    for local in (None, Endpoint(FAR, 5000)):
        if local is not None:  # nobody calls from there
            with pytest.raises(OSError, match="Cannot assign"):
                server.connect(Endpoint(CLIENT, 80), local=local)


async def test_through_the_loop(stacks: tuple[Stack, Stack]) -> None:
    """The servers of the standard library, on the stack that is current."""
    client, _ = stacks

    def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(repr(writer.get_extra_info("sockname")).encode())
        writer.close()

    async with await asyncio.start_server(tell, "*"):
        assert await told(client, FAR, 80) == repr((FAR, 80))


async def test_calls_of_the_stack_to_itself(stacks: tuple[Stack, Stack]) -> None:
    _, server = stacks
    async with await serving(server, "any", "*", None):
        assert await told(server, SERVER, 80) == f"any {SERVER} 80"


async def test_its_own_calls_find_free_ports(stacks: tuple[Stack, Stack]) -> None:
    """Who listens at every port takes none away."""
    client, server = stacks
    async with await serving(client, "client", None, 80), await serving(server, "any", "*", None):
        assert await told(server, CLIENT, 80) == f"client {CLIENT} 80"
        _, writer = await server.open_connection(CLIENT, 80, local_addr=(SERVER, 5000))
        writer.close()


# -- conversations --------------------------------------------------------------------------------


@FARS
async def test_a_conversation(far: str) -> None:
    async with Peer(ipv6=":" in far) as peer:
        accepted = transparent(peer, far)
        peer.sends(SYN, mss=1460)
        seen = [await peer.sees(SYN | ACK)]
        peer.sends(ACK)
        (app,) = accepted
        peer.sends(PSH | ACK, data=b"hello")
        seen.append(await peer.sees(ACK, ack=6, within=0.5))
        assert app.received == b"hello"
        app.write(b"answer")
        seen.append(await peer.sees(PSH | ACK, seq=1, ack=6, data=b"answer"))
        peer.sends(ACK)
        app.close()
        seen.append(await peer.sees(FIN | ACK, seq=7, ack=6))
        peer.sends(FIN | ACK)
        seen.append(await peer.sees(ACK, seq=8, ack=7))
        source = slice(8, 24) if ":" in far else slice(12, 16)
        assert {each.packet[source] for each in seen} == {pack(far)}
        assert app.conn.local == (far, 80)
        assert peer.state == "TIME-WAIT"


@FARS
async def test_strays_are_answered_as_by_any_listener(far: str) -> None:
    async with Peer(ipv6=":" in far) as peer:
        transparent(peer, far, 80)
        peer.sends(ACK, seq=7, ack=4711)
        await peer.sees(RST, seq=4711)
        peer.sends(RST)
        peer.sends(FIN)
        await peer.sees_nothing()
        assert peer.stack.counters.dropped == dict.fromkeys(
            (Drop.LISTEN_ACK, Drop.LISTEN_RST, Drop.LISTEN_NO_SYN), 1
        )
        peer.stack_port = 81
        peer.sends(ACK, seq=7, ack=4711)
        await peer.sees_nothing()
        assert peer.stack.counters.dropped[Drop.IP_NOT_FOR_US] == 1


@pytest.mark.parametrize(
    "target", ["224.0.0.1", "255.255.255.255", "127.0.0.1", "0.0.0.0", "ff02::1", "::1", "::"]
)
@pytest.mark.parametrize("flags", [SYN, ACK], ids=["SYN", "ACK"])
async def test_what_is_no_single_host_is_not_answered(target: str, flags: int) -> None:
    async with Peer(ipv6=":" in target) as peer:
        transparent(peer, target)
        peer.sends(flags)
        await peer.sees_nothing()
        assert peer.stack.counters.dropped == {Drop.IP_NOT_FOR_US: 1}


@pytest.mark.parametrize("source", [FAR, SERVER, "127.0.0.1"])
async def test_who_can_not_be_there_is_not_answered(source: str) -> None:
    """The address that is called itself (a "land" attack), one of ours, this machine."""
    async with Peer(host=source, port=80) as peer:
        transparent(peer, FAR)
        peer.sends(SYN)
        await peer.sees_nothing()
        assert peer.stack.connections() == []
        assert sum(peer.stack.counters.dropped.values()) == 1


@FARS
async def test_beyond_the_backlog(far: str) -> None:
    async with Peer(ipv6=":" in far) as peer:
        accepted = transparent(peer, far, backlog=1)
        first = peer.another(port=1, ipv6=":" in far)
        first.stack_host = far
        first.sends(SYN)
        await first.sees(SYN | ACK, why=Why.OPEN_REPLY)
        peer.sends(SYN, mss=1460)
        await peer.sees(SYN | ACK, why=Why.SYN_COOKIE)
        peer.sends(ACK)
        assert [app.conn.local for app in accepted] == [(far, 80)]
        first.sends(RST, seq=1)


@FARS
async def test_the_backlog_is_bounded_without_cookies(far: str) -> None:
    async with Peer(ipv6=":" in far) as peer:
        transparent(peer, far, backlog=1, options=Options(syn_cookies="off"))
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        other = peer.another(ipv6=":" in far)
        other.stack_host = far
        other.sends(SYN)
        await other.sees_nothing()
        assert peer.stack.counters.dropped == {Drop.LISTEN_BACKLOG: 1}
        peer.sends(RST)


@FARS
async def test_fast_open(far: str) -> None:
    async with Peer(ipv6=":" in far) as peer:
        accepted = transparent(peer, far, options=Options(tfo="server"))
        caller = peer.another(port=9, ipv6=":" in far)
        caller.stack_host = far
        caller.sends(SYN, mss=1460, fast_open=b"")
        cookie = (await caller.sees(SYN | ACK, ack=1)).segment.fast_open
        assert cookie
        caller.sends(RST, seq=1)
        peer.sends(SYN, mss=1460, data=b"hello", fast_open=cookie)
        await peer.sees(SYN | ACK, seq=0, ack=6)
        assert accepted[0].received == b"hello"
        assert accepted[0].conn.local == (far, 80)
        peer.sends(ACK)


@FARS
async def test_a_port_in_time_wait_is_used_again(far: str) -> None:
    async with Peer(ipv6=":" in far) as peer:
        accepted = transparent(peer, far)
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        peer.sends(ACK)
        accepted[0].close()
        await peer.sees(FIN | ACK)
        peer.sends(FIN | ACK)
        await peer.sees(ACK)
        assert peer.state == "TIME-WAIT"
        peer.reset()
        peer.iss += 100_000
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        peer.sends(ACK)
        assert accepted[1].state == "ESTABLISHED"


# -- routers --------------------------------------------------------------------------------------


@FARS
async def test_packet_too_big(far: str) -> None:
    """From a router on the way, to the address that the connection goes by."""
    ipv6 = ":" in far
    async with Peer(ipv6=ipv6) as peer:
        accepted = transparent(peer, far)
        peer.sends(SYN, mss=1400)
        await peer.sees(SYN | ACK)
        peer.sends(ACK)
        accepted[0].write(bytes(1400))
        large = await peer.sees(PSH | ACK, seq=1, length=1400)
        peer.reports(*((2, 0) if ipv6 else (3, 4)), large, mtu=1300, router=None)
        small = await peer.sees(ACK, seq=1, length=None, why=Why.PATH_MTU_RETRANSMIT)
        assert len(small.packet) == 1300
        await peer.sees(PSH | ACK, seq=1 + len(small.payload), length=None)
        peer.sends(ACK)
        assert not peer.stack.counters.dropped


async def test_other_icmp_is_for_the_host_that_is_there() -> None:
    async with Peer() as peer:
        accepted = transparent(peer, FAR)
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        peer.sends(ACK)
        accepted[0].write(b"hello")
        text = await peer.sees(PSH | ACK, data=b"hello")
        peer.reports(3, 1, text, router="192.0.2.254")
        assert [exc.errno for exc in accepted[0].soft_errors] == [errno.EHOSTUNREACH]
        peer.sends(ACK)
        dropped = peer.stack.counters.dropped
        about_others = bytearray(text.packet)
        about_others[12:16] = pack("198.51.100.8")
        peer.reports(3, 1, bytes(about_others), router="192.0.2.254")
        assert dropped == {Drop.ICMP_NO_CONNECTION: 1}
        # A router sends it to the address that the packet is from, and nowhere else.
        source = pack("192.0.2.254")
        astray = bytearray(icmp.error(text.packet, 3, 1, source=source).to_bytes())
        astray[16:20] = pack("198.51.100.8")
        peer.injects(bytes(astray), vouched=True)
        assert dropped[Drop.IP_NOT_FOR_US] == 1
        assert len(accepted[0].soft_errors) == 1
        # A ping is for the host that has the address.
        ping = ipv4.header(pack(peer.host), pack(FAR), icmp.PROTOCOL_V4, 8) + bytes(
            (8, 0, *[0] * 6)
        )
        peer.injects(ping, vouched=True)
        await peer.sees_nothing()
        assert dropped[Drop.IP_NOT_FOR_US] == 2


async def test_afterwards_nothing_is_looked_at_any_more() -> None:
    async with Peer() as peer:
        peer.stack_host = FAR
        local = Endpoint("0.0.0.0", 0)
        listener = peer.stack.listen(local, lambda _: None, transparent=True)
        stranger = peer.another(port=0)
        stranger.stack_host = FAR
        stranger.sends(SYN)
        assert peer.stack.counters.dropped == {Drop.TCP_PORT_ZERO: 1}
        listener.close()
        stranger.sends(SYN)
        peer.sends(SYN)
        await peer.sees_nothing()
        assert peer.stack.counters.dropped[Drop.IP_NOT_FOR_US] == 2
