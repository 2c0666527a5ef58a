"""The servers that are measured, as programs on asyncio write them: the same for every network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

_BLOCK = bytes(256 * 1024)  # what a source writes at a time, and a reader asks for

_IN_A_ROW = 64

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Discard(asyncio.Protocol):
    """Takes everything; asyncio closes at the end of the stream."""


class BufferedDiscard(asyncio.BufferedProtocol):
    """The same, into a buffer of its own."""

    def __init__(self) -> None:
        self._buffer = bytearray(len(_BLOCK))

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        pass


class _Writes:
    """Writes for as long as somebody listens."""

    _transport: asyncio.Transport
    _writing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.resume_writing()

    def pause_writing(self) -> None:
        self._writing = False

    def resume_writing(self) -> None:
        self._writing = True
        self._go_on()

    def _go_on(self) -> None:
        """TLS over a connection that is lost takes all that is written, and only later says so."""
        for _ in range(_IN_A_ROW):
            if not self._writing or self._transport.is_closing():
                return
            self._transport.write(_BLOCK)
        asyncio.get_running_loop().call_soon(self._go_on)

    def connection_lost(self, exc: Exception | None) -> None:
        self._writing = False


class Source(_Writes, asyncio.Protocol):
    """Out only."""


class BothWays(_Writes, BufferedDiscard):
    """Out and in at the same time, until the peer's end of its stream."""

    def eof_received(self) -> None:
        self._writing = False


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


async def discard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(len(_BLOCK)):
        pass
    writer.close()


async def source(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            writer.write(_BLOCK)
            await writer.drain()
    except ConnectionError:
        writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while message := await reader.read(4096):
        writer.write(message)
        await writer.drain()
    writer.close()


async def line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One line in, the same line out, and closed."""
    writer.write(await reader.readline())
    writer.close()


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """The application of the HTTP measurements: ASGI, and nothing else."""
    assert scope["type"] == "http"
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"6")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello\n"})


@dataclass(frozen=True)
class Program:
    """One of streams, protocol and application."""

    streams: Handler | None = None
    protocol: Callable[[], asyncio.BaseProtocol] | None = None
    application: Any = None


PROGRAMS = {
    "discard-streams": Program(streams=discard),
    "discard-protocol": Program(protocol=Discard),
    "discard-buffered": Program(protocol=BufferedDiscard),
    "source-streams": Program(streams=source),
    "source-protocol": Program(protocol=Source),
    "both-protocol": Program(protocol=BothWays),
    "echo-streams": Program(streams=echo),
    "echo-protocol": Program(protocol=Echo),
    "line-streams": Program(streams=line),
    "http": Program(application=hello),
}
