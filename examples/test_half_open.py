"""A client that waits for ever, and the test that finds it.

    pytest examples/test_half_open.py                              # passes: nothing to see
    pytest examples/test_half_open.py --aiotcp-seeds=50 -x         # finds it
    pytest examples/test_half_open.py --aiotcp-replay=SEED         # again, and again

The client asks for prices, and asks again when its connection breaks: whoever reads it thinks that
it is safe. But if the shop loses its power after it has acknowledged a question, and before it has
answered, nothing breaks: the connection is half open, nobody sends anything on it any more, and
nobody will. Only a time-out helps, such as that of `patience=5`.
"""

import asyncio

import aiohttp
import pytest
from aiohttp import web

from aiotcp.testing import Net

WANTED = ["apples", "pears", "plums", "cherries"]


# The programs. Nothing in them knows about aiotcp.


async def price(request: web.Request) -> web.Response:
    await asyncio.sleep(0.05)  # it is looked up
    return web.Response(text=f"{request.match_info['item']}: 3.50")


async def shop() -> None:
    app = web.Application()
    app.router.add_get("/{item}", price)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, port=8080).start()
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def prices(url: str, patience: float | None) -> list[str]:
    found: list[str] = []
    limit = aiohttp.ClientTimeout(total=patience)
    async with aiohttp.ClientSession(timeout=limit) as session:
        while len(found) < len(WANTED):
            try:
                async with session.get(f"{url}/{WANTED[len(found)]}") as response:
                    found.append(await response.text())
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(1)  # and ask again
    return found


# The test.


@pytest.mark.parametrize("patience", [5, None])
async def test_prices_in_spite_of_a_power_cut(net: Net, patience: float | None) -> None:
    server, client = net.host("shop"), net.host("client")
    net.netem("delay 20ms 2ms")
    server.start(shop)
    await net.sleep(1)
    asking = client.run(prices("http://shop:8080", patience))
    await net.sleep(net.random.uniform(0, 0.5))  # another moment with each seed
    server.crash()
    await net.sleep(3)
    server.boot()
    assert len(await asking) == len(WANTED)
