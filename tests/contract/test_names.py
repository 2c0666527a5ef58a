"""From a name to a connection: several addresses, families by turns, and how failures read."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.contract.substrate import Net, Recorder


class Names:
    """A resolver for one name."""

    def __init__(self, net: Net, monkeypatch: pytest.MonkeyPatch, live: int, dead: list[int]):
        self.net = net
        self.live = live
        """The port that is listened on."""
        self.dead = dead
        """Ports that are not."""
        self.asked: list[tuple[Any, ...]] = []
        self._addresses: list[tuple[int, Any]] = []
        monkeypatch.setattr(net.loop, "getaddrinfo", self._getaddrinfo)

    def are(self, *ports: int) -> None:
        self._addresses = [(socket.AF_INET, (self.net.host, port)) for port in ports]

    async def _getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        if host == self.net.host:  # as a literal address
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        self.asked.append((host, port, family, type, proto, flags))
        return [(family, socket.SOCK_STREAM, 6, "", each) for family, each in self._addresses]

    async def connect(self, **kwds: Any) -> int:
        """The port that was connected to."""
        transport, protocol = await self.net.client.create_connection(
            Recorder, "a.name", 80, **kwds
        )
        port: int = transport.get_extra_info("peername")[1]
        transport.close()
        await protocol.lost
        return port


@pytest_asyncio.fixture
async def names(net: Net, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Names]:
    if net.kernel_uvloop:
        pytest.skip("uvloop resolves in libuv, where a test can't")
    dead = [await net.unused_port(), await net.unused_port()]
    async with await net.server.create_server(Recorder, net.host, 0) as server:
        live = server.sockets[0].getsockname()[1]
        assert live not in dead
        yield Names(net, monkeypatch, live, dead)


async def test_what_the_resolver_is_asked(names: Names) -> None:
    names.are(names.live)
    await names.connect(family=socket.AF_INET, proto=6, flags=socket.AI_ADDRCONFIG)
    assert names.asked == [
        ("a.name", 80, socket.AF_INET, socket.SOCK_STREAM, 6, socket.AI_ADDRCONFIG)
    ]


async def test_addresses_have_their_turn_until_one_answers(names: Names) -> None:
    names.are(*names.dead, names.live)
    assert await names.connect() == names.live


@pytest.mark.parametrize("kwds", [{"happy_eyeballs_delay": 0.2}, {"interleave": 1}])
async def test_happy_eyeballs(names: Names, kwds: dict[str, Any]) -> None:
    names.are(*names.dead, names.live)
    assert await names.connect(**kwds) == names.live


async def test_nobody_answers_at_several_addresses(names: Names) -> None:
    host = names.net.host
    first, second = names.dead
    names.are(first, second)
    with pytest.raises(OSError, match=r"^Multiple exceptions: ") as caught:
        await names.connect()
    assert caught.value.errno is None
    refused = "[Errno 111] Connect call failed"
    assert str(caught.value) == (
        f"Multiple exceptions: {refused} ('{host}', {first}), {refused} ('{host}', {second})"
    )


async def test_nobody_answers_at_the_same_address_twice(names: Names) -> None:
    names.are(names.dead[0], names.dead[0])
    with pytest.raises(ConnectionRefusedError) as caught:
        await names.connect()
    assert caught.value.errno == errno.ECONNREFUSED


@pytest.mark.parametrize("kwds", [{}, {"happy_eyeballs_delay": 0.2}])
async def test_every_failure_is_told_on_request(names: Names, kwds: dict[str, Any]) -> None:
    if names.net.kernel and sys.version_info < (3, 12):
        pytest.skip("create_connection() learned this in 3.12")
    names.are(*names.dead)
    with pytest.raises(ExceptionGroup, match="create_connection failed") as group:
        await names.connect(all_errors=True, **kwds)
    assert [type(each) for each in group.value.exceptions] == [ConnectionRefusedError] * 2
    names.are(names.dead[0])
    with pytest.raises(ExceptionGroup, match="create_connection failed") as group:
        await names.connect(all_errors=True, **kwds)
    assert len(group.value.exceptions) == 1


async def test_a_name_without_addresses(names: Names) -> None:
    names.are()
    with pytest.raises(OSError, match=r"^getaddrinfo\(\) returned empty list"):
        await names.connect()
    with pytest.raises(OSError, match=r"^getaddrinfo\('a.name'\) returned empty list"):
        await names.net.server.create_server(Recorder, "a.name", 80)


@pytest.mark.substrates("kernel-asyncio", "aiotcp-virtual")  # loops look at addresses, not ports
async def test_a_server_listens_on_every_address_of_its_name(names: Names) -> None:
    names.are(*names.dead)
    server = await names.net.server.create_server(Recorder, "a.name", 80)
    assert sorted(sock.getsockname()[1] for sock in server.sockets) == sorted(names.dead)
    server.close()
    await server.wait_closed()
    (asked,) = names.asked
    assert asked[5] == socket.AI_PASSIVE


async def test_services_and_ports_as_text(net: Net) -> None:
    async with await net.server.create_server(Recorder, net.host, "0") as server:
        port = server.sockets[0].getsockname()[1]
        transport, protocol = await net.client.create_connection(Recorder, net.host, str(port))
        transport.close()
        await protocol.lost
    with pytest.raises(socket.gaierror) as caught:
        await net.client.create_connection(Recorder, net.host, "no such service")
    assert caught.value.errno in (socket.EAI_SERVICE, socket.EAI_NONAME)


async def test_hosts_as_bytes(net: Net) -> None:
    async with await net.server.create_server(Recorder, net.host, 0) as server:
        port = server.sockets[0].getsockname()[1]
        transport, protocol = await net.client.create_connection(Recorder, net.host.encode(), port)
        transport.close()
        await protocol.lost


async def test_unknown_arguments(net: Net) -> None:
    for call in (net.client.create_connection, net.server.create_server):
        with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
            await call(asyncio.Protocol, net.host, 80, colour=3)
