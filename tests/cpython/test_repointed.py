"""The tests of CPython's meet whom they should: the stack here, and the kernel there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from aiotcp import Transport
from tests.cpython.repointed import HOST, LOOPS, STACK, OverTun, addresses

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("device")]


@pytest.fixture(params=list(LOOPS))
def loop(request: pytest.FixtureRequest) -> Iterator[OverTun]:
    with addresses():
        loop = LOOPS[request.param]()
        yield loop
        loop.close()


class Told(asyncio.Protocol):
    def __init__(self, made: asyncio.Future[asyncio.BaseTransport]) -> None:
        self.made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made.set_result(transport)


def ends(transport: asyncio.BaseTransport) -> tuple[str, str]:
    """Of a connection of the stack: our address and the other."""
    assert isinstance(transport, Transport)
    return transport.get_extra_info("sockname")[0], transport.get_extra_info("peername")[0]


def test_a_kernel_socket_reaches_a_server_on_the_loop(loop: OverTun) -> None:
    accepted = loop.create_future()
    serving = loop.create_server(lambda: Told(accepted), "127.0.0.1", 0)
    server = loop.run_until_complete(serving)
    host, port = server.sockets[0].getsockname()
    assert host == STACK[4]
    with socket.create_connection(("127.0.0.1", port)) as client:
        assert client.getpeername()[0] == STACK[4]
        transport = loop.run_until_complete(accepted)
        assert ends(transport) == (STACK[4], HOST[4])
        transport.close()
        loop.run_until_complete(asyncio.sleep(0))
    server.close()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_loop_reaches_a_kernel_socket(loop: OverTun, name: str) -> None:
    with socket.create_server((name, 0)) as listener:
        host, port = listener.getsockname()
        assert host == HOST[4]
        connecting = loop.create_connection(asyncio.Protocol, name, port)
        transport, _ = loop.run_until_complete(connecting)
        assert ends(transport) == (STACK[4], HOST[4])
        with listener.accept()[0]:
            transport.close()
            loop.run_until_complete(asyncio.sleep(0))


def test_the_loop_reaches_itself(loop: OverTun) -> None:
    accepted = loop.create_future()
    serving = loop.create_server(lambda: Told(accepted), "localhost", 0)
    server = loop.run_until_complete(serving)
    connecting = loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
    transport, _ = loop.run_until_complete(connecting)
    for each in (transport, loop.run_until_complete(accepted)):
        assert ends(each) == (STACK[4], STACK[4])
        each.close()
    server.close()
    loop.run_until_complete(server.wait_closed())
