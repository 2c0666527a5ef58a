"""What a page of the live view looks at: the stack of this process, or those of all workers.

Workers are asked over their control sockets, the own one, too. What they answer beside what
`aiotcp.control` does is `Answers`: `table`, as `watching.rows` makes it; `watch`, with the `flow`
of a connection; and `news` of that one, as long as the one who asks stays connected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

from aiotcp.control import places, protocol
from aiotcp.serve.settings import Settings
from aiotcp.serve.watching import ROWS_MAX, Watching, rows
from aiotcp.stack import PacketStack

PATIENCE_S = 1.0
"""For an answer; a worker that takes longer is left out until it is asked again."""

_LINE_BYTES = 1 << 22
_AGE = itemgetter(9)
"""Of a row of the table."""


class View(Protocol):
    """One page's."""

    async def table(self) -> dict[str, Any]:
        """The connections, the chosen one among them."""
        ...

    async def watch(self, chosen: str) -> None:
        """From now on. chosen: what the table calls it. Raises LookupError if there is none."""
        ...

    async def news(self) -> dict[str, Any]:
        """Of that connection; with `over` once there will be no more."""
        ...

    def close(self) -> None: ...


class OwnView:
    """Of the stack in this process."""

    def __init__(self, stack: PacketStack) -> None:
        self._stack = stack
        self._flow = b""
        self._watching: Watching | None = None

    async def table(self) -> dict[str, Any]:
        return rows(self._stack, self._flow)

    async def watch(self, chosen: str) -> None:
        self._flow = _flow(chosen)
        self._watching = Watching(self._stack, self._flow)

    async def news(self) -> dict[str, Any]:
        assert self._watching is not None
        return self._watching.news()

    def close(self) -> None:
        if self._watching is not None:
            self._watching.stop()


class Answers:
    """A worker's, to one page: a `control.server.Session`."""

    def __init__(self, stack: PacketStack) -> None:
        self._stack = stack
        self._watching: Watching | None = None

    def answer(self, verb: str, asked: dict[str, Any]) -> dict[str, Any] | None:
        """None: no verb of ours. Raises ValueError for what can't be answered."""
        try:
            if verb == "table":
                return rows(self._stack, _flow(asked.get("flow", "")))
            if verb == "watch":
                self.close()
                self._watching = Watching(self._stack, _flow(asked.get("flow", "")))
                return {}
        except LookupError as exc:
            raise ValueError(str(exc)) from None
        if verb == "news":
            if self._watching is None:
                raise ValueError("nothing is watched")
            return self._watching.news()
        return None

    def close(self) -> None:
        """He has gone."""
        if self._watching is not None:
            self._watching.stop()
            self._watching = None


class WorkersView:
    """Of the stacks of all workers. A connection is called by its worker's number and its flow.

    group: the workers', as they tell it by `info`. paths: where to look for their sockets; asked
    again each time, for workers come and go.
    """

    def __init__(self, group: int, paths: Callable[[], Iterable[Path]]) -> None:
        self._group = group
        self._paths = paths
        self._workers: dict[Path, _Worker] = {}
        self._strangers: set[Path] = set()
        self._chosen: _Worker | None = None
        self._flow = ""

    async def table(self) -> dict[str, Any]:
        await self._look_for_workers()
        told = await asyncio.gather(*map(self._table_of, list(self._workers.values())))
        found = [row for table in told for row in table["rows"]]
        found.sort(key=_AGE)
        chosen = f"{self._chosen.number}.{self._flow}" if self._chosen is not None else ""
        shown = found[:ROWS_MAX]
        shown += [row for row in found[ROWS_MAX:] if row[0] == chosen]
        return {"all": sum(table["all"] for table in told), "rows": shown}

    async def _table_of(self, worker: _Worker) -> dict[str, Any]:
        flow = self._flow if worker is self._chosen else ""
        try:
            table = await worker.ask("table", flow=flow)
        except _Gone:
            self._forget(worker)
            return {"all": 0, "rows": []}
        for row in table["rows"]:
            row[0] = row[0] and f"{worker.number}.{row[0]}"
            row.append(worker.number)
        return table

    async def watch(self, chosen: str) -> None:
        number, _, flow = chosen.partition(".")
        _flow(flow)
        await self._look_for_workers()
        for worker in self._workers.values():
            if str(worker.number) == number:
                try:
                    await worker.ask("watch", flow=flow)
                except _Gone:
                    break
                except ValueError as exc:
                    raise LookupError(str(exc)) from None
                self._chosen, self._flow = worker, flow
                return
        raise LookupError("no such worker")

    async def news(self) -> dict[str, Any]:
        assert self._chosen is not None
        try:
            return await self._chosen.ask("news")
        except _Gone:
            return {"over": True}

    async def _look_for_workers(self) -> None:
        try:
            paths = set(self._paths())
        except OSError:
            return
        self._strangers &= paths
        for path in sorted(paths - self._strangers - self._workers.keys()):
            with suppress(_Gone):
                worker = await _Worker.at(path)
                if worker.group == self._group:
                    self._workers[path] = worker
                else:
                    worker.close()
                    self._strangers.add(path)

    def _forget(self, worker: _Worker) -> None:
        worker.close()
        self._workers = {path: each for path, each in self._workers.items() if each is not worker}

    def close(self) -> None:
        for worker in self._workers.values():
            worker.close()


class _Gone(Exception):
    """It does not answer, or not in time."""


class _Worker:
    """A connection to the control socket of one."""

    number = 0
    group = 0

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._asking = asyncio.Lock()

    @classmethod
    async def at(cls, path: Path) -> _Worker:
        """Raises _Gone."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                made = cls(*await asyncio.open_unix_connection(path, limit=_LINE_BYTES))
        except OSError as exc:
            raise _Gone from exc
        try:
            info = await made.ask("info")
        except BaseException as exc:
            made.close()
            if isinstance(exc, ValueError):
                raise _Gone from exc
            raise
        made.number, made.group = info.get("worker", 0), info.get("group", 0)
        return made

    async def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """The result. Raises ValueError where it says no, and _Gone."""
        if self._writer.is_closing():
            raise _Gone
        try:
            async with self._asking, asyncio.timeout(PATIENCE_S):
                self._writer.write(protocol.request(verb, **arguments))
                line = await self._reader.readline()
            message = protocol.decode(line)
        except (OSError, ValueError) as exc:
            self.close()  # an answer that comes later must not be taken for the next one's
            raise _Gone from exc
        if message.get("ok") is not True:
            raise ValueError(message.get("error"))
        result: dict[str, Any] = message["result"]
        return result

    def close(self) -> None:
        self._writer.close()


def workers_view(settings: Settings, group: int) -> WorkersView:
    """Of the workers of this program."""
    path = settings.control
    if path is not None:
        named = [Path(f"{path}.{number}") for number in range(settings.workers)]
        return WorkersView(group, lambda: [each for each in named if each.exists()])
    return WorkersView(group, places.sockets)


def _flow(text: object) -> bytes:
    """Raises LookupError."""
    try:
        return bytes.fromhex(str(text))
    except ValueError:
        raise LookupError("no such connection") from None
