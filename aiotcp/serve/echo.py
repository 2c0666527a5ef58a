"""The echo service: everything that arrives goes back; end of file, too (RFC 862)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiotcp.serve.service import Listening, curl
from aiotcp.streams import Stack

if TYPE_CHECKING:
    from aiotcp.serve.certificate import Certificate

_CHUNK_BYTES = 256 * 1024


class Echo:
    """Echoes on `port` of each address in `hosts` until stopped; with a certificate, over TLS."""

    what = "echo"

    def __init__(
        self, hosts: Sequence[str], port: int, certificate: Certificate | None = None
    ) -> None:
        self._hosts = hosts
        self._port = port
        self._certificate = certificate
        self._stopped = asyncio.Event()

    def commands(self, host: str, port: int) -> list[str]:
        if self._certificate is not None:
            return [self._certificate.s_client(host, port)]
        return [curl("telnet", host, port)]

    async def run(self, stack: Stack, listening: Listening) -> None:
        server = await stack.start_server(
            _echo,
            self._hosts,
            self._port,
            limit=_CHUNK_BYTES,
            ssl=None if self._certificate is None else self._certificate.context,
        )
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
