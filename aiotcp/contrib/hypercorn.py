"""Hypercorn on a stack. Its own `serve()` makes and binds kernel sockets, whatever the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.utils import wrap_app

from aiotcp.streams import Stack, start_server

_Trigger = Callable[[], Awaitable[Any]]


async def serve(
    app: Any, config: Config, *, shutdown_trigger: _Trigger, stack: Stack | None = None
) -> None:
    """As `hypercorn.asyncio.serve()`, over TCP: `config.bind` names addresses of the stack, with
    ports. Serves until `shutdown_trigger()` returns, then gives requests in hand
    `config.graceful_timeout` seconds. stack: by default the current one."""
    loop = asyncio.get_running_loop()
    app = wrap_app(app, config.wsgi_max_body_size, None)
    state: dict[str, Any] = {}
    lifespan, context = Lifespan(app, config, loop, state), WorkerContext(None)
    life = loop.create_task(lifespan.handle_lifespan())
    servers = []
    try:
        await lifespan.wait_for_startup()
        if life.done():
            life.result()
        for bind in config.bind:
            host, _, port = bind.rpartition(":")
            server = await start_server(
                lambda *streams: TCPServer(app, loop, config, context, state, *streams).run(),
                host.strip("[]"),
                int(port),
                stack=stack,
                ssl=config.create_ssl_context(),
                backlog=config.backlog,
            )
            servers.append(server)
            await config.log.info(f"Running on {bind} (CTRL + C to quit)")
        await shutdown_trigger()
    finally:
        await context.terminated.set()
        for server in servers:
            server.close()
        closed = [asyncio.ensure_future(server.wait_closed()) for server in servers]
        if closed:
            await asyncio.wait(closed, timeout=config.graceful_timeout)
        for server in servers:
            server.abort_clients()
        await lifespan.wait_for_shutdown()
        life.cancel()
        await asyncio.gather(life, *closed, return_exceptions=True)
