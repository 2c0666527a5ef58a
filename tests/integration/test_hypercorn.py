"""Hypercorn through `aiotcp.contrib.hypercorn`; the kernel's httpx asks."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import Any

import httpx
import pytest
from hypercorn.config import Config

from aiotcp.contrib import hypercorn
from tests.integration.world import PEM, STACK, Net, client_tls, stack_serves

pytestmark = stack_serves

PORT = 8000
UPLOAD = bytes(range(256)) * 12_000
"""3 MB."""

SMALL = [UPLOAD[:size] for size in range(10_000, 10_005)]
"""Together less than HTTP/2's first window: uploads at once that have to wait for another can hang
with httpx 0.28, on kernel sockets, too."""


class App:
    """Answers with the scheme, the client's address and the digest of what was uploaded."""

    def __init__(self) -> None:
        self.lifespan: list[str] = []
        self.started = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                self.lifespan.append(event)
                await send({"type": f"lifespan.{event}.complete"})
            return
        assert scope["type"] == "http"
        self.started.set()
        digest, more = hashlib.sha256(), True
        while more:
            message = await receive()
            digest.update(message.get("body", b""))
            more = message.get("more_body", False)
        host, _ = scope["client"]
        version, scheme = scope["http_version"], scope["scheme"]
        body = f"{scheme} {version} {host} {digest.hexdigest()}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


class Announced(logging.Handler):
    """Hears Hypercorn say that it serves."""

    def __init__(self) -> None:
        super().__init__()
        self.event = asyncio.Event()

    @classmethod
    def logger(cls) -> tuple[logging.Logger, asyncio.Event]:
        handler = cls()
        logger = logging.Logger("Hypercorn", logging.INFO)
        logger.addHandler(handler)
        return logger, handler.event

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("Running on"):
            self.event.set()


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_hypercorn_serves(net: Net, tls: bool, http2: bool) -> None:
    app, stop = App(), asyncio.Event()
    config = Config()
    config.bind = [f"{STACK}:{PORT}"]
    if tls:
        config.certfile = config.keyfile = str(PEM)
    config.errorlog, serves = Announced.logger()
    serving = asyncio.create_task(hypercorn.serve(app, config, shutdown_trigger=stop.wait))
    await serves.wait()

    async def ask() -> list[str]:
        base = f"{'https' if tls else 'http'}://{STACK}:{PORT}"
        verify = client_tls() if tls else False
        client = httpx.AsyncClient(
            timeout=60, base_url=base, verify=verify, http1=not http2, http2=http2, trust_env=False
        )
        async with client:
            replies = await asyncio.gather(*(client.post("/", content=body) for body in SMALL))
            return [reply.text for reply in (*replies, await client.post("/", content=UPLOAD))]

    version = 2 if http2 else 1.1
    scheme = "https" if tls else "http"
    digests = [hashlib.sha256(body).hexdigest() for body in (*SMALL, UPLOAD)]
    expected = [f"{scheme} {version} {net.client_host} {digest}" for digest in digests]
    assert await net.asking(ask()) == expected
    assert app.lifespan == ["startup"]
    stop.set()
    await serving
    assert app.lifespan == ["startup", "shutdown"]
