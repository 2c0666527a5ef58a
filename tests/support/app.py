"""A program on the stack's side of a connection that a test can ask about everything."""

from __future__ import annotations

from aiotcp.stack import Connection
from aiotcp.streams import Stack


class App:
    """A program on the stack's side of a connection: a `User` that keeps what it is told.

    `reading` False: it lets bytes wait in the connection until `read` is called.
    """

    def __init__(self, stack: Stack, *, reading: bool = True) -> None:
        self.stack = stack
        self.reading = reading
        self.conn: Connection = None  # type: ignore[assignment]  # set before anything happens
        self.received = bytearray()
        self.eof = False
        self.error: OSError | None = None
        self.soft_errors: list[OSError] = []
        """Each that was reported, in order."""
        self.ended = False
        self.ended_at: float | None = None

    def progress(self) -> None:
        conn = self.conn
        if self.reading:
            for chunk in conn.take():
                self.received += chunk
        self.eof = conn.eof
        if conn.error_news and conn.soft_error is not None:
            conn.error_news = False
            self.soft_errors.append(conn.soft_error)
        if conn.ended and not self.ended:
            self.ended = True
            self.ended_at = self.stack.loop.time()
            self.error = conn.error

    @property
    def state(self) -> str:
        return str(self.conn.state)

    def write(self, data: bytes, *, urgent: bool = False) -> int:
        """Bytes accepted. Raises as `Connection.send`."""
        accepted = self.conn.send(data, urgent=urgent)
        self.stack.push(self.conn)
        return accepted

    def read(self, limit: int | None = None) -> bytes:
        data = b"".join(self.conn.take(limit))
        self.received += data
        self.eof = self.conn.eof
        self.stack.push(self.conn)
        return data

    def shutdown(self) -> None:
        self.conn.shutdown()
        self.stack.push(self.conn)

    def close(self) -> None:
        self.conn.close()
        self.stack.push(self.conn)

    def abort(self) -> None:
        self.conn.abort()
        self.stack.push(self.conn)
