"""The live view: a page, on the kernel's loopback, that shows the stack's connections and one of
them as it happens.

Its address has a token that only who has started the program knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from aiotcp.report.page import asset, fill
from aiotcp.serve.problems import BadOptions
from aiotcp.serve.service import joined
from aiotcp.serve.watching import TICK_S, Watching, rows
from aiotcp.stack import PacketStack

WATCHERS_MAX = 8
"""Pages that are told of what happens at a time."""

TABLE_TICKS = 5
"""The table of connections comes with every so many updates."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
}


@functools.cache
def page() -> str:
    """Read it before privileges are given up: who one becomes may not be able to."""
    return fill("live.html", TITLE="aiotcp", LIVE=asset("live.js"))


class Live:
    """The application. Its paths begin with `token`; all others are not found."""

    def __init__(self, stack: PacketStack) -> None:
        self.token = secrets.token_urlsafe(18)
        self.stopping = False
        self._stack = stack
        self._watchers = 0
        self.app = Starlette(
            routes=[
                Route("/{token}/", self._page),
                Route("/{token}/events", self._events),
            ]
        )

    def _knows(self, request: Request) -> bool:
        given = request.path_params["token"].encode()
        return secrets.compare_digest(given, self.token.encode())

    async def _page(self, request: Request) -> Response:
        if not self._knows(request):
            return PlainTextResponse("Not Found", 404)
        return HTMLResponse(page(), headers=_HEADERS)

    async def _events(self, request: Request) -> Response:
        """Server-sent events (HTML 9.2)."""
        if not self._knows(request):
            return PlainTextResponse("Not Found", 404)
        if self._watchers >= WATCHERS_MAX:
            return PlainTextResponse(f"{WATCHERS_MAX} pages are watching already", 503)
        try:
            flow = bytes.fromhex(request.query_params.get("flow", ""))
        except ValueError:
            return PlainTextResponse("flow: not hexadecimal", 400)
        headers = _HEADERS | {"X-Accel-Buffering": "no"}
        return StreamingResponse(self._told(flow), headers=headers, media_type="text/event-stream")

    async def _told(self, flow: bytes) -> AsyncIterator[str]:
        """One who reads slowly is told seldom: nothing is made for him in the meantime."""
        self._watchers += 1
        watching: Watching | None = None
        number = 0
        try:
            if flow:
                with contextlib.suppress(LookupError):
                    watching = Watching(self._stack, flow)
            while not self.stopping:
                data: dict[str, object] = {"begins": number == 0}
                if number % TABLE_TICKS == 0:
                    data["table"] = rows(self._stack, flow)
                if watching is not None:
                    data["news"] = news = watching.news()
                    if "over" in news:
                        watching = None
                elif flow and number == 0:
                    data["news"] = {"over": True}
                if len(data) > 1:
                    yield f"data: {json.dumps(data, separators=(',', ':'))}\n\n"
                number += 1
                await asyncio.sleep(TICK_S)
        finally:
            self._watchers -= 1
            if watching is not None:
                watching.stop()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are the program's business


@contextlib.asynccontextmanager
async def live(stack: PacketStack, host: str, port: int) -> AsyncIterator[str]:
    """Serve the view of `stack` on a kernel socket; gives its address.

    Raises BadOptions if the address can't be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.create_server((host, port), family=family)
    except OSError as exc:
        raise BadOptions(f"--web {joined(host, port)}: {exc.strerror or exc}") from None
    view = Live(stack)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    server = _Server(
        uvicorn.Config(
            view.app,
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        bound = sock.getsockname()[:2]
        yield f"http://{joined(*bound)}/{view.token}/"
    finally:
        view.stopping = server.should_exit = True
        await serving
        sock.close()
