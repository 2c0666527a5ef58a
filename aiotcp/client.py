"""create_connection: from a host name to an open transport, with asyncio's arguments and errors."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from aiotcp.sockets import Address
from aiotcp.tcp.tcb import Endpoint
from aiotcp.transport import Transport

if TYPE_CHECKING:
    from aiotcp.stack import Connection, PacketStack

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
) -> list[Resolved]:
    """The addresses of `host`, best first. A literal address asks no resolver and costs no turn.

    Raises socket.gaierror, or OSError if there are none.
    """
    literal = _literal(host, port, family)
    if literal is not None:
        return [literal]
    infos = await loop.getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, proto=proto, flags=flags
    )
    if not infos:
        raise OSError(f"getaddrinfo({host!r}) returned empty list")
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
) -> tuple[Transport, _ProtocolT]:
    """Open a connection and give it to a protocol, as `loop.create_connection()` does without ssl.

    Addresses are tried one after the other, each until it answers or TCP gives up (see
    `Options.syn_retries`). `happy_eyeballs_delay` turns interleaving of the address families on.

    Raises ValueError for arguments that do not go together, socket.gaierror for a bad name, and
    the OSError of the attempt: ConnectionRefusedError, TimeoutError, …; if several attempts failed
    in different ways, one OSError that tells of all, or with `all_errors` an ExceptionGroup.
    """
    if sock is not None:
        if host is not None or port is not None:
            raise ValueError("host/port and sock can not be specified at the same time")
        raise ValueError("a stack can not use a kernel socket: give host and port, not sock")
    if host is None and port is None:
        raise ValueError("host and port was not specified and no sock specified")
    loop = stack.loop
    targets = await resolve(loop, host, port, family=family, proto=proto, flags=flags)
    sources = None
    if local_addr is not None:
        sources = await resolve(loop, *local_addr, family=family, proto=proto, flags=flags)
    if happy_eyeballs_delay is not None and interleave is None:
        interleave = 1
    if interleave:
        targets = _interleaved(targets, interleave)
    connection = await _connect_any(stack, targets, sources, all_errors)
    try:
        protocol = protocol_factory()
    except BaseException:
        connection.close()
        stack.push(connection)
        raise
    waiter = loop.create_future()
    transport = Transport(stack, connection, protocol, context=copy_context(), waiter=waiter)
    try:
        await waiter
    except BaseException:
        transport.close()
        raise
    return transport, protocol


def _interleaved(targets: Sequence[Resolved], first_family_count: int) -> list[Resolved]:
    """Families by turns, after `first_family_count` - 1 more of the first one (RFC 8305 4)."""
    families: dict[int, list[Resolved]] = {}
    for target in targets:
        families.setdefault(target.family, []).append(target)
    first, *others = families.values()
    head, first = first[: first_family_count - 1], first[first_family_count - 1 :]
    turns = itertools.zip_longest(first, *others)
    return head + [target for turn in turns for target in turn if target is not None]


# Attempts


async def _connect_any(
    stack: PacketStack,
    targets: Sequence[Resolved],
    sources: Sequence[Resolved] | None,
    all_errors: bool,
) -> Connection:
    """The first connection that opens; the addresses have their turn in order."""
    errors: list[OSError] = []
    try:
        for target in targets:
            try:
                return await _connect(stack, target, sources, errors)
            except OSError as exc:
                errors.append(exc)
        raise _combined(errors, all_errors)
    finally:
        errors.clear()  # each holds a traceback, and so the frames that hold this list


def _combined(errors: list[OSError], all_errors: bool) -> Exception:
    if all_errors:
        return ExceptionGroup("create_connection failed", errors)
    if all(str(exc) == str(errors[0]) for exc in errors):
        return errors[0]
    return OSError(f"Multiple exceptions: {', '.join(str(exc) for exc in errors)}")


async def _connect(
    stack: PacketStack,
    target: Resolved,
    sources: Sequence[Resolved] | None,
    errors: list[OSError],
) -> Connection:
    """Open one connection. Failures to take a local address that did not end it go to `errors`."""
    attempt = _Attempt(stack)
    attempt.connection = connection = _begin(stack, target, sources, attempt, errors)
    try:
        await attempt.over
    except BaseException:
        connection.user = None
        connection.abort()
        stack.push(connection)
        raise
    if connection.ended:
        connection.user = None
        number = connection.error.errno if connection.error else errno.ECONNABORTED
        raise OSError(number, f"Connect call failed {target.address}")
    return connection


def _begin(
    stack: PacketStack,
    target: Resolved,
    sources: Sequence[Resolved] | None,
    attempt: _Attempt,
    errors: list[OSError],
) -> Connection:
    if sources is None:
        return stack.connect(target.endpoint, local=None, user=attempt, options=None)
    failed: list[OSError] = []
    for source in sources:
        if source.family != target.family:
            continue
        try:
            return stack.connect(target.endpoint, local=source.endpoint, user=attempt, options=None)
        except OSError as exc:
            if exc.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
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

    def __init__(self, stack: PacketStack) -> None:
        self.over: asyncio.Future[None] = stack.loop.create_future()
        self.connection: Connection | None = None
        self._stack = stack

    def progress(self) -> None:
        connection = self.connection
        if connection is None or self.over.done():
            return
        if connection.established or connection.ended:
            self.over.set_result(None)

    def close(self) -> None:
        """The stack is closing."""
        if self.connection is not None:
            self.connection.close()
            self._stack.push(self.connection)
            self.progress()
