"""asyncio's StreamReader, which does not copy what it hands on."""

from __future__ import annotations

import asyncio
from asyncio import current_task
from collections import deque
from typing import TYPE_CHECKING, Any

_LIMIT = 64 * 1024  # asyncio's

_SMALL_BYTES = 4096
"""Less than this is cheaper to copy than to keep apart."""

_NO_PIECES: deque[bytes | memoryview] = deque()
"""What most readers have, all their life: nothing is ever added to it."""


class StreamReader(asyncio.StreamReader):
    """asyncio's own, except that what arrives in large pieces is kept in these pieces: `read(n)`
    returns the very bytes that came, if they are no more than `n`.

    And a task that waits for data goes on in the very call that feeds it, as a protocol's
    `data_received()` would, not in the next turn of the loop: its answer leaves with the batch that
    brought the question, and what it takes need not be kept.

    Everything else finds them in `_buffer`, as libraries do that look in there: it is the bytearray
    that it always was, with the pieces added as soon as somebody looks.
    """

    if TYPE_CHECKING:  # what the stubs leave out
        _eof: bool
        _exception: BaseException | None
        _limit: int
        _paused: bool
        _transport: Any
        _loop: asyncio.AbstractEventLoop
        _waiter: asyncio.Future[None] | None

        async def _wait_for_data(self, func_name: str) -> None: ...

    def __init__(self, limit: int = _LIMIT, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._pieces = _NO_PIECES
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

    @property
    def _buffer(self) -> bytearray:
        if self._pieces:
            for piece in self._pieces:
                self._before.extend(piece)
            self._pieces.clear()
            self._pieces_bytes = 0
        return self._before

    @_buffer.setter
    def _buffer(self, value: bytearray) -> None:
        self._before = value  # comes before the pieces
        if self._pieces:
            self._pieces.clear()
        self._pieces_bytes = 0

    def feed_data(self, data: bytes | bytearray | memoryview) -> None:  # type: ignore[override]
        assert not self._eof, "feed_data after feed_eof"
        if not data:
            return
        if type(data) is bytes and len(data) >= _SMALL_BYTES:
            if self._pieces is _NO_PIECES:
                self._pieces = deque()
            self._pieces.append(data)
            self._pieces_bytes += len(data)
        elif self._pieces:
            self._buffer.extend(data)
        else:
            self._before.extend(data)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                self._go_on(waiter)
        if (
            len(self._before) + self._pieces_bytes > 2 * self._limit
            and self._transport is not None
            and not self._paused
            and self._waiter is None  # it has seen that, and wants more
        ):
            try:
                self._transport.pause_reading()
            except NotImplementedError:
                self._transport = None  # as asyncio: the buffer grows
            else:
                self._paused = True

    def _go_on(self, waiter: asyncio.Future[None]) -> None:
        """Let the task that waits for data have it: at once, where no other one is running."""
        callbacks = getattr(waiter, "_callbacks", None)  # asyncio's own futures have it, C or not
        if not callbacks or len(callbacks) > 1 or current_task(self._loop) is not None:
            waiter.set_result(None)
            return
        wake_up, context = callbacks[0]
        waiter.remove_done_callback(wake_up)
        waiter.set_result(None)
        try:
            context.run(wake_up, waiter)
        except RuntimeError:  # whoever feeds does so in the context of the task: it is entered
            self._loop.call_soon(wake_up, waiter, context=context)

    def _maybe_resume_transport(self) -> None:
        if self._paused and len(self._before) + self._pieces_bytes <= self._limit:
            self._paused = False
            self._transport.resume_reading()

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
        if not self._pieces:
            buffer = self._before
        elif not self._before:
            data = self._take(n)
            self._maybe_resume_transport()
            return data
        else:
            buffer = self._buffer
        if len(buffer) <= n:
            data = bytes(buffer)
            buffer.clear()
        else:
            data = bytes(memoryview(buffer)[:n])
            del buffer[:n]
        if self._paused:
            self._maybe_resume_transport()
        return data

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

    def _take(self, n: int) -> bytes:
        """Up to `n` bytes of the pieces."""
        pieces = self._pieces
        taken: list[bytes | memoryview] = []
        left = n
        while pieces and left:
            piece = pieces.popleft()
            size = len(piece)
            if size > left:
                view = memoryview(piece)
                pieces.appendleft(view[left:])
                piece, size = view[:left], left
            taken.append(piece)
            left -= size
        self._pieces_bytes -= n - left
        first = taken[0]
        return first if len(taken) == 1 and type(first) is bytes else b"".join(taken)
