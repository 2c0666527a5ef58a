"""ASGI applications on the stack: uvicorn does the HTTP, our `create_server` the TCP."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import uvicorn
from uvicorn.importer import ImportFromStringError, import_from_string

from aiotcp.serve.problems import NoApplication, NoPermission
from aiotcp.serve.service import Listening, curl
from aiotcp.streams import Stack

if TYPE_CHECKING:
    import socket

    from aiotcp.serve.certificate import Certificate


class Web:
    """Serves an ASGI application on `port` of each address in `hosts` until stopped.

    application: makes the application when the stack is there.
    lifespan: "off" for applications that have no start-up and shutdown, "auto" for any.
    grace: seconds for requests in hand when stopped. Then whoever has stopped us resets their
        connections, and a second later the tasks that ignore it are cancelled.
    certificate: to serve over TLS.
    """

    def __init__(
        self,
        what: str,
        application: Callable[[Stack], Any],
        hosts: Sequence[str],
        port: int,
        *,
        lifespan: Any = "auto",
        grace: float,
        certificate: Certificate | None = None,
    ) -> None:
        self.what = what
        self._application = application
        self._hosts = hosts
        self._port = port
        self._lifespan = lifespan
        self._grace = grace
        self._certificate = certificate
        self._server: _Server | None = None

    def commands(self, host: str, port: int) -> list[str]:
        if self._certificate is not None:
            return [self._certificate.curl(host, port)]
        return [curl("http", host, port)]

    async def run(self, stack: Stack, listening: Listening) -> None:
        config = uvicorn.Config(
            self._application(stack),
            lifespan=self._lifespan,
            timeout_graceful_shutdown=math.ceil(self._grace) + 1,
            proxy_headers=False,
            log_config=None,
        )
        if not logging.getLogger("aiotcp").isEnabledFor(logging.DEBUG):
            logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # we say that we serve
        logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
        self._server = _Server(config, stack, self._hosts, self._port, listening, self._certificate)
        await self._server.serve()

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """A task that is cancelled when the program ends is no error of the application."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


class _Server(uvicorn.Server):
    """uvicorn's server, listening on a stack instead of on kernel sockets."""

    def __init__(
        self,
        config: uvicorn.Config,
        stack: Stack,
        hosts: Sequence[str],
        port: int,
        listening: Listening,
        certificate: Certificate | None,
    ) -> None:
        super().__init__(config)
        self._stack = stack
        self._hosts = hosts
        self._port = port
        self._listening = listening
        self._certificate = certificate

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
            new_protocol,
            self._hosts,
            self._port,
            backlog=self.config.backlog,
            ssl=None if self._certificate is None else self._certificate.context,
        )
        self.servers = [server]
        self.started = True
        self._listening([sock.getsockname()[:2] for sock in server.sockets])

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are the program's business


def preload() -> None:
    """Import what serving needs, all of it, while this process still may read it.

    uvicorn and anyio import much of themselves in the first moment of use. By then the program may
    have become a user who can't read the directory that they are installed in.
    """

    async def nothing(
        scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        pass

    lifespans: tuple[Any, ...] = ("off", "auto")
    for lifespan in lifespans:
        config = uvicorn.Config(nothing, lifespan=lifespan, log_config=None)
        config.load()
    anyio.run(_use_anyio)


async def _use_anyio() -> None:
    """All that starlette uses of it to serve files."""
    async with anyio.create_task_group(), await anyio.open_file(os.devnull):
        await anyio.to_thread.run_sync(int)


def load(target: str) -> Any:
    """The object that MODULE:APP names; modules are looked for in the current directory first.

    Raises Problem if it can't be found, or not be read. What else the module raises passes through.
    """
    sys.path.insert(0, "")
    try:
        return import_from_string(target)
    except (ImportFromStringError, ImportError) as exc:
        if unreadable := _unreadable_places():
            raise NoPermission(
                f"asgi {target}: {exc}; this user may not read {', '.join(unreadable)}"
            ) from None
        if isinstance(exc, ImportFromStringError):
            raise NoApplication(f"asgi {target}: {exc}") from None
        raise
    except PermissionError as exc:
        if exc.filename is None:
            raise
        raise NoPermission(f"asgi {target}: this user may not read {exc.filename}") from None


def _unreadable_places() -> list[str]:
    """Directories that modules are looked for in, and silently not found."""
    unreadable = []
    for place in dict.fromkeys(sys.path):
        directory = place or os.curdir
        try:
            os.scandir(directory).close()
        except PermissionError:
            unreadable.append(os.path.abspath(directory))
        except OSError:
            pass  # an archive, or nothing at all
    return unreadable
