"""Two stacks that send each other pseudo-random bytes, and what became of them."""

from __future__ import annotations

import asyncio
import hashlib
import random
from dataclasses import dataclass

from aiotcp.stack import Connection, PacketStack

_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Pace:
    """How a user reads: `bytes_at_once` every `interval_s` seconds; 0 is all, at once."""

    bytes_at_once: int = 0
    interval_s: float = 0.0


EAGER = Pace()


class Talker:
    """The user of one end: sends `size` bytes drawn from `seed`, hashes what it gets, closes.

    `done` is set once the connection has ended, however it did: see `connection.error`.
    """

    def __init__(
        self,
        stack: PacketStack,
        connection: Connection,
        size: int,
        seed: str,
        pace: Pace = EAGER,
        *,
        then_close: bool = True,
    ) -> None:
        self.stack = stack
        self.connection = connection
        self.done = asyncio.Event()
        self.sent = hashlib.sha256()
        self.received = hashlib.sha256()
        self.bytes_received = 0
        self.longest_silence_s = 0.0
        """Between two arrivals of bytes, the handshake and the first included."""
        self.ended_at: float | None = None
        self._left = size
        self._then_close = then_close
        self._random = random.Random(seed)
        self._block = memoryview(b"")
        self._pace = pace
        self._reader: asyncio.TimerHandle | None = None
        self._heard_at = stack.loop.time()
        connection.user = self

    def start(self) -> None:
        """Begin to send; for calls from outside of `progress`."""
        self.progress()
        self.stack.push(self.connection)

    def progress(self) -> None:
        conn = self.connection
        if conn.readable:
            self._hear()
        if conn.established and not conn.ended and conn.fin_seq is None:
            self._write()
        if conn.ended and not conn.readable and not self.done.is_set():
            self.ended_at = self.stack.loop.time()
            self.done.set()

    def close(self) -> None:
        self.connection.close()
        self.stack.push(self.connection)

    def _hear(self) -> None:
        if not self._pace.bytes_at_once:
            self._read(None)
        elif self._reader is None:
            self._reader = self.stack.loop.call_later(self._pace.interval_s, self._read_at_pace)

    def _read_at_pace(self) -> None:
        self._reader = None
        self._read(self._pace.bytes_at_once)
        self.start()

    def _read(self, limit: int | None) -> None:
        now = self.stack.loop.time()
        self.longest_silence_s = max(self.longest_silence_s, now - self._heard_at)
        self._heard_at = now
        for view in self.connection.take(limit):
            self.bytes_received += len(view)
            self.received.update(view)

    def _write(self) -> None:
        conn = self.connection
        while self._left or self._block:
            if not self._block:
                size = min(self._left, _BLOCK_BYTES)
                self._block = memoryview(self._random.randbytes(size))
                self.sent.update(self._block)
                self._left -= size
            accepted = conn.send(self._block)
            self._block = self._block[accepted:]
            if self._block:
                return
        if self._then_close:
            conn.shutdown()


def prefix_digest(seed: str, size: int, length: int) -> bytes:
    """Of the first `length` of the `size` bytes that a Talker with `seed` sends."""
    draw = random.Random(seed)
    digest = hashlib.sha256()
    while length > 0:
        block = draw.randbytes(min(size, _BLOCK_BYTES))
        digest.update(block[:length])
        size -= len(block)
        length -= len(block)
    return digest.digest()
