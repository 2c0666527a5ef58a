"""create_connection: from a host name to an open transport, with asyncio's arguments and errors."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from aiotcp.addresses import Address
from aiotcp.options import Options
from aiotcp.tcp.flow import Endpoint
from aiotcp.threadcheck import transport_type
from aiotcp.transport import Transport

if TYPE_CHECKING:
    from aiotcp.stack import Connection, PacketStack

_T = TypeVar("_T")
_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)


class Resolved(NamedTuple):
    """One address that a name stands for."""

    family: int
    address: Address

    @property
    def endpoint(self) -> Endpoint:
        host, port = self.address[:2]
        return Endpoint(host.partition("%")[0], port)


async def resolve(
    loop: asyncio.AbstractEventLoop,
    host: str | bytes | None,
    port: str | int | None,
    *,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    told: str = "",
) -> list[Resolved]:
    """The addresses of `host`, best first. A literal address asks no resolver and costs no turn.

    Raises socket.gaierror, or OSError if there are none, which says of whom as asyncio does in the
    place: `told`.
    """
    literal = _literal(host, port, family)
    if literal is not None:
        return [literal]
    infos = await loop.getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, proto=proto, flags=flags
    )
    if not infos:
        raise OSError(f"getaddrinfo({told}) returned empty list")
    return [Resolved(family, cast(Address, address)) for family, *_, address in infos]


def _literal(
    host: str | bytes | None, port: str | int | bytes | None, family: int
) -> Resolved | None:
    if host is None:
        return None
    if isinstance(host, bytes):
        host = host.decode("idna")
    try:
        number = int(port or 0)
    except ValueError:
        return None  # a service name
    for known in (socket.AF_INET, socket.AF_INET6):
        if family not in (socket.AF_UNSPEC, known):
            continue
        try:
            socket.inet_pton(known, host)
        except OSError:
            continue
        if known == socket.AF_INET6:
            return Resolved(known, (host, number, 0, 0))
        return Resolved(known, (host, number))
    return None


async def create_connection(
    stack: PacketStack,
    protocol_factory: Callable[[], _ProtocolT],
    host: str | bytes | None = None,
    port: str | int | None = None,
    *,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    sock: socket.socket | None = None,
    local_addr: tuple[str, int] | None = None,
    happy_eyeballs_delay: float | None = None,
    interleave: int | None = None,
    all_errors: bool = False,
    options: Options | Mapping[str, Any] | None = None,
    targets: Sequence[Resolved] | None = None,
    opened: Connection | None = None,
) -> tuple[Transport, _ProtocolT]:
    """Open a connection and give it to a protocol, as `loop.create_connection()` does without ssl.

    Addresses are tried one after the other, each until it answers, TCP gives up (see
    `Options.syn_retries`) or a router reports that it can not be reached. With
    `happy_eyeballs_delay` the next one has its turn after so many seconds, beside those before
    it, and the address families alternate; the first connection that opens is taken (RFC 8305). One
    whose server has given us a cookie is taken at once, if `Options.tfo` says so (RFC 7413).

    options: `Options` for this connection, or a mapping of changes to those of the stack, as in
        options={"cc": "bbr"} (see `Options.variant`).
    targets: the addresses that `host` stands for, for a caller who has looked them up.
    opened: a connection of the stack that is open already; then nothing is connected.

    Raises ValueError for arguments that do not go together, socket.gaierror for a bad name, and
    the OSError of the attempt: ConnectionRefusedError, TimeoutError, …; if several attempts failed
    in different ways, one OSError that tells of all, or with `all_errors` an ExceptionGroup.
    """
    if sock is not None:
        if host is not None or port is not None:
            raise ValueError("host/port and sock can not be specified at the same time")
        raise ValueError("a stack can not use a kernel socket: give host and port, not sock")
    loop = stack.loop
    if opened is None:
        if host is None and port is None:
            raise ValueError("host and port was not specified and no sock specified")
        chosen = stack.options.variant(options)
        if targets is None:
            targets = await resolve(loop, host, port, family=family, proto=proto, flags=flags)
        sources = None
        if local_addr is not None:
            sources = await resolve(loop, *local_addr, family=family, proto=proto, flags=flags)
        if happy_eyeballs_delay is not None and interleave is None:
            interleave = 1
        if interleave:
            targets = interleaved(targets, interleave)
        opened = await connect(
            stack,
            targets,
            options=chosen,
            sources=sources,
            delay=happy_eyeballs_delay,
            all_errors=all_errors,
        )
    try:
        protocol = protocol_factory()
    except BaseException:
        opened.close()
        stack.push(opened)
        raise
    waiter = loop.create_future()
    made = transport_type(stack.loop)
    transport = made(stack, opened, protocol, context=copy_context(), waiter=waiter)
    try:
        await waiter
    except BaseException:
        transport.close()
        raise
    return transport, protocol


def interleaved(targets: Sequence[Resolved], first_family_count: int) -> list[Resolved]:
    """Families by turns, after `first_family_count` - 1 more of the first one (RFC 8305 4)."""
    families: dict[int, list[Resolved]] = {}
    for target in targets:
        families.setdefault(target.family, []).append(target)
    first, *others = families.values()
    head, first = first[: first_family_count - 1], first[first_family_count - 1 :]
    turns = itertools.zip_longest(first, *others)
    return head + [target for turn in turns for target in turn if target is not None]


# Attempts


async def connect(
    stack: PacketStack,
    targets: Sequence[Resolved],
    *,
    options: Options,
    sources: Sequence[Resolved] | None = None,
    delay: float | None = None,
    all_errors: bool = False,
) -> Connection:
    """The first connection that opens; the addresses have their turn in order.

    The next one begins when an attempt has failed; after `delay` seconds, beside those that go on
    (RFC 8305 5); and as soon as a router reports that an attempt gets nowhere. RFC 5461 4.1 would
    abort that one, against MUST-56: here it goes on while there are others, in case the report was
    of the moment or forged, and is given up when all of those have failed.
    """
    race = _Race(stack, options)
    waiting = deque(targets)
    errors: list[OSError] = []
    try:
        while True:
            if waiting and race.is_due:
                try:
                    attempt = race.begin(waiting.popleft(), sources, errors)
                except OSError as exc:
                    errors.append(exc)
                    continue
                if attempt.connection.opens_early:
                    race.attempts.remove(attempt)
                    return attempt.connection
                continue
            if not race.attempts or (not waiting and race.is_hopeless(targets[-1])):
                errors += [attempt.failure() for attempt in race.attempts]
                raise combined(errors, all_errors)
            await race.news(delay if waiting else None)
            for attempt in list(race.attempts):
                connection = attempt.connection
                if connection.established:
                    race.attempts.remove(attempt)
                    return connection
                if connection.ended:
                    race.lost(attempt)
                    errors.append(attempt.failure())
    finally:
        race.end()
        errors.clear()  # each holds a traceback, and so the frames that hold this list


def combined(errors: list[OSError], all_errors: bool) -> Exception:
    """What to raise when every attempt has failed, as asyncio does."""
    if all_errors:
        return ExceptionGroup("create_connection failed", errors)
    if all(str(exc) == str(errors[0]) for exc in errors):
        return errors[0]
    return OSError(f"Multiple exceptions: {', '.join(str(exc) for exc in errors)}")


def _begin(
    race: _Race,
    target: Resolved,
    sources: Sequence[Resolved] | None,
    attempt: _Attempt,
    errors: list[OSError],
) -> Connection:
    connect = partial(race.stack.connect, target.endpoint, user=attempt, options=race.options)
    if sources is None:
        return connect()
    return from_one_of(sources, target, lambda source: connect(local=source.endpoint), errors)


def from_one_of(
    sources: Sequence[Resolved],
    target: Resolved,
    bind: Callable[[Resolved], _T],
    errors: list[OSError],
) -> _T:
    """What `bind` gives for the first of the local addresses that can be had. Raises OSError for
    the last of those that can't; those before it go to `errors`."""
    failed: list[OSError] = []
    for source in sources:
        if source.family != target.family:
            continue
        try:
            return bind(source)
        except OSError as exc:
            if exc.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
                raise
            failed.append(bind_error(exc, source.address))
    if not failed:
        raise OSError(f"no matching local address with family={target.family!r} found")
    errors += failed[:-1]
    try:
        raise failed[-1]
    finally:
        failed.clear()  # the error's traceback holds this frame


def bind_error(exc: OSError, address: Address) -> OSError:
    """`exc` in the words that asyncio finds when a local address can't be had."""
    words = (exc.strerror or str(exc)).partition(":")[0].lower()
    return OSError(exc.errno, f"error while attempting to bind on address {address!r}: {words}")


class _Attempt:
    """The user of a connection until it has opened, or failed to."""

    def __init__(self, race: _Race, target: Resolved) -> None:
        self.target = target
        self.connection: Connection = None  # type: ignore[assignment]  # set before anything else
        self.doubtful = False
        """A router has reported a soft error."""
        self._race = race

    def progress(self) -> None:
        connection = self.connection
        if connection is None:
            return  # in the call that makes it
        soft_error = connection.soft_error
        if (
            not self.doubtful
            and soft_error is not None
            and soft_error.errno != errno.ETIMEDOUT  # R1, no report
        ):
            self.doubtful = True
            self._race.next_is_due()
        if connection.established or connection.ended:
            self._race.wake()

    def close(self) -> None:
        """The stack is closing."""
        if self.connection is None:
            return  # the call that was to make it has failed
        self.connection.close()
        self._race.stack.push(self.connection)
        self.progress()

    def failure(self) -> OSError:
        """Why there is no connection, in the words of asyncio."""
        error = self.connection.error or self.connection.soft_error
        number = error.errno if error is not None else errno.ECONNABORTED
        return OSError(number, f"Connect call failed {self.target.address}")


class _Race:
    """The attempts that are under way."""

    def __init__(self, stack: PacketStack, options: Options) -> None:
        self.stack = stack
        self.options = options
        self.attempts: list[_Attempt] = []
        self._news: asyncio.Future[None] | None = None
        self._began_at = 0.0
        self._due = True

    @property
    def is_due(self) -> bool:
        """Whether the next address is to have its turn."""
        return self._due or not self.attempts

    def is_hopeless(self, last: Resolved) -> bool:
        """All have failed but some that routers have reported on. The attempt at the last address
        is none of those: there is nothing to try instead."""
        return all(attempt.doubtful and attempt.target is not last for attempt in self.attempts)

    def begin(
        self, target: Resolved, sources: Sequence[Resolved] | None, errors: list[OSError]
    ) -> _Attempt:
        """Start one more. Raises OSError; failures to take a local address that did not end it go
        to `errors`."""
        self._due = False
        self._began_at = self.stack.loop.time()
        attempt = _Attempt(self, target)
        attempt.connection = _begin(self, target, sources, attempt, errors)
        self.attempts.append(attempt)
        return attempt

    async def news(self, delay: float | None) -> None:
        """Wait until an attempt has something to tell, or began `delay` seconds ago."""
        loop = self.stack.loop
        self._news = loop.create_future()
        timer = None
        if delay is not None:
            timer = loop.call_at(self._began_at + delay, self.next_is_due)
        try:
            await self._news
        finally:
            self._news = None
            if timer is not None:
                timer.cancel()

    def lost(self, attempt: _Attempt) -> None:
        """It failed, and so the next one begins without delay."""
        self.attempts.remove(attempt)
        attempt.connection.user = None
        self._due = True

    def next_is_due(self) -> None:
        self._due = True
        self.wake()

    def wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def end(self) -> None:
        """Those that are still under way have lost, or nobody waits for them any more."""
        for attempt in self.attempts:
            connection = attempt.connection
            connection.user = None
            connection.abort()
            self.stack.push(connection)
        self.attempts.clear()
