"""Digests of traces, one for each seed: `python -m tests.testing.repeat`."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import ssl
import time
from pathlib import Path

import aiohttp  # here, not within: what libraries draw when they are imported is none of a run's
import httpx
from aiohttp import web

from aiotcp.testing import Net, run

SEEDS = range(4)
CERTIFICATE = Path(__file__).parents[1] / "support" / "tls" / "ed25519.pem"
"""Of a kind whose signatures are all of one length, as OpenSSL's randomness is out of reach."""
NAMED = "stack.test"


async def service(net: Net) -> None:
    """aiohttp's server, aiohttp's and httpx's clients, TLS, a retry with jitter, a reboot."""

    async def answer(request: web.Request) -> web.Response:
        request_id = f"{random.getrandbits(64):x}"
        return web.Response(
            text="x" * random.randrange(5000),
            headers={"X-Request": request_id, "X-Time": str(time.time())},
        )

    async def serve() -> None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(CERTIFICATE)
        app = web.Application()
        app.router.add_get("/", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, port=443, ssl_context=tls).start()
        await web.TCPSite(runner, port=80).start()
        await asyncio.Event().wait()

    async def ask(url: str) -> None:
        limit = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=limit) as session:
            while True:
                try:
                    async with session.get(url) as response:
                        await response.read()
                    return
                except (aiohttp.ClientError, TimeoutError):
                    await asyncio.sleep(random.uniform(0.5, 1.5))

    async def ask_in_secret(url: str) -> None:
        trust = ssl.create_default_context(cafile=str(CERTIFICATE))
        async with httpx.AsyncClient(verify=trust, timeout=20) as client:
            (await client.get(url)).raise_for_status()

    net.netem("delay 40ms 10ms loss 3% reorder 5% duplicate 2%")
    server = net.host(NAMED)
    server.start(serve)
    await net.sleep(1)
    await net.host("asks-in-secret").run(ask_in_secret(f"https://{NAMED}/"))
    # A set of strings: its order is another one in each process, its tasks are not.
    asking = [
        net.host(name).run(ask(f"http://{NAMED}/")) for name in sorted({"red", "green", "blue"})
    ]
    await net.sleep(net.random.uniform(0, 0.3))
    server.reboot()
    await asyncio.gather(*asking)


def digests() -> list[str]:
    found = []
    for seed in SEEDS:
        net = Net(seed, samples=True)
        run(service, net=net)
        text = json.dumps(net.trace().to_json(), sort_keys=True)
        found.append(hashlib.sha256(text.encode()).hexdigest())
    return found


if __name__ == "__main__":
    for digest in digests():
        print(digest)
