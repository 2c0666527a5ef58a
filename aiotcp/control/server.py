"""The side of the control socket that answers: a stack's own process, on the stack's loop."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import socket
import stat
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from aiotcp.control import places, protocol, rows
from aiotcp.control.packets import packet_filter
from aiotcp.control.stream import Stream
from aiotcp.errors import os_error
from aiotcp.nstat import nstat as nstat  # a stack does without until it is asked, and
from aiotcp.options import KINDS
from aiotcp.stack import PacketStack
from aiotcp.taps import Taps as Taps  # a process may no longer read what it wants to import then
from aiotcp.tcp import COMPILED

MAX_CLIENTS = 32
"""Connections to the socket at a time; more are told so."""

STALLED_S = 10.0
"""Seconds that one who asks may leave an answer unread; then it is cut off."""

_ROWS_AT_A_TIME = 16
_WAITING_BYTES = 1 << 18
_CLOSING_S = 1.0
_PEER = struct.Struct("=iII")  # struct ucred


class Session(Protocol):
    """Verbs of a program's own, for one who asks, as long as he is connected."""

    def answer(self, verb: str, asked: dict[str, Any]) -> dict[str, Any] | None:
        """None: this one is not among them. Raises ValueError for what can't be answered."""
        ...

    def close(self) -> None:
        """He has gone."""
        ...


class Control:
    """What answers on a control socket; made by `serve`.

    Counters: `clients`, `requests`; `clients_refused` (too many), `peers_refused` (another user's),
    `cut_off` (did not read), `captures`, and `capture_dropped` packets that readers of captures
    were too slow for.
    """

    def __init__(
        self,
        stack: PacketStack,
        path: Path,
        about: dict[str, Any],
        keylog: str | None,
        session: Callable[[], Session] | None = None,
    ) -> None:
        self.stack = stack
        self.path = path
        self.counters = dict.fromkeys(
            (
                "clients",
                "clients_refused",
                "peers_refused",
                "requests",
                "cut_off",
                "captures",
                "capture_dropped",
            ),
            0,
        )
        self._about = about
        self._keylog = keylog
        self._new_session = session
        self._since = time.time()
        self._server: asyncio.Server | None = None
        self._identity: tuple[int, int] | None = None
        self._clients: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Control {self.path} of {self.stack!r}>"

    async def start(self) -> None:
        """Raises OSError."""
        listening = listen(self.path)
        found = self.path.lstat()
        self._identity = (found.st_dev, found.st_ino)
        self._server = await asyncio.start_unix_server(
            self._connected, sock=listening, limit=protocol.LINE_BYTES
        )

    async def close(self) -> None:
        """Answer nobody any more, and remove the socket. Idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        with suppress(OSError):
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == self._identity:  # not another one's by now
                self.path.unlink()
        server.close()
        clients = set(self._clients)
        for _ in range(2):  # for all that is to be read yet; then at once
            for client in clients:
                client.cancel()
            if clients:
                _, clients = await asyncio.wait(clients, timeout=_CLOSING_S)

    # -- those who ask ------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        self.counters["clients"] += 1
        writer.transport.set_write_buffer_limits(_WAITING_BYTES)
        try:
            async with asyncio.timeout(None) as patience:
                await self._answer(reader, writer, _Patience(patience))
        except TimeoutError:
            self.counters["cut_off"] += 1
            writer.transport.abort()
        except OSError:
            pass  # he has gone
        except asyncio.CancelledError:  # we are closing
            await _flushed(writer)
        finally:
            self._clients.discard(task)
            writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: _Patience
    ) -> None:
        refusal = self._refusal(writer)
        if refusal is not None:
            writer.write(protocol.error(refusal))
            return
        session = self._new_session() if self._new_session is not None else None
        try:
            await self._answer_all(reader, writer, patience, session)
        finally:
            if session is not None:
                session.close()

    async def _answer_all(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        patience: _Patience,
        session: Session | None,
    ) -> None:
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                writer.write(protocol.error(f"longer than {protocol.LINE_BYTES} bytes"))
                return
            if not line:
                return
            self.counters["requests"] += 1
            try:
                asked = protocol.decode(line)
                verb = protocol.verb_of(asked)
                if verb == "capture":
                    await self._capture(asked, reader, writer, patience)
                    return
                answer = session.answer(verb, asked) if session is not None else None
                if answer is None:
                    answer = await self._result(verb, asked, writer, patience)
            except ValueError as exc:
                writer.write(protocol.error(str(exc)))
            else:
                writer.write(protocol.result(answer))
            await patience.drain(writer)

    def _refusal(self, writer: asyncio.StreamWriter) -> str | None:
        peer = _peer(writer.get_extra_info("socket"))
        if peer is not None and peer not in (os.geteuid(), 0):
            self.counters["peers_refused"] += 1
            return f"user {peer} may not ask: this is user {os.geteuid()}'s"
        if len(self._clients) > MAX_CLIENTS:
            self.counters["clients_refused"] += 1
            return f"{MAX_CLIENTS} are asking already"
        return None

    # -- what they ask ------------------------------------------------------------------------

    async def _result(
        self,
        verb: str,
        asked: dict[str, Any],
        writer: asyncio.StreamWriter,
        patience: _Patience,
    ) -> dict[str, Any]:
        """Raises ValueError for what can't be answered."""
        if verb == "info":
            return self._info()
        if verb == "stat":
            return self._stat()
        if verb == "ss":
            count = 0
            block: list[bytes] = []
            for row in self._rows(asked):
                block.append(protocol.item(row))
                count += 1
                if len(block) == _ROWS_AT_A_TIME:
                    writer.write(b"".join(block))
                    block.clear()
                    await patience.drain(writer)
                    await asyncio.sleep(0)  # connections go first
            writer.write(b"".join(block))
            return {"rows": count}
        raise protocol.ProtocolError(f"no verb: {verb!r}")

    def _info(self) -> dict[str, Any]:
        stack, link = self.stack, self.stack.link
        defaults = type(stack.options)()
        changed = {
            name: value
            for name in KINDS
            if (value := getattr(stack.options, name)) != getattr(defaults, name)
        }
        return {
            **self._about,
            "pid": os.getpid(),
            "uid": os.geteuid(),
            "version": _version(),
            "compiled": COMPILED,
            "python": ".".join(map(str, sys.version_info[:3])),
            "since": self._since,
            "addresses": [str(address) for address in stack.addresses],
            "link": repr(link),
            "mtu": link.mtu,
            "offload": bool(link.gso_max_bytes),
            "options": {name: _spoken(value) for name, value in changed.items()},
            "memory_limit": stack.memory.limit,
            "memory_used": stack.memory.used,
            "connections": len(stack.entries()),
            "listeners": len(stack.listeners()),
            "closed": stack.closed,
            "lost": None if stack.lost is None else str(stack.lost),
            "control": dict(self.counters),
        }

    def _stat(self) -> dict[str, Any]:
        counters = self.stack.counters
        told = counters.as_dict()
        groups: dict[str, dict[str, int]] = {"sent": {}, "dropped": {}, "event": {}}
        totals = {}
        for name, value in told.items():
            group, _, rest = name.partition("_")
            if group in groups:
                groups[group][rest] = value
            else:
                totals[name] = value
        return {
            "pid": os.getpid(),
            "since": self._since,
            "now": time.time(),
            "nstat": self.stack.nstat(),
            "sent": groups["sent"],
            "dropped": groups["dropped"],
            "events": groups["event"],
            "totals": totals,
            "link": dict(self.stack.link.counters),
        }

    def _rows(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        states = asked.get("states")
        if states is not None and not (
            isinstance(states, list) and set(states) <= set(rows.STATES.values())
        ):
            raise ValueError(f"states: a list of {', '.join(rows.STATES.values())}")
        info = bool(asked.get("info"))
        stack = self.stack
        if states is None or "LISTEN" in states:
            for listener in stack.listeners():
                yield rows.listener_row(listener, info=info)
        for entry in stack.entries():
            if not entry.ended and (states is None or rows.state_of(entry) in states):
                yield rows.row(entry, stack.clock(), info=info)

    async def _capture(
        self,
        asked: dict[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        patience: _Patience,
    ) -> None:
        """Raises ValueError for what can't be captured; then nothing was written."""
        text, count = asked.get("filter", ""), asked.get("count", 0)
        if not isinstance(text, str) or type(count) is not int or count < 0:
            raise ValueError("filter is a string, count a number")
        wanted = packet_filter(text)
        keylog = asked.get("keylog")
        if keylog is True:
            keylog = self._keylog
            if keylog is None:
                raise ValueError(
                    "this program keeps no TLS secrets: start it with SSLKEYLOGFILE=FILE"
                )
        elif keylog is not None and not isinstance(keylog, str):
            raise ValueError("keylog is a path, or true")
        over = asyncio.Event()
        writer.write(protocol.result({"stream": "pcapng"}))
        stream = Stream(
            writer.transport,
            self.stack.loop,
            wanted,
            count=count,
            interface=self._about.get("device") or "aiotcp",
            keylog=keylog,
            on_end=over.set,
        )
        self.counters["captures"] += 1
        self.stack.tap(stream)
        listening = asyncio.ensure_future(_until_the_end(reader))
        ending = asyncio.ensure_future(over.wait())
        try:
            await asyncio.wait({listening, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.stack.untap(stream)
            listening.cancel()
            ending.cancel()
            stream.end()
            self.counters["capture_dropped"] += stream.dropped
        if not writer.transport.is_closing():
            writer.transport.set_write_buffer_limits(0)
            await patience.drain(writer)


class _Patience:
    """How long a client may take to read."""

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self._timeout = timeout

    async def drain(self, writer: asyncio.StreamWriter) -> None:
        """Raises TimeoutError, at the end of the block that `timeout` is of."""
        self._timeout.reschedule(asyncio.get_running_loop().time() + STALLED_S)
        await writer.drain()
        self._timeout.reschedule(None)


async def _flushed(writer: asyncio.StreamWriter) -> None:
    """All is read that was written, or nobody reads it any more."""
    try:
        if not writer.transport.is_closing():
            writer.transport.set_write_buffer_limits(0)
            await writer.drain()
    except OSError:
        pass
    except asyncio.CancelledError:
        writer.transport.abort()


async def _until_the_end(reader: asyncio.StreamReader) -> None:
    """Whatever a client says while it gets packets, it is of no interest."""
    with suppress(OSError):
        while await reader.read(1 << 12):
            pass


@asynccontextmanager
async def serve(
    stack: PacketStack,
    path: str | os.PathLike[str] | None = None,
    *,
    keylog: str | None = None,
    session: Callable[[], Session] | None = None,
    **about: Any,
) -> AsyncIterator[Control]:
    """Let `aiotcp ss`, `stat` and `capture` ask about `stack`, as long as the block lasts.

    path: of the socket, which only this user and root may use. None: one of its own in the
        directory where `aiotcp` looks (`aiotcp.control.places`). What a process that has ended has
        left there is replaced.
    keylog: the file with the program's TLS secrets, for captures that are asked to have them. None:
        what the environment variable SSLKEYLOGFILE says.
    session: called for each one who asks; answers verbs that are not those of `protocol`.
    about: what `aiotcp info` shows beside, such as `name="my tunnel"`; ready for JSON.

    Raises OSError where the socket can't be had: EADDRINUSE if another process has it.
    """
    control = Control(
        stack,
        Path(path) if path is not None else places.new_path(),
        {"name": os.path.basename(sys.argv[0]) if sys.argv else "", **about},
        keylog or os.environ.get("SSLKEYLOGFILE") or None,
        session,
    )
    await control.start()
    try:
        yield control
    finally:
        await control.close()


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, mode 0600. Raises OSError."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise os_error(errno.EEXIST, f"{path} is no socket")
        if places.is_answered(path):
            raise os_error(errno.EADDRINUSE, f"another process answers at {path}")
    # Under another name first: who finds it under its own may connect, and nobody else may.
    beside = path.with_name(f".{secrets.token_hex(4)}")
    if max(len(os.fsencode(path)), len(os.fsencode(beside))) > places.PATH_BYTES:
        raise os_error(errno.ENAMETOOLONG, f"{path}: too long for a socket")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(os.fspath(beside))
        beside.chmod(0o600)
        made.listen(MAX_CLIENTS)
        made.setblocking(False)
        beside.rename(path)
    except BaseException:
        made.close()
        with suppress(OSError):
            beside.unlink()
        raise
    return made


def _peer(sock: socket.socket) -> int | None:
    """The user of the process at the other end; None where the system does not tell, and the mode
    of the socket has to do."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    _, user, _ = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, option, _PEER.size))
    return int(user)


def _version() -> str:
    """Of this package; "unknown" where that is not to be found out any more."""
    try:
        from importlib.metadata import PackageNotFoundError, version  # takes its time
    except ImportError:
        return "unknown"
    try:
        return version("aiotcp")
    except PackageNotFoundError:  # a checkout
        return "unknown"


def _spoken(value: object) -> object:
    return value if isinstance(value, bool | int | float | str) or value is None else repr(value)
