"""CPython's own tests of asyncio, on loops of ours, with the host kernel's TCP as the other end.

The tests come from the `test.test_asyncio` of the interpreter that runs, and stay as they are.
They say "127.0.0.1" or "localhost" wherever they mean "the other end", and that is what changes its
meaning while one of them runs:

    where                                   means
    a loop listens on it, or binds to it    the stack
    a socket of the tests is bound to it    the host, on its side of the TUN device
    either connects to it                   where a socket of the tests is bound to the port, the
                                            host, else the stack
    an assertion compares it                either of the two

So a server on the loop has kernel sockets as clients, a client on the loop has a kernel socket as
server, and every byte passes the device.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import threading
import unittest
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import aiotcp
from aiotcp import Stack
from aiotcp.link.tun import Tun
from aiotcp.routing import StackLoop

LOOPBACK = {"127.0.0.1": 4, "localhost": 4, "::1": 6}
HOST = {4: "192.0.2.1", 6: "fd61:696f:7463:70::1"}
STACK = {4: "192.0.2.2", 6: "fd61:696f:7463:70::2"}

_EITHER = (HOST[4], STACK[4])

device = -1
"""A descriptor of the TUN device that the stacks use in turn, or -1."""

reports: list[dict[str, Any]] = []
"""What loops reported for which a test has no handler of its own."""

_loops: weakref.WeakSet[Any] = weakref.WeakSet()
"""The loops that a test has made."""

_bound: weakref.WeakSet[socket.socket] = weakref.WeakSet()
"""Kernel sockets that the tests have bound."""


def to_bind(host: Any, side: dict[int, str]) -> Any:
    version = LOOPBACK.get(host) if isinstance(host, str) else None
    return host if version is None else side[version]


def to_connect(host: Any, port: Any) -> Any:
    return to_bind(host, HOST if _is_bound(port) else STACK)


def _is_bound(port: Any) -> bool:
    for sock in list(_bound):
        try:
            if sock.getsockname()[1] == port:
                return True
        except OSError:  # closed
            _bound.discard(sock)
    return False


class OverTun(StackLoop):
    """Mixed into a loop with stacks: one stack on the device, and the addresses of the tests."""

    def __init__(self) -> None:
        super().__init__(Stack(Tun(fd=os.dup(device))))
        self._thread = threading.get_ident()
        _loops.add(self)

    def is_of_this_thread(self) -> bool:
        return self._thread == threading.get_ident() and not self.is_closed()

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        reports.append(context)
        super().default_exception_handler(context)

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **kwds: Any
    ) -> Any:
        if kwds.get("local_addr") is not None:
            local, local_port = kwds["local_addr"]
            local = STACK[4] if local == HOST[4] else local
            kwds["local_addr"] = (local, local_port)
        host = to_connect(host, port)
        return await super().create_connection(protocol_factory, host, port, **kwds)

    async def create_server(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **kwds: Any
    ) -> Any:
        host = to_bind(host, STACK)
        return await super().create_server(protocol_factory, host, port, **kwds)


class OnAsyncio(OverTun, aiotcp.AsyncioEventLoop):
    pass


class OnUvloop(OverTun, aiotcp.EventLoop):
    _default_executor = None  # asked for by the tests' close_loop(); uvloop keeps it out of sight

    def close(self) -> None:
        if not (self.is_closed() or self.is_running()):
            self.run_until_complete(self.shutdown_default_executor())
        super().close()


LOOPS: dict[str, Callable[[], OverTun]] = {
    "asyncio": OnAsyncio,
    "uvloop": OnUvloop,
}


class OnStack(unittest.TestCase):
    """Mixed into a test case of CPython's: its loops are ours, its addresses mean what is above."""

    new_loop_on_stack: Callable[[], asyncio.AbstractEventLoop]

    def new_loop(self) -> asyncio.AbstractEventLoop:
        return type(self).new_loop_on_stack()

    create_event_loop = new_loop

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        with _loops_of(type(self).new_loop_on_stack), addresses():
            return super().run(result)

    def assertEqual(self, first: Any, second: Any, msg: Any = None) -> None:
        if first == "127.0.0.1" and second in _EITHER:
            first = second
        elif second == "127.0.0.1" and first in _EITHER:
            second = first
        super().assertEqual(first, second, msg)  # noqa: PT009

    def assertRaisesRegex(  # type: ignore[override]
        self, exception: Any, regex: Any, *args: Any, **kwds: Any
    ) -> Any:
        if isinstance(regex, str):
            regex = regex.replace("127.0.0.1", STACK[4])
        return super().assertRaisesRegex(exception, regex, *args, **kwds)  # noqa: PT027


class SendfileOnStack:
    """Mixed into test_sendfile's cases, which connect kernel sockets with each other: here the side
    that sends is the stack."""

    def prepare_sendfile(self: Any, *, is_ssl: bool = False, close_after: int = 0) -> Any:
        tests = importlib.import_module("test.test_asyncio.test_sendfile")
        utils = importlib.import_module("test.test_asyncio.utils")
        receiver = tests.MySendfileProto(loop=self.loop, close_after=close_after)
        sender = tests.MySendfileProto(loop=self.loop)
        listening = socket.create_server((HOST[4], 0))
        server = self.run_loop(
            self.loop.create_server(
                lambda: receiver,
                sock=listening,
                ssl=utils.simple_server_sslcontext() if is_ssl else None,
            )
        )
        self.reduce_receive_buffer_size(listening)
        transport, _ = self.run_loop(
            self.loop.create_connection(
                lambda: sender,
                *listening.getsockname(),
                ssl=utils.simple_client_sslcontext() if is_ssl else None,
            )
        )
        self.reduce_send_buffer_size(transport.get_extra_info("socket"), transport=transport)

        def cleanup() -> None:
            receiver.transport.close()
            sender.transport.close()
            self.run_loop(receiver.done)
            self.run_loop(sender.done)
            server.close()
            self.run_loop(server.wait_closed())

        self.addCleanup(cleanup)
        return receiver, sender


@contextmanager
def _loops_of(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[None]:
    with (
        mock.patch.object(asyncio, "new_event_loop", new_loop),
        mock.patch.object(asyncio.events, "new_event_loop", new_loop),
    ):
        yield


@contextmanager
def addresses() -> Iterator[None]:
    """Kernel sockets that bind or connect to 127.0.0.1 do so as the table above says."""

    def bind(self: socket.socket, address: Any) -> None:
        if _is_tcp(self):
            address = (to_bind(address[0], HOST), *address[1:])
            _bound.add(self)
        super(socket.socket, self).bind(address)

    def connect(self: socket.socket, address: Any) -> None:
        if _is_tcp(self):
            address = (to_connect(*address[:2]), *address[1:])
            if address[0] in STACK.values():
                return _connect(self, address)
        super(socket.socket, self).connect(address)

    with ExitStack() as patches:
        for function in (bind, connect):
            patches.enter_context(mock.patch.object(socket.socket, function.__name__, function))
        yield
    _bound.clear()
    _loops.clear()


def _connect(sock: socket.socket, address: Any) -> None:
    """Connect to the stack, which answers only while its loop runs.

    Where a test would hold up the loop's thread until the kernel is connected, the loop runs
    meanwhile; a loop that is running already is not waited for.
    """
    connect = super(socket.socket, sock).connect
    loop = next((loop for loop in _loops if loop.is_of_this_thread()), None)
    if loop is None or sock.gettimeout() == 0:
        connect(address)
    elif loop.is_running():
        timeout = sock.gettimeout()
        sock.setblocking(False)
        try:
            connect(address)
        except BlockingIOError:
            pass
        sock.settimeout(timeout)
    else:
        with ThreadPoolExecutor(1) as pool:
            loop.run_until_complete(loop.run_in_executor(pool, connect, address))


def _is_tcp(sock: socket.socket) -> bool:
    return sock.type == socket.SOCK_STREAM and sock.family in (socket.AF_INET, socket.AF_INET6)
