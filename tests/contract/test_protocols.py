"""What a transport owes to the protocols that it serves."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from contextvars import ContextVar
from typing import Any

import pytest

from tests.contract.substrate import MANY, PATTERN, BufferedRecorder, KernelAsyncio, Net, Recorder


async def test_the_protocol_can_change(net: Net) -> None:
    first, second, third = Recorder(), BufferedRecorder(1000), Recorder()
    left, right = await net.pair(Recorder(), first)
    assert right.get_protocol() is first
    left.write(b"first")
    await first.until(5)
    for protocol, data in ((second, b"second" * 1000), (third, b"third")):
        protocol.calls.append("set_protocol")
        right.set_protocol(protocol)
        left.write(data)
        assert await protocol.until(len(data)) == data
    left.close()
    await third.lost
    assert first.calls == ["connection_made", "data"]
    assert second.calls == ["set_protocol", "data"]
    assert third.calls == ["set_protocol", "data", "eof_received", "connection_lost"]


async def test_buffered_protocol(net: Net) -> None:
    client, server = Recorder(), BufferedRecorder(5000)
    left, _ = await net.pair(client, server)
    left.write(PATTERN[:MANY])
    left.close()
    await server.lost
    assert server.data == PATTERN[:MANY]
    assert server.calls == ["connection_made", "data", "eof_received", "connection_lost"]


async def test_what_a_protocol_does_in_data_received_counts_at_once(net: Net) -> None:
    class Closing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.close()

    class Pausing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    client, server = Closing(), Pausing()
    left, right = await net.pair(client, server)
    left.write(PATTERN[:MANY])
    await net.turns()
    assert 0 < len(server.data) <= 256 * 1024
    before = len(server.data)
    right.resume_reading()
    await net.turns()
    assert before < len(server.data) <= before + 256 * 1024
    right.write(PATTERN[:MANY])
    await client.until(1)
    await net.turns()
    assert len(client.data) <= 256 * 1024
    left.abort()
    right.abort()
    await client.lost
    assert client.calls.count("data") == 1


async def test_a_protocol_that_aborts_in_connection_made(net: Net) -> None:
    class Refusing(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.abort()

    client, server = Recorder(), Refusing()
    await net.pair(client, server)
    await server.lost
    assert server.exception is None
    assert server.calls == ["connection_made", "connection_lost"]
    await client.lost
    assert client.exception is None


async def test_a_protocol_may_change_while_bytes_wait(net: Net) -> None:
    class Upgrading(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.set_protocol(second)

    first, second = Upgrading(), BufferedRecorder(1000)
    second.calls.append("set_protocol")
    left, _ = await net.pair(Recorder(), first)
    left.write(PATTERN[:MANY])
    left.close()
    await second.lost
    assert first.data + second.data == PATTERN[:MANY]
    assert len(first.data) <= 256 * 1024


@pytest.mark.parametrize("method", ["data_received", "eof_received"])
async def test_a_protocol_that_raises_loses_its_connection(net: Net, method: str) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("a bug in the protocol")

    client, server = Recorder(), Recorder()
    setattr(server, method, fail)
    left, right = await net.pair(client, server)
    left.write(b"data")
    left.write_eof()
    await server.lost
    assert isinstance(server.exception, RuntimeError)
    await client.lost
    report = net.reports.pop()
    assert report["exception"] is server.exception
    if not net.kernel_uvloop:
        assert report["message"] == f"Fatal error: protocol.{method}() call failed."
        assert report["transport"] is right
        assert report["protocol"] is server


async def test_a_protocol_whose_buffer_is_empty_loses_its_connection(net: Net) -> None:
    server = BufferedRecorder(0)
    left, _ = await net.pair(Recorder(), server)
    left.write(b"data")
    await server.lost
    assert isinstance(server.exception, RuntimeError)
    assert net.reports.pop()["exception"] is server.exception


@pytest.mark.parametrize("method", ["get_buffer", "buffer_updated"])
async def test_a_buffered_protocol_that_raises_loses_its_connection(net: Net, method: str) -> None:
    def fail(count: int) -> bytearray:
        raise RuntimeError("a bug in the protocol")

    server = BufferedRecorder(100)
    setattr(server, method, fail)
    left, _ = await net.pair(Recorder(), server)
    left.write(b"data")
    await server.lost
    assert isinstance(server.exception, RuntimeError)
    assert net.reports.pop()["exception"] is server.exception


async def test_callbacks_run_in_the_context_of_the_caller(net: Net) -> None:
    side: ContextVar[str] = ContextVar("side")
    seen: list[tuple[str, str]] = []

    class Curious(Recorder):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            seen.append((self.name, side.get()))

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            seen.append((self.name, side.get()))

        def connection_lost(self, exc: BaseException | None) -> None:
            seen.append((self.name, side.get()))
            super().connection_lost(exc)

    client, server = Curious("client"), Curious("server")
    side.set("server")
    listening = await net.server.create_server(lambda: server, net.host, 0)
    side.set("client")
    port = listening.sockets[0].getsockname()[1]
    left, _ = await net.client.create_connection(lambda: client, net.host, port)
    side.set("neither")
    left.write(b"question")
    await server.until(8)
    server.transport.write(b"answer")
    await client.until(6)
    left.close()
    await server.lost
    listening.close()
    await listening.wait_closed()
    assert len(seen) == 6
    if isinstance(net.loop, KernelAsyncio):  # calls connection_lost() in the context of close()
        del seen[4:]
    assert all(name == context for name, context in seen)


async def test_a_lost_transport_lets_go_of_its_protocol(net: Net) -> None:
    client = Recorder()
    left, _ = await net.pair(client, Recorder())
    gone = weakref.ref(client)
    left.close()
    await client.lost
    del client
    await net.turns()
    gc.collect()
    assert gone() is None


async def test_a_buffered_protocol_may_give_way_in_buffer_updated(net: Net) -> None:
    class Downgrading(BufferedRecorder):
        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            self.transport.set_protocol(second)

    first, second = Downgrading(1000), Recorder()
    second.calls.append("set_protocol")
    left, _ = await net.pair(Recorder(), first)
    left.write(PATTERN[:MANY])
    left.close()
    await second.lost
    assert first.data == PATTERN[:1000]
    assert first.data + second.data == PATTERN[:MANY]


@pytest.mark.parametrize("method", ["connection_made", "connection_lost"])
async def test_failing_when_a_connection_begins_or_ends_is_reported(net: Net, method: str) -> None:
    def fail(*args: Any) -> None:
        Recorder.__dict__.get(method, getattr(Recorder, method))(client, *args)
        raise RuntimeError("a bug in the protocol")

    client, server = Recorder(), Recorder()
    setattr(client, method, fail)
    left, _ = await net.pair(client, server)
    left.write(b"still open")
    assert await server.until(10) == b"still open"
    left.close()
    await client.lost
    await server.lost
    await net.turns(5)
    assert server.exception is None
    assert str(net.reports.pop()["exception"]) == "a bug in the protocol"
    assert not net.reports


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
async def test_failing_to_pause_is_reported_and_survived(net: Net, method: str) -> None:
    def fail() -> None:
        raise RuntimeError("a bug in the protocol")

    client, server = Recorder(), Recorder()
    setattr(client, method, fail)
    left, right = await net.pair(client, server)
    right.pause_reading()
    left.write(PATTERN[:MANY])
    await net.turns()
    right.resume_reading()
    assert await server.until(MANY) == PATTERN[:MANY]
    assert not left.is_closing()
    report = net.reports.pop()
    assert str(report["exception"]) == "a bug in the protocol"
    if not net.kernel_uvloop:
        assert report["message"] == f"protocol.{method}() failed"
    assert not net.reports


async def test_a_failure_in_connection_lost_does_not_keep_a_server_waiting(net: Net) -> None:
    def fail(exc: BaseException | None) -> None:
        raise RuntimeError("a bug in the protocol")

    theirs = Recorder()
    theirs.connection_lost = fail  # type: ignore[method-assign]
    async with await net.server.create_server(lambda: theirs, net.host, 0) as server:
        port = server.sockets[0].getsockname()[1]
        left, client = await net.client.create_connection(Recorder, net.host, port)
        await theirs.made
        left.close()
        await client.lost
        await net.turns()
    assert str(net.reports.pop()["exception"]) == "a bug in the protocol"


async def test_each_accepted_connection_has_a_context_of_its_own(net: Net) -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")
    who.set("the caller of create_server")
    seen: list[str] = []

    class Marking(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            seen.append(who.get())
            who.set(f"connection {len(seen)}")

    async with await net.server.create_server(Marking, net.host, 0) as server:
        port = server.sockets[0].getsockname()[1]
        for _ in range(2):
            left, client = await net.client.create_connection(Recorder, net.host, port)
            left.close()
            await client.lost
            await net.turns()
    if net.kernel_uvloop:  # one for all of them
        assert seen == ["the caller of create_server", "connection 1"]
    else:
        assert seen == ["the caller of create_server"] * 2
    assert who.get() == "the caller of create_server"


async def test_a_lost_transport_is_freed_without_the_garbage_collector(net: Net) -> None:
    client, server = Recorder(), Recorder()
    left, right = await net.pair(client, server)
    left.write(PATTERN[:MANY])
    await server.until(MANY)
    freed = [weakref.ref(each) for each in (client, server)]
    if not net.kernel:  # where they have none (uvloop), or cycles of their own (asyncio)
        freed += [weakref.ref(left), weakref.ref(right)]
    gc.collect()
    gc.disable()
    try:
        left.close()
        await client.lost
        await server.lost
        del client, server, left, right
        await net.turns()
        assert [each() for each in freed] == [None] * len(freed)
    finally:
        gc.enable()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python learned this in 3.12")
@pytest.mark.substrates("kernel-asyncio", "aiotcp-virtual", "loop-asyncio")
async def test_eager_tasks(net: Net) -> None:  # uvloop 0.22 makes none
    """Their first step runs inside of connection_made()."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello ")
        writer.write(await reader.read())
        writer.close()

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def ask(port: int) -> bytes:
        reader, writer = await net.client.open_connection(net.host, port)
        writer.write(b"world")
        writer.write_eof()
        data: bytes = await reader.read()
        writer.close()
        await writer.wait_closed()
        return data

    net.loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    try:
        for callback, answer in ((echo, b"hello world"), (hang_up, b"")):
            async with await net.server.start_server(callback, net.host, 0) as server:
                port = server.sockets[0].getsockname()[1]
                if callback is hang_up:
                    reader, writer = await net.client.open_connection(net.host, port)
                    assert await reader.read() == answer
                    writer.close()
                else:
                    answers = await asyncio.gather(*(ask(port) for _ in range(5)))
                    assert answers == [answer] * 5
    finally:
        net.loop.set_task_factory(None)


@pytest.mark.stack_only  # asyncio finds close(), and leaves the transport half closed
async def test_debug_mode_finds_calls_from_other_threads(net: Net) -> None:
    calls: list[tuple[str, tuple[Any, ...]]] = [
        *(("close", ()), ("abort", ()), ("write_eof", ()), ("set_protocol", (Recorder(),))),
        *(("write", (b"x",)), ("writelines", ([b"x"],)), ("write_urgent", (b"x",))),
        *(("pause_reading", ()), ("resume_reading", ())),
    ]
    net.loop.set_debug(True)
    client, server = Recorder(), Recorder()
    left, _ = await net.pair(client, server)
    caught: list[str] = []

    def misuse() -> None:
        for name, args in calls:
            try:
                getattr(left, name)(*args)
            except RuntimeError as exc:
                caught.append(str(exc))

    thread = threading.Thread(target=misuse)
    thread.start()
    thread.join()
    net.loop.set_debug(False)
    assert caught == [
        "Non-thread-safe operation invoked on an event loop other than the current one"
    ] * len(calls)
    assert repr(left).startswith("<Transport local=")
    left.write(b"in the loop's own thread")
    left.close()
    await server.lost
    assert server.data == b"in the loop's own thread"
