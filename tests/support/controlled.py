"""A stack that answers at a control socket, a client stack that talks to it, and those who ask: in
threads of their own, for they block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aiotcp import control
from aiotcp.control.client import Client
from aiotcp.control.server import Control
from aiotcp.link import memory
from aiotcp.streams import Stack

CLIENT, SERVER, PORT = "192.0.2.1", "192.0.2.2", 7

_T = TypeVar("_T")


@dataclass
class Watched:
    """client and server: the stacks; control: that of the server, where an echo service listens."""

    client: Stack
    server: Stack
    control: Control
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which one word has come back."""
        reader, writer = await self.client.open_connection(SERVER, PORT)
        self.writers.append(writer)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        return reader, writer

    async def ask(self, do: Callable[[Client], _T]) -> _T:
        def asking() -> _T:
            with Client(self.control.path) as client:
                return do(client)

        return await asyncio.to_thread(asking)


@asynccontextmanager
async def watched(path: Path, **about: Any) -> AsyncIterator[Watched]:
    left, right = memory.pair()
    async with (
        Stack(left, addresses=[CLIENT]) as client,
        Stack(right, addresses=[SERVER]) as server,
        control.serve(server, path, **about) as answering,
    ):
        await server.start_server(_echo, SERVER, PORT)
        made = Watched(client, server, answering)
        yield made
        for writer in made.writers:
            writer.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
