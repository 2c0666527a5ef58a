"""A FastAPI application with a little of everything, as its users write them.

`uvicorn tests.integration.web_app:app` serves it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from starlette.responses import StreamingResponse

CHUNK = bytes(range(251)) * 261
"""64 KB of the streamed response."""


def streamed(chunks: int) -> str:
    """The digest of so many chunks."""
    return hashlib.sha256(CHUNK * chunks).hexdigest()


def application() -> FastAPI:
    """`state.lifespan` tells what it went through; `state.entered` that a request waits for
    `state.leave`, `state.left` that an endless response has ended."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.lifespan = ["startup"]
        app.state.entered, app.state.leave, app.state.left = (asyncio.Event() for _ in range(3))
        yield
        app.state.lifespan.append("shutdown")
        print("the application has shut down", flush=True)

    app = FastAPI(lifespan=lifespan)

    @app.get("/client")
    async def client(request: Request) -> Any:
        """Who asks, and how."""
        assert request.client is not None
        return {
            "host": request.client.host,
            "port": request.client.port,
            "scheme": request.url.scheme,
            "server": request.scope["server"][0],
        }

    @app.get("/square/{number}")
    async def square(number: int) -> Any:
        return number * number

    @app.post("/digest")
    async def digest(request: Request) -> Any:
        sha256 = hashlib.sha256()
        async for part in request.stream():
            sha256.update(part)
        return sha256.hexdigest()

    @app.get("/stream/{chunks}")
    async def stream(chunks: int) -> Any:
        async def content() -> AsyncIterator[bytes]:
            for _ in range(chunks):
                yield CHUNK

        return StreamingResponse(content())

    @app.get("/endless")
    async def endless() -> Any:
        async def content() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield CHUNK
                    await asyncio.sleep(0)  # or nobody could tell that the client has left
            finally:
                app.state.left.set()

        return StreamingResponse(content())

    @app.get("/wait")
    async def wait() -> Any:
        app.state.entered.set()
        await app.state.leave.wait()
        return "waited"

    @app.websocket("/echo")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            text = await websocket.receive_text()
            if text == "close":
                await websocket.close(4321, "as you wish")
                return
            await websocket.send_text(text)

    # FastAPI looks annotations up among the module's names.
    return app


app = application()
