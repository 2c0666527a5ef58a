"""Options for one listener or one connection, through asyncio's functions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

import aiotcp
from aiotcp import Options, Stack
from aiotcp.link import memory

HERE, THERE = "192.0.2.1", "192.0.2.2"


class Pair(NamedTuple):
    here: Stack
    there: Stack


@pytest_asyncio.fixture
async def pair() -> AsyncIterator[Pair]:
    left, right = memory.pair()
    made = Pair(
        Stack(left, addresses=[HERE], options=Options(hop_limit=33)),
        Stack(right, addresses=[THERE], options=Options(hop_limit=44)),
    )
    yield made
    await asyncio.gather(made.here.aclose(grace=0), made.there.aclose(grace=0))


def options_of(writer: asyncio.StreamWriter) -> Options:
    options: Options = writer.get_extra_info("connection").options
    return options


@pytest.mark.parametrize(
    ("options", "cc", "hop_limit", "keepalive_idle_s"),
    [
        (None, "cubic", 33, 7200),
        ({"cc": "bbr", "keepalive_idle_s": 30}, "bbr", 33, 30),
        (Options(cc="reno"), "reno", 64, 7200),
    ],
)
async def test_of_a_connection(
    pair: Pair,
    options: Options | Mapping[str, Any] | None,
    cc: str,
    hop_limit: int,
    keepalive_idle_s: float,
) -> None:
    await pair.there.start_server(lambda reader, writer: writer.close(), THERE, 80)
    for local_addr in (None, (HERE, 4000)):
        _, writer = await aiotcp.open_connection(
            THERE, 80, stack=pair.here, options=options, local_addr=local_addr
        )
        assert writer.get_extra_info("connection").cc.name == cc
        chosen = options_of(writer)
        assert (chosen.hop_limit, chosen.keepalive_idle_s) == (hop_limit, keepalive_idle_s)
        writer.close()


@pytest.mark.parametrize("start_serving", [True, False])
async def test_of_a_listener(pair: Pair, start_serving: bool) -> None:
    accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    server = await aiotcp.start_server(
        lambda reader, writer: accepted.set_result(writer),
        THERE,
        80,
        stack=pair.there,
        options={"cc": "bbr"},
        keep_alive=True,
        start_serving=start_serving,
    )
    await server.start_serving()
    _, client = await pair.here.open_connection(THERE, 80)
    writer = await accepted
    assert writer.get_extra_info("connection").cc.name == "bbr"
    assert (options_of(writer).keepalive, options_of(writer).hop_limit) == (True, 44)
    assert options_of(client).cc == "cubic"
    client.close()
    writer.close()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"cc": "vegas"}, ValueError, "cc must be bbr, cubic, reno or a class"),
        ({"cc_": "bbr"}, TypeError, "did you mean 'cc'"),
        ({"rst_rate": 5}, ValueError, "rst_rate is an option of the stack as a whole"),
        ([("cc", "bbr")], TypeError, "options must be Options or a mapping"),
    ],
)
async def test_what_is_wrong_is_said_before_anything_is_sent(
    pair: Pair, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await pair.here.open_connection(THERE, 80, options=options)
    with pytest.raises(error, match=message):
        await pair.here.start_server(lambda reader, writer: None, HERE, 80, options=options)
    assert pair.here.counters.packets_sent == 0
    assert not pair.here.connections()


async def test_a_control_that_cannot_be_made_is_told_to_who_chose_it(pair: Pair) -> None:
    """Not to the link, when the handshake is complete and nobody can catch it."""

    def broken(start: object) -> None:
        raise RuntimeError("no such thing")

    def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pass

    await pair.there.start_server(hold, THERE, 7)
    with pytest.raises(RuntimeError, match="no such thing"):
        await pair.here.open_connection(THERE, 7, options={"cc": broken})
    with pytest.raises(TypeError, match="no CongestionControl"):
        await pair.here.open_connection(THERE, 7, options={"cc": lambda start: 10})
    with pytest.raises(RuntimeError, match="no such thing"):
        await pair.there.start_server(hold, THERE, 8, options={"cc": broken})
