"""TCP Fast Open between two stacks, in virtual time: what it saves, and what loss does to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from aiotcp import Options, Stack
from aiotcp.link import memory
from aiotcp.link.impair import Impair, Netem
from aiotcp.sim import run
from aiotcp.tcp.fastopen import PERIOD_S
from tests.support.longpath import path

pytestmark = pytest.mark.own_numbers

DELAY_S = 0.05
RTT_S = 2 * DELAY_S
HOST, PORT = "192.0.2.2", 80


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request = await reader.readline()
    writer.write(b"re: " + request)
    writer.close()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 hello\r\n")
    writer.close()


@asynccontextmanager
async def stacks(client: Options, server: Options) -> AsyncIterator[tuple[Stack, Stack]]:
    left, right = path(1e9, DELAY_S)
    async with (
        Stack(left, addresses=["192.0.2.1"], options=client, seed=b"left") as a,
        Stack(right, addresses=[HOST], options=server, seed=b"right") as b,
    ):
        yield a, b


async def asks(stack: Stack, request: bytes) -> tuple[bytes, float]:
    """What the server says, and how long that takes from before the connection is opened."""
    began = stack.loop.time()
    reader, writer = await stack.open_connection(HOST, PORT)
    if request:
        writer.write(request)
    reply = await reader.read()
    took = stack.loop.time() - began
    writer.close()
    await writer.wait_closed()
    return reply, took


@pytest.mark.req("7413-2", "7413-3")
@pytest.mark.parametrize(
    ("client", "server", "round_trips"),
    [
        ("off", "off", [2, 2, 2]),
        ("client", "off", [2, 2, 2]),
        ("off", "server", [2, 2, 2]),
        ("client", "server", [2, 1, 1]),
        ("on", "on", [2, 1, 1]),
    ],
)
async def test_it_saves_a_round_trip(client: str, server: str, round_trips: list[int]) -> None:
    async with stacks(Options(tfo=client), Options(tfo=server)) as (a, b):
        await b.start_server(answer, HOST, PORT)
        took = []
        for _ in round_trips:
            reply, seconds = await asks(a, b"request\n")
            assert reply == b"re: request\n"
            took.append(round(seconds / RTT_S, 1))
        assert took == round_trips
        early = round_trips.count(1)
        assert b.counters.fast_opens_accepted == early
        assert b.nstat()["TcpExtTCPFastOpenPassive"] == early
        assert a.nstat()["TcpExtTCPFastOpenActive"] == early


@pytest.mark.req("7413-3")
async def test_it_saves_nearly_a_round_trip_where_the_server_speaks_first() -> None:
    async with stacks(Options(tfo="on"), Options(tfo="on")) as (a, b):
        await b.start_server(greet, HOST, PORT)
        for expected in (2.0, 1.1, 1.1):
            reply, seconds = await asks(a, b"")
            assert reply == b"220 hello\r\n"
            assert round(seconds / RTT_S, 1) == expected


@pytest.mark.req("7413-3")
async def test_a_new_key_costs_one_round_trip_once() -> None:
    """A stack's own keys are new every day; those of two days ago are not good any more."""
    async with stacks(Options(tfo="client"), Options(tfo="server")) as (a, b):
        await b.start_server(answer, HOST, PORT)
        took = []
        for day in (0, 0, 1, 3, 0):
            await asyncio.sleep(day * PERIOD_S)
            took.append(round((await asks(a, b"request\n"))[1] / RTT_S, 1))
        assert took == [2, 1, 1, 2, 1]


@pytest.mark.req("7413-4", "7413-6")
@pytest.mark.parametrize("seed", range(12))
def test_everything_arrives_once_and_in_order_whatever_is_lost(seed: int) -> None:
    """Most handshakes lose something; each request is answered, whole, by one connection. Nothing
    is repeated by the network here: then the program would see the first data twice (6.1)."""

    async def talk() -> None:
        lossy = Netem(delay=0.02, jitter=0.01, loss=0.25)
        left, right = memory.pair(mtu=1500)
        options = Options(tfo="on", time_wait_s=1, syn_retries=20, synack_retries=20)
        async with (
            Stack(
                Impair(left, outbound=lossy, seed=seed),
                addresses=["192.0.2.1"],
                options=options,
                seed=b"l",
            ) as a,
            Stack(
                Impair(right, outbound=lossy, seed=seed + 100),
                addresses=[HOST],
                options=options,
                seed=b"r",
            ) as b,
        ):
            heard: list[bytes] = []

            async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                try:
                    data = await reader.read()
                    heard.append(data)
                    writer.write(data[::-1])
                    writer.close()
                except OSError:
                    writer.transport.abort()

            await b.start_server(echo, HOST, PORT)
            requests = [bytes([n]) * (1 + 700 * n) for n in range(8)]
            for request in requests:
                reader, writer = await a.open_connection(HOST, PORT)
                writer.write(request)
                writer.write_eof()
                assert await reader.read() == request[::-1]
                writer.close()
                await asyncio.sleep(150)  # what has failed is tried again
            assert heard == requests
            assert b.counters.fast_opens_accepted > 0

    run(talk())
