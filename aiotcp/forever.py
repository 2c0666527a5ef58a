"""`serve_forever()`, as every server has it."""

from __future__ import annotations

import asyncio


class ForeverServer(asyncio.AbstractServer):
    """A server that somebody may await. Subclasses call `_end_forever()` when they are closed."""

    def __init__(self) -> None:
        self._closed = False
        self._serving_forever: asyncio.Future[None] | None = None

    async def serve_forever(self) -> None:
        """Accept connections until cancelled, then close and wait for those that are open."""
        if self._serving_forever is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        if self._closed:
            raise RuntimeError(f"server {self!r} is closed")
        self._serving_forever = self.get_loop().create_future()
        try:
            await self.start_serving()
            await self._serving_forever
        except asyncio.CancelledError:
            try:
                self.close()
                await self.wait_closed()
            finally:
                raise
        finally:
            self._serving_forever = None

    def _end_forever(self) -> None:
        if self._serving_forever is not None:
            self._serving_forever.cancel()
