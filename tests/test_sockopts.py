"""Socket options that act: on a connection, and on what a listener accepts."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from aiotcp.options import Options
from aiotcp.sockets import StackSocket
from aiotcp.wire.tcp import ACK, FIN, RST, SYN
from tests.support.conversation import App, Peer

TCP, SOL = socket.IPPROTO_TCP, socket.SOL_SOCKET


def socket_of(app: App) -> StackSocket:
    return StackSocket(app.conn.local, app.conn.remote, app.stack, app.conn)


@pytest.mark.req("MAY-5", "MUST-24", "MUST-27")
async def test_keep_alive() -> None:
    async with Peer() as peer:
        sock = socket_of(await peer.connects())
        sock.setsockopt(SOL, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(TCP, socket.TCP_KEEPIDLE, 20)
        sock.setsockopt(TCP, socket.TCP_KEEPINTVL, 7)
        sock.setsockopt(TCP, socket.TCP_KEEPCNT, 2)
        await peer.sees(ACK, why="keepalive", after=20)
        await peer.sees(ACK, why="keepalive", after=7)
        await peer.sees(RST | ACK, after=7)


@pytest.mark.req("MAY-5", "MUST-25")
@pytest.mark.parametrize("keep_alive", [None, False, True])
async def test_servers_with_keep_alive(keep_alive: bool | None) -> None:
    async with Peer(options=Options(keepalive_idle_s=30)) as peer:
        server = await peer.stack.create_server(
            asyncio.Protocol, peer.stack_host, 80, keep_alive=keep_alive
        )
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        peer.sends(ACK)
        if keep_alive:
            await peer.sees(ACK, why="keepalive", after=30)
        else:
            await peer.sees_nothing(for_s=100)
        peer.sends(RST, seq=1)
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("started", [False, True])
async def test_connections_get_the_options_of_their_listener(started: bool) -> None:
    async with Peer() as peer:
        accepted: asyncio.Future[asyncio.Transport] = peer.stack.loop.create_future()

        class Accepting(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                assert isinstance(transport, asyncio.Transport)
                accepted.set_result(transport)

        server = await peer.stack.create_server(
            Accepting, peer.stack_host, 80, start_serving=started
        )
        listening = server.sockets[0]
        assert listening.getsockopt(TCP, socket.TCP_MAXSEG) == 536
        listening.setsockopt(TCP, socket.TCP_MAXSEG, 700)
        listening.setsockopt(TCP, socket.TCP_KEEPIDLE, 30)
        listening.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 11)
        listening.setsockopt(TCP, socket.TCP_NODELAY, 0)
        await server.start_serving()
        listening.setsockopt(SOL, socket.SO_KEEPALIVE, 1)
        peer.sends(SYN)
        syn = await peer.sees(SYN | ACK)
        assert (syn.segment.mss, syn.hop_limit) == (700, 11)
        peer.sends(ACK)
        sock = (await accepted).get_extra_info("socket")
        assert sock.getsockopt(TCP, socket.TCP_KEEPIDLE) == 30
        assert sock.getsockopt(TCP, socket.TCP_NODELAY) == 1  # asyncio sets it on each
        await peer.sees(ACK, why="keepalive", after=30)
        peer.sends(RST, seq=1)
        server.close()
        await server.wait_closed()


@pytest.mark.req("MUST-48", "MUST-49", "SHLD-21", "SHLD-22")
@pytest.mark.parametrize("ipv6", [False, True])
async def test_dscp_and_hop_limit(ipv6: bool) -> None:
    level, traffic_class, hops = (
        (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, socket.IPV6_UNICAST_HOPS)
        if ipv6
        else (socket.IPPROTO_IP, socket.IP_TOS, socket.IP_TTL)
    )
    async with Peer(ipv6=ipv6) as peer:
        app = await peer.connects()
        sock = socket_of(app)
        sock.setsockopt(level, traffic_class, 0xB9)
        sock.setsockopt(level, hops, 5)
        app.write(b"x")
        seen = await peer.sees(ACK, data=b"x")
        assert (seen.traffic_class, seen.hop_limit) == (0xB8, 5)
        peer.sends(ACK)
        sock.setsockopt(level, hops, -1)
        app.write(b"x")
        seen = await peer.sees(ACK, data=b"x")
        assert (seen.traffic_class, seen.hop_limit) == (0xB8, 64)


async def test_ipv4_options_on_ipv6_are_remembered() -> None:
    async with Peer(ipv6=True) as peer:
        app = await peer.connects()
        sock = socket_of(app)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 5)
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 5
        app.write(b"x")
        assert (await peer.sees(ACK, data=b"x")).hop_limit == 64


async def test_ipv6_options_on_ipv4_do_not_exist() -> None:
    async with Peer() as peer:
        sock = socket_of(await peer.connects())
        for call in (
            lambda: sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS),
            lambda: sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0),
        ):
            with pytest.raises(OSError, match="not available") as caught:
                call()
            assert caught.value.errno == errno.ENOPROTOOPT


async def test_the_segment_size() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=1000, ts=True)
        assert socket_of(app).getsockopt(TCP, socket.TCP_MAXSEG) == 988


@pytest.mark.req("ST-29")
async def test_linger2_bounds_fin_wait_2() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        sock = socket_of(app)
        assert sock.getsockopt(TCP, socket.TCP_LINGER2) == 60
        sock.setsockopt(TCP, socket.TCP_LINGER2, 5)
        app.close()
        await peer.sees(FIN | ACK, seq=1)
        peer.sends(ACK)
        await peer.wait(4.9)
        assert peer.state == "FIN-WAIT-2"
        await peer.wait(0.2)
        assert peer.info is None
        sock.setsockopt(TCP, socket.TCP_LINGER2, 0)
        assert sock.getsockopt(TCP, socket.TCP_LINGER2) == 60


@pytest.mark.req("MUST-21")
async def test_how_often_a_syn_is_repeated() -> None:
    async with Peer() as peer:
        app = peer.opens()
        socket_of(app).setsockopt(TCP, socket.TCP_SYNCNT, 2)
        await peer.sees(SYN)
        await peer.sees(SYN, after=1)
        await peer.sees(SYN, after=2)
        await peer.sees_nothing(for_s=4)
        assert isinstance(app.error, TimeoutError)


async def test_numbers_that_are_no_ints_of_c() -> None:
    async with Peer() as peer:
        sock = socket_of(await peer.connects())
        for value in (2**31, -(2**31) - 1):
            with pytest.raises(TypeError, match="a bytes-like object is required, not 'int'"):
                sock.setsockopt(TCP, socket.TCP_KEEPIDLE, value)


async def test_cork() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        sock = socket_of(app)
        assert sock.getsockopt(TCP, socket.TCP_CORK) == 0
        sock.setsockopt(TCP, socket.TCP_CORK, 1)
        assert sock.getsockopt(TCP, socket.TCP_CORK) == 1
        app.write(b"head")
        app.write(b"body")
        await peer.sees_nothing(for_s=0.1)
        sock.setsockopt(TCP, socket.TCP_CORK, 0)
        await peer.sees(ACK, data=b"headbody")


async def test_setting_nodelay_flushes_what_is_corked() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        sock = socket_of(app)
        sock.setsockopt(TCP, socket.TCP_CORK, 1)
        app.write(b"head")
        sock.setsockopt(TCP, socket.TCP_NODELAY, 1)
        await peer.sees(ACK, data=b"head")
        peer.sends(ACK)
        app.write(b"body")
        await peer.sees(ACK, data=b"body", after=0.2)


async def test_quickack() -> None:
    async with Peer() as peer:
        sock = socket_of(await peer.connects())
        sock.setsockopt(TCP, socket.TCP_QUICKACK, 1)
        assert sock.getsockopt(TCP, socket.TCP_QUICKACK) == 1
        for number in range(1, 4):
            peer.sends(ACK, data=b"x")
            await peer.sees(ACK, ack=number + 1)
        sock.setsockopt(TCP, socket.TCP_QUICKACK, 0)
        peer.sends(ACK, data=b"x")
        await peer.sees(ACK, ack=5, after=0.04)


async def test_limits_of_the_retransmission_timeout_change_at_once() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        app.conn.configure(rto_min_s=2.0, rto_max_s=3.0)
        app.write(b"x")
        await peer.sees(ACK, data=b"x")
        await peer.sees(ACK, data=b"x", after=2)
        await peer.sees(ACK, data=b"x", after=3)


async def test_the_number_of_challenge_acks_changes_at_once() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        app.conn.configure(challenge_acks=2)
        for _ in range(5):
            peer.sends(SYN, seq=1)
        for _ in range(2):
            await peer.sees(ACK, why="challenge_ack")
        await peer.sees_nothing(for_s=1)
