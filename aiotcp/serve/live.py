"""The live view: a page, on the kernel's loopback, that shows the stack's connections and one of
them as it happens.

Its address has a token that only who has started the program knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import json
import logging
import os
import re
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from aiotcp.report.page import asset, fill
from aiotcp.serve.problems import BadOptions
from aiotcp.serve.service import joined
from aiotcp.serve.views import View
from aiotcp.serve.watching import TICK_S
from aiotcp.trace import explain

WATCHERS_MAX = 8
"""Pages that are told of what happens at a time."""

TABLE_TICKS = 5
"""The table of connections comes with every so many updates."""

_FLOW = re.compile(r"(\d{1,4}\.)?([0-9a-fA-F]{2})*", re.ASCII)
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
    explain.why(), explain.drops()  # what is told of segments is in a file as well
    return fill("live.html", TITLE="aiotcp", LIVE=asset("live.js"))


class Live:
    """The application. Its paths begin with `token`; all others are not found."""

    def __init__(self, token: str, look: Callable[[], View]) -> None:
        self.token = token
        self.stopping = False
        self._look = look
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
        flow = request.query_params.get("flow", "")
        if not _FLOW.fullmatch(flow):
            return PlainTextResponse("flow: not one of the table's", 400)
        headers = _HEADERS | {"X-Accel-Buffering": "no"}
        return StreamingResponse(self._told(flow), headers=headers, media_type="text/event-stream")

    async def _told(self, flow: str) -> AsyncIterator[str]:
        """One who reads slowly is told seldom: nothing is made for him in the meantime."""
        self._watchers += 1
        view = self._look()
        watching = False
        number = 0
        try:
            if flow:
                with contextlib.suppress(LookupError):
                    await view.watch(flow)
                    watching = True
            while not self.stopping:
                data: dict[str, object] = {"begins": number == 0}
                if number % TABLE_TICKS == 0:
                    data["table"] = await view.table()
                if watching:
                    data["news"] = news = await view.news()
                    watching = "over" not in news
                elif flow and number == 0:
                    data["news"] = {"over": True}
                if len(data) > 1:
                    yield f"data: {json.dumps(data, separators=(',', ':'))}\n\n"
                number += 1
                await asyncio.sleep(TICK_S)
        finally:
            self._watchers -= 1
            view.close()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are the program's business


class Door:
    """Where the page is: a listening socket of the kernel's, and the token. Of several workers, it
    stays while they come and go.

    Raises BadOptions if the address can't be had.
    """

    def __init__(self, host: str, port: int) -> None:
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.sock = socket.create_server((host, port), family=family)
        except OSError as exc:
            why = exc.strerror or str(exc)
            if (
                exc.errno is not None and exc.errno in errno.errorcode
            ):  # and not also "while attempting to bind", and where
                why = os.strerror(exc.errno)
            if exc.errno == errno.EADDRNOTAVAIL and host in ("127.0.0.1", "::1", "localhost"):
                why += "; a network namespace begins without it: ip link set lo up"
            raise BadOptions(f"--web {joined(host, port)}: {why}") from None
        self.token = secrets.token_urlsafe(18)
        self.url = f"http://{joined(*self.sock.getsockname()[:2])}/{self.token}/"

    def close(self) -> None:
        """Nobody comes in any more here. Idempotent."""
        self.sock.close()


@contextlib.asynccontextmanager
async def live(look: Callable[[], View], door: Door) -> AsyncIterator[None]:
    """Serve pages, each with a view of its own, as long as the block lasts."""
    view = Live(door.token, look)
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
    serving = asyncio.create_task(server.serve(sockets=[door.sock.dup()]))
    try:
        yield
    finally:
        view.stopping = server.should_exit = True
        await serving
