"""The echo service: everything that arrives goes back; end of file, too (RFC 862)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiotcp.serve.service import Listening, curl
from aiotcp.streams import Stack

_CHUNK_BYTES = 256 * 1024


class Echo:
    """Echoes on `port` of each address in `hosts` until stopped."""

    what = "echo"

    def __init__(self, hosts: Sequence[str], port: int) -> None:
        self._hosts = hosts
        self._port = port
        self._stopped = asyncio.Event()

    def commands(self, host: str, port: int) -> list[str]:
        return [curl("telnet", host, port)]

    async def run(self, stack: Stack, listening: Listening) -> None:
        server = await stack.start_server(_echo, self._hosts, self._port, limit=_CHUNK_BYTES)
        listening([sock.getsockname()[:2] for sock in server.sockets])
        await self._stopped.wait()
        server.close()
        server.close_clients()

    def stop(self) -> None:
        self._stopped.set()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # the peer has given up; there is nobody to tell
    finally:
        writer.close()
