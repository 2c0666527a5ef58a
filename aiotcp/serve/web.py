"""ASGI applications on the stack: uvicorn does the HTTP, our `create_server` the TCP."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.importer import ImportFromStringError, import_from_string

from aiotcp.serve.problems import NoApplication
from aiotcp.serve.service import Listening, curl
from aiotcp.streams import Stack

if TYPE_CHECKING:
    import socket


class Web:
    """Serves an ASGI application on `port` of each address in `hosts` until stopped.

    application: makes the application when the stack is there.
    lifespan: "off" for applications that have no start-up and shutdown, "auto" for any.
    grace: whole seconds for requests in hand when stopped; then their tasks are cancelled.
    """

    def __init__(
        self,
        what: str,
        application: Callable[[Stack], Any],
        hosts: Sequence[str],
        port: int,
        *,
        lifespan: Any = "auto",
        grace: int = 5,
    ) -> None:
        self.what = what
        self._application = application
        self._hosts = hosts
        self._port = port
        self._lifespan = lifespan
        self._grace = grace
        self._server: _Server | None = None

    def commands(self, host: str, port: int) -> list[str]:
        return [curl("http", host, port)]

    async def run(self, stack: Stack, listening: Listening) -> None:
        config = uvicorn.Config(
            self._application(stack),
            lifespan=self._lifespan,
            timeout_graceful_shutdown=self._grace,
            proxy_headers=False,
            log_config=None,
        )
        if not logging.getLogger("aiotcp").isEnabledFor(logging.DEBUG):
            logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # we say that we serve
        self._server = _Server(config, stack, self._hosts, self._port, listening)
        await self._server.serve()

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True


class _Server(uvicorn.Server):
    """uvicorn's server, listening on a stack instead of on kernel sockets."""

    def __init__(
        self,
        config: uvicorn.Config,
        stack: Stack,
        hosts: Sequence[str],
        port: int,
        listening: Listening,
    ) -> None:
        super().__init__(config)
        self._stack = stack
        self._hosts = hosts
        self._port = port
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise NoApplication("the application's start-up failed (see the log)")

        def new_protocol() -> asyncio.Protocol:
            protocol: Any = self.config.http_protocol_class
            made: asyncio.Protocol = protocol(
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            )
            return made

        server: Any = await self._stack.create_server(
            new_protocol, self._hosts, self._port, backlog=self.config.backlog
        )
        self.servers = [server]
        self.started = True
        self._listening([sock.getsockname()[:2] for sock in server.sockets])

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are the program's business


def load(target: str) -> Any:
    """The object that MODULE:APP names; modules are looked for in the current directory first.

    Raises Problem if it can't be found. What the module itself raises passes through.
    """
    sys.path.insert(0, "")
    try:
        return import_from_string(target)
    except ImportFromStringError as exc:
        raise NoApplication(f"asgi {target}: {exc}") from None
