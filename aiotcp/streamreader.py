"""asyncio's StreamReader, which does not copy what it hands on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiotcp.pieces import NO_PIECES, Pieces

_LIMIT = 64 * 1024  # asyncio's


class StreamReader(Pieces, asyncio.StreamReader):
    """asyncio's own, except that what arrives in large pieces is kept in these pieces: `read(n)`
    returns the very bytes that came, if they are no more than `n`.

    And a task that waits for data goes on in the very call that feeds it, as a protocol's
    `data_received()` would, not in the next turn of the loop: its answer leaves with the batch that
    brought the question, and what it takes need not be kept.

    Everything else finds them in `_buffer`, as libraries do that look in there: it is the bytearray
    that it always was, with the pieces added as soon as somebody looks.
    """

    if TYPE_CHECKING:  # what the stubs leave out
        _exception: BaseException | None

        async def _wait_for_data(self, func_name: str) -> None: ...

    def __init__(self, limit: int = _LIMIT, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._pieces = NO_PIECES
        self._pieces_bytes = 0
        if loop is None or limit <= 0 or loop.get_debug():
            super().__init__(limit, loop)
            return
        # What that would do, in one call.
        self._limit = limit
        self._loop = loop
        self._before = bytearray()
        self._eof = False
        self._waiter = None
        self._exception = None
        self._transport = None
        self._paused = False

    async def read(self, n: int = -1) -> bytes:
        if n <= 0 or self._exception is not None:
            return await super().read(n)
        if not (self._before or self._pieces or self._eof):
            if self._paused or self._waiter is not None:
                await self._wait_for_data("read")
            else:  # it would do the same, as one coroutine more
                self._waiter = self._loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
        return self._take_now(n)

    async def readline(self) -> bytes:
        # asyncio's, where a whole line is there: no more is asked than that needs.
        buffer = self._before
        if buffer and not self._pieces and self._exception is None:
            end = buffer.find(b"\n") + 1
            if 0 < end <= self._limit:
                line = bytes(buffer[:end])
                del buffer[:end]
                if self._paused:
                    self._maybe_resume_transport()
                return line
        return await super().readline()
