"""A descriptor for programs that ask poll(2) about a connection of the stack.

HTTP clients do before they use a kept connection again: it must not be readable, since an idle one
is only when the server has closed it.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiotcp.stack import Connection
    from aiotcp.tcp.connection import User


class Readiness:
    """One end of a socket pair that is readable when the connection is: bytes wait, or its end.

    A user of the connection in front of its own, so that only connections that were asked for a
    descriptor pay for it.
    """

    def __init__(self, connection: Connection, user: User) -> None:
        """Raises OSError where there is no descriptor left."""
        self._connection = connection
        self._user = user
        self._near, self._far = socket.socketpair()
        self._signalled = False
        connection.user = self

    @classmethod
    def of(cls, connection: Connection) -> Readiness | None:
        """None for a connection that nobody reads any more. Raises OSError as the constructor."""
        return cls(connection, connection.user) if connection.user is not None else None

    def fileno(self) -> int:
        self._update()
        return self._near.fileno()

    def close_descriptor(self) -> None:
        self._near.close()
        self._far.close()

    def _update(self) -> None:
        connection = self._connection
        readable = bool(connection.readable or connection.eof or connection.ended)
        if readable and not self._signalled:
            self._far.send(b"\0")
        elif self._signalled and not readable:
            self._near.recv(1)
        self._signalled = readable

    # What the stack calls

    def progress(self) -> None:
        self._user.progress()
        if self._near.fileno() >= 0:
            self._update()

    def close(self) -> None:
        self._user.close()
