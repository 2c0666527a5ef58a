"""What `aiotcp-serve http` shows: a directory, or the stack's live connections."""

from __future__ import annotations

import dataclasses
import html
import os
import stat
import time
import urllib.parse
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.datastructures import URL
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from aiotcp.info import ConnectionInfo
from aiotcp.serve.service import joined
from aiotcp.streams import Stack

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em}"
    "table{border-collapse:collapse}td,th{padding:.2em 1em .2em 0;text-align:left}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}code{font-size:1em}"
)


def connections(stack: Stack) -> Starlette:
    """The application that shows the connections of `stack`: as a page, and as JSON."""

    async def page(request: Request) -> Response:
        return HTMLResponse(_connections_page(stack))

    async def data(request: Request) -> Response:
        return JSONResponse([_as_json(info) for info in stack.connections()])

    async def counters(request: Request) -> Response:
        return JSONResponse(stack.counters.as_dict())

    async def nstat(request: Request) -> Response:
        return JSONResponse(stack.nstat())

    return Starlette(
        routes=[
            Route("/", page),
            Route("/connections.json", data),
            Route("/counters.json", counters),
            Route("/nstat.json", nstat),
        ]
    )


def directory(root: str) -> Starlette:
    """The application that serves the files below `root`."""
    return Starlette(routes=[Mount("/", Directory(directory=root))])


class Directory(StaticFiles):
    """Files below one directory; a directory answers with its index.html, or with a listing.

    Symbolic links are followed as long as they stay below the directory.
    """

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        try:
            return super().lookup_path(path)
        except PermissionError:
            raise HTTPException(status_code=403) from None
        except (OSError, ValueError):
            return "", None  # too long, a null byte, links in a circle: no such file can be

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            return await super().get_response(path, scope)
        except HTTPException as exc:
            if exc.status_code != 404:
                raise
            full_path, status = await anyio.to_thread.run_sync(self.lookup_path, path)
            if status is None or not stat.S_ISDIR(status.st_mode):
                raise
        if not scope["path"].endswith("/"):
            url = URL(scope=scope)
            return RedirectResponse(url.replace(path=url.path + "/"))
        index = os.path.join(path, "index.html")
        if (await anyio.to_thread.run_sync(self.lookup_path, index))[1] is not None:
            return await super().get_response(index, scope)
        return await anyio.to_thread.run_sync(self._listing, path, full_path, scope["path"])

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        # Found out later, when the file is opened, it would be an error of ours.
        if not os.access(full_path, os.R_OK):
            raise HTTPException(status_code=403)
        return super().file_response(full_path, stat_result, scope, status_code)

    def _listing(self, path: str, full_path: str, shown: str) -> Response:
        try:
            names = sorted(filter(_is_text, os.listdir(full_path)), key=str.lower)
        except PermissionError:
            raise HTTPException(status_code=403) from None
        rows = ['<tr><td><a href="../">../</a></td></tr>'] if path != "." else []
        for name in names:
            try:
                _, status = self.lookup_path(os.path.join(path, name))
            except HTTPException:
                status = None
            if status is None:
                continue  # a link that leads nowhere, or out of the directory: can't be fetched
            is_directory = stat.S_ISDIR(status.st_mode)
            label = name + "/" * is_directory
            link = urllib.parse.quote(label)
            size = "" if is_directory else f"{status.st_size:,}"
            modified = time.strftime("%Y-%m-%d %H:%M", time.localtime(status.st_mtime))
            rows.append(
                f'<tr><td><a href="./{link}">{html.escape(label)}</a></td>'
                f'<td class="n">{size}</td><td>{modified}</td></tr>'
            )
        title = html.escape(f"Directory listing for {shown}")
        return HTMLResponse(_page(title, f"<h1>{title}</h1><table>{''.join(rows)}</table>"))


def _connections_page(stack: Stack) -> str:
    live = stack.connections()
    columns = (
        *("remote", "local", "state", "control"),
        *("bytes in", "bytes out", "rtt", "cwnd", "sent again"),
    )
    head = "".join(
        f'<th class="n">{c}</th>' if i > 3 else f"<th>{c}</th>" for i, c in enumerate(columns)
    )
    rows = "".join(_row(info) for info in live)
    title = f"Live connections: {len(live)}"
    return _page(
        title,
        f"<h1>{title}</h1>\n"
        f"<table>\n<tr>{head}</tr>\n{rows}</table>\n"
        '<p>The same as data: <a href="/connections.json">/connections.json</a>; '
        'what was sent and dropped, and why: <a href="/counters.json">/counters.json</a>, '
        'and under the names of Linux: <a href="/nstat.json">/nstat.json</a></p>\n',
        refresh_s=2,
    )


def _row(info: ConnectionInfo) -> str:
    rtt = "" if info.rtt_s is None else f"{info.rtt_s * 1000:.1f} ms"
    texts = (joined(*info.remote), joined(*info.local), info.state, info.cc)
    numbers = (
        f"{info.bytes_received:,}",
        f"{info.bytes_sent:,}",
        rtt,
        f"{info.cwnd_bytes:,}",
        f"{info.retransmissions:,}",
    )
    cells = [f"<td>{html.escape(text)}</td>" for text in texts]
    cells += [f'<td class="n">{number}</td>' for number in numbers]
    return f"<tr>{''.join(cells)}</tr>\n"


def _as_json(info: ConnectionInfo) -> dict[str, Any]:
    return dataclasses.asdict(info) | {
        "local": joined(*info.local),
        "remote": joined(*info.remote),
    }


def _page(title: str, body: str, *, refresh_s: int = 0) -> str:
    refresh = f'<meta http-equiv="refresh" content="{refresh_s}">' if refresh_s else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">{refresh}\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style></head>\n<body>\n{body}</body>\n</html>\n"
    )


def _is_text(name: str) -> bool:
    """Whether a file name is UTF-8. Requests are decoded as such: no other name can be fetched."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
