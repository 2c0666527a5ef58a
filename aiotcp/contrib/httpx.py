"""httpx on a stack, under a loop that is not one of aiotcp's. (Under those it needs nothing.)

async with Stack(link), httpx.AsyncClient(transport=AsyncHTTPTransport()) as client:
    await client.get("http://192.0.2.1/")
"""

# ruff: noqa: ASYNC109 -- the names are httpcore's
from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import httpcore
import httpx

from aiotcp.streams import Stack, open_connection


class AsyncHTTPTransport(httpx.AsyncHTTPTransport):
    """httpx's own, with connections of `stack`, or else of the current one."""

    def __init__(self, *, stack: Stack | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._pool._network_backend = Backend(stack)  # httpx has no argument for it


class Backend(httpcore.AsyncNetworkBackend):
    """For `httpcore.AsyncConnectionPool(network_backend=...)`."""

    def __init__(self, stack: Stack | None = None) -> None:
        self._stack = stack

    async def connect_tcp(self, host: str, port: int, timeout: Any = None, **options: Any) -> Any:
        local = (options["local_address"], 0) if options.get("local_address") else None
        opening = open_connection(host, port, stack=self._stack, local_addr=local)
        stream = _Stream(*await _timed("Connect", timeout, opening))
        for option in options.get("socket_options") or ():
            stream.get_extra_info("socket").setsockopt(*option)
        return stream


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> Any:
        return await _timed("Read", timeout, self._reader.read(max_bytes))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._writer.write(buffer)
        await _timed("Write", timeout, self._writer.drain())

    async def aclose(self) -> None:
        self._writer.close()

    async def start_tls(self, ssl_context: Any, timeout: Any = None, **name: Any) -> Any:
        await _timed("Connect", timeout, self._writer.start_tls(ssl_context, **name))
        return self

    def get_extra_info(self, info: str) -> Any:
        ended = self._reader.at_eof() or self._writer.is_closing()
        return ended if info == "is_readable" else self._writer.get_extra_info(info)


async def _timed(what: str, seconds: float | None, work: Awaitable[Any]) -> Any:
    """`work`, with httpcore's exceptions."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError as exc:
        raise getattr(httpcore, f"{what}Timeout")(exc) from exc
    except OSError as exc:
        raise getattr(httpcore, f"{what}Error")(exc) from exc
