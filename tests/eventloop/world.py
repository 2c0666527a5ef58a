"""A stack for a loop, a peer on the other end of its link, names, and what the kernel has open."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable
from typing import Any

from aiotcp import Stack
from aiotcp.link import memory
from aiotcp.link.memory import MemoryLink
from aiotcp.routing import StackLoop
from aiotcp.sockets import StackSocket

HERE = "192.0.2.2"
PEER = "192.0.2.1"

LoopFactory = Callable[..., StackLoop]


def two(**kwds: Any) -> tuple[Stack, MemoryLink]:
    """The loop's stack, and the other end of its link for a peer that the test makes."""
    left, right = memory.pair()
    return Stack(right, addresses=[HERE, "fd61::2"], **kwds), left


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    name = await reader.readline()
    on_stack = isinstance(writer.get_extra_info("socket"), StackSocket)
    writer.write(b"stack " if on_stack else b"kernel ")
    writer.write(name)
    await writer.drain()
    writer.close()


async def ask(host: str, port: int, **kwds: Any) -> bytes:
    reader, writer = await asyncio.open_connection(host, port, **kwds)
    writer.write(b"hello\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def naming(loop_factory: LoopFactory, names: dict[str, list[str]]) -> LoopFactory:
    """`loop_factory`, whose loops know `names`, and count in `asked` how often each was looked up.

    An address may have a port of its own, as in "192.0.2.1:9"."""

    class Loop(loop_factory):  # type: ignore[valid-type,misc]
        def __init__(self, *args: Any, **kwds: Any) -> None:
            super().__init__(*args, **kwds)
            self.asked: list[str] = []

        async def getaddrinfo(self, host: Any, port: Any, **kwds: Any) -> Any:
            if host not in names:
                return socket.getaddrinfo(host, port, **kwds)
            self.asked.append(host)
            await asyncio.sleep(0)
            found = []
            for name in names[host]:
                address, _, own = name.partition(":")
                at = (address, int(own or port))
                found.append((socket.AF_INET, socket.SOCK_STREAM, 6, "", at))
            return found

    return Loop


def open_descriptors() -> set[str]:
    gc.collect()
    return set(os.listdir("/proc/self/fd"))


def unfinished(stack: Stack) -> list[str]:
    """States of the connections that nobody should have left."""
    states = [info.state for info in stack.connections()]
    return [state for state in states if state != "TIME-WAIT"]


async def nothing_left(stack: Stack, before: set[str]) -> None:
    """Wait until no more descriptors are open than `before`, and no connections of `stack`."""
    for _ in range(1000):
        await turns()
        if not unfinished(stack) and open_descriptors() <= before:
            return
    assert not unfinished(stack)
    assert open_descriptors() <= before
