"""Programs that know nothing of aiotcp speak TLS on a loop that does: to a stack, and besides to
the kernel."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest

import aiotcp
from aiotcp import Stack
from aiotcp.link import memory
from tests.contract.tls_support import NAME, client_side, server_side
from tests.eventloop.world import LoopFactory

HERE, PEER = "192.0.2.2", "192.0.2.1"


def run(loop_factory: LoopFactory, main: Callable[[], Any]) -> None:
    """Run `main()` where HERE and PEER are two stacks, and the rest the kernel's."""
    reports: list[dict[str, Any]] = []

    async def watched() -> None:
        loop: Any = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(context))
        loop.add_stack(Stack(right, addresses=[PEER]), [])
        loop.routes.add(PEER, loop.stack)  # over the link, not within the other stack
        await main()

    left, right = memory.pair()
    aiotcp.run(
        watched(),
        stack=Stack(left, addresses=[HERE]),
        routes=["192.0.2.0/24"],
        loop_factory=loop_factory,
    )
    assert reports == []


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        if line == b"STARTTLS\n":
            writer.write(b"go ahead\n")
            await writer.start_tls(server_side())
        else:
            writer.write(line)
            await writer.drain()
    writer.close()


async def check(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
    """It is encrypted, over what `host` leads to, and works."""
    assert type(writer) is asyncio.StreamWriter
    assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
    assert writer.get_extra_info("peername")[0] == host
    loop: Any = asyncio.get_running_loop()
    assert bool(loop.stack.connections()) == (host == PEER)
    writer.write(b"x" * 50_000 + b"\n")
    assert await reader.readline() == b"x" * 50_000 + b"\n"
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("host", [PEER, "127.0.0.1"])
def test_streams_of_the_standard_library(
    loop_factory: LoopFactory, loopback: None, host: str
) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, host, 0, ssl=server_side())
        port = server.sockets[0].getsockname()[1]
        await check(
            *await asyncio.open_connection(host, port, ssl=client_side(), server_hostname=NAME),
            host,
        )
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(host, port, ssl=True, server_hostname=NAME)
        server.close()
        await server.wait_closed()

    run(loop_factory, main)


@pytest.mark.parametrize("host", [PEER, "127.0.0.1"])
def test_start_tls_of_its_writers(loop_factory: LoopFactory, loopback: None, host: str) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, host, 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(host, port)
        for _ in range(2):  # the second time: TLS in TLS
            writer.write(b"STARTTLS\n")
            assert await reader.readline() == b"go ahead\n"
            await writer.start_tls(client_side(), server_hostname=NAME)
        await check(reader, writer, host)
        server.close()
        await server.wait_closed()

    run(loop_factory, main)


@pytest.mark.parametrize("host", [PEER, "127.0.0.1"])
def test_start_tls_of_the_loop(loop_factory: LoopFactory, loopback: None, host: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(echo, host, 0, ssl=server_side())
        port = server.sockets[0].getsockname()[1]
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.create_connection(lambda: protocol, host, port)
        upper: Any = await loop.start_tls(
            transport, protocol, client_side(), server_hostname=NAME, ssl_handshake_timeout=10.0
        )
        await check(reader, asyncio.StreamWriter(upper, protocol, reader, loop), host)
        server.close()
        await server.wait_closed()

    run(loop_factory, main)
