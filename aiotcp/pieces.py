"""What a StreamReader has to read, and how it comes and goes: all that is no coroutine.

It is apart from `streamreader.StreamReader`, which inherits it, so that it can be compiled with the
stack (setup.py): what derives from asyncio's class can't.
"""

from __future__ import annotations

from asyncio import current_task
from collections import deque
from operator import index
from typing import Any, Final

from aiotcp.mypyc import mypyc_attr

_SMALL_BYTES: Final = 4096
"""Less than this is cheaper to copy than to keep apart."""

NO_PIECES: Final[deque[Any]] = deque()
"""What most readers have, all their life: nothing is ever added to it."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Pieces:
    """A bytearray, and behind it the pieces that are large enough to be kept as they came.

    `_buffer` is both, as that one bytearray. `_eof` and the other names of asyncio's are set by its
    StreamReader, the other base of ours.
    """

    __slots__ = (
        "_before",
        "_eof",
        "_limit",
        "_loop",
        "_paused",
        "_pieces",
        "_pieces_bytes",
        "_transport",
        "_waiter",
    )

    _before: bytearray
    _eof: bool
    _limit: Any
    _loop: Any
    _paused: bool
    _pieces: deque[Any]
    _pieces_bytes: int
    _transport: Any
    _waiter: Any

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

    def feed_data(self, data: Any) -> None:
        assert not self._eof, "feed_data after feed_eof"
        if not data:
            return
        if type(data) is bytes and len(data) >= _SMALL_BYTES:
            if self._pieces is NO_PIECES:
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
            self._go_on(waiter)
        if (
            self._waiter is None  # else it has seen that, and wants more
            and len(self._before) + self._pieces_bytes > 2 * self._limit
            and self._transport is not None
            and not self._paused
        ):
            try:
                self._transport.pause_reading()
            except NotImplementedError:
                self._transport = None  # as asyncio: the buffer grows
            else:
                self._paused = True

    def _go_on(self, waiter: Any) -> None:
        """Let the task that waits for data have it: at once, where no other one is running."""
        # asyncio's own futures have them, C or not, until they are done.
        callbacks = getattr(waiter, "_callbacks", None)
        if not callbacks or len(callbacks) > 1 or current_task(self._loop) is not None:
            if not waiter.done():
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

    def _take_now(self, n: Any) -> bytes:
        """Up to `n` bytes of what is there, without waiting for any. Compiled or not, what has
        `__index__` is taken for an int, as asyncio takes it."""
        buffer = self._before
        if self._pieces:
            if not buffer:
                data = self._take(index(n))
                if self._paused:
                    self._maybe_resume_transport()
                return data
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

    def _take(self, n: int) -> bytes:
        """Up to `n` bytes of the pieces."""
        pieces = self._pieces
        first = pieces[0]
        if len(pieces) == 1 and type(first) is bytes and len(first) <= n:  # as it mostly is
            pieces.clear()
            self._pieces_bytes = 0
            return first
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
