"""An asyncio transport over one TCP connection of the stack.

It keeps asyncio's promises to a protocol; TCP itself is the connection's business. The two meet in
few places: `connection.take()` gives bytes that arrived (and thereby opens the receive window),
`connection.send()` takes bytes like send(2), as many as fit, and `progress()` is how the stack says
"look again": bytes came, room to send came, or the connection ended.

What waits where: bytes that the connection has accepted are as good as written, and like a
kernel's send buffer they are not counted by `get_write_buffer_size()`. Only what did not fit waits
here, and only that holds up `close()` and pauses the protocol. A closed transport is gone one turn
of the loop later; its connection lives on in the stack until TCP's own close is through.
"""

from __future__ import annotations

import asyncio
from asyncio import constants
from asyncio.log import logger
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol
from warnings import warn

from aiotcp.errors import broken_pipe
from aiotcp.extrainfo import Described
from aiotcp.views import view_of

if TYPE_CHECKING:
    from aiotcp.stack import Connection, PacketStack

_READ_BYTES = 256 * 1024
"""Most bytes in one `data_received()`, as in asyncio: what a protocol gets before it can pause."""

_HIGH_WATER = 64 * 1024
"""Where writing pauses, as in asyncio, until a program says something else."""
_NONE_LEFT: deque[memoryview] = deque()  # what most keep, all their life: never added to


class _Owner(Protocol):
    """Whoever counts a transport among its own: the server that accepted it."""

    def _detach(self, transport: Transport) -> None: ...


class Transport(Described):
    """One connection, as asyncio protocols and stream writers see it.

    Made by `create_connection()` and servers, never by users. All callbacks of the protocol run in
    `context`: that of the caller of `create_connection()` or `create_server()`.

    What goes beyond asyncio: `get_extra_info("connection")` is TCP's own side of it (state,
    variables, `urgent_remaining`, the last `soft_error`), `get_extra_info("tcp_info")` what Linux
    tells by TCP_INFO. `write_urgent()`. And two methods that a protocol may have, which are called
    even while reading is paused:

    `urgent_received(nbytes)`: the peer's urgent data ends `nbytes` bytes ahead of what was
    delivered; again whenever that end moves on.

    `error_received(exc)`: the connection has a problem and goes on trying: an ICMP error, or R1
    retransmissions without an answer (`Options.retries1`). As in `asyncio.DatagramProtocol`.
    """

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.FALLBACK

    __slots__ = (
        "__weakref__",
        "_again",
        "_buffered",
        "_closing",
        "_context",
        "_discarded",
        "_entered",
        "_eof_received",
        "_eof_written",
        "_given_up",
        "_in_progress",
        "_late",
        "_lost",
        "_overflow",
        "_overflow_bytes",
        "_owner",
        "_paused",
        "_protocol",
        "_started",
        "_urgent_bytes",
    )

    def __init__(
        self,
        stack: PacketStack,
        connection: Connection,
        protocol: asyncio.BaseProtocol,
        context: Context,
        waiter: asyncio.Future[None] | None = None,
        owner: _Owner | None = None,
    ) -> None:
        self._loop = loop = stack.loop
        self._extra = {}
        self._protocol_paused = False
        self._high_water = _HIGH_WATER
        self._low_water = _HIGH_WATER // 4
        self._stack = stack
        self._connection = connection
        self._context = context
        self._owner = owner
        self._socket = None
        self._overflow = _NONE_LEFT
        self._overflow_bytes = 0
        self._urgent_bytes = 0  # of the overflow, up to the end of urgent data
        self._in_progress = False  # the stack called, and runs output afterwards
        self._late = False  # a task has answered, and is expected to do so again
        self._entered = False  # the protocol's context is
        self._again = False  # progress() was called meanwhile
        self._started = False  # connection_made() has run; reading may begin
        self._paused = False  # pause_reading() was called
        self._closing = False  # close() was called, or the connection was lost
        self._given_up = False  # abort(), not close(), is what becomes of the connection
        self._discarded = False  # and bytes that it never got were thrown away
        self._eof_received = False  # eof_received() was called: nothing more to read
        self._eof_written = False  # write_eof() was called
        self._lost = 0  # connection_lost() is on its way (1), writes since then (the rest)
        self.set_protocol(protocol)
        connection.user = self
        if waiter is not None:
            loop.call_soon(self._enter, self._begin, context=context)
            loop.call_soon(_set_unless_done, waiter, context=context)

    def begin(self) -> None:
        """Of an accepted connection: `connection_made()`, and what has arrived with the end of the
        handshake. Called by the stack, which runs output afterwards."""
        self._in_progress = True
        try:
            self._context.run(self._enter, self._begin)
        finally:
            self._in_progress = False
            self._stack.expect_answer(self._connection)

    def __del__(self) -> None:
        # While the stack has the connection, it has us: so the one or the other has ended.
        if getattr(self, "_loop", None) is not None:
            warn(f"unclosed transport {self!r}", ResourceWarning, stacklevel=1, source=self)

    # The protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol: Any = protocol
        # By attribute, too: uvloop's SSLProtocol is no BufferedProtocol by inheritance.
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol) or (
            hasattr(protocol, "get_buffer") and not isinstance(protocol, asyncio.Protocol)
        )

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    # What the stack calls

    def progress(self) -> None:
        """Look at the connection again. Called by the stack, which runs output afterwards: one
        output for all that the protocol writes in answer."""
        if self._entered:
            self._again = True
            return
        self._in_progress = self._entered = True
        try:
            self._context.run(self._look)
            if self._again:
                self._context.run(self._look_again)
        except (SystemExit, KeyboardInterrupt):
            self._look_later()
            raise
        finally:
            self._in_progress = self._entered = False

    def _enter(self, function: Callable[..., None], *args: object) -> None:
        """Call what calls the protocol. A context can not be entered twice: where the protocol
        makes the stack call us meanwhile (`aclose()` in an eager task), we look afterwards."""
        self._entered = True
        try:
            function(*args)
            self._look_again()
        except (SystemExit, KeyboardInterrupt):
            self._look_later()
            raise
        finally:
            self._entered = False

    def _look_later(self) -> None:
        """At the rest, if the loop runs again after what ends it now."""
        if self._loop is not None:
            self._again = True
            self._loop.call_soon(self._enter, self._look_again, context=self._context)

    def _look_again(self) -> None:
        while self._again:
            self._again = False
            self._look()
            self._push()

    def _push(self) -> None:
        if not self._in_progress:
            self._stack.push(self._connection)

    def _look(self) -> None:
        connection = self._connection
        if connection.urgent_news or connection.error_news:
            self._tell_news()
        self._read()
        if self._overflow:
            self._flush()

    # Reading

    def is_reading(self) -> bool:
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        if self.is_reading():
            self._paused = True

    def resume_reading(self) -> None:
        if self._closing or not self._paused:
            return
        self._paused = False
        self._loop.call_soon(self._enter, self._read_and_push, context=self._context)

    def _begin(self) -> None:
        try:
            self._protocol.connection_made(self)
        finally:  # the loop reports what it raises, and goes on
            self._started = True
            self._tell_news()
            self._read()
            self._push()

    def _read_and_push(self) -> None:
        if self._wants_input():
            self._read()
            self._push()

    def _read(self) -> None:
        """Deliver what has arrived: bytes first, then the end of the stream or of the connection.

        A protocol that doesn't read (paused, or past the end of the stream) doesn't learn of the
        connection's end either until it writes; as with a kernel socket that nobody polls.
        """
        connection = self._connection
        while self._started and not (self._closing or self._paused or self._eof_received):
            if connection.received_bytes:
                if self._buffered:
                    self._deliver_into_buffer()
                else:
                    self._deliver_bytes()
                if self._late and self._in_progress and connection.unsent <= 0:
                    self._late = False
                    self._stack.expect_answer(connection)
                continue
            if connection.fin_reached:
                self._deliver_eof()
            elif connection.ended:
                self._force_close(connection.error)
            return

    def _tell_news(self) -> None:
        """Tell the protocol of urgent data (MUST-32) and soft errors (MUST-47), if it asks."""
        connection = self._connection
        if connection.urgent_news and self._started and not self._closing:
            connection.urgent_news = False
            if hasattr(self._protocol, "urgent_received"):
                self._call("urgent_received", connection.urgent_remaining)
        if connection.error_news and self._started and not self._closing:
            connection.error_news = False
            if hasattr(self._protocol, "error_received") and not connection.ended:
                self._call("error_received", connection.soft_error)

    def _deliver_bytes(self) -> None:
        try:
            self._protocol.data_received(b"".join(self._connection.take(_READ_BYTES)))
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.data_received() call failed.")

    def _deliver_into_buffer(self) -> None:
        filled = 0
        try:
            buffer = self._protocol.get_buffer(-1)
            if self._lost:
                return
            if not len(buffer):
                raise RuntimeError("get_buffer() returned an empty buffer")
            view = memoryview(buffer)
            with view if type(buffer) is bytearray else view.cast("B") as room:
                if room.readonly:
                    raise TypeError("get_buffer() returned a read-only buffer")
                for chunk in self._connection.take(len(room)):
                    end = filled + len(chunk)
                    room[filled:end] = chunk
                    filled = end
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.get_buffer() call failed.")
            return
        self._call("buffer_updated", filled)

    def _deliver_eof(self) -> None:
        self._eof_received = True
        if not self._call("eof_received"):
            self.close()

    def _call(self, name: str, *args: object) -> Any:
        """Call the protocol; whatever it raises ends the connection."""
        try:
            return getattr(self._protocol, name)(*args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, f"Fatal error: protocol.{name}() call failed.")

    # Writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if (
            type(data) is bytes
            and not (self._overflow or self._lost)
            and self._connection.sending.append_whole(data)
        ):
            if not self._in_progress:
                self._late = True
                self._stack.push_soon(self._connection)
            return
        self._write((data,), "write")

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self._write(list_of_data, "writelines")

    def write_urgent(self, data: bytes | bytearray | memoryview) -> None:
        """Write `data`, all of it urgent: the peer is told at once where it ends (MUST-30).

        For old protocols such as telnet: new ones should not use it (RFC 6093 6). A peer on kernel
        sockets takes the last byte of it for out-of-band data.
        """
        self._write((data,), "write_urgent", urgent=True)

    def _write(
        self,
        buffers: Iterable[bytes | bytearray | memoryview],
        name: str,
        *,
        urgent: bool = False,
    ) -> None:
        views = [view_of(data) for data in buffers]
        if self._eof_written:
            raise RuntimeError(f"Cannot call {name}() after write_eof()")
        if not any(views):
            return
        if self._lost:
            if self._lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
                logger.warning("write() on a transport whose connection is lost")
            self._lost += 1
            return
        idle = not self._overflow
        self._overflow = overflow = self._overflow or deque()
        for view in filter(None, views):
            overflow.append(view)
            self._overflow_bytes += len(view)
        if urgent:
            self._urgent_bytes = self._overflow_bytes
        # Send first: only what is left over counts against the high-water mark.
        if idle and self._send() and not self._in_progress:
            # While something is on its way, more may follow in this turn: whole frames then.
            soon = self._connection.scoreboard.in_flight and not urgent
            (self._stack.push_soon if soon else self._stack.push)(self._connection)
        self._maybe_pause_protocol()

    def _send(self) -> bool:
        """Give the connection what it takes. False: it takes nothing any more, and is lost."""
        overflow = self._overflow
        send = self._connection.send
        try:
            while overflow:
                view = overflow[0]
                if self._urgent_bytes:
                    sent = send(view, urgent=self._urgent_bytes <= len(view))
                    self._urgent_bytes = max(self._urgent_bytes - sent, 0)
                else:
                    sent = send(view)
                self._overflow_bytes -= sent
                if sent < len(view):
                    overflow[0] = view[sent:]
                    break
                overflow.popleft()
            self._connection.more = bool(overflow)
        except OSError as exc:
            if self._eof_received and isinstance(exc, ConnectionResetError):
                exc = broken_pipe()  # as send(2): a reset is no surprise once the peer has closed
            # Its traceback holds frames that hold the connection, which holds the error.
            self._fatal_error(exc.with_traceback(None), "Fatal write error on socket transport")
            return False
        return True

    def _flush(self) -> None:
        if not self._send():
            return
        self._maybe_resume_protocol()  # which may write
        if self._overflow:
            return
        if self._closing:
            self._part()
        elif self._eof_written:
            self._connection.shutdown()

    def write_eof(self) -> None:
        if self._closing or self._eof_written:
            return
        self._eof_written = True
        if not self._overflow:
            self._connection.shutdown()
            self._push()

    # Closing

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if not self._overflow:
            self._part()

    def _part(self) -> None:
        """The connection has all that was written. Its FIN leaves now, with the last bytes and the
        acknowledgment of theirs, and not after connection_lost()."""
        connection = self._connection
        if connection.ended or connection.received_bytes or self._lingers_zero:  # no FIN, then
            self._stack.push_later(connection)
        else:
            connection.shutdown()
            if not self._in_progress:
                self._stack.push_soon(connection)
        self._lose(None)

    def abort(self) -> None:
        self._force_close(None)

    def _force_close(self, exc: BaseException | None) -> None:
        """Give up what waits to be written and let go of the connection, because of `exc`."""
        if self._lost:
            return
        self._discarded = bool(self._overflow)
        self._overflow.clear()
        self._overflow_bytes = 0
        self._given_up = self._closing = True
        self._lose(exc)

    def _fatal_error(self, exc: BaseException, message: str) -> None:
        """Let go because of `exc`: the network's error, or a bug in the protocol (reported)."""
        if isinstance(exc, OSError):
            if self._loop.get_debug():
                logger.debug("%r: %s", self, message, exc_info=exc)
        else:
            protocol = self._protocol
            self._loop.call_exception_handler(
                {"message": message, "exception": exc, "transport": self, "protocol": protocol}
            )
        self._force_close(exc)

    def _lose(self, exc: BaseException | None) -> None:
        if not self._lost:
            self._lost = 1
            self._loop.call_soon(self._enter, self._connection_lost, exc, context=self._context)

    def _connection_lost(self, exc: BaseException | None) -> None:
        connection, owner = self._connection, self._owner
        try:
            self._protocol.connection_lost(exc)
        finally:
            if self._given_up or self._lingers_zero:
                connection.abort(discarded=self._discarded or self._lingers_zero)
            else:
                connection.close()
            self._stack.released(connection)
            if self._socket is not None:
                self._socket.invalidate()
            # Cut the cycles: a protocol holds its transport, and often much else.
            self._protocol = self._owner = None
            self._loop = None  # type: ignore[assignment]
            if owner is not None:
                owner._detach(self)


def _set_unless_done(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
