"""A stack on a TUN device in the test's loop; the kernel's TCP beyond it, in a thread with a plain
loop of its own.

What a library's server and client do is written once, as an async context manager that serves and
a coroutine that asks. Which of the two is on the stack is the fixture `net`'s business.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from aiotcp import Stack
from tests.support.hosts import V4

HOST = V4.host
"""The kernel's address on the device."""

STACK = V4.stack

GUARD_S = 60.0
"""A test that takes longer hangs."""

PEM = Path(__file__).parents[1] / "support" / "tls" / "self-signed.pem"

_T = TypeVar("_T")
Serving = AbstractAsyncContextManager[_T]


@functools.cache
def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    return context


@functools.cache
def client_tls() -> ssl.SSLContext:
    """Trusts the servers of `server_tls`, by either address or as stack.test."""
    return ssl.create_default_context(cafile=PEM)


class Kernel:
    """A plain loop in a thread of this namespace: what runs there is on kernel sockets."""

    def __init__(self) -> None:
        self._loop = asyncio.SelectorEventLoop()

    async def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Awaits `work`, which runs on the kernel's side."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    @asynccontextmanager
    async def serving(self, server: Serving[_T]) -> AsyncIterator[_T]:
        """`async with server`, on the kernel's side."""
        entered: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        tell = entered.get_loop().call_soon_threadsafe
        leave = asyncio.Event()

        async def hold() -> None:
            async with server as value:
                tell(entered.set_result, value)
                await leave.wait()

        held = asyncio.create_task(self.run(hold()))
        await asyncio.wait((entered, held), return_when=asyncio.FIRST_COMPLETED)
        try:
            if entered.done():
                yield entered.result()
        finally:
            self._loop.call_soon_threadsafe(leave.set)
            await held


@contextmanager
def kernel_side() -> Iterator[Kernel]:
    kernel = Kernel()

    def life() -> None:
        with asyncio.Runner(loop_factory=lambda: kernel._loop) as runner:
            runner.run(_until(ended))

    ended = asyncio.Event()
    thread = threading.Thread(target=life, name="kernel's side")
    thread.start()
    try:
        yield kernel
    finally:
        kernel._loop.call_soon_threadsafe(ended.set)
        thread.join(GUARD_S)
        assert not thread.is_alive()


async def _until(ended: asyncio.Event) -> None:
    await ended.wait()


@dataclass
class Net:
    """One connection's two ends. served: the host that serves."""

    stack: Stack
    kernel: Kernel
    stack_serves: bool

    @property
    def host(self) -> str:
        """Where the servers are."""
        return STACK if self.stack_serves else HOST

    @property
    def client_host(self) -> str:
        return HOST if self.stack_serves else STACK

    @asynccontextmanager
    async def serving(self, server: Serving[_T]) -> AsyncIterator[_T]:
        """`async with server`, on the side that serves."""
        async with server if self.stack_serves else self.kernel.serving(server) as value:
            yield value

    async def asking(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Awaits `work` on the other side."""
        return await (self.kernel.run(work) if self.stack_serves else work)


async def until(condition: Callable[[], Any]) -> None:
    """Let the loop go round until the condition holds: for what a library tells no other way."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


stack_serves = pytest.mark.parametrize("net", ["serves"], indirect=True)
stack_asks = pytest.mark.parametrize("net", ["asks"], indirect=True)
