"""What moves bytes between one connection and the protocol of its transport.

Three objects stand between TCP and a program. The connection is TCP. The pump is the connection's
user: it does what there is to do for each packet and each write, and keeps asyncio's promises to
the protocol. `transport.Transport` is what the program holds of it, one of asyncio's transports; it
hands calls on to here, and keeps only what asyncio's flow control needs. They are two because
mypyc can compile a class of ours with the stack (setup.py), but none that derives from asyncio's.

Pump and connection meet in few places: `connection.take()` gives bytes that arrived (and thereby
opens the receive window), `connection.send()` takes bytes like send(2), as many as fit, and
`progress()` is how the stack says "look again": bytes came, room to send came, or the connection
ended.

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
from typing import TYPE_CHECKING, Any, Final

from aiotcp.errors import broken_pipe
from aiotcp.views import view_of

if TYPE_CHECKING:
    from aiotcp.sockets import StackSocket
    from aiotcp.stack import Connection, PacketStack
    from aiotcp.transport import Transport

_READ_BYTES: Final = 256 * 1024
"""Most bytes in one `data_received()`, as in asyncio: what a protocol gets before it can pause."""

_BLOCK_BYTES: Final = 4096
"""From this size on it counts for a write's speed whether its memory was in use a moment ago."""

_NONE_LEFT: Final[deque[memoryview]] = deque()  # what most keep, all their life: never added to


class Pump:
    """One connection's user, for `transport` and its protocol. All callbacks run in `context`.

    It holds its transport, as that holds it, until connection_lost() has run; whoever has the
    connection keeps both alive.
    """

    __slots__ = (
        "_again",
        "_buffered",
        "_context",
        "_discarded",
        "_entered",
        "_eof_received",
        "_eof_written",
        "_given_up",
        "_in_progress",
        "_late",
        "_lost",
        "_started",
        "_transport",
        "_urgent_bytes",
        "closing",
        "connection",
        "overflow",
        "overflow_bytes",
        "paused",
        "protocol",
        "socket",
        "stack",
    )

    def __init__(
        self,
        transport: Transport,
        stack: PacketStack,
        connection: Connection,
        protocol: asyncio.BaseProtocol,
        context: Context,
    ) -> None:
        self.stack = stack
        self.connection = connection
        self.socket: StackSocket | None = None
        """What get_extra_info() has given out, so as to have its SO_LINGER; None: nothing yet."""
        self.overflow = _NONE_LEFT
        """What was written and does not fit into the connection yet, and how much that is."""
        self.overflow_bytes = 0
        self.paused = False
        """pause_reading() was called."""
        self.closing = False
        """close() was called, or the connection was lost."""
        self._transport: Any = transport  # None: connection_lost() has run
        self._context = context
        self._urgent_bytes = 0  # of the overflow, up to the end of urgent data
        self._in_progress = False  # the stack called, and runs output afterwards
        self._late = False  # a task has answered, and is expected to do so again
        self._entered = False  # the protocol's context is
        self._again = False  # progress() was called meanwhile
        self._started = False  # connection_made() has run; reading may begin
        self._given_up = False  # abort(), not close(), is what becomes of the connection
        self._discarded = False  # and bytes that it never got were thrown away
        self._eof_received = False  # eof_received() was called: nothing more to read
        self._eof_written = False  # write_eof() was called
        self._lost = 0  # connection_lost() is on its way (1), writes since then (the rest)
        self.set_protocol(protocol)
        connection.user = self

    def __repr__(self) -> str:
        connection = self.connection
        return f"<Pump local={connection.local} remote={connection.remote}>"

    def begin_soon(self, waiter: asyncio.Future[None]) -> None:
        """Of a connection that was opened here: `connection_made()` in the next turn of the loop,
        and then `waiter` is told."""
        loop, context = self.stack.loop, self._context
        loop.call_soon(self._enter, self._begin_and_push, context=context)
        loop.call_soon(_set_unless_done, waiter, context=context)

    def begin(self) -> None:
        """Of an accepted connection: `connection_made()`, and what has arrived with the end of the
        handshake. Called by the stack, which runs output afterwards."""
        self._in_progress = True
        try:
            self._context.run(self._enter, self._begin)
        finally:
            self._in_progress = False
            self.stack.expect_answer(self.connection)

    # The protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol: Any = protocol
        # By attribute, too: uvloop's SSLProtocol is no BufferedProtocol by inheritance.
        self._buffered = hasattr(protocol, "get_buffer") and (
            isinstance(protocol, asyncio.BufferedProtocol)
            or not isinstance(protocol, asyncio.Protocol)
        )

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
        if self._transport is not None:
            self._again = True
            self.stack.loop.call_soon(self._enter, self._look_again, context=self._context)

    def _look_again(self) -> None:
        while self._again:
            self._again = False
            self._look()
            self._push()

    def _push(self) -> None:
        if not self._in_progress:
            self.stack.push(self.connection)

    def _look(self) -> None:
        """Deliver what has arrived: bytes first, then the end of the stream or of the connection;
        and give the connection what waits, if it takes some.

        A protocol that doesn't read (paused, or past the end of the stream) doesn't learn of the
        connection's end either until it writes; as with a kernel socket that nobody polls.
        """
        connection = self.connection
        if connection.urgent_news or connection.error_news:
            self._tell_news()
        while connection.received_bytes or connection.fin_reached or connection.ended:
            if not self._started or self.closing or self.paused or self._eof_received:
                break
            if not connection.received_bytes:
                self._deliver_end()
                break
            if self._buffered:
                self._deliver_into_buffer()
            else:
                try:
                    self.protocol.data_received(b"".join(connection.take(_READ_BYTES)))
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as exc:
                    self._fatal_error(exc, "Fatal error: protocol.data_received() call failed.")
            if self._late and self._in_progress and connection.unsent <= 0:
                self._late = False
                self.stack.expect_answer(connection)
        if self.overflow:
            self._flush()

    # Reading

    def pause_reading(self) -> None:
        if not self.closing:
            self.paused = True

    def resume_reading(self) -> None:
        if self.closing or not self.paused:
            return
        self.paused = False
        self.stack.loop.call_soon(self._enter, self._read_and_push, context=self._context)

    def _begin(self) -> None:
        try:
            self.protocol.connection_made(self._transport)
        finally:  # the loop reports what it raises, and goes on
            self._started = True
            self._look()

    def _begin_and_push(self) -> None:
        try:
            self._begin()
        finally:
            self._push()

    def wants_input(self) -> bool:
        return self._started and not (self.closing or self.paused or self._eof_received)

    def _read_and_push(self) -> None:
        if self.wants_input():
            self._look()
            self._push()

    def _tell_news(self) -> None:
        """Tell the protocol of urgent data (MUST-32) and soft errors (MUST-47), if it asks."""
        connection = self.connection
        if connection.urgent_news and self._started and not self.closing:
            connection.urgent_news = False
            if hasattr(self.protocol, "urgent_received"):
                self._call("urgent_received", connection.urgent_remaining)
        if connection.error_news and self._started and not self.closing:
            connection.error_news = False
            if hasattr(self.protocol, "error_received") and not connection.ended:
                self._call("error_received", connection.soft_error)

    def _deliver_into_buffer(self) -> None:
        filled = 0
        try:
            buffer = self.protocol.get_buffer(-1)
            if self._lost:
                return
            if not len(buffer):
                raise RuntimeError("get_buffer() returned an empty buffer")
            view = memoryview(buffer)
            with view if type(buffer) is bytearray else view.cast("B") as room:
                if room.readonly:
                    raise TypeError("get_buffer() returned a read-only buffer")
                for chunk in self.connection.take(len(room)):
                    end = filled + len(chunk)
                    room[filled:end] = chunk
                    filled = end
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.get_buffer() call failed.")
            return
        self._call("buffer_updated", filled)

    def _deliver_end(self) -> None:
        if not self.connection.fin_reached:
            self.force_close(self.connection.error)
            return
        self._eof_received = True
        if not self._call("eof_received"):
            self.close()

    def _call(self, name: str, *args: object) -> Any:
        """Call the protocol; whatever it raises ends the connection."""
        try:
            return getattr(self.protocol, name)(*args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, f"Fatal error: protocol.{name}() call failed.")

    # Writing

    def write(self, data: Any) -> None:
        if (
            type(data) is bytes
            and not (self.overflow or self._lost)
            and self.connection.sending.append_whole(data)
        ):
            if not self._in_progress:
                self._late = True
                self.stack.push_soon(self.connection)
            return
        self.write_all((data,), "write")

    def write_all(self, buffers: Iterable[Any], name: str, *, urgent: bool = False) -> None:
        """Write them, all of it urgent or nothing; `name` is the method that was called."""
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
        idle = not self.overflow
        self.overflow = overflow = self.overflow or deque()
        for view in filter(None, views):
            overflow.append(view)
            size = len(view)
            self.overflow_bytes += size
            if size >= _BLOCK_BYTES:
                before = self.connection.sending.latest_memory()
                if before is not None:
                    self.connection.fresh = before is not view.obj
        if urgent:
            self._urgent_bytes = self.overflow_bytes
        # Send first: only what is left over counts against the high-water mark.
        if idle and self._send() and not self._in_progress:
            # While something is on its way, more may follow in this turn: whole frames then.
            if self.connection.scoreboard.in_flight and not urgent:
                self.stack.push_soon(self.connection)
            else:
                self.stack.push(self.connection)
        if self.overflow:
            self._transport._maybe_pause_protocol()

    def _send(self) -> bool:
        """Give the connection what it takes. False: it takes nothing any more, and is lost."""
        overflow = self.overflow
        connection = self.connection
        try:
            while overflow:
                view = overflow[0]
                if self._urgent_bytes:
                    sent = connection.send(view, urgent=self._urgent_bytes <= len(view))
                    self._urgent_bytes = max(self._urgent_bytes - sent, 0)
                else:
                    sent = connection.send(view)
                self.overflow_bytes -= sent
                if sent < len(view):
                    overflow[0] = view[sent:]
                    break
                overflow.popleft()
            connection.more = bool(overflow)
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
        self._transport._maybe_resume_protocol()  # which may write
        if self.overflow:
            return
        if self.closing:
            self._part()
        elif self._eof_written:
            self.connection.shutdown()

    def write_eof(self) -> None:
        if self.closing or self._eof_written:
            return
        self._eof_written = True
        if not self.overflow:
            self.connection.shutdown()
            self._push()

    # Closing

    def close(self) -> None:
        if self.closing:
            return
        self.closing = True
        if not self.overflow:
            self._part()

    def _part(self) -> None:
        """The connection has all that was written. Its FIN leaves now, with the last bytes and the
        acknowledgment of theirs, and not after connection_lost()."""
        connection, sock = self.connection, self.socket
        lingers_zero = sock is not None and sock.lingers_zero
        if connection.ended or connection.received_bytes or lingers_zero:  # no FIN, then
            self.stack.push_later(connection)
        else:
            connection.shutdown()
            if not self._in_progress:
                self.stack.push_soon(connection)
        self._lose(None)

    def force_close(self, exc: BaseException | None) -> None:
        """Give up what waits to be written and let go of the connection, because of `exc`."""
        if self._lost:
            return
        self._discarded = bool(self.overflow)
        self.overflow.clear()
        self.overflow_bytes = 0
        self._given_up = self.closing = True
        self._lose(exc)

    def _fatal_error(self, exc: BaseException, message: str) -> None:
        """Let go because of `exc`: the network's error, or a bug in the protocol (reported)."""
        if isinstance(exc, OSError):
            if self.stack.loop.get_debug():
                logger.debug("%r: %s", self._transport, message, exc_info=exc)
        else:
            self.stack.loop.call_exception_handler(
                {
                    "message": message,
                    "exception": exc,
                    "transport": self._transport,
                    "protocol": self.protocol,
                }
            )
        self.force_close(exc)

    def _lose(self, exc: BaseException | None) -> None:
        if not self._lost:
            self._lost = 1
            self.stack.loop.call_soon(self._connection_lost, exc, context=self._context)

    def _connection_lost(self, exc: BaseException | None) -> None:
        connection, transport = self.connection, self._transport
        self._entered = True  # as `_enter`, and for good: there is nothing to look at afterwards
        try:
            self.protocol.connection_lost(exc)
        finally:
            if self.socket is not None:
                if self.socket.lingers_zero:
                    self._given_up = self._discarded = True
                self.socket.invalidate()
            if self._given_up:
                connection.abort(discarded=self._discarded)
            else:
                connection.close()
            self.stack.released(connection)
            # Cut the cycles: a protocol holds its transport, and often much else.
            self.protocol = self._transport = None
            transport.end()


def _set_unless_done(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
