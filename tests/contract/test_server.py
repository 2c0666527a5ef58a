"""What asyncio promises of servers."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from typing import Any

import pytest

from tests.contract.substrate import MANY, PATTERN, Net, Recorder


class Accepted:
    """A protocol factory that keeps what it made."""

    def __init__(self) -> None:
        self.protocols: list[Recorder] = []

    def __call__(self) -> Recorder:
        self.protocols.append(Recorder())
        return self.protocols[-1]


async def connect(net: Net, server: Any, index: int = 0) -> tuple[Any, Recorder]:
    port = server.sockets[index].getsockname()[1]
    transport, protocol = await net.client.create_connection(Recorder, net.host, port)
    return transport, protocol


def as_in_3_13(net: Net) -> bool:
    """Whether `wait_closed()` waits for connections."""
    return not net.kernel_uvloop and (not net.kernel or sys.version_info >= (3, 12, 1))


async def test_a_server_and_its_sockets(net: Net) -> None:
    server = await net.server.create_server(Recorder, net.host, 0)
    assert server.is_serving()
    assert server.get_loop() is net.loop
    (sock,) = server.sockets
    host, port = sock.getsockname()
    assert host == net.host
    assert port > 0
    assert sock.family == socket.AF_INET
    assert sock.type == socket.SOCK_STREAM
    with pytest.raises(OSError, match="not connected") as caught:
        sock.getpeername()
    assert caught.value.errno == errno.ENOTCONN
    server.close()
    server.close()
    assert not server.is_serving()
    assert len(server.sockets) == 0
    await server.wait_closed()
    with pytest.raises(ConnectionRefusedError):
        await net.client.create_connection(Recorder, net.host, port)


async def test_serving_can_begin_later(net: Net) -> None:
    server = await net.server.create_server(Recorder, net.host, 0, start_serving=False)
    assert not server.is_serving()
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await net.client.create_connection(Recorder, net.host, port)
    await server.start_serving()
    await server.start_serving()
    assert server.is_serving()
    transport, protocol = await connect(net, server)
    transport.close()
    await protocol.lost
    server.close()
    await server.wait_closed()


async def test_a_port_is_taken_before_serving_begins(net: Net) -> None:
    server = await net.server.create_server(
        Recorder, net.host, 0, start_serving=False, reuse_address=False
    )
    (sock,) = server.sockets
    _, port = sock.getsockname()
    with pytest.raises(OSError, match="ddress already in use") as caught:
        await net.server.create_server(Recorder, net.host, port)
    assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(OSError, match="ddress") as caught:
        await net.server.create_connection(
            Recorder, net.client_host, 9, local_addr=(net.host, port)
        )
    if not net.kernel_uvloop:  # which binds with SO_REUSEADDR, and fails to connect
        assert caught.value.errno == errno.EADDRINUSE
    await server.start_serving()
    assert server.sockets[0].getsockname() == (net.host, port)
    transport, protocol = await connect(net, server)
    transport.close()
    await protocol.lost
    server.close()
    await server.wait_closed()


async def test_a_server_that_never_served_gives_its_port_back(net: Net) -> None:
    first = await net.server.create_server(Recorder, net.host, 0, start_serving=False)
    port = first.sockets[0].getsockname()[1]
    first.close()
    await first.wait_closed()
    async with await net.server.create_server(Recorder, net.host, port):
        pass


async def test_serve_forever(net: Net) -> None:
    server = await net.server.create_server(Recorder, net.host, 0, start_serving=False)
    forever = asyncio.ensure_future(server.serve_forever())
    await net.turns(5)
    assert server.is_serving()
    with pytest.raises(RuntimeError, match="is already being awaited on serve_forever"):
        await server.serve_forever()
    forever.cancel()
    with pytest.raises(asyncio.CancelledError):
        await forever
    assert not server.is_serving()
    assert len(server.sockets) == 0
    with pytest.raises(RuntimeError, match="is closed"):
        await server.serve_forever()


async def test_close_ends_serve_forever(net: Net) -> None:
    if net.kernel_uvloop:
        pytest.skip("uvloop waits for ever")
    server = await net.server.create_server(Recorder, net.host, 0)
    forever = asyncio.ensure_future(server.serve_forever())
    await net.turns(5)
    server.close()
    with pytest.raises(asyncio.CancelledError):
        await forever


async def test_cancelled_serve_forever_waits_for_connections(net: Net) -> None:
    if not as_in_3_13(net):
        pytest.skip("servers learned this in 3.12.1")
    accepted = Accepted()
    server = await net.server.create_server(accepted, net.host, 0)
    transport, _ = await connect(net, server)
    await net.turns(5)
    forever = asyncio.ensure_future(server.serve_forever())
    await net.turns(5)
    forever.cancel()
    await net.turns()
    assert not server.is_serving()
    assert not forever.done()
    transport.close()
    with pytest.raises(asyncio.CancelledError):
        await forever
    assert accepted.protocols[0].calls[-1] == "connection_lost"


async def test_a_block_that_fails_closes_its_server(net: Net) -> None:
    with pytest.raises(KeyError):
        async with await net.server.create_server(Recorder, net.host, 0) as server:
            raise KeyError("a bug in the program")
    assert not server.is_serving()


async def test_a_block_closes_its_server(net: Net) -> None:
    async with await net.server.create_server(Recorder, net.host, 0) as server:
        assert server.is_serving()
    assert not server.is_serving()
    assert len(server.sockets) == 0


async def test_open_connections_outlive_the_listener(net: Net) -> None:
    accepted = Accepted()
    server = await net.server.create_server(accepted, net.host, 0)
    transport, _ = await connect(net, server)
    server.close()
    transport.write(b"still here")
    await net.turns()
    theirs = accepted.protocols[0]
    assert await theirs.until(10) == b"still here"
    waiting = asyncio.ensure_future(server.wait_closed())
    await net.turns()
    if as_in_3_13(net):
        assert not waiting.done()
    transport.close()
    await theirs.lost
    await waiting
    await server.wait_closed()


async def test_wait_closed_waits_for_close(net: Net) -> None:
    server = await net.server.create_server(Recorder, net.host, 0)
    waiters = [asyncio.ensure_future(server.wait_closed()) for _ in range(3)]
    await net.turns()
    assert not any(waiter.done() for waiter in waiters)
    waiters[0].cancel()
    server.close()
    await asyncio.gather(*waiters[1:])
    assert waiters[0].cancelled()


@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
async def test_ending_all_connections(net: Net, method: str) -> None:
    if not as_in_3_13(net) or (net.kernel and sys.version_info < (3, 13)):
        pytest.skip("servers learned this in 3.13")
    accepted = Accepted()
    server = await net.server.create_server(accepted, net.host, 0)
    clients = [(await connect(net, server))[1] for _ in range(3)]
    await net.turns()
    server.close()
    getattr(server, method)()
    await server.wait_closed()
    for protocol in accepted.protocols:
        assert protocol.calls[-1] == "connection_lost"
    for client in clients:
        await client.lost


async def test_closing_clients_waits_for_what_is_written_and_aborting_does_not(net: Net) -> None:
    if not as_in_3_13(net) or (net.kernel and sys.version_info < (3, 13)):
        pytest.skip("servers learned this in 3.13")
    accepted = Accepted()
    server = await net.server.create_server(accepted, net.host, 0)
    transport, client = await connect(net, server)
    transport.pause_reading()
    await net.turns(5)
    (theirs,) = accepted.protocols
    theirs.transport.write(PATTERN[:MANY])
    await net.turns()
    server.close()
    server.close_clients()
    await net.turns()
    assert theirs.transport.is_closing()
    assert "connection_lost" not in theirs.calls
    server.abort_clients()
    await server.wait_closed()
    assert theirs.calls[-1] == "connection_lost"
    assert theirs.exception is None
    transport.resume_reading()
    await client.lost
    assert len(client.data) < MANY


async def test_a_server_forgets_connections_that_are_lost(net: Net) -> None:
    accepted = Accepted()
    server = await net.server.create_server(accepted, net.host, 0)
    for _ in range(3):
        transport, protocol = await connect(net, server)
        transport.close()
        await protocol.lost
    await net.turns()
    server.close()
    await server.wait_closed()
    assert all(each.lost.done() for each in accepted.protocols)


@pytest.mark.stack_only  # asyncio leaves the connection to the garbage collector
async def test_a_factory_that_fails(net: Net) -> None:
    def fail() -> asyncio.Protocol:
        raise RuntimeError("a bug in the factory")

    server = await net.server.create_server(fail, net.host, 0)
    _, protocol = await connect(net, server)
    await protocol.lost
    server.close()
    await server.wait_closed()
    report = net.reports.pop()
    assert str(report["exception"]) == "a bug in the factory"
    assert report["message"] == "Error on transport creation for incoming connection"


async def test_several_hosts(net: Net) -> None:
    hosts = [net.host, net.host]
    server = await net.server.create_server(Recorder, hosts, 0)
    assert len(server.sockets) == 1 or net.kernel_uvloop
    transport, protocol = await connect(net, server)
    transport.close()
    await protocol.lost
    server.close()
    await server.wait_closed()


async def test_a_failure_among_several_hosts_leaves_no_listener(net: Net) -> None:
    first = await net.server.create_server(Recorder, net.host, 0)
    port = first.sockets[0].getsockname()[1]
    first.close()
    await first.wait_closed()
    with pytest.raises(OSError, match=r"."):
        await net.server.create_server(
            Recorder, [net.host, "not an address"], port, flags=socket.AI_NUMERICHOST
        )
    second = await net.server.create_server(Recorder, net.host, port)
    second.close()
    await second.wait_closed()


async def test_reuse_port_lets_two_servers_listen(net: Net) -> None:
    first = await net.server.create_server(Recorder, net.host, 0, reuse_port=True)
    (sock,) = first.sockets
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    port = sock.getsockname()[1]
    second = await net.server.create_server(Recorder, net.host, port, reuse_port=True)
    with pytest.raises(OSError, match="ddress already in use"):
        await net.server.create_server(Recorder, net.host, port)
    for _ in range(4):
        transport, protocol = await connect(net, first)
        transport.close()
        await protocol.lost
    for server in (first, second):
        server.close()
        await server.wait_closed()


@pytest.mark.stack_only
async def test_arguments_without_a_meaning_here_are_accepted(net: Net) -> None:
    server = await net.server.create_server(
        Recorder, net.host, 0, reuse_address=True, keep_alive=True, backlog=5
    )
    port = server.sockets[0].getsockname()[1]
    transport, protocol = await net.client.create_connection(
        Recorder, net.host, port, happy_eyeballs_delay=0.25, interleave=1, all_errors=True
    )
    transport.close()
    await protocol.lost
    server.close()
    await server.wait_closed()


@pytest.mark.stack_only
async def test_repr(net: Net) -> None:
    server = await net.server.create_server(Recorder, net.host, 8080)
    assert repr(server) == (
        "<Server sockets=(<aiotcp.StackSocket fd=-1, family=2, type=1, proto=6, "
        "laddr=('192.0.2.2', 8080)>,)>"
    )
    server.close()
    assert repr(server) == "<Server sockets=()>"
