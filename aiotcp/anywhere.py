"""To connect where a name has addresses of more than one owner: of stacks, and of the kernel's.

It does what asyncio's `create_connection()` does before it makes a transport; which is to say that
attempts on either side are the same to it, and that protocols are made once, for the one that won.
"""

from __future__ import annotations

import socket
from asyncio.staggered import staggered_race
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from aiotcp.client import Resolved, combined, connect, from_one_of

if TYPE_CHECKING:
    from aiotcp.options import Options
    from aiotcp.stack import Connection, PacketStack

Reached = tuple["PacketStack", "Connection"] | socket.socket
"""An open connection of a stack, or a connected socket of the kernel's."""

SockConnect = Callable[[socket.socket, Any], Awaitable[None]]


def scoped(target: Resolved) -> str:
    """The host of `target` as one string, with the zone of a link-local address. By its name where
    it has one: uvloop does not read numbers."""
    host = target.address[0]
    zone = target.address[3] if len(target.address) > 2 and "%" not in host else 0
    if not zone:
        return host
    try:
        return f"{host}%{socket.if_indextoname(zone)}"
    except OSError:
        return f"{host}%{zone}"


async def connect_anywhere(
    owners: Mapping[Resolved, PacketStack | None],
    targets: Sequence[Resolved],
    *,
    sock_connect: SockConnect,
    sources: Sequence[Resolved] | None = None,
    options: Callable[[PacketStack], Options],
    delay: float | None = None,
    all_errors: bool = False,
) -> Reached:
    """The first of `targets` that answers: one after the other, or with `delay` each so many
    seconds after the one before it (RFC 8305).

    owners: whose each is; None is the kernel, which connects by `sock_connect`.

    Raises OSError when none has answered, or with `all_errors` an ExceptionGroup.
    """
    errors: list[OSError] = []
    reached: list[Reached] = []

    async def reach(target: Resolved) -> None:
        stack = owners[target]
        try:
            if stack is not None:
                chosen = options(stack)
                connection = await connect(stack, [target], options=chosen, sources=sources)
                reached.append((stack, connection))
            else:
                reached.append(await _kernel(target, sources, sock_connect, errors))
        except OSError as exc:
            errors.append(exc)
            raise

    try:
        if delay is None:
            for target in targets:
                with suppress(OSError):
                    await reach(target)
                    break
        else:
            attempts = [partial(reach, target) for target in targets]
            _, _, failed = await staggered_race(attempts, delay)
            for exc in failed:
                if not reached and isinstance(exc, Exception) and not isinstance(exc, OSError):
                    raise exc
        if reached:
            return reached.pop(0)
        raise combined(errors, all_errors)
    finally:
        errors.clear()  # each holds a traceback, and so the frame that holds this list
        for loser in reached:  # all, when nobody waits any more
            _give_up(loser)


def _give_up(loser: Reached) -> None:
    if isinstance(loser, socket.socket):
        loser.close()
        return
    stack, connection = loser
    connection.user = None
    connection.abort()
    stack.push(connection)


async def _kernel(
    target: Resolved,
    sources: Sequence[Resolved] | None,
    sock_connect: SockConnect,
    errors: list[OSError],
) -> socket.socket:
    sock = socket.socket(target.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if sources is not None:
            from_one_of(sources, target, lambda source: sock.bind(source.address), errors)
        await sock_connect(sock, (scoped(target), *target.address[1:]))
    except BaseException:
        sock.close()
        raise
    return sock
