"""The packet stack: an `Engine` that takes packets, and the calls of its users."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from aiotcp.addresses import LOOPED, flow_key, is_unicast, pack, unpack
from aiotcp.engine import Entry
from aiotcp.errors import (
    aborted,
    address_in_use,
    address_not_available,
    network_down,
    network_unreachable,
)
from aiotcp.inbound import Inbound
from aiotcp.link.base import Link, owns
from aiotcp.listeners import everywhere
from aiotcp.mypyc import mypyc_attr
from aiotcp.options import Options
from aiotcp.reasons import Why
from aiotcp.tcp.connection import Connection, Endpoint, State, User
from aiotcp.tcp.controls import try_control
from aiotcp.tcp.fastopen_setup import Asking
from aiotcp.tcp.listener import Listener
from aiotcp.tcp.terms import Terms

if TYPE_CHECKING:
    from aiotcp.info import ConnectionInfo
    from aiotcp.taps import Tap, Taps
    from aiotcp.transition import Transition

__all__ = ["Connection", "Endpoint", "Listener", "PacketStack", "State", "User"]

_ALL_SAID: Final = (State.LAST_ACK, State.FIN_WAIT_1)
DEFAULT_ADDRESSES: Final = ("192.0.2.2", "fd61:696f:7463:70::2")
"""TEST-NET-1, in nobody's routes, and a unique local prefix."""


@mypyc_attr(allow_interpreted_subclasses=True)
class PacketStack(Inbound):
    """TCP on one link, without the asyncio surface that `aiotcp.Stack` adds.

    Made in a running event loop it lives on that. Made outside of one it waits until it is given to
    one: by `aiotcp.run()`, `async with` or `bind()`.
    """

    _taps: Taps | None = None

    def __init__(
        self,
        link: Link,
        *,
        addresses: Sequence[str] = DEFAULT_ADDRESSES,
        options: Options | Mapping[str, Any] | None = None,
        seed: bytes | None = None,
        observer: Callable[[Transition], None] | None = None,
    ) -> None:
        """`seed` makes initial sequence numbers and ports repeat (tests); by default they come
        from the system's random source. `observer` is told of every state transition. `options`:
        all of them, or a mapping of those that are not to be as by default. Raises ValueError for
        addresses that a stack can not have, TypeError for one bare string and for what is no link;
        and what `Options` raises."""
        super().__init__(link, addresses=addresses, options=options, seed=seed, observer=observer)
        running = asyncio._get_running_loop()
        if running is not None:
            self.bind(running)

    def connect(
        self,
        remote: Endpoint,
        *,
        local: Endpoint | None = None,
        user: User | None = None,
        options: Options | None = None,
    ) -> Connection:
        """Open a connection; its SYN has left on return, unless it waits for data to take along
        (`Connection.opens_early`, `Options.tfo`).

        To an address of the stack itself, packets come back on the next turn of the loop and never
        touch the link (see `loopback`): a capture of the link does not show them.

        Raises OSError: ENETUNREACH for a destination that no connection can have or that no
        address of the stack can reach, EADDRNOTAVAIL for a `local` that is not the stack's or whose
        answers come to another queue of the device (`link.base.owns`), or when no port is free,
        EADDRINUSE for a local port in use towards this destination or by a listener; OverflowError
        for a port that there can't be; and what an `Options.cc` of one's own raises when it is
        made.
        """
        self._check_open()
        destination = pack(remote.host)
        if not is_unicast(destination):
            raise network_unreachable(str(remote))  # MUST-46
        _check_port("connect", remote.port)
        if local is not None:
            _check_port("bind", local.port)
        if not remote.port:
            raise address_not_available(str(remote))
        chosen = options or self.options
        try_control(chosen.cc, self.clock())
        source = self._source(destination, local)
        port = self._local_port(source, local.port if local else 0, destination, remote.port)
        key = self._flow(source, port, destination, remote.port)
        now = self.clock()
        numbers = self._initial_numbers(key, now)
        conn = self._new_connection(
            key, Terms(self._path(key), chosen), self._template(key, chosen), *numbers, now
        )
        conn.user = user
        conn.on_state = self.on_state
        self._enter(conn)
        self.counters.connections_opened += 1
        if conn.options.tfo in ("client", "on"):
            server = destination + source + remote.port.to_bytes(2, "big")
            known = self.fast_opens.usable(server, now)
            if known is not None:
                conn.fast_open = Asking(self.fast_opens, server, known, now)
        conn.open_active()
        self._finish(conn, now)
        return conn

    def _source(self, destination: bytes, local: Endpoint | None) -> bytes:
        if local is not None and any(source := pack(local.host)):
            if len(source) != len(destination):
                raise address_not_available(f"{local} to {unpack(destination)}")
            return self.addresses.require(source)
        found = self.addresses.source_for(destination)
        if found is None:
            raise network_unreachable(unpack(destination))
        return found

    def _flow(self, source: bytes, port: int, destination: bytes, remote_port: int) -> bytes:
        """The key of a connection from here."""
        key = flow_key(source, port, destination, remote_port)
        return key + LOOPED if destination in self.addresses else key

    def _local_port(self, source: bytes, port: int, destination: bytes, remote_port: int) -> int:
        ours = owns(self.link) if destination not in self.addresses else None

        def is_free(candidate: int) -> bool:
            # A call to a port of our own on which nobody listens must not answer itself.
            return (
                self._flow(source, candidate, destination, remote_port) not in self._table
                and not self._listeners.clashes(source, candidate)
                and (candidate != remote_port or source != destination)
                and (ours is None or ours(flow_key(source, candidate, destination, remote_port)))
            )

        if port:
            key = self._flow(source, port, destination, remote_port)
            if key in self._table or self._listeners.clashes(source, port):
                raise address_in_use(str(Endpoint(unpack(source), port)))
            if ours is not None and not ours(key):
                where = f"{Endpoint(unpack(source), port)} towards {unpack(destination)}"
                raise address_not_available(f"{where}: answers come to another queue of the device")
            return port
        chosen = self._ports.choose(source + destination + remote_port.to_bytes(2, "big"), is_free)
        if chosen is None:
            raise address_not_available("no free port")
        return chosen

    def listen(
        self,
        local: Endpoint,
        accept: Callable[[Connection], None],
        *,
        backlog: int = 100,
        reuse_port: bool = False,
        options: Options | None = None,
        held: bool = False,
        transparent: bool = False,
    ) -> Listener:
        """Take connections to `local`; port 0 picks a free one, a wildcard host means all of its
        family. `accept` is called with each connection once it is established, outside the engine.
        With `held` only the port is taken, as by bind(2), until `start_listening`.

        `transparent` (Linux's IP_TRANSPARENT): to every unicast address that the link delivers,
        whosever it is; `local` is the wildcard of the family, and port 0 means every port. Who
        listens at one address of the stack or at all of them comes first, then who is transparent
        at the one port. `Connection.local` is the original destination.

        Raises OSError: EADDRINUSE, EADDRNOTAVAIL; OverflowError for a port that there can't be;
        ValueError for a transparent listener at one address; and what an `Options.cc` of one's own
        raises when it is made.
        """
        self._check_open()
        _check_port("bind", local.port)
        try_control((options or self.options).cc, self.clock())
        address = pack(local.host)
        bound, port = address, local.port
        if transparent:
            if any(address):
                raise ValueError(f"a transparent listener is at no one address: not {local.host}")
            bound = everywhere(address)
        elif any(address):
            self.addresses.require(address)
        elif self.addresses.source_for(address) is None:
            raise address_not_available(local.host)
        if port == 0 and not transparent:
            chosen = self._ports.choose(
                address, lambda candidate: not self._listeners.clashes(address, candidate)
            )
            if chosen is None:
                raise address_in_use("no free port")
            port = chosen
        elif self._listeners.clashes(bound, port, sharing=reuse_port):
            raise address_in_use(str(local))
        listener = Listener(
            Endpoint(unpack(address), port),
            options or self.options,
            backlog,
            transparent=transparent,
            promote=self._promote,
            close=self._listeners.remove,
        )
        self._listeners.add(listener, bound, port, accept, shared=reuse_port, held=held)
        self._transparent |= transparent
        return listener

    def start_listening(self, listener: Listener) -> None:
        """Take connections from now on, where `listen` only held the port. Idempotent."""
        self._listeners.start(listener)

    def _check_open(self) -> None:
        if self.closed:
            raise RuntimeError("the stack is closed")
        if self.lost is not None:
            raise network_down(str(self.lost))

    def push(self, conn: Connection) -> None:
        """After calls on `conn`: what should go out now does, and its deadline is looked at."""
        self._finish(conn, self._now if self._in_batch else self.clock())

    def released(self, conn: Connection) -> None:
        """After the last call of a user on `conn`, which is closed: as `push`, but for what is on
        its way anyhow. Most have sent all that they had to, and wait for the acknowledgment."""
        said_all = conn.farewell is None and conn.acks.due is None and conn.unsent <= 0
        if said_all and conn.ended and self._table.get(conn.flow) is not conn:
            return
        if said_all and conn.state in _ALL_SAID and not conn.scoreboard.lost_bytes:
            self._adopt(conn, self._now if self._in_batch else self.clock())
        else:
            self.push(conn)

    def connections(self) -> list[ConnectionInfo]:
        """A row for each connection, half-open entry and TIME-WAIT record, oldest first."""
        from aiotcp.info import describe

        now = self.clock()
        return [describe(entry, now) for entry in self._table.values()]

    def find(self, flow: bytes) -> Entry | None:
        """What the stack has for this flow: remote address, local address, remote port, local port,
        as an inbound packet carries them. For those who watch; nothing of it is to be changed."""
        return self._table.get(flow)

    def entries(self) -> list[Entry]:
        """All that it has, oldest first: connections, half-open entries and TIME-WAIT records. As
        with `find`."""
        return list(self._table.values())

    def listeners(self) -> list[Listener]:
        """Those that take connections now."""
        return self._listeners.listening()

    def tap(self, tap: Tap) -> None:
        """Have `tap` see each packet that comes from the link or goes there from now on, until
        `untap`. Nothing of this costs anything while there is no tap (see `taps`)."""
        if self._taps is None:
            from aiotcp.taps import Taps

            self._taps = Taps(self)
        self._taps.add(tap)

    def untap(self, tap: Tap) -> None:
        """Idempotent."""
        if self._taps is not None:
            self._taps.remove(tap)

    def nstat(self) -> dict[str, int]:
        """The counters under the names of Linux's nstat: "TcpRetransSegs" and so on (see `nstat`).
        Those of this stack, which tell more, are `counters`."""
        from aiotcp.nstat import nstat

        return nstat(self.counters, sum(conn.recovery.rack.reord_seen for conn in self._live()))

    # -- the end ------------------------------------------------------------------------------

    async def aclose(self, grace: float = 1.0) -> None:
        """Stop listening, close every connection (FIN), and give them `grace` seconds to finish;
        what is left then is reset. Closes the link.

        Idempotent; a second call with a shorter grace, or a cancellation, cuts the first short.
        """
        if not self.bound:
            self.abort()
            return
        if not self.closed:
            self.closed = True
            self._drained = asyncio.Event()
            self._close_all()
        try:
            await self._wait_until_drained(grace)
        finally:
            self.abort()
        await asyncio.sleep(0)  # protocols hear of it on the next turn of the loop

    async def end_programs(self, grace: float = 1.0) -> None:
        """As when every program that uses the stack ends: stop listening, close every connection
        (FIN), give them `grace` seconds, and reset what is left then. The stack itself goes on."""
        self._drained = asyncio.Event()
        self._close_all()
        try:
            await self._wait_until_drained(grace)
        finally:
            self._reset_all()

    async def _wait_until_drained(self, grace: float) -> None:
        assert self._drained is not None
        if grace > 0 and self._connections:
            try:
                async with asyncio.timeout(grace):
                    await self._drained.wait()
            except TimeoutError:
                pass

    def _close_all(self) -> None:
        self._stop_listening()
        for conn in self._live():
            if conn.user is not None:
                self._call_user(conn.user.close)
            else:
                conn.close()
                self.push(conn)

    def abort(self) -> None:
        """Reset what is open and close the link, without waiting for anything. Idempotent."""
        if not self.closed:
            self.closed = True
            self._drained = asyncio.Event()
            self._stop_listening()
        self._reset_all()
        for entry in list(self._table.values()):
            self._forget(entry)
        if self.bound:
            self._timers.close()
        self._loopback.close()
        self.link.close()

    def _reset_all(self) -> None:
        for conn in self._live():
            conn.terminate(Why.RST_ABORT, aborted())
            if conn.user is not None:
                self._call_user(conn.user.progress)
            self.push(conn)


def _check_port(call: str, port: int) -> None:
    """Raise OverflowError, in asyncio's words, for a port that there can't be."""
    if not 0 <= port <= 0xFFFF:
        raise OverflowError(f"{call}(): port must be 0-65535.")
