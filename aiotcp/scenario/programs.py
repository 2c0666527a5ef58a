"""The programs of a scenario: asyncio streams that do what the script says, and tell what they get.

They are told what any asyncio program would be told, and use nothing but asyncio's calls: the same
programs run on a stack of ours and on the kernel's sockets.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

_SHOWN_BYTES = 40
"""Text up to so long is shown as it is."""

Tell = Callable[[str], None]


class Sockets(Protocol):
    """What a program opens connections by: a stack of ours, or `asyncio` itself."""

    async def open_connection(
        self, host: str, port: int, *, local_addr: tuple[str, int] | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]: ...

    async def start_server(
        self, client_connected_cb: Any, host: str, port: int, *, backlog: int = 100
    ) -> asyncio.AbstractServer: ...


class Streams:
    """What every byte that programs wrote on one connection must come out as, on the other side.

    `wrong` says where that did not hold."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self._written: dict[tuple[Any, Any], bytearray] = {}
        self._read: dict[tuple[Any, Any], int] = {}

    def begins(self, writer: asyncio.StreamWriter) -> None:
        """A new connection; the last one of these addresses and ports no longer counts."""
        ends = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
        for way in (ends, ends[::-1]):
            self._written[way] = bytearray()
            self._read[way] = 0

    def wrote(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        ends = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
        self._written.setdefault(ends, bytearray()).extend(data)

    def read(self, writer: asyncio.StreamWriter, data: bytes, who: str) -> bool:
        """Whether it is what was written."""
        ends = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        at = self._read.get(ends, 0)
        written = self._written.get(ends)
        right = written is None or written[at : at + len(data)] == data
        if not right:
            self.wrong.append(f"{who} read what nobody wrote, within {len(data)} bytes at {at}")
        self._read[ends] = at + len(data)
        return right


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@dataclass(slots=True)
class Programs:
    """All programs of one host. `tell` notes what they do and are told, `address` is the host's."""

    name: str
    address: str
    sockets: Sockets
    tell: Tell
    streams: Streams
    resolve: Callable[[str], str]
    connections: list[_Connection] = field(default_factory=list)
    servers: list[asyncio.AbstractServer] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    reading: dict[int, asyncio.Task[None]] = field(default_factory=dict)

    async def do(self, verb: str, nth: int, args: dict[str, Any]) -> None:
        """One step. What takes time goes on in a task. Raises LookupError for a connection that
        there is not."""
        if verb == "listen":
            await self._listen(**args)
        elif verb == "connect":
            self._start(self._connect(**args))
        elif verb == "unlisten":
            for server in self.servers:
                server.close()
        else:
            if nth > len(self.connections):
                raise LookupError(f"{self.name} has no connection number {nth} yet")
            getattr(self, f"_{verb}")(nth, **args)

    def stop(self) -> None:
        """The host is gone: its programs do nothing more, and learn nothing."""
        for task in self.tasks:
            task.cancel()

    def close_all(self) -> None:
        """As when the process that they are ends: every connection is closed."""
        self.stop()
        for server in self.servers:
            server.close()
        for connection in self.connections:
            connection.writer.close()

    def end(self) -> None:
        """The play is over: leave nothing open."""
        self.stop()
        for server in self.servers:
            server.close()
        for connection in self.connections:
            connection.writer.transport.abort()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def _listen(self, port: int, backlog: int = 100) -> None:
        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._has(reader, writer)
            self.tell("accepted")

        try:
            server = await self.sockets.start_server(accepted, self.address, port, backlog=backlog)
        except OSError as exc:
            self.tell(named(exc))
        else:
            self.servers.append(server)

    async def _connect(self, to_host: str, to_port: int, local_port: int = 0) -> None:
        local = (self.address, local_port) if local_port else None
        try:
            reader, writer = await self.sockets.open_connection(
                self.resolve(to_host), to_port, local_addr=local
            )
        except OSError as exc:
            self.tell(named(exc))
        else:
            self.streams.begins(writer)
            self._has(reader, writer)
            self.tell("connected")

    def _has(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(_Connection(reader, writer))
        # Streams don't pass it on; a protocol of one's own would have this as a method.
        protocol: Any = writer.transport.get_protocol()
        protocol.urgent_received = lambda nbytes: self.tell(
            f"is told of urgent data up to {nbytes} bytes ahead"
        )

    def _of(self, nth: int) -> _Connection:
        return self.connections[nth - 1]

    def _write(self, nth: int, data: bytes, drain: bool = False) -> None:
        writer = self._of(nth).writer
        try:
            writer.write(data)
        except (OSError, RuntimeError) as exc:
            self.tell(named(exc))
            return
        self.streams.wrote(writer, data)
        if drain:
            self._start(self._drain(writer))

    async def _drain(self, writer: asyncio.StreamWriter) -> None:
        try:
            await writer.drain()
        except OSError as exc:
            self.tell(named(exc))
        else:
            self.tell("may write more")

    def _urgent(self, nth: int, data: bytes) -> None:
        writer = self._of(nth).writer
        writer.transport.write_urgent(data)  # type: ignore[attr-defined]
        self.streams.wrote(writer, data)

    def _read(self, nth: int, exactly: int = 0, most: int = 1 << 16) -> None:
        connection = self._of(nth)

        async def read() -> bytes:
            if exactly:
                return await connection.reader.readexactly(exactly)
            return await connection.reader.read(most)

        self._in_turn(nth, lambda: self._reads(connection, read, "read {}", "read the end"))

    def _read_all(self, nth: int) -> None:
        connection = self._of(nth)
        told = "read {} and the end"
        self._in_turn(
            nth, lambda: self._reads(connection, connection.reader.read, told, "read the end")
        )

    def _read_on(self, nth: int) -> None:
        connection = self._of(nth)

        async def on() -> None:
            async def read() -> bytes:
                return await connection.reader.read(1 << 16)

            while await self._reads(connection, read, "read {}", "read the end"):
                pass

        self._in_turn(nth, on)

    def _in_turn(self, nth: int, reads: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """One reader of a stream at a time."""
        before = self.reading.get(nth)

        async def after() -> None:
            if before is not None:
                await asyncio.wait([before])
            await reads()

        self.reading[nth] = self._start(after())

    async def _reads(
        self,
        connection: _Connection,
        read: Callable[[], Coroutine[Any, Any, bytes]],
        told: str,
        ended: str,
    ) -> bool:
        try:
            data = await read()
        except asyncio.IncompleteReadError as exc:
            right = self.streams.read(connection.writer, exc.partial, self.name)
            self.tell(f"read {shown(exc.partial, right)}, and then the end")
            return False
        except OSError as exc:
            self.tell(named(exc))
            return False
        right = self.streams.read(connection.writer, data, self.name)
        self.tell(told.format(shown(data, right)) if data else ended)
        return bool(data)

    def _pause(self, nth: int) -> None:
        self._of(nth).writer.transport.pause_reading()  # type: ignore[attr-defined]

    def _resume(self, nth: int) -> None:
        self._of(nth).writer.transport.resume_reading()  # type: ignore[attr-defined]

    def _take(self, nth: int, each: int, every: float | None = None) -> None:
        """As a protocol does that offers a buffer of so many bytes, and goes on after a while, or
        when it is told to."""
        writer = self._of(nth).writer
        taking = _Takes(self, writer, each, every)
        writer.transport.set_protocol(taking)

    def _limit(self, nth: int, high: int) -> None:
        self._of(nth).writer.transport.set_write_buffer_limits(high=high)

    def _close_at_end(self, nth: int) -> None:
        """As a protocol does whose `eof_received()` does not ask to stay half open."""
        self._of(nth).writer.transport.set_protocol(_ClosesAtEnd(self.tell))

    def _half_close(self, nth: int) -> None:
        self._of(nth).writer.write_eof()

    def _close(self, nth: int) -> None:
        writer = self._of(nth).writer
        writer.close()
        self._start(self._closed(writer))

    async def _closed(self, writer: asyncio.StreamWriter) -> None:
        try:
            await writer.wait_closed()
        except OSError as exc:
            self.tell(named(exc))

    def _abort(self, nth: int) -> None:
        self._of(nth).writer.transport.abort()


class _ClosesAtEnd(asyncio.Protocol):
    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def data_received(self, data: bytes) -> None:
        self._tell(f"read {shown(data)}")

    def eof_received(self) -> bool:
        self._tell("read the end, and closes")
        return False


class _Takes(asyncio.BufferedProtocol):
    def __init__(
        self, programs: Programs, writer: asyncio.StreamWriter, each: int, every: float | None
    ) -> None:
        self._programs = programs
        self._writer = writer
        self._transport: Any = writer.transport
        self._buffer = bytearray(each)
        self._every = every
        self._taken = 0

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._buffer[:nbytes])
        right = self._programs.streams.read(self._writer, data, self._programs.name)
        self._taken += nbytes
        self._transport.pause_reading()
        if self._every is None:
            self._programs.tell(f"read {shown(data, right)}")
        else:
            asyncio.get_running_loop().call_later(self._every, self._goes_on)

    def _goes_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        ended = "read the end" if self._every is None else f"read {self._taken} bytes and the end"
        self._programs.tell(ended)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._programs.tell(named(exc))


def named(exc: Exception) -> str:
    """An error as a program sees it: its type, and its number's name if it has one."""
    number = getattr(exc, "errno", None)
    name = errno.errorcode.get(number) if isinstance(number, int) else None
    return type(exc).__name__ + (f" {name}" if name else "")


def shown(data: bytes, right: bool = True) -> str:
    """Short text as it is, the rest by its length; and whether it is `right`."""
    text = repr(data) if len(data) <= _SHOWN_BYTES else f"{len(data)} bytes"
    return text if right else f"{text} that are not as they were written"
