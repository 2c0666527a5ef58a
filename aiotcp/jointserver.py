"""One server for the user over several: on stacks, and on the kernel's sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiotcp.forever import ForeverServer


class JointServer(ForeverServer):
    """Servers that are started, closed and waited for as one.

    What a server of the loop's own can't do is left out for the connections that it has: before
    Python 3.12, and on uvloop, `wait_closed()` does not wait for them; and before Python 3.13, and
    on uvloop, they can not be closed from here.
    """

    def __init__(self, servers: Sequence[Any]) -> None:
        super().__init__()
        self._servers = tuple(servers)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} sockets={self.sockets!r}>"

    @property
    def sockets(self) -> tuple[Any, ...]:
        """Those of all; none once the server is closed."""
        return tuple(sock for server in self._servers for sock in server.sockets)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop = self._servers[0].get_loop()
        return loop

    def is_serving(self) -> bool:
        return any(server.is_serving() for server in self._servers)

    async def start_serving(self) -> None:
        """Accept connections from now on; harmless when repeated."""
        for server in self._servers:
            if self._closed:
                raise RuntimeError(f"server {self!r} is closed")
            if not server.is_serving():
                await server.start_serving()

    def close(self) -> None:
        self._closed = True
        for server in self._servers:
            server.close()
        self._end_forever()

    def close_clients(self) -> None:
        """Raises NotImplementedError where the loop's own servers don't have it; those connections
        of stacks are closed nevertheless."""
        self._for_clients("close_clients")

    def abort_clients(self) -> None:
        """See `close_clients`."""
        self._for_clients("abort_clients")

    def _for_clients(self, name: str) -> None:
        able = [server for server in self._servers if hasattr(server, name)]
        for server in able:
            getattr(server, name)()
        if len(able) < len(self._servers):
            raise NotImplementedError(f"the servers of {self.get_loop()!r} have no {name}()")

    async def wait_closed(self) -> None:
        for server in self._servers:
            await server.wait_closed()
