"""A web service and its client, unmodified, under what networks and machines do to them.

    pytest examples/test_service.py
    pytest examples/test_service.py --aiotcp-seeds=100

The service is Starlette's on uvicorn, the client httpx. One coroutine test is one network: hosts,
links, and programs that run on the hosts, in virtual time.
"""

import asyncio

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from aiotcp.testing import Host, Net

URL = "http://service"


# The programs.


async def slow(request: Request) -> PlainTextResponse:
    await asyncio.sleep(3)
    return PlainTextResponse("done")


async def service() -> None:
    app = Starlette(routes=[Route("/", slow)])
    await uvicorn.Server(uvicorn.Config(app, "0.0.0.0", 80, log_level="warning")).serve()


async def get(patience: float = 60.0) -> str:
    async with httpx.AsyncClient(timeout=patience) as client:
        text: str = (await client.get(URL)).text
        return text


# The tests.


async def up(net: Net) -> tuple[Host, Host]:
    client, machine = net.host("client"), net.host("service")
    net.link("client", "service").netem("delay 40ms 5ms loss 1%")
    machine.start(service)
    await net.sleep(1)
    return client, machine


async def test_an_answer_comes(net: Net) -> None:
    client, _ = await up(net)
    assert await client.run(get()) == "done"


async def test_a_partition_delays_the_answer(net: Net) -> None:
    client, _ = await up(net)
    asking = client.run(get())
    await net.sleep(1)
    net.partition("client", "service")
    await net.sleep(20)
    assert not asking.done()
    net.heal()
    assert await asking == "done"


async def test_a_client_does_not_wait_for_ever(net: Net) -> None:
    client, _ = await up(net)
    net.partition()
    before = net.now
    with pytest.raises(httpx.ConnectTimeout):
        await client.run(get(patience=5.0))
    assert net.now == before + 5


async def test_an_answer_that_is_lost_on_the_way_back(net: Net) -> None:
    client, _ = await up(net)
    asking = client.run(get(patience=10.0))
    await net.sleep(1)
    net.link("client", "service").cut(source="service")
    with pytest.raises(httpx.ReadTimeout):
        await asking


async def test_the_first_segments_are_lost(net: Net) -> None:
    client, _ = await up(net)
    net.fault("drop the first SYN from client")
    net.fault("drop the first data segment from service")
    assert await client.run(get()) == "done"


async def test_sigterm_waits_for_what_is_under_way(net: Net) -> None:
    client, machine = await up(net)
    asking = client.run(get())
    await net.sleep(1)
    await machine.kill()
    assert await asking == "done"
    with pytest.raises(httpx.ConnectError):
        await client.run(get())


async def test_a_machine_that_reboots(net: Net) -> None:
    client, machine = await up(net)
    asking = client.run(get(patience=10.0))
    await net.sleep(1)
    machine.reboot()
    with pytest.raises((httpx.ReadTimeout, httpx.ReadError)):
        await asking
    assert await client.run(get()) == "done"
