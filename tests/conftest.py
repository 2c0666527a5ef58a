"""What every test stands on: a loop on virtual time, and nothing left behind.

A coroutine test runs on :class:`aiotcp.sim.VirtualLoop`. Tests that need real file descriptors run
once on asyncio's loop and once on uvloop: everything below tests/live, and whatever carries
``@pytest.mark.real_loop``; those below tests/integration on our own loops over these two. A test
chooses exactly with pytest-asyncio's own
``@pytest.mark.asyncio(loop_factories=["uvloop"])``. A test that is not a coroutine takes the
fixture ``loop_factory`` (both real loops).

Any call of the loop's exception handler fails the test (a test that expects one sets a handler of
its own), and so does a task that is still pending when the test and its fixtures have ended. A test
that hangs fails after TEST_TIMEOUT_S. So does one that changes what all connections share.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop
from hypothesis import HealthCheck, settings

from aiotcp import AsyncioEventLoop, EventLoop
from aiotcp.sim import VirtualLoop
from tests.support import nobodys

# No test is about the machine's speed, nor about that of drawing examples while others use it.
settings.register_profile("aiotcp", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("aiotcp")

pytest_plugins = ["tests.support.conformance"]

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

TEST_TIMEOUT_S = 300.0

_STDERR = pytest.StashKey[int]()

_reports: list[str] = []


def _watched(new_loop: LoopFactory) -> LoopFactory:
    """`new_loop`, with an exception handler that fails the running test."""

    def factory() -> asyncio.AbstractEventLoop:
        loop = new_loop()
        loop.set_exception_handler(lambda _, context: _reports.append(_describe(context)))
        return loop

    return factory


def _describe(context: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in context.items())


VIRTUAL: dict[str, LoopFactory] = {"virtual": _watched(VirtualLoop)}
REAL: dict[str, LoopFactory] = {
    "asyncio": _watched(asyncio.SelectorEventLoop),
    "uvloop": _watched(uvloop.new_event_loop),
}
OURS: dict[str, LoopFactory] = {
    "aiotcp-asyncio": _watched(AsyncioEventLoop),
    "aiotcp-uvloop": _watched(EventLoop),
}


def pytest_configure(config: pytest.Config) -> None:
    _compile_once(config.rootpath)
    config.stash[_STDERR] = os.dup(2)  # what pytest captures of tests goes elsewhere
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a script
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line(
        "markers", "real_loop: runs on asyncio's loop and on uvloop instead of in virtual time"
    )


def _compile_once(root: Path) -> None:
    """Where Python is told to keep no bytecode, hundreds of programs that tests start would each
    compile the package again: keep it, but not in the tree. Who chose a place for it knows best."""
    if os.environ.get("PYTHONDONTWRITEBYTECODE") and not os.environ.get("PYTHONPYCACHEPREFIX"):
        del os.environ["PYTHONDONTWRITEBYTECODE"]
        os.environ["PYTHONPYCACHEPREFIX"] = str(root / ".pytest_cache" / "bytecode")


def pytest_collection_finish(session: pytest.Session) -> None:
    # Thousands of tests are millions of objects, which no collection needs to look at again: tests
    # that call gc.collect() took a tenth of a second each time.
    gc.collect()
    gc.freeze()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, LoopFactory]:
    chosen = item.get_closest_marker("asyncio")
    if chosen is not None and chosen.kwargs.get("loop_factories"):
        return VIRTUAL | REAL
    if item.path.is_relative_to(config.rootpath / "tests" / "integration"):
        return OURS
    live = config.rootpath / "tests" / "live"
    if item.get_closest_marker("real_loop") is not None or live in item.path.parents:
        return REAL
    return VIRTUAL


@pytest.fixture(params=list(REAL))
def loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    """Makes a real event loop: for tests that run loops themselves."""
    return REAL[request.param]


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """For tests that configure logging: puts handlers and levels back."""
    root, ours = logging.getLogger(), logging.getLogger("aiotcp")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest_asyncio.fixture
async def _no_task_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks left pending: {sorted(map(repr, left))}"


@pytest.fixture(autouse=True)
def _watch_tasks(request: pytest.FixtureRequest) -> None:
    # First of all fixtures, so that its end comes after the end of those that may own tasks.
    if pytest_asyncio.is_async_test(request.node):
        request.getfixturevalue("_no_task_left")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    _reports.clear()
    with _limited(TEST_TIMEOUT_S):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    with _limited(TEST_TIMEOUT_S):
        result = yield
    _fail_on_reports()
    if changed := nobodys.changed():
        pytest.fail(f"what all connections share was changed: {', '.join(changed)}", pytrace=False)
    return result


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """What hangs fails: one test instead of the whole run."""
    complaint = TimeoutError(f"the test took more than {seconds:g} s")
    alarms = 0

    def too_long(signum: int, frame: object) -> None:
        nonlocal alarms
        alarms += 1
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise complaint from None
        # First by cancelling: uvloop takes what is raised here for the exception of a callback.
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.call_soon_threadsafe(lambda: None)  # asyncio's select() waits on otherwise
        if alarms > 1:
            raise complaint

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds / 10)
    try:
        yield
    except asyncio.CancelledError as exc:
        if alarms:
            raise complaint from exc
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    # Where uvloop waits in C for what a failed test has left open, no signal handler gets to run.
    faulthandler.dump_traceback_later(TEST_TIMEOUT_S, exit=True, file=item.config.stash[_STDERR])
    try:
        result = yield
    finally:
        faulthandler.cancel_dump_traceback_later()
    _fail_on_reports()
    return result


def _fail_on_reports() -> None:
    if _reports:
        reports = "\n  ".join(_reports)
        _reports.clear()
        pytest.fail(f"the event loop's exception handler was called:\n  {reports}", pytrace=False)
