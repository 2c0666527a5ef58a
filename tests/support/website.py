"""A web site on the stack, served by uvicorn and starlette, and Debian's curl as its visitor.

The kernel's TCP is below curl, ours below uvicorn, a TUN device between them. The same site can be
served from kernel sockets, to compare.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from asyncio import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from tests.live.world import World

PEM = Path(__file__).parent / "tls" / "self-signed.pem"
NAME = "stack.test"
"""The host that the certificate names."""

BLOCK = bytes(range(256)) * 256
PORTS = {"http": 80, "https": 443}

Scheme = Literal["http", "https"]
Serve = Callable[..., Any]


@dataclass
class Upload:
    """What came of a request's body. complete: it did not break off."""

    octets: int
    sha256: str
    complete: bool


class Site:
    """The application, and what happened to it.

    GET /hello, /files/NAME (with ranges), /stream/COUNT (blocks of 64 KiB, chunked), /blocks/COUNT
    (the same, with a Content-Length), /wait (answers once `gate` is set).
    PUT /upload: the octets and their SHA-256, when they are all there. PUT /refuse/STATUS: an
    answer without a look at the body. POST /crash: the application fails.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.gate = asyncio.Event()
        self.uploads: list[Upload] = []
        self.octets = 0
        """Of bodies, so far."""
        self.waiting = self.streaming = 0
        """Requests that wait for the gate, and those that were answered by blocks."""
        self.answered = 0
        self.lost: list[Exception | None] = []
        """How each connection ended: what `connection_lost()` was told."""
        self.news = asyncio.Event()
        self.protocols: set[Visit] = set()
        self.app = Starlette(
            routes=[
                Route("/hello", self._hello),
                Route("/files/{name}", self._file, methods=["GET"]),
                Route("/stream/{count:int}", self._stream),
                Route("/blocks/{count:int}", self._blocks),
                Route("/wait", self._wait),
                Route("/upload", self._upload, methods=["PUT", "POST"]),
                Route("/refuse/{status:int}", self._refuse, methods=["PUT", "POST"]),
                Route("/crash", self._crash, methods=["PUT", "POST"]),
            ]
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to be so that the site's connections and uploads bring about."""
        while not condition():
            self.news.clear()
            await self.news.wait()

    async def _hello(self, request: Request) -> PlainTextResponse:
        assert request.client is not None
        return PlainTextResponse(f"hello {request.client.host} {request.url.scheme}")

    async def _file(self, request: Request) -> FileResponse:
        return FileResponse(self.root / request.path_params["name"], media_type="x/y")

    async def _stream(self, request: Request) -> StreamingResponse:
        return StreamingResponse(self._produce(request.path_params["count"]))

    async def _blocks(self, request: Request) -> StreamingResponse:
        count = request.path_params["count"]
        headers = {"Content-Length": str(count * len(BLOCK))}
        return StreamingResponse(self._produce(count), headers=headers)

    async def _produce(self, count: int) -> AsyncIterator[bytes]:
        self.streaming += 1
        self.news.set()
        for _ in range(count):
            yield BLOCK

    async def _wait(self, request: Request) -> PlainTextResponse:
        self.waiting += 1
        self.news.set()
        await self.gate.wait()
        return PlainTextResponse("go")

    async def _upload(self, request: Request) -> JSONResponse:
        digest, octets, complete = hashlib.sha256(), 0, False
        try:
            async for data in request.stream():
                digest.update(data)
                octets += len(data)
                self.octets += len(data)
                self.news.set()
            complete = True
        except ClientDisconnect:
            pass
        self.uploads.append(Upload(octets, digest.hexdigest(), complete))
        self.news.set()
        return JSONResponse(self.uploads[-1].__dict__)

    async def _refuse(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("refused", request.path_params["status"])

    async def _crash(self, request: Request) -> PlainTextResponse:
        raise RuntimeError("the application fails")


class Visit(H11Protocol):
    """uvicorn's protocol; the site hears how its connection ended."""

    site: Site

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.site.protocols.add(self)
        super().connection_made(transport)
        self.site.news.set()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.site.answered += 1
        self.site.news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.site.protocols.discard(self)
        self.site.lost.append(exc)
        self.site.news.set()


@asynccontextmanager
async def serving(
    site: Site, create_server: Serve, host: str, schemes: tuple[Scheme, ...] = ("http", "https")
) -> AsyncIterator[None]:
    """uvicorn serves the site, on the ports of the schemes; its connections are closed at the end.

    create_server: `Stack.create_server`, or that of a loop.
    """
    config = uvicorn.Config(
        site.app,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=300,  # 5 s are nothing to fifty curls on a busy machine
    )
    config.load()
    state = ServerState()

    def visit() -> Visit:
        made = Visit(config=config, server_state=state, app_state={})
        made.site = site
        return made

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(PEM)
    servers = [
        await create_server(visit, host, PORTS[scheme], ssl=tls if scheme == "https" else None)
        for scheme in schemes
    ]
    try:
        yield
    finally:
        for server in servers:
            server.close()
        for each in list(site.protocols):
            each.shutdown()
        await site.until(lambda: not site.protocols)
        await asyncio.gather(*state.tasks, return_exceptions=True)
        for server in servers:
            await server.wait_closed()


@asynccontextmanager
async def on_stack(w: World, root: Path) -> AsyncIterator[tuple[Site, Browser]]:
    """The site on a stack, and who visits it from the kernel's side."""
    site = Site(root)
    async with serving(site, w.stack.create_server, w.side.stack):
        yield site, Browser(w.side.stack)


@dataclass
class Answer:
    """What curl did. code: its exit status. transfers: what `-w %{json}` tells of each URL."""

    code: int
    body: bytes
    transfers: list[dict[str, Any]]
    messages: str

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def statuses(self) -> list[int]:
        return [each["http_code"] for each in self.transfers]

    @property
    def connects(self) -> int:
        """New connections that all of it took."""
        return sum(each["num_connects"] for each in self.transfers)


@dataclass
class Browser:
    """Runs curl against one address."""

    host: str
    running: list[subprocess.Process] = field(default_factory=list)

    def url(self, path: str, scheme: Scheme = "http") -> str:
        return f"{scheme}://{NAME}:{PORTS[scheme]}{path}"

    def command(self, *arguments: str) -> list[str]:
        address = f"[{self.host}]" if ":" in self.host else self.host
        command = ["curl", "--no-progress-meter", "--cacert", str(PEM), "--http1.1"]
        for port in PORTS.values():
            command += ["--resolve", f"{NAME}:{port}:{address}"]
        return [*command, "--write-out", "%{stderr}%{json}\\n", *arguments]

    async def start(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Process:
        """curl as a process; stdout and stderr are pipes."""
        return await asyncio.create_subprocess_exec(
            *self.command(*arguments),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def get(self, *arguments: str) -> Answer:
        """Run curl to its good end. What each URL gave is in `body`, one after the other."""
        got = await self.attempt(*arguments)
        assert got.code == 0, got.messages
        return got

    async def attempt(self, *arguments: str) -> Answer:
        """The same, whatever its end."""
        process = await self.start(*arguments)
        try:
            return await answer(process)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def digest(self, *arguments: str) -> tuple[str, list[dict[str, Any]]]:
        """The SHA-256 of what curl got, which is nowhere kept; and of the transfers, as above."""
        process = await self.start(*arguments)
        digest = hashlib.sha256()
        assert process.stdout is not None
        assert process.stderr is not None
        while data := await process.stdout.read(1 << 18):
            digest.update(data)
        told = _answer(0, b"", await process.stderr.read())
        assert await process.wait() == 0, told.messages
        return digest.hexdigest(), told.transfers


async def answer(process: subprocess.Process) -> Answer:
    out, err = await process.communicate()
    assert process.returncode is not None
    return _answer(process.returncode, out, err)


def _answer(code: int, out: bytes, err: bytes) -> Answer:
    lines = err.decode().splitlines()
    transfers = [json.loads(line) for line in lines if line.startswith("{")]
    messages = "\n".join(line for line in lines if not line.startswith("{"))
    return Answer(code, out, transfers, messages)


async def killed(process: subprocess.Process) -> None:
    """End a curl in the middle of what it does, and wait for that."""
    process.kill()
    await process.communicate()
