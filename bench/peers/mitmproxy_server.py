"""A server on mitmproxy_rs, for the bench: run by the Python of `make bench-peers`, by itself.

    python mitmproxy_server.py PROGRAM CLIENT_ADDRESS SERVER_ADDRESS

Prints "READY HOST PORT" and serves until its standard input ends. mitmproxy_rs makes its own TUN
device and answers for any address that is routed there.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import types
from typing import Any

# It imports the package of its "local redirect" mode, which is built from source and not used here.
try:
    import mitmproxy_linux  # noqa: F401
except ImportError:
    absent: Any = types.ModuleType("mitmproxy_linux")
    absent.executable_path = lambda: "/nonexistent"
    sys.modules["mitmproxy_linux"] = absent

import uvloop
from mitmproxy_rs import tun

_BLOCK = bytes(256 * 1024)


async def discard(stream: Any) -> None:
    while await stream.read(len(_BLOCK)):
        pass
    stream.close()


async def source(stream: Any) -> None:
    try:
        while True:
            stream.write(_BLOCK)
            await stream.drain()
    except OSError:
        stream.close()


async def echo(stream: Any) -> None:
    while message := await stream.read(4096):
        stream.write(message)
        await stream.drain()
    stream.close()


async def line(stream: Any) -> None:
    got = b""
    while not got.endswith(b"\n"):
        more = await stream.read(4096)
        if not more:
            break
        got += more
    stream.write(got)
    stream.close()


def configure(name: str, address: str) -> None:
    for command in (f"addr add {address} dev {name}", f"link set {name} up"):
        subprocess.run(["ip", *command.split()], check=True)


async def main(program: str, client: str, server: str) -> None:
    handler = {"discard": discard, "source": source, "echo": echo, "line": line}[program]
    device = await tun.create_tun_interface(handler, handler)
    configure(device.tun_name(), client)
    print("READY", server, 80, flush=True)
    over = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await over
    device.close()


uvloop.run(main(*sys.argv[1:]))
