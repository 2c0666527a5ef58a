"""The server's side of a measurement, a process of its own.

    python -m bench.serve SETTING

SETTING is a `Setting` as JSON: which program, on which network. Prints "READY HOST PORT", serves
until its standard input ends, and then prints, as JSON, what went wrong meanwhile, if anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import socket
import ssl
import sys
from asyncio import sslproto
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import uvloop

from aiotcp import Options, Stack
from aiotcp.link import network
from aiotcp.link.tun import Tun
from aiotcp.reasons import Why
from aiotcp.tls import SSLTransport
from bench.raw_responder import RawResponder, RawResponders
from bench.servers import PROGRAMS, Handler
from bench.veth import move_behind_veth

PORT = 80
BACKLOG = 4096
_MOST_CONNECTIONS = 20_000

_REPEATED = (
    Why.FAST_RETRANSMIT,
    Why.PARTIAL_ACK_RETRANSMIT,
    Why.RTO_RETRANSMIT,
    Why.WINDOW_PROBE,
)


@dataclass(frozen=True)
class Setting:
    """Which program, on which network."""

    network: str
    """"aiotcp", "raw" (the responder on a TUN device) or "kernel"."""
    program: str
    """One of PROGRAMS; for "raw", "sink", "source" or "echo"."""
    loop: str = "uvloop"
    """"uvloop" or "asyncio"."""
    offload: bool = True
    """Of the TUN device."""
    mtu: int = 1500
    """Of the TUN device, and of the veth pair."""
    version: int = 4
    """Of IP."""
    certificate: str = ""
    """A file with a certificate and its key, to serve over TLS."""
    veth: bool = False
    """The kernel's sockets are in a namespace of their own, behind a veth pair; else the client is
    beside them, on the loopback."""
    many: bool = False
    """The responder serves several connections at a time."""
    number: int = 1
    """Servers that run at the same time have different ones, and so different addresses."""

    def as_json(self) -> str:
        return json.dumps(vars(self))

    @property
    def client_address(self) -> str:
        """The client's end, with prefix length."""
        if self.version == 6:
            return f"fd61:696f:7463:{self.number}::1/64"
        return f"10.77.{self.number}.1/24"

    @property
    def server_address(self) -> str:
        if self.version == 6:
            return f"fd61:696f:7463:{self.number}::2"
        return f"10.77.{self.number}.2"

    @property
    def context(self) -> ssl.SSLContext | None:
        if not self.certificate:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        return context


async def _stopped() -> None:
    """Until the standard input ends."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()

    def readable() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            over.set_result(None)

    loop.add_reader(sys.stdin.fileno(), readable)
    await over


def _ready(host: str, port: int) -> None:
    gc.collect()
    gc.freeze()  # as aiotcp-serve does: no collection has to look at what stays as it is
    print("READY", host, port, flush=True)


# aiotcp


@contextlib.contextmanager
def _tun(setting: Setting) -> Iterator[Tun]:
    tun, _ = network.open_tun(
        host_addresses=[setting.client_address], mtu=setting.mtu, offload=setting.offload
    )
    try:
        yield tun
    finally:
        tun.close()


async def _on_aiotcp(setting: Setting, tun: Tun) -> dict[str, int]:
    host, program = setting.server_address, PROGRAMS[setting.program]
    options = Options(max_connections=_MOST_CONNECTIONS)
    stack = Stack(tun, addresses=[host], options=options)
    async with _application(setting, stack):
        if program.streams is not None:
            await stack.start_server(
                program.streams, host, PORT, backlog=BACKLOG, ssl=setting.context
            )
        elif program.protocol is not None:
            await stack.create_server(
                program.protocol, host, PORT, backlog=BACKLOG, ssl=setting.context
            )
        _ready(host, PORT)
        await _stopped()
    told = {
        "dropped by the device": await _device_drops(tun),
        **{str(why): stack.counters.sent[why] for why in _REPEATED},
    }
    await stack.aclose(grace=0)
    return told


async def _device_drops(tun: Tun) -> int:
    return (await network.off_loop(network.statistics, tun.name))["tx_dropped"]


@contextlib.asynccontextmanager
async def _application(setting: Setting, stack: Stack) -> AsyncIterator[None]:
    """The program's application, if it is one, as `aiotcp-serve asgi` serves it."""
    application = PROGRAMS[setting.program].application
    if application is None:
        yield
        return
    from aiotcp.serve.web import Web

    listens = asyncio.Event()
    web = Web(
        setting.program,
        lambda _: application,
        [setting.server_address],
        PORT,
        lifespan="off",
        grace=0,
    )
    serving = asyncio.create_task(web.run(stack, lambda _: listens.set()))
    await listens.wait()
    yield
    web.stop()
    await serving


# The raw limit


async def _raw(setting: Setting, tun: Tun) -> dict[str, int]:
    responder = (RawResponders if setting.many else RawResponder)(tun, setting.program, PORT)
    tun.attach(responder, asyncio.get_running_loop())
    _ready(setting.server_address, PORT)
    await _stopped()
    return {"dropped by the device": await _device_drops(tun)}


# The kernel


async def _on_kernel(setting: Setting) -> dict[str, int]:
    program = PROGRAMS[setting.program]
    host = "127.0.0.1" if setting.version == 4 else "::1"
    if setting.veth:
        host = setting.server_address
    family = socket.AF_INET if setting.version == 4 else socket.AF_INET6
    with socket.create_server((host, 0), family=family, backlog=BACKLOG) as listening:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        port = listening.getsockname()[1]
        server: Any = None
        asyncio.get_running_loop().set_exception_handler(_report_but_once)
        if program.streams is not None:
            server = await asyncio.start_server(
                _hearing_of_the_end(program.streams),
                sock=listening,
                backlog=BACKLOG,
                ssl=setting.context,
            )
        elif program.protocol is not None:
            server = await asyncio.get_running_loop().create_server(
                program.protocol, sock=listening, backlog=BACKLOG, ssl=setting.context
            )
        else:
            server = await _uvicorn(program.application, listening)
        _ready(host, port)
        await _stopped()
        del server
    return {}


def _hearing_of_the_end(streams: Handler) -> Handler:
    """`streams` with a TLS transport that knows when the connection below it is lost, as ours has
    it; asyncio's does not before Python 3.13, and then a source writes for ever."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if type(writer.transport) is sslproto._SSLProtocolTransport:
            writer.transport.__class__ = SSLTransport
        await streams(reader, writer)

    return serve


def _report_but_once(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The loop's exception handler, but for one thing. Where the client resets a connection while
    TLS writes in `resume_writing()`, asyncio's transport (`_write_ready`) tells of the loss twice,
    the second time a protocol and a socket that it has let go of."""
    again = "_call_connection_lost" in repr(context.get("handle"))
    if not (again and isinstance(context.get("exception"), AttributeError)):
        loop.default_exception_handler(context)


async def _uvicorn(application: Any, listening: socket.socket) -> Any:
    """uvicorn on kernel sockets, with the settings that it has in `_application`."""
    import uvicorn

    listens = asyncio.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            listens.set()

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    config = uvicorn.Config(application, lifespan="off", proxy_headers=False, log_config=None)
    serving = asyncio.create_task(Server(config).serve(sockets=[listening]))
    await listens.wait()
    return serving


def main() -> None:
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # sources write until they hear of the end
    setting = Setting(**json.loads(sys.argv[1]))
    factory = uvloop.new_event_loop if setting.loop == "uvloop" else asyncio.new_event_loop
    with contextlib.ExitStack() as opened:
        if setting.network == "kernel":
            if setting.veth:
                ends = (setting.client_address, setting.server_address)
                move_behind_veth(*ends, setting.mtu, setting.number)
            work = _on_kernel(setting)
        else:
            tun = opened.enter_context(_tun(setting))
            work = (_raw if setting.network == "raw" else _on_aiotcp)(setting, tun)
        with asyncio.Runner(loop_factory=factory) as runner:
            told = runner.run(work)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
