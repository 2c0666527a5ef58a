"""The servers that are measured: discard and source, as programs on asyncio write them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

from aiotcp import Stack

SINK_PORT, SOURCE_PORT = 9, 19

_BLOCK = bytes(256 * 1024)  # what a source writes at a time, and a reader asks for


class Discard(asyncio.Protocol):
    """Takes everything; asyncio closes at the end of the stream."""


class Source(asyncio.Protocol):
    """Writes for as long as somebody listens."""

    _transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.resume_writing()

    def pause_writing(self) -> None:
        self._writing = False

    def resume_writing(self) -> None:
        self._writing = True
        while self._writing:
            self._transport.write(_BLOCK)

    def connection_lost(self, exc: Exception | None) -> None:
        self._writing = False


async def discard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The same as a coroutine."""
    while await reader.read(len(_BLOCK)):
        pass
    writer.close()


async def source(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The same as a coroutine."""
    try:
        while True:
            writer.write(_BLOCK)
            await writer.drain()
    except ConnectionError:
        writer.close()


async def _serve_protocols(stack: Stack, host: str) -> None:
    await stack.create_server(Discard, host, SINK_PORT)
    await stack.create_server(Source, host, SOURCE_PORT)


async def _serve_streams(stack: Stack, host: str) -> None:
    await stack.start_server(discard, host, SINK_PORT)
    await stack.start_server(source, host, SOURCE_PORT)


SERVERS: dict[str, Callable[[Stack, str], Awaitable[None]]] = {
    "protocol": _serve_protocols,
    "streams": _serve_streams,
}
"""By the interface that they are written for."""
