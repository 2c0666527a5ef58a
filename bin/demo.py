"""make demo: a web page on our own TCP, fetched by curl through a TUN device.

In a network namespace of its own, which ends with it: nothing is configured in the machine's own
network. Where no such namespace or no TUN device can be had, the same exchange runs between two
stacks of one process, joined in memory.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from typing import Any

HEAD_LINES = 16


def main() -> int:
    if sys.argv[1:] == ["--probe"]:
        return probe()
    if sys.argv[1:] == ["--inside"]:
        return on_tun()
    myself = [sys.executable, os.path.abspath(__file__)]
    ways = [["unshare", "-n"]] if os.geteuid() == 0 else []
    ways.append(["unshare", "-Urn"])
    obstacles = []
    for way in ways:
        try:
            attempt = subprocess.run(
                [*way, *myself, "--probe"], stderr=subprocess.PIPE, text=True, check=False
            )
        except OSError as exc:
            obstacles.append(f"{way[0]}: {exc.strerror}")
            continue
        if attempt.returncode == 0:
            heading(f"On a TUN device, in a network namespace of its own ({' '.join(way)})")
            return subprocess.run([*way, *myself, "--inside"], check=False).returncode
        reason = attempt.stderr.strip().rpartition("\n")[2]
        obstacles.append(f"{' '.join(way)}: {reason or 'failed'}")
    heading("No TUN device in a private network namespace can be had here")
    print("\n".join(obstacles))
    heading("So: the same exchange between two stacks, joined in memory")
    asyncio.run(in_memory())
    return 0


def probe() -> int:
    """Whether a TUN device can be created and configured here; on stderr why not."""
    from aiotcp.link import network

    try:
        network.open_tun()[0].close()
    except OSError as exc:
        print(exc.strerror or exc, file=sys.stderr)
        return 1
    return 0


def on_tun() -> int:
    """The server as a process of its own; curl, and the kernel's TCP, as its clients."""
    ready, told = os.pipe()
    program = [sys.executable, "-m", "aiotcp.serve", "http", "--log-level", "warning"]
    server = subprocess.Popen([*program, "--ready-fd", str(told)], pass_fds=[told])
    try:
        os.close(told)
        with open(ready) as answer:
            _, *endpoints = answer.readline().split() or [""]
        if not endpoints:
            return server.wait() or 1
        for endpoint in endpoints:
            fetch_aloud(f"http://{endpoint}/")
        idle = [socket.create_connection(split(endpoint)) for endpoint in endpoints]
        try:
            show(json.loads(fetch(f"http://{endpoints[0]}/connections.json")))
        finally:
            for connection in idle:
                connection.close()
    finally:
        server.terminate()
        status = server.wait()
    print(f"\nSIGTERM: aiotcp-serve has closed its connections and ended with {status}.")
    return status


def fetch_aloud(url: str) -> None:
    client = "curl -i" if shutil.which("curl") else "(curl is not installed; urllib instead)"
    heading(f"{client} '{url}'")
    page = fetch(url, with_head=True).splitlines()
    print("\n".join(line[:100] for line in page[:HEAD_LINES]))
    if len(page) > HEAD_LINES:
        print(f"… and {len(page) - HEAD_LINES} more lines")


def fetch(url: str, *, with_head: bool = False) -> str:
    if shutil.which("curl"):
        command = ["curl", "-sS", "--fail", "--max-time", "20", *["-i"] * with_head, url]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    with urllib.request.urlopen(url, timeout=20) as response:
        body: str = response.read().decode()
        head = f"HTTP/1.1 {response.status} {response.reason}\n{response.headers}"
        return head + body if with_head else body


async def in_memory() -> None:
    from aiotcp.link import memory
    from aiotcp.serve import pages
    from aiotcp.serve.web import Web
    from aiotcp.stack import DEFAULT_ADDRESSES
    from aiotcp.streams import Stack

    ours, theirs = memory.pair(offload=True)
    async with (
        Stack(ours, addresses=DEFAULT_ADDRESSES) as server,
        Stack(theirs, addresses=["192.0.2.1", "fd61:696f:7463:70::1"]) as client,
    ):
        listening: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        web = Web(
            "live connections", pages.connections, DEFAULT_ADDRESSES, 80, lifespan="off", grace=5
        )
        serving = asyncio.create_task(web.run(server, listening.set_result))
        await asyncio.wait({listening, serving}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()

        async def get(host: str, path: str) -> str:
            reader, writer = await client.open_connection(host, 80)
            writer.write(f"GET {path} HTTP/1.0\r\nHost: demo\r\n\r\n".encode())
            answer = (await reader.read()).decode()
            writer.close()
            return answer

        for host, _ in listening.result():
            heading(f"GET / from {host}")
            print("\n".join((await get(host, "/")).splitlines()[:HEAD_LINES]))
        idle = [await client.open_connection(host, 80) for host, _ in listening.result()]
        show(
            json.loads(
                (await get(DEFAULT_ADDRESSES[0], "/connections.json")).partition("\r\n\r\n")[2]
            )
        )
        for _, writer in idle:
            writer.close()
        web.stop()
        await serving


def show(connections: list[dict[str, Any]]) -> None:
    """The connection table."""
    heading("The live connections, as /connections.json tells")
    row = "{:32}{:30}{:13}{:>9}{:>10}{:>10}{:>9}"
    print(row.format("remote", "local", "state", "bytes in", "bytes out", "rtt ms", "cwnd"))
    for each in connections:
        rtt = "" if each["rtt_s"] is None else f"{each['rtt_s'] * 1000:.1f}"
        numbers = (each["bytes_received"], each["bytes_sent"], rtt, each["cwnd_bytes"])
        print(row.format(each["remote"], each["local"], each["state"], *numbers))


def split(endpoint: str) -> tuple[str, int]:
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def heading(text: str) -> None:
    print(f"\n── {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
