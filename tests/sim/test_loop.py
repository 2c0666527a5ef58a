from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from aiotcp import sim


def test_time_starts_where_told_and_jumps_to_each_timer_exactly() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        seen = [loop.time()]
        for delay in (0.1, 0.2, 3600.0, 1e6):
            await asyncio.sleep(delay)
            seen.append(loop.time())
        return seen

    assert sim.run(main(), start=5.0) == [5.0, 5.1, 5.3, 3605.3, 1003605.3]


async def test_time_stands_still_while_callbacks_run() -> None:
    loop = asyncio.get_running_loop()
    before = loop.time()
    for _ in range(100):
        await asyncio.sleep(0)
    assert loop.time() == before


async def test_timers_of_one_deadline_run_in_the_order_in_which_they_were_set() -> None:
    loop = asyncio.get_running_loop()
    order: list[int] = []
    for number in range(20):
        loop.call_at(1.0, order.append, number)
    await asyncio.sleep(2.0)
    assert order == list(range(20))


async def test_a_timer_in_the_past_runs_on_the_next_turn_and_does_not_move_time() -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(10.0)
    fired: list[float] = []
    loop.call_at(3.0, lambda: fired.append(loop.time()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert fired == [10.0]


async def test_a_cancelled_timer_neither_runs_nor_moves_time() -> None:
    loop = asyncio.get_running_loop()
    fired: list[str] = []
    loop.call_later(1.0, fired.append, "cancelled").cancel()
    loop.call_later(2.0, fired.append, "kept")
    await asyncio.sleep(5.0)
    assert fired == ["kept"]
    assert loop.time() == 5.0


async def test_two_timers_of_one_instant_where_the_first_cancels_the_second() -> None:
    loop = asyncio.get_running_loop()
    fired: list[str] = []
    pair: list[asyncio.TimerHandle] = []
    pair.append(loop.call_at(1.0, lambda: pair[1].cancel()))
    pair.append(loop.call_at(1.0, fired.append, "second"))
    await asyncio.sleep(2.0)
    assert fired == []


async def test_timeouts_are_virtual() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(7200.0):
            await asyncio.get_running_loop().create_future()
    assert asyncio.get_running_loop().time() == 7200.0


def test_deadlock_names_each_pending_task_and_where_it_waits() -> None:
    async def inner() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.sleep(1.5)
        other = asyncio.create_task(inner(), name="other")
        await other

    with pytest.raises(sim.Deadlock) as caught:
        sim.run(main())
    assert caught.value.tasks[-1] == "other"
    assert len(caught.value.tasks) == 2
    message = str(caught.value)
    assert "deadlock at 1.5 s of virtual time" in message
    assert "inner" in message
    assert "locks.py:" in message, "the innermost line, inside Event.wait()"


def test_what_is_left_over_is_cancelled_oldest_first_and_generators_are_closed() -> None:
    ended: list[str] = []

    async def waits(name: str) -> None:
        try:
            await asyncio.sleep(1000.0)
        finally:
            ended.append(name)

    async def generates() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            ended.append("generator")

    async def main() -> str:
        kept.extend(asyncio.create_task(waits(f"task {n}")) for n in range(10))
        async for _ in (generator := generates()):
            kept.append(generator)
            break
        await asyncio.sleep(0)
        return "result"

    kept: list[Any] = []
    assert sim.run(main()) == "result"
    assert ended == [*(f"task {n}" for n in range(10)), "generator"]


def test_the_same_program_runs_in_the_same_order_each_time() -> None:
    async def worker(number: int, queue: asyncio.Queue[int], log: list[tuple[float, int]]) -> None:
        for step in range(5):
            await asyncio.sleep(((number * 7 + step * 3) % 5) / 4)
            await queue.put(number)
            log.append((asyncio.get_running_loop().time(), await queue.get()))

    async def main() -> list[tuple[float, int]]:
        log: list[tuple[float, int]] = []
        queue: asyncio.Queue[int] = asyncio.Queue(3)
        async with asyncio.TaskGroup() as group:
            for number in range(30):
                group.create_task(worker(number, queue, log))
        return log

    assert sim.run(main()) == sim.run(main())


async def test_numeric_addresses_resolve_and_names_do_not() -> None:
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo("192.0.2.2", 80, type=socket.SOCK_STREAM)
    assert infos[0][4] == ("192.0.2.2", 80)
    with pytest.raises(socket.gaierror):
        await loop.getaddrinfo("localhost", 80)


@pytest.mark.parametrize(
    "call",
    [
        lambda loop: loop.create_connection(asyncio.Protocol, "127.0.0.1", 80),
        lambda loop: loop.create_server(asyncio.Protocol, "127.0.0.1", 0),
        lambda loop: loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0)),
        lambda loop: loop.run_in_executor(None, print),
        lambda loop: loop.subprocess_exec(asyncio.SubprocessProtocol, "true"),
        lambda loop: loop.add_signal_handler(2, print),
        lambda loop: loop.add_reader(0, print),
        lambda loop: loop.add_writer(0, print),
    ],
)
async def test_what_would_need_real_time_is_refused_by_name(call: Callable[[Any], object]) -> None:
    async def attempt() -> None:
        outcome = call(asyncio.get_running_loop())
        assert isinstance(outcome, Awaitable)
        await outcome

    with pytest.raises(RuntimeError, match="out of reach in virtual time"):
        await attempt()


async def test_threads_are_refused_but_the_own_thread_may_call_threadsafe() -> None:
    loop = asyncio.get_running_loop()
    called: list[str] = []
    loop.call_soon_threadsafe(called.append, "own thread")
    errors: list[str] = []

    def from_outside() -> None:
        try:
            loop.call_soon_threadsafe(called.append, "other thread")
        except RuntimeError as exc:
            errors.append(str(exc))

    thread = threading.Thread(target=from_outside)
    thread.start()
    thread.join()
    await asyncio.sleep(0)
    assert called == ["own thread"]
    assert "another thread" in errors[0]


def test_a_closed_loop_takes_no_callbacks() -> None:
    loop = sim.VirtualLoop()
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_later(1.0, print)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_soon(print)


def as_asyncio(
    program: Callable[[asyncio.AbstractEventLoop, list[object]], object], *, debug: bool = False
) -> list[object]:
    """What `program` notes while the loop runs, which is the same as on asyncio's own."""
    logs: list[list[object]] = []
    for loop in (asyncio.SelectorEventLoop(), sim.VirtualLoop()):
        log: list[object] = []
        try:
            loop.set_debug(debug)
            program(loop, log)
            loop.run_forever()
            log.append("stopped")
        except BaseException as exc:
            log.append(repr(exc))
        finally:
            loop.close()
        logs.append(log)
    assert logs[0] == logs[1]
    return logs[0]


def test_callbacks_run_turn_by_turn() -> None:
    def program(loop: asyncio.AbstractEventLoop, log: list[object]) -> None:
        def first() -> None:
            log.append("first")
            loop.call_soon(log.append, "next turn")
            loop.call_later(0, log.append, "due at once")
            cancelled.cancel()

        loop.call_soon(first)
        cancelled = loop.call_soon(log.append, "cancelled")
        loop.call_soon(log.append, "second")
        loop.call_later(0.01, loop.stop)

    expected = ["first", "second", "next turn", "due at once", "stopped"]
    assert as_asyncio(program) == expected


def test_stop_ends_the_turn_and_keeps_what_follows() -> None:
    def program(loop: asyncio.AbstractEventLoop, log: list[object]) -> None:
        def first() -> None:
            loop.stop()
            loop.call_soon(log.append, "in the second run")
            loop.call_soon(loop.stop)

        loop.call_soon(first)
        loop.call_soon(log.append, "in the first run")
        loop.run_forever()
        log.append("between")

    expected = ["in the first run", "between", "in the second run", "stopped"]
    assert as_asyncio(program) == expected


def test_a_loop_that_is_stopped_first_runs_what_is_ready_once() -> None:
    def program(loop: asyncio.AbstractEventLoop, log: list[object]) -> None:
        loop.call_soon(lambda: loop.call_soon(log.append, "never"))
        loop.call_soon(log.append, "once")
        loop.stop()

    assert as_asyncio(program) == ["once", "stopped"]


@pytest.mark.parametrize("debug", [False, True])
def test_what_a_callback_raises_is_reported_as_asyncio_does(debug: bool) -> None:
    def fails(number: int) -> None:
        raise ValueError(number)

    def program(loop: asyncio.AbstractEventLoop, log: list[object]) -> None:
        def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            made_in = [frame.name for frame in context.get("source_traceback", ())][-1:]
            log.append((context["message"], repr(context["exception"]), sorted(context), made_in))
            assert context["handle"]._callback is fails

        loop.set_exception_handler(handler)
        loop.call_soon(fails, 1)
        loop.call_later(0, fails, 2)
        loop.call_later(0.01, loop.stop)

    log = as_asyncio(program, debug=debug)
    assert len(log) == 3
    assert "Exception in callback" in str(log[0])


def test_what_is_to_end_a_program_does() -> None:
    def program(loop: asyncio.AbstractEventLoop, log: list[object]) -> None:
        def interrupted() -> None:
            raise KeyboardInterrupt

        loop.call_soon(log.append, "before")
        loop.call_soon(interrupted)
        loop.call_soon(log.append, "after")

    assert as_asyncio(program) == ["before", "KeyboardInterrupt()"]


def test_callbacks_run_in_the_context_that_they_were_given() -> None:
    name: ContextVar[str] = ContextVar("name", default="none")

    def program(loop: asyncio.AbstractEventLoop, log: list[object]) -> None:
        given = copy_context()
        given.run(name.set, "given")
        name.set("caller")
        loop.call_soon(lambda: log.append(name.get()))
        loop.call_soon(lambda: log.append(name.get()), context=given)
        loop.call_later(0, lambda: log.append(name.get()), context=given)
        name.set("later")
        loop.call_later(0.01, loop.stop)

    assert copy_context().run(as_asyncio, program) == ["caller", "given", "given", "stopped"]
