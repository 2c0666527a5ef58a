"""aiotcp.run(), Runner, and loops that a program makes, keeps and closes by itself."""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import aiotcp
from aiotcp import Stack
from tests.eventloop.world import HERE, PEER, LoopFactory, ask, greet, turns, two


def test_not_within_a_running_loop(loop_factory: LoopFactory) -> None:
    """And the stack is left as it is."""
    stack, _ = two()

    async def main() -> None:
        coroutine = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="cannot be called from a running event loop"):
            aiotcp.run(coroutine, stack=stack, loop_factory=loop_factory)
        coroutine.close()

    asyncio.run(main())
    assert not stack.bound
    aiotcp.run(asyncio.sleep(0), stack=stack, loop_factory=loop_factory)


def test_a_stack_is_run_once(loop_factory: LoopFactory) -> None:
    stack, _ = two()
    aiotcp.run(asyncio.sleep(0), stack=stack, loop_factory=loop_factory)
    coroutine = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="the stack is closed"):
        aiotcp.run(coroutine, stack=stack, loop_factory=loop_factory)
    coroutine.close()
    unbound, _ = two()
    unbound.abort()
    with pytest.raises(RuntimeError, match="the stack is closed"):
        loop_factory(unbound)


def test_an_interrupt_cancels_main_and_closes_the_stack(loop_factory: LoopFactory) -> None:
    stack, link = two()
    done: list[str] = []

    async def main() -> None:
        other = Stack(link, addresses=[PEER])
        await other.start_server(greet, PEER, 7)
        reader, writer = await asyncio.open_connection(PEER, 7)
        asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
        try:
            await reader.read()
        except asyncio.CancelledError:
            assert await ask(PEER, 7) == b"stack hello\n"  # it may still connect
            done.append("cleaned up")
            raise
        finally:
            writer.close()
            await other.aclose()

    with pytest.raises(KeyboardInterrupt):
        aiotcp.run(main(), stack=stack, loop_factory=loop_factory, debug=True)
    assert done == ["cleaned up"]
    assert stack.closed


def test_what_main_leaves_behind_can_connect_while_it_ends(loop_factory: LoopFactory) -> None:
    stack, link = two()
    done: list[str] = []
    kept: list[Any] = []

    async def main() -> None:
        other = Stack(link, addresses=[PEER])
        await other.start_server(greet, PEER, 7)

        async def task() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                await ask(PEER, 7)
                done.append("task")

        async def generator() -> AsyncIterator[None]:
            try:
                yield
            finally:
                await ask(PEER, 7)
                done.append("generator")

        kept.extend((asyncio.create_task(task()), generator()))
        await kept[1].__anext__()
        await turns()

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)
    assert done == ["task", "generator"]


def test_a_loop_that_is_run_in_parts(loop_factory: LoopFactory) -> None:
    stack, link = two()
    loop = loop_factory(stack)
    other = Stack(link, addresses=[PEER])
    other.bind(loop)
    loop.run_until_complete(other.start_server(greet, PEER, 7))
    reader, writer = loop.run_until_complete(asyncio.open_connection(PEER, 7))
    writer.write(b"hello\n")
    assert loop.run_until_complete(reader.read()) == b"stack hello\n"
    writer.close()
    loop.run_until_complete(writer.wait_closed())
    loop.run_until_complete(other.aclose())
    loop.close()
    loop.close()
    assert stack.closed


def test_runner_and_its_loop_factory(loop_factory: LoopFactory) -> None:
    first, _ = two()
    second, _ = two()

    async def main() -> Stack | None:
        loop: Any = asyncio.get_running_loop()
        stack: Stack = loop.stack
        return stack

    with asyncio.Runner(loop_factory=lambda: loop_factory(first)) as runner:
        assert [runner.run(main()) for _ in range(2)] == [first, first]
    with aiotcp.Runner(stack=second, loop_factory=loop_factory) as runner:
        assert runner.run(main()) is second
    assert first.closed
    assert second.closed


def test_loops_in_threads(loop_factory: LoopFactory) -> None:
    answers: list[bytes] = []

    def run() -> None:
        stack, link = two()

        async def main() -> None:
            async with Stack(link, addresses=[PEER]):
                await aiotcp.start_server(greet, PEER, 7)
                for _ in range(5):
                    answers.append(await ask(PEER, 7))

        aiotcp.run(main(), stack=stack, loop_factory=loop_factory)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"stack hello\n"] * 10


def test_a_forked_child_that_ends_says_nothing(loop_factory: LoopFactory) -> None:
    stack, link = two()

    async def main() -> int:
        loop = asyncio.get_running_loop()
        other = Stack(link, addresses=[PEER])
        await other.start_server(greet, PEER, 7)
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, (PEER, 7))
            sent = stack.counters.packets_sent
            child = os.fork()
            if not child:
                atexit._run_exitfuncs()
                os._exit(stack.counters.packets_sent != sent)
            _, status = os.waitpid(child, 0)  # noqa: ASYNC222
        await other.aclose()
        return status

    assert aiotcp.run(main(), stack=stack, loop_factory=loop_factory) == 0


def test_tasks_that_outlive_the_block_of_their_stack(loop_factory: LoopFactory) -> None:
    """They are told; they do not go out by another way than that which they were given."""
    stack, link = two()

    async def main() -> None:
        leave = asyncio.Event()

        async def connect() -> None:
            await leave.wait()
            with pytest.raises(RuntimeError, match="the stack is closed"):
                await asyncio.open_connection("203.0.113.1", 7)
            with pytest.raises(RuntimeError, match="the stack is closed"):
                await asyncio.start_server(greet, PEER, 7)

        async with Stack(link, addresses=[PEER]):
            task = asyncio.create_task(connect())
        leave.set()
        await task
        assert stack.counters.packets_sent == 0

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_sendfile_is_as_the_kernels(loop_factory: LoopFactory, tmp_path: Path) -> None:
    stack, _ = two()
    path = tmp_path / "file"
    path.write_bytes(b"hello\n")

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        await asyncio.start_server(greet, HERE, 7)
        reader, writer = await asyncio.open_connection(HERE, 7)
        with path.open() as text, pytest.raises(ValueError, match="binary mode"):
            await loop.sendfile(writer.transport, text)
        with path.open("rb") as file:
            for offset, count in ((0, 0), (0, -1), (-1, None)):
                with pytest.raises(ValueError, match="integer"):
                    await loop.sendfile(writer.transport, file, offset, count)
            with pytest.raises(TypeError, match="integer"):
                await loop.sendfile(writer.transport, file, 1.5)
            assert await loop.sendfile(writer.transport, file, 100) == 0
            file.seek(3)  # sendfile(2) does not look at that
            assert await loop.sendfile(writer.transport, file) == 6
            assert await reader.read() == b"stack hello\n"
            writer.close()
            with pytest.raises(RuntimeError, match="closing"):
                await loop.sendfile(writer.transport, file, 0, 0)

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)
