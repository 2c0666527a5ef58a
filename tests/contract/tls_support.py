"""Certificates for the TLS tests, and a TLS peer that does only what it is told."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

PEM = Path(__file__).parents[1] / "support" / "tls" / "self-signed.pem"
NAME = "stack.test"

V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

_T = TypeVar("_T")


def server_side(version: ssl.TLSVersion = V1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    context.maximum_version = version
    return context


def client_side(version: ssl.TLSVersion = V1_3) -> ssl.SSLContext:
    """Trusts the server's certificate."""
    context = ssl.create_default_context(cafile=str(PEM))
    context.maximum_version = version
    return context


class Hand:
    """TLS by hand over a connection's streams: no alert, no close_notify comes by itself."""

    def __init__(
        self,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
    ) -> None:
        self.reader, self.writer = streams
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_side,
            server_hostname=None if server_side else NAME,
        )

    async def _do(self, call: Callable[..., _T], *arguments: Any) -> _T:
        while True:
            try:
                return call(*arguments)
            except ssl.SSLWantReadError:
                self._say()
                data = await self.reader.read(65536)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            finally:
                self._say()

    def _say(self) -> None:
        data = self._outgoing.read()
        if data:
            self.writer.write(data)

    async def handshake(self) -> None:
        await self._do(self._ssl.do_handshake)

    async def write(self, data: bytes) -> None:
        await self._do(self._ssl.write, data)

    async def read(self, count: int = 65536) -> bytes:
        """b"" once the other side has sent close_notify."""
        data: bytes = await self._do(self._ssl.read, count)
        return data

    async def unwrap(self) -> None:
        """close_notify, and that of the other side."""
        await self._do(self._ssl.unwrap)
